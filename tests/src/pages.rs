//! The code blocks of the pages: `README.md`, and every Markdown file below `docs/`.
//!
//! Not here: what a block does. A suite holds each to somebody who runs it.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::daemon::program;

/// One code block, as it stands in its page.
#[derive(Debug, Clone)]
pub struct Block {
    /// The page, from the root of the repository.
    pub page: String,
    /// The line of its fence, from 1.
    pub line: usize,
    /// The first word after the fence; `rust,no_run` is `rust`.
    pub language: String,
    /// What is said after the language, such as `no_run`.
    pub tags: String,
    /// What stands between the fences.
    pub text: String,
    /// The file that a reader writes it to: the paragraph before ends with "as `name`:".
    pub file: Option<String>,
}

impl fmt::Display for Block {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = self.text.lines().next().unwrap_or_default();
        write!(
            out,
            "{}:{} ({}): {first}",
            self.page, self.line, self.language
        )
    }
}

/// Where the repository is.
///
/// # Panics
/// When the tests are not in one.
pub fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    root.expect("tests is in the workspace").to_owned()
}

/// Gives the blocks of all pages, page by page.
///
/// # Panics
/// When a page cannot be read, or a block does not end.
pub fn all() -> Vec<Block> {
    let root = root();
    let mut pages = vec!["README.md".to_owned()];
    for folder in ["docs", "docs/patterns"] {
        for entry in fs::read_dir(root.join(folder)).expect("the pages are there") {
            let path = entry.expect("readable").path();
            if path.extension().is_some_and(|extension| extension == "md") {
                let name = path.file_name().expect("it is a file").display();
                pages.push(format!("{folder}/{name}"));
            }
        }
    }
    pages.sort();
    pages.iter().flat_map(|page| of(page)).collect()
}

/// Gives the blocks of one page.
///
/// # Panics
/// When it cannot be read, or a block does not end.
pub fn of(page: &str) -> Vec<Block> {
    let text = fs::read_to_string(root().join(page)).expect("the page is there");
    blocks(page, &text)
}

/// Does what a page tells in `home`, as a reader would; see `tests/docs/page.mjs`. Commands that begin with one of `without`
/// are left out.
///
/// # Panics
/// When the page says what is not so.
pub fn follow(page: &str, home: &Path, without: &[&str]) {
    let program = program();
    let folder = program.parent().expect("it is in a folder");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = [folder.to_owned()].into_iter();
    let path = std::env::join_paths(folders.chain(std::env::split_paths(&path)));
    let mut node = Command::new("node");
    node.arg(root().join("tests/docs/page.mjs"))
        .arg(root().join(page))
        .arg("--home")
        .arg(home)
        .env("PATH", path.expect("plain names"));
    for command in without {
        node.arg("--without").arg(command);
    }
    let done = node.output().expect("node is there");
    let said = [done.stdout, done.stderr].concat();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&said));
}

fn blocks(page: &str, text: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut paragraph = String::new();
    let mut lines = text.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        let Some(said) = line.trim_start().strip_prefix("```") else {
            if line.is_empty() {
                // What a blank line ends may still be what a block follows.
                paragraph.push('\n');
            } else {
                if paragraph.ends_with('\n') {
                    paragraph.clear();
                }
                paragraph.push_str(line);
            }
            continue;
        };
        let (language, tags) = said.split_once(',').unwrap_or((said, ""));
        let mut text = String::new();
        loop {
            let (_, line) = lines.next().expect("every block ends");
            if line.trim_start() == "```" {
                break;
            }
            text.push_str(line);
            text.push('\n');
        }
        let before = paragraph.trim_end().strip_suffix("`:");
        let file = before.and_then(|before| before.rsplit_once("as `"));
        found.push(Block {
            page: page.to_owned(),
            line: at + 1,
            language: language.to_owned(),
            tags: tags.to_owned(),
            text,
            file: file.map(|(_, name)| name.to_owned()),
        });
        paragraph.clear();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::blocks;

    #[test]
    fn a_page_is_taken_apart() {
        let page = "# A\n\nWrite it\nas `a/b.toml`:\n\n```toml\n[a]\n```\n\nand\n```rust,no_run\n\nx\n```\n```\n```\n";
        let found = blocks("a.md", page);
        let facts: Vec<_> = found
            .iter()
            .map(|each| {
                let words = (&*each.language, &*each.tags, &*each.text);
                (each.line, words, each.file.as_deref())
            })
            .collect();
        let expected = [
            (6, ("toml", "", "[a]\n"), Some("a/b.toml")),
            (11, ("rust", "no_run", "\nx\n"), None),
            (15, ("", "", ""), None),
        ];
        assert_eq!(facts, expected);
    }
}
