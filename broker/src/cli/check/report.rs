//! The rules and their verdicts.

use std::fmt;

use serde_json::{Value, json};

/// Says how a rule came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Pass,
    Fail,
    Skip,
}

/// One rule and its verdict.
#[derive(Debug)]
struct Line {
    rule: &'static str,
    /// False: a plugin should keep it, and works without.
    is_must: bool,
    text: &'static str,
    verdict: Verdict,
    detail: String,
}

/// All rules that were judged, in order.
#[derive(Debug, Default)]
pub(super) struct Report {
    lines: Vec<Line>,
    /// What the program wrote last, if something failed.
    pub(super) last_words: Vec<String>,
}

impl Report {
    fn put(
        &mut self,
        rule: &'static str,
        is_must: bool,
        text: &'static str,
        verdict: Verdict,
        detail: String,
    ) {
        self.lines.push(Line {
            rule,
            is_must,
            text,
            verdict,
            detail,
        });
    }

    /// Judges a rule that must be kept.
    pub(super) fn must(
        &mut self,
        rule: &'static str,
        text: &'static str,
        kept: Result<String, String>,
    ) -> bool {
        let is_kept = kept.is_ok();
        let (verdict, detail) = judge(kept);
        self.put(rule, true, text, verdict, detail);
        is_kept
    }

    /// Judges a rule that should be kept.
    pub(super) fn should(
        &mut self,
        rule: &'static str,
        text: &'static str,
        kept: Result<String, String>,
    ) {
        let (verdict, detail) = judge(kept);
        self.put(rule, false, text, verdict, detail);
    }

    /// Notes a rule that could not be tried.
    pub(super) fn skip(&mut self, rule: &'static str, text: &'static str, why: &str) {
        self.put(rule, true, text, Verdict::Skip, why.to_owned());
    }

    /// Whether every rule that must be kept is kept.
    pub(super) fn is_kept(&self) -> bool {
        !self
            .lines
            .iter()
            .any(|line| line.is_must && line.verdict == Verdict::Fail)
    }

    fn count(&self, verdict: Verdict) -> usize {
        let lines = self.lines.iter();
        lines.filter(|line| line.verdict == verdict).count() - self.warned_if(verdict)
    }

    /// A rule that should be kept and is not is a warning and no failure.
    fn warned_if(&self, verdict: Verdict) -> usize {
        let lines = self.lines.iter();
        lines
            .filter(|line| line.verdict == verdict && verdict == Verdict::Fail && !line.is_must)
            .count()
    }

    /// The report for programs.
    pub(super) fn to_json(&self) -> Value {
        let rules: Vec<Value> = self
            .lines
            .iter()
            .map(|line| {
                json!({
                    "rule": line.rule,
                    "level": if line.is_must { "must" } else { "should" },
                    "verdict": word(line.verdict),
                    "text": line.text,
                    "detail": line.detail,
                })
            })
            .collect();
        json!({
            "ok": self.is_kept(),
            "passed": self.count(Verdict::Pass),
            "failed": self.count(Verdict::Fail),
            "warned": self.warned_if(Verdict::Fail),
            "skipped": self.count(Verdict::Skip),
            "rules": rules,
            "last_words": self.last_words,
        })
    }
}

fn judge(kept: Result<String, String>) -> (Verdict, String) {
    match kept {
        Ok(detail) => (Verdict::Pass, detail),
        Err(detail) => (Verdict::Fail, detail),
    }
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "pass",
        Verdict::Fail => "fail",
        Verdict::Skip => "skip",
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.lines {
            let verdict = match (line.verdict, line.is_must) {
                (Verdict::Fail, false) => "warn",
                (verdict, _) => word(verdict),
            };
            write!(f, "{verdict}  {:<24}  {}", line.rule, line.text)?;
            if !line.detail.is_empty() {
                write!(f, ": {}", line.detail)?;
            }
            writeln!(f)?;
        }
        if !self.last_words.is_empty() {
            writeln!(f, "\nits last words:")?;
            for words in &self.last_words {
                writeln!(f, "  {words}")?;
            }
        }
        write!(
            f,
            "\n{} passed, {} failed, {} warned, {} skipped",
            self.count(Verdict::Pass),
            self.count(Verdict::Fail),
            self.warned_if(Verdict::Fail),
            self.count(Verdict::Skip)
        )
    }
}
