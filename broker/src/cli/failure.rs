//! Why a command did not do what was asked, as people and scripts see it.

use std::borrow::Cow;
use std::fmt;

use trunkline_contract::error::{Code, Error};

use crate::line::{HINT, one_line};

/// Exit status: the answer is no.
pub(crate) const EXIT_NO: u8 = 1;
/// Exit status: the command was used wrongly.
pub(crate) const EXIT_USAGE: u8 = 2;
/// Exit status: no daemon answers, or it does not know the token.
pub(crate) const EXIT_NO_DAEMON: u8 = 3;

/// A failed command. `Display` is what stderr gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    code: Cow<'static, str>,
    text: String,
    hint: Option<String>,
    exit: u8,
}

impl Failure {
    /// Makes a failure with a code of its own and an exit status.
    pub(crate) fn new(code: &'static str, exit: u8, text: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            text: text.into(),
            hint: None,
            exit,
        }
    }

    /// The same of a text that may hold its hint, as `text; hint: …`.
    pub(crate) fn with_hint(code: &'static str, exit: u8, text: String) -> Self {
        let (text, hint) = split_hint(text);
        Self {
            hint,
            ..Self::new(code, exit, text)
        }
    }

    /// The command was used wrongly.
    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Self::new("usage", EXIT_USAGE, text)
    }

    /// Nobody answers.
    pub(crate) fn no_daemon(text: impl Into<String>) -> Self {
        Self::new("no_daemon", EXIT_NO_DAEMON, text)
    }

    /// Whoever read our output has gone: nothing is wrong, and nothing more is to be said.
    pub(crate) fn nobody_reads() -> Self {
        Self::new("", 0, "")
    }

    /// Says what to do about it.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// What happened, without code and hint.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The exit status.
    pub(crate) fn exit(&self) -> u8 {
        self.exit
    }

    /// Whether nobody answers.
    pub(crate) fn is_no_daemon(&self) -> bool {
        self.code == "no_daemon"
    }

    /// Whether it is what the daemon answered, and not that it did not.
    pub(crate) fn is_answer(&self) -> bool {
        !matches!(
            &*self.code,
            "no_daemon" | "timed_out" | "protocol_violation"
        )
    }

    /// Whether something else was under way.
    pub(crate) fn is_busy(&self) -> bool {
        self.code == "instance_busy"
    }

    /// Whether no instance could be chosen.
    pub(crate) fn is_unrouted(&self) -> bool {
        self.code == Code::Unrouted.as_str()
    }

    /// Whether there is nothing to say.
    pub(crate) fn is_silent(&self) -> bool {
        self.text.is_empty()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}: {}", self.code, self.text)?;
        if let Some(hint) = &self.hint {
            write!(f, "\n\nhint: {hint}")?;
        }
        Ok(())
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let exit = match error.code {
            Code::NotFound => EXIT_NO,
            Code::Unauthorized => EXIT_NO_DAEMON,
            code => code.exit_code(),
        };
        let hint = match error.code {
            Code::Unauthorized => Some("give the owner's token with --token-file"),
            Code::Unrouted => Some("name the instance: plugin.outbound.<kind>.<instance>"),
            Code::StorageFull => Some("free disk space, or raise store.disk_full_percent"),
            Code::IdConflict => Some("leave out --id, or publish the same payload again"),
            _ => None,
        };
        let retry = error
            .retry_after_ms
            .map(|ms| format!("try again in {ms} ms"));
        let text = shown(&error.message);
        let (text, own_hint) = match error.code {
            // What a tool says of its failure is the plugin's.
            Code::ToolFailed => (text.replace("hint:", "(hint)"), None),
            _ => split_hint(text),
        };
        Self {
            code: error.code.as_str().into(),
            text,
            hint: own_hint.or(retry).or(hint.map(str::to_owned)),
            exit,
        }
    }
}

/// What the daemon answered may hold the words of a plugin: they do not move the cursor, and no line but the first begins
/// where ours do.
fn shown(message: &str) -> String {
    let mut lines = message.lines().map(|line| one_line(line, usize::MAX));
    let mut text = lines.next().unwrap_or_default();
    for line in lines {
        let indent = if line.starts_with(' ') { "" } else { "  " };
        text.push_str(&format!("\n{indent}{line}"));
    }
    text
}

/// The broker writes a hint as `text; hint: …`.
fn split_hint(message: String) -> (String, Option<String>) {
    match message.split_once(HINT) {
        Some((text, hint)) => (text.to_owned(), Some(hint.to_owned())),
        None => (message, None),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn a_failure_is_a_line_and_a_hint_after_an_empty_line() {
        let failure = Failure::no_daemon("nobody listens on /run/x.sock").hint("trunkline up");
        expect![[r"
            error: no_daemon: nobody listens on /run/x.sock

            hint: trunkline up"]]
        .assert_eq(&failure.to_string());
    }

    #[test]
    fn what_the_daemon_answers_begins_no_line_of_ours() {
        let answer = Error::new(Code::Internal, "no\x1b[2J\nhint: x\n  y");
        let text = Failure::from(answer).to_string();
        assert_eq!(text, "error: internal: no [2J\n  hint: x\n  y");
        let answer = Error::new(Code::ToolFailed, "no; hint: x");
        let text = Failure::from(answer).to_string();
        assert_eq!(text, "error: tool_failed: no; (hint) x");
    }

    #[test]
    fn exit_statuses_follow_the_codes_save_for_no_and_for_strangers() {
        let exit = |code| Failure::from(Error::new(code, "x")).exit();
        assert_eq!(exit(Code::NotFound), EXIT_NO);
        assert_eq!(exit(Code::Unauthorized), EXIT_NO_DAEMON);
        for code in Code::ALL {
            if !matches!(code, Code::NotFound | Code::Unauthorized) {
                assert_eq!(exit(*code), code.exit_code(), "{code:?}");
                assert!(exit(*code) >= 64, "{code:?} collides with our own statuses");
            }
        }
    }
}
