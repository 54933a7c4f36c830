//! The languages of scaffolds, and how each is installed, checked and run.

/// Names the language of a scaffold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lang {
    /// Python, typed for `mypy --strict`.
    Python,
    /// TypeScript on Node.
    Node,
    /// Rust.
    Rust,
}

impl Lang {
    /// Lists all languages.
    pub const ALL: [Self; 3] = [Self::Python, Self::Node, Self::Rust];

    /// Names the language as the command line does.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::Node => "node",
            Self::Rust => "rust",
        }
    }

    /// Reads the name of a language; `typescript` and its like mean Node.
    ///
    /// ```
    /// use trunkline_templates::Lang;
    /// assert_eq!(Lang::parse("typescript"), Some(Lang::Node));
    /// ```
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "python" | "py" => Some(Self::Python),
            "node" | "typescript" | "ts" | "javascript" | "js" => Some(Self::Node),
            "rust" | "rs" => Some(Self::Rust),
            _ => None,
        }
    }

    /// Gives the command of `plugin.toml`, as TOML.
    pub(crate) fn command(self, name: &str, stem: &str) -> String {
        match self {
            Self::Python => format!("[\"python3\", \"{stem}.py\"]"),
            Self::Node => format!("[\"node\", \"dist/{stem}.js\"]"),
            Self::Rust => format!("[\"./target/release/{name}\"]"),
        }
    }

    /// Gives the commands to install and check a scaffold, and to run it, typed in its directory.
    pub const fn next(self) -> [&'static str; 2] {
        match self {
            Self::Python => ["pip install -e '.[dev]' && ./check", "trunkline dev"],
            Self::Node => ["npm install && ./check", "npx trunkline dev"],
            Self::Rust => ["./check", "trunkline dev"],
        }
    }
}
