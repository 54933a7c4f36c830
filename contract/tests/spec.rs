//! Keeps `SPEC.md` and the crate from saying different things.

use trunkline_contract::Code;
use trunkline_contract::rpc::{InstanceState, ReportedState, method};

const SPEC: &str = include_str!("../SPEC.md");

#[test]
fn the_text_has_a_row_for_every_code() {
    for code in Code::ALL {
        let row = format!(
            "| `{code}` | {} | {} | {} | {} | {} |",
            code.summary(),
            code.rpc_code(),
            code.http_status(),
            code.exit_code(),
            if code.retryable() { "yes" } else { "no" }
        );
        assert!(SPEC.contains(&row), "expected the row: {row}");
    }
}

#[test]
fn the_text_names_every_method() {
    for name in method::ALL {
        assert!(SPEC.contains(name), "{name} is not in SPEC.md");
    }
}

#[test]
fn the_text_names_every_state() {
    use InstanceState::{
        BackingOff, Degraded, Disabled, Draining, Failed, Frozen, NeedsAuth, Paused, Ready,
        Standby, Starting, Stopped,
    };
    for state in [
        Starting, Standby, Ready, Degraded, NeedsAuth, Paused, Draining, BackingOff, Stopped,
        Failed, Disabled, Frozen,
    ] {
        assert!(
            SPEC.contains(&format!("`{state}`")),
            "{state} is not in SPEC.md"
        );
        let text = serde_json::to_string(&state).expect("a plain word");
        assert_eq!(text, format!("\"{state}\""));
    }
    for word in ["ready", "degraded", "retry_later", "needs_auth", "fatal"] {
        let text = format!("\"{word}\"");
        assert!(
            serde_json::from_str::<ReportedState>(&text).is_ok(),
            "{word}"
        );
        assert!(
            SPEC.contains(&format!("| `{word}` |")),
            "{word} is not in SPEC.md"
        );
    }
}

#[test]
fn every_json_block_of_the_text_is_json() {
    let blocks: Vec<&str> = SPEC.split("```json\n").skip(1).collect();
    assert!(blocks.len() >= 3);
    for block in blocks {
        let text = block
            .split("```")
            .next()
            .unwrap_or_default()
            .replace('…', "x");
        let value: Result<serde_json::Value, _> = serde_json::from_str(&text);
        assert!(value.is_ok(), "{value:?} in {text}");
    }
}
