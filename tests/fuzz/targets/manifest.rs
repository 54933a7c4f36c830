//! Manifests: no text panics, and every complaint has a place in the text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use trunkline_contract::manifest::Manifest;

fuzz_target!(|text: &str| {
    for result in [Manifest::parse(text), Manifest::parse_foreign(text)] {
        if let Err(diagnostics) = result {
            assert!(!diagnostics.is_empty(), "a refusal has a reason");
            for diagnostic in diagnostics {
                assert!(diagnostic.line >= 1 && diagnostic.column >= 1);
            }
        }
    }
});
