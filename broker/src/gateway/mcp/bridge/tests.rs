//! What is kept of an MCP server, and what its results become.

use rmcp::model::{CallToolResult, ContentBlock, Tool};
use serde_json::{Value, json};
use trunkline_contract::error::Code;
use trunkline_contract::rpc::ToolCallResult;

use super::convert;
use super::known::KnownTools;
use super::settings::ServerSettings;

fn listed() -> Vec<Tool> {
    let schema = json!({"type": "object"}).as_object().unwrap().clone();
    ["getUser", "delete_user", "secret.read"]
        .map(|name| Tool::new(name, "what it does", schema.clone()))
        .into()
}

fn wire(result: &ToolCallResult) -> Value {
    serde_json::to_value(result).unwrap()
}

#[test]
fn what_a_server_offered_is_known_after_a_new_start() {
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(KnownTools::load(directory.path()), KnownTools::default());
    let settings = ServerSettings {
        exclude: vec!["secret.*".into()],
        timeout_ms: Some(5_000),
        ..ServerSettings::default()
    };
    let known = KnownTools::of(&listed(), &settings);
    known.store(directory.path()).unwrap();
    assert_eq!(KnownTools::load(directory.path()), known);
    let names: Vec<_> = known
        .0
        .iter()
        .map(|(name, tool)| (name.as_str(), tool.original.as_str()))
        .collect();
    assert_eq!(
        names,
        [("delete_user", "delete_user"), ("get_user", "getUser")]
    );
    assert_eq!(known.declarations()[0].timeout_ms, Some(5_000));
}

#[test]
fn a_server_that_stays_away_is_asked_ever_less_often() {
    let directory = tempfile::tempdir().unwrap();
    let waits: Vec<u64> = (0..8)
        .map(|_| KnownTools::wait_ms(directory.path()))
        .collect();
    assert_eq!(
        waits,
        [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]
    );
    KnownTools::reached(directory.path());
    assert_eq!(KnownTools::wait_ms(directory.path()), 1_000);
}

#[test]
fn structured_content_is_the_output_and_its_text_is_not_repeated() {
    let mut result = CallToolResult::success(vec![ContentBlock::text(r#"{"a": 1}"#)]);
    result.structured_content = Some(json!({"a": 1}));
    let mapped = convert::result(result).unwrap();
    assert_eq!(wire(&mapped), json!({"output": {"a": 1}}));
    let text = CallToolResult::success(vec![ContentBlock::text("hello")]);
    let mapped = convert::result(text).unwrap();
    assert_eq!(
        wire(&mapped),
        json!({"content": [{"type": "text", "text": "hello"}]})
    );
}

#[test]
fn a_result_that_is_an_error_says_why() {
    let failed = CallToolResult::error(vec![ContentBlock::text("no such user")]);
    let error = convert::result(failed).unwrap_err();
    assert_eq!(
        (error.code, error.message.as_str()),
        (Code::ToolFailed, "no such user")
    );
}
