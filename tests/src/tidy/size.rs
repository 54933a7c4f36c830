//! How large files and functions may be.

use super::code::{block_end, words};
use super::{Finding, Severity, Source, has_ending};

/// A file of more lines is a warning.
const FILE_LINES_WARN: usize = 500;
/// A file of more lines is an error.
const FILE_LINES_MAX: usize = 700;
/// A function of so many lines is a warning.
const FUNCTION_LINES_WARN: usize = 100;
/// What is written by hand.
const CODE_ENDINGS: [&str; 6] = ["rs", "py", "ts", "js", "mjs", "sh"];

pub(super) fn check(source: &Source<'_>, findings: &mut Vec<Finding>) {
    let is_code = CODE_ENDINGS
        .iter()
        .any(|ending| has_ending(source.path, ending));
    let lines = source.text.lines().count();
    if is_code && lines > FILE_LINES_WARN {
        let severity = if lines > FILE_LINES_MAX {
            Severity::Error
        } else {
            Severity::Warning
        };
        let text = format!("{lines} lines; split it: {FILE_LINES_MAX} is the limit");
        findings.push(source.find(0, severity, text));
    }
    for at in words(&source.code, "fn") {
        let Some(sign) = source.code[at..].find(['{', ';']).map(|found| at + found) else {
            continue;
        };
        if source.code.as_bytes()[sign] != b'{' {
            continue;
        }
        let end = block_end(&source.code, sign);
        let lines = source.code[at..end].matches('\n').count() + 1;
        if lines >= FUNCTION_LINES_WARN {
            let text = format!("a function of {lines} lines; think of parts with names");
            findings.push(source.find(at, Severity::Warning, text));
        }
    }
}
