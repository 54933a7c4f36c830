//! What is wrong with a text, and where.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

/// Tells whether a diagnostic stops the load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The text is accepted; a person should look at it.
    Warning,
    /// The text is refused.
    Error,
}

/// Names a position in a text, or the thing outside a text that gave a value.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// File name as a person would write it, or the name of a variable or flag.
    pub file: Arc<str>,
    /// Line from 1; 0 when the value does not stand in a text.
    pub line: u32,
    /// Column from 1, in characters; 0 when the value does not stand in a text.
    pub column: u32,
}

impl Place {
    /// Names something that is not a text: a default, a variable, a flag.
    pub fn outside(name: impl Into<Arc<str>>) -> Self {
        Self {
            file: name.into(),
            line: 0,
            column: 0,
        }
    }

    /// Names the first character of a text.
    pub fn start_of(file: impl Into<Arc<str>>) -> Self {
        Self {
            file: file.into(),
            line: 1,
            column: 1,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 {
            f.write_str(&self.file)
        } else {
            write!(f, "{}:{}:{}", self.file, self.line, self.column)
        }
    }
}

/// Says what is wrong, where, and what to do about it.
///
/// `Display` gives `plugin.toml:12:9: unknown key "verison" in [plugin]`, and on a second line
/// `hint: did you mean "version"?` where there is a hint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Whether the text is refused for it.
    pub severity: Severity,
    /// Stable snake_case code, such as `unknown_key`.
    pub code: &'static str,
    /// What was expected and what was found: lower case, no final period, never a secret's value.
    pub message: String,
    /// Name of the text.
    pub file: Arc<str>,
    /// Line from 1; 0 outside a text.
    pub line: u32,
    /// Column from 1, in characters; 0 outside a text.
    pub column: u32,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Diagnostic {
    /// Makes a diagnostic without a hint.
    pub fn new(
        severity: Severity,
        code: &'static str,
        place: &Place,
        message: impl Into<String>,
    ) -> Self {
        Self {
            severity,
            code,
            message: message.into(),
            file: Arc::clone(&place.file),
            line: place.line,
            column: place.column,
            hint: None,
        }
    }

    /// Adds a hint.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Renames the text, for a caller who knows its path.
    pub fn in_file(mut self, file: impl Into<Arc<str>>) -> Self {
        self.file = file.into();
        self
    }

    /// Gives the position.
    pub fn place(&self) -> Place {
        Place {
            file: Arc::clone(&self.file),
            line: self.line,
            column: self.column,
        }
    }

    /// Tells whether it stops the load.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_error() { "" } else { "warning: " };
        write!(f, "{}: {kind}{}", self.place(), self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, "\nhint: {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostic {}

/// Tells whether any of them stops the load.
pub fn has_errors(diagnostics: &[Diagnostic]) -> bool {
    diagnostics.iter().any(Diagnostic::is_error)
}

/// Collects diagnostics while readers of one document are alive.
#[derive(Debug, Default)]
pub struct Sink {
    found: RefCell<Vec<Diagnostic>>,
}

impl Sink {
    /// Keeps a diagnostic.
    pub fn push(&self, diagnostic: Diagnostic) {
        self.found.borrow_mut().push(diagnostic);
    }

    /// Reports an error.
    pub fn error(&self, code: &'static str, place: &Place, message: impl Into<String>) {
        self.push(Diagnostic::new(Severity::Error, code, place, message));
    }

    /// Reports an error with a hint.
    pub fn error_hint(
        &self,
        code: &'static str,
        place: &Place,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.push(Diagnostic::new(Severity::Error, code, place, message).hint(hint));
    }

    /// Reports a warning with a hint.
    pub fn warning_hint(
        &self,
        code: &'static str,
        place: &Place,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.push(Diagnostic::new(Severity::Warning, code, place, message).hint(hint));
    }

    /// Counts what was found so far.
    pub fn len(&self) -> usize {
        self.found.borrow().len()
    }

    /// Tells whether nothing was found so far.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Gives everything found, in the order of the text.
    pub fn into_sorted(self) -> Vec<Diagnostic> {
        let mut found = self.found.into_inner();
        found.sort_by(|a, b| {
            (a.line == 0, &a.file, a.line, a.column).cmp(&(b.line == 0, &b.file, b.line, b.column))
        });
        found
    }
}
