//! Promise: the source tree keeps its own rules; see `trunkline_tests::tidy`.

use std::path::Path;

use trunkline_tests::tidy::{Severity, check_tree};

/// Proves: the directions of the architecture, the sizes, and what never stands in a source.
#[test]
fn the_source_tree_keeps_its_rules() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests is in the workspace");
    let findings = check_tree(root);
    let mut errors = Vec::new();
    for finding in findings {
        match finding.severity {
            Severity::Warning => eprintln!("warning: {finding}"),
            Severity::Error => errors.push(finding.to_string()),
        }
    }
    assert!(
        errors.is_empty(),
        "{} rules are broken:\n{}",
        errors.len(),
        errors.join("\n")
    );
}

/// Proves: the pages of the three SDKs show the same plugin, in all three languages.
#[test]
fn the_three_pages_show_the_same_plugin() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests is in the workspace");
    for language in ["rust", "python", "node"] {
        let mark = format!("<!-- the plugin: {language} -->\n");
        let shown = ["sdk-rust", "sdk-python", "sdk-node"].map(|sdk| {
            let path = root.join(sdk).join("README.md");
            let page = std::fs::read_to_string(&path).expect("the page is there");
            let (_, block) = page
                .split_once(&mark)
                .unwrap_or_else(|| panic!("{} has no block marked {mark:?}", path.display()));
            let lines = block.lines().collect::<Vec<_>>();
            let end = lines.iter().skip(1).position(|line| *line == "```");
            lines[..=end.expect("the block ends")].join("\n")
        });
        assert_eq!(
            shown[0], shown[1],
            "{language}: the pages for Rust and Python"
        );
        assert_eq!(
            shown[0], shown[2],
            "{language}: the pages for Rust and Node"
        );
    }
}
