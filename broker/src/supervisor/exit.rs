//! How a process ended, and which of its limits it ran into.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The most that is kept of a process's last words, in bytes.
pub const STDERR_TAIL_BYTES_MAX: usize = 4 * 1024;

/// What is held of the stream itself: the slack lets the redactor see whole secrets at the cut.
const HELD_BYTES: usize = STDERR_TAIL_BYTES_MAX + STDERR_TAIL_BYTES_MAX / 2;

/// A limit that the operating system enforces on a process.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// Bytes of private memory.
    Memory,
    /// Descriptors open at the same time.
    OpenFiles,
    /// Bytes in one file.
    FileSize,
}

impl Limit {
    /// Returns the name used in the configuration and in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::OpenFiles => "open_files",
            Self::FileSize => "file_size",
        }
    }
}

/// How a process ended.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ExitReport {
    /// The exit code, when it exited.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub code: Option<i32>,
    /// The signal's number, when one ended it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub signal: Option<i32>,
    /// The limit it seems to have run into.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub limit: Option<Limit>,
    /// The end of its stderr, redacted, at most [`STDERR_TAIL_BYTES_MAX`].
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub stderr_tail: String,
}

impl ExitReport {
    /// Builds a report and recognises a breached limit from the signal or the last words.
    pub fn new(code: Option<i32>, signal: Option<i32>, stderr_tail: String) -> Self {
        let mut report = Self {
            code,
            signal,
            limit: None,
            stderr_tail,
        };
        if !report.is_clean() {
            report.limit = report.recognise_limit();
        }
        report
    }

    /// Returns true for exit code 0.
    pub fn is_clean(&self) -> bool {
        self.code == Some(0)
    }

    fn recognise_limit(&self) -> Option<Limit> {
        if self.signal == Some(rustix::process::Signal::XFSZ.as_raw()) {
            return Some(Limit::FileSize);
        }
        // Words of the C library, Python, Node, Rust, Go, Java and PHP. The last match in the
        // text wins: what is said last is nearest to the end.
        const WORDS: [(&str, Limit); 16] = [
            ("memoryerror", Limit::Memory),
            ("out of memory", Limit::Memory),
            ("outofmemory", Limit::Memory),
            ("memory allocation of", Limit::Memory),
            ("cannot allocate memory", Limit::Memory),
            ("can't allocate memory", Limit::Memory),
            ("std::bad_alloc", Limit::Memory),
            ("failed to allocate memory", Limit::Memory),
            ("array buffer allocation failed", Limit::Memory),
            ("allowed memory size of", Limit::Memory),
            ("enomem", Limit::Memory),
            ("too many open files", Limit::OpenFiles),
            ("emfile", Limit::OpenFiles),
            ("file too large", Limit::FileSize),
            ("file size limit exceeded", Limit::FileSize),
            ("efbig", Limit::FileSize),
        ];
        let text = self.stderr_tail.to_ascii_lowercase();
        WORDS
            .iter()
            .filter_map(|(word, limit)| text.rfind(word).map(|at| (at, *limit)))
            .max_by_key(|(at, _)| *at)
            .map(|(_, limit)| limit)
    }
}

/// Says it in one line, without the last words.
impl fmt::Display for ExitReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.code, self.signal) {
            (Some(code), _) => write!(f, "exited with code {code}")?,
            (None, Some(signal)) => match signal_name(signal) {
                Some(name) => write!(f, "ended by signal {signal} ({name})")?,
                None => write!(f, "ended by signal {signal}")?,
            },
            (None, None) => f.write_str("ended, its process goes on")?,
        }
        match self.limit {
            Some(limit) => write!(f, ", limit reached: {}", limit.as_str()),
            None => Ok(()),
        }
    }
}

fn signal_name(number: i32) -> Option<&'static str> {
    use rustix::process::Signal;
    let known = [
        (Signal::HUP, "SIGHUP"),
        (Signal::INT, "SIGINT"),
        (Signal::QUIT, "SIGQUIT"),
        (Signal::ILL, "SIGILL"),
        (Signal::TRAP, "SIGTRAP"),
        (Signal::ABORT, "SIGABRT"),
        (Signal::BUS, "SIGBUS"),
        (Signal::FPE, "SIGFPE"),
        (Signal::KILL, "SIGKILL"),
        (Signal::SEGV, "SIGSEGV"),
        (Signal::PIPE, "SIGPIPE"),
        (Signal::TERM, "SIGTERM"),
        (Signal::XCPU, "SIGXCPU"),
        (Signal::XFSZ, "SIGXFSZ"),
        (Signal::SYS, "SIGSYS"),
    ];
    known
        .iter()
        .find(|(signal, _)| signal.as_raw() == number)
        .map(|(_, name)| *name)
}

/// Keeps the last bytes of a stream.
#[derive(Debug, Default)]
pub struct Tail {
    bytes: Vec<u8>,
}

impl Tail {
    /// Takes what the stream said next.
    pub fn push(&mut self, more: &[u8]) {
        let more = &more[more.len().saturating_sub(HELD_BYTES)..];
        self.bytes.extend_from_slice(more);
        // Trimmed at twice the size, so that small writes do not move the whole tail each time.
        if self.bytes.len() > 2 * HELD_BYTES {
            self.trim();
        }
    }

    /// Returns the end of the stream as redacted text, cut at a character and, where there is
    /// one, at the beginning of a line.
    pub fn text(&self, redact: &super::logs::Redactor) -> String {
        // Redacted before it is cut: a secret cut in two would no longer be recognised.
        let text = String::from_utf8_lossy(&self.bytes);
        let text = redact(text.trim_end());
        let mut from = text.len().saturating_sub(STDERR_TAIL_BYTES_MAX);
        while !text.is_char_boundary(from) {
            from += 1;
        }
        let end = &text[from..];
        let whole_lines = if from > 0 {
            end.split_once('\n').map(|(_, rest)| rest)
        } else {
            None
        };
        whole_lines.unwrap_or(end).to_owned()
    }

    fn trim(&mut self) {
        let from = self.bytes.len().saturating_sub(HELD_BYTES);
        self.bytes.drain(..from);
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::sync::Arc;

    use super::*;

    fn limit(code: Option<i32>, signal: Option<i32>, words: &str) -> Option<Limit> {
        ExitReport::new(code, signal, words.to_owned()).limit
    }

    #[test]
    fn a_breached_limit_is_recognised_by_signal_or_words() {
        assert_eq!(limit(None, Some(25), ""), Some(Limit::FileSize));
        assert_eq!(
            limit(Some(1), None, "Traceback…\nMemoryError"),
            Some(Limit::Memory)
        );
        assert_eq!(
            limit(None, Some(6), "memory allocation of 64 bytes failed"),
            Some(Limit::Memory)
        );
        assert_eq!(
            limit(
                Some(1),
                None,
                "OSError: [Errno 24] Too many open files: 'x'"
            ),
            Some(Limit::OpenFiles)
        );
        assert_eq!(
            limit(Some(1), None, "OSError: [Errno 27] File too large"),
            Some(Limit::FileSize)
        );
        assert_eq!(limit(Some(1), None, "ValueError: no"), None);
    }

    #[test]
    fn a_clean_exit_never_blames_a_limit() {
        assert_eq!(limit(Some(0), None, "MemoryError"), None);
    }

    #[test]
    fn the_last_words_decide_between_two_limits() {
        let words = "warning: EMFILE seen\nretrying\nFATAL ERROR: out of memory";
        assert_eq!(limit(Some(134), None, words), Some(Limit::Memory));
    }

    #[test]
    fn an_exit_reads_as_a_sentence() {
        let report = ExitReport::new(None, Some(25), String::new());
        assert_eq!(
            report.to_string(),
            "ended by signal 25 (SIGXFSZ), limit reached: file_size"
        );
        assert_eq!(
            ExitReport::new(Some(3), None, String::new()).to_string(),
            "exited with code 3"
        );
    }

    #[test]
    fn the_tail_keeps_the_end_redacted_and_bounded() {
        let redact: super::super::logs::Redactor =
            Arc::new(|text: &str| Cow::Owned(text.replace("hunter2", "***")));
        let mut tail = Tail::default();
        for n in 0..5_000 {
            tail.push(format!("line {n} ü password=hunter2\n").as_bytes());
        }
        let text = tail.text(&redact);
        assert!(text.len() <= STDERR_TAIL_BYTES_MAX);
        assert!(text.starts_with("line "));
        assert!(text.ends_with("line 4999 ü password=***"));
        assert!(!text.contains("hunter2"));
        assert!(tail.bytes.len() <= 2 * HELD_BYTES);
    }
}
