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
