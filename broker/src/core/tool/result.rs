//! What a plugin answered, judged by what its tool declared.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use trunkline_contract::error::{Code, Error};
use trunkline_contract::rpc::ContentPart;

use super::super::state::Core;
use super::registry::Tool;
use super::running::{CallNumber, Stage};

/// A result, its output left as it stands.
#[derive(Deserialize)]
struct ResultIn<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    output: Option<&'a RawValue>,
    #[serde(default)]
    content: Option<Vec<ContentPart>>,
    #[serde(default)]
    chunks: Option<u64>,
}

/// `null` is an output.
fn present<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// Says that the plugin broke what it declared.
pub(super) fn broken(tool: &Tool, message: &str, detail: Value) -> Error {
    let mut all = serde_json::json!({ "broken_by": "plugin", "tool": &*tool.name });
    if let (Some(all), Value::Object(detail)) = (all.as_object_mut(), detail) {
        all.extend(detail);
    }
    Error::new(Code::ToolFailed, format!("{}: {message}", tool.name)).detail(all)
}

/// Checks one output, or one chunk, against the output schema.
pub(super) fn check_output(tool: &Tool, output: &RawValue) -> Result<(), Error> {
    let Some(schema) = &tool.output else {
        return Ok(());
    };
    let value: Value = serde_json::from_str(output.get()).map_err(|error| {
        broken(
            tool,
            &format!("its output is no JSON: {error}"),
            Value::Null,
        )
    })?;
    schema.check(&value).map_err(|found| {
        broken(
            tool,
            &format!(
                "its output does not fit its own output_schema: {}: {}",
                found.pointer, found.message
            ),
            found.detail(),
        )
    })
}

/// Checks a result that is not streamed.
pub(super) fn check(tool: &Tool, result: &RawValue) -> Result<(), Error> {
    let read = read(tool, result)?;
    match read.output {
        Some(output) => check_output(tool, output),
        None if tool.output.is_some() => Err(broken(
            tool,
            "it declares an output_schema and gave no output",
            Value::Null,
        )),
        None => Ok(()),
    }
}

fn read<'a>(tool: &Tool, result: &'a RawValue) -> Result<ResultIn<'a>, Error> {
    serde_json::from_str(result.get()).map_err(|error| {
        let message = format!("expected a result with output, content or chunks, found: {error}");
        broken(tool, &message, Value::Null)
    })
}

impl Core {
    /// Takes the plugin's result. `None`: the caller gets it after the chunks that wait.
    pub(super) fn take_result(
        &mut self,
        number: CallNumber,
        result: &RawValue,
    ) -> Result<Option<Arc<RawValue>>, Error> {
        self.check_size("a result", result.get().len())?;
        let call = self.tools.calls.get_mut(&number).expect("it is running");
        let tool = call.tool.clone();
        let Some(stream) = &mut call.stream else {
            check(&tool, result)?;
            return Ok(Some(Arc::from(result.to_owned())));
        };
        let read = read(&tool, result)?;
        if read.output.is_some() || read.chunks != Some(stream.received()) {
            let message = format!(
                "expected {{\"chunks\": {}}} and no output at the end of its stream",
                stream.received()
            );
            return Err(broken(&tool, &message, Value::Null));
        }
        if stream.is_relayed() {
            call.stage = Stage::Draining {
                result: result.to_owned(),
            };
            self.pump_stream(number);
            return Ok(None);
        }
        let collected = stream.collected();
        let mut text = format!("{{\"output\":{collected}");
        if let Some(content) = &read.content {
            text.push_str(",\"content\":");
            text.push_str(&serde_json::to_string(content).expect("plain data has a JSON form"));
        }
        text.push('}');
        self.check_size("a result", text.len())?;
        let whole = RawValue::from_string(text).expect("made of JSON");
        Ok(Some(Arc::from(whole)))
    }
}
