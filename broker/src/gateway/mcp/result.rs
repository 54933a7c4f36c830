//! Results and errors of calls in MCP's words.

use rmcp::ErrorData;
use rmcp::model::{
    CallToolResult, ContentBlock, EmbeddedResource, JsonObject, MetaObject, Resource,
    ResourceContents,
};
use serde_json::{Value, json};
use trunkline_contract::error::{Code, Error};
use trunkline_contract::rpc::{ContentKind, ContentPart, ToolCallResult};

/// Where a result that is an error carries the error for programs.
const ERROR_KEY: &str = "trunkline/error";
/// Media type of bytes that nobody named.
const BYTES: &str = "application/octet-stream";

/// Gives a result in MCP's words.
///
/// # Arguments
/// * `is_declared` - the tool has an output schema; its output is then always there as structured content.
/// * `is_modern` - the client takes structured content that is no object.
pub(super) fn result(result: ToolCallResult, is_declared: bool, is_modern: bool) -> CallToolResult {
    let output = result.output.map(|output| {
        let value: Value = serde_json::from_str(output.get()).unwrap_or(Value::Null);
        (output, value)
    });
    let content: Vec<ContentBlock> = result
        .content
        .unwrap_or_default()
        .into_iter()
        .map(part)
        .collect();
    let has_content = !content.is_empty();
    let mut mapped = CallToolResult::success(content);
    let Some((text, value)) = output else {
        return mapped;
    };
    if !has_content {
        // Whoever reads no structured content reads this.
        mapped.content = match &value {
            Value::String(text) => vec![ContentBlock::text(text.as_str())],
            Value::Null if !is_declared => Vec::new(),
            _ => vec![ContentBlock::text(text.get())],
        };
    }
    let is_structured = match &value {
        Value::Object(_) => true,
        Value::Array(_) => is_modern,
        _ => is_modern && is_declared,
    };
    if is_structured {
        mapped.structured_content = Some(value);
    }
    mapped
}

/// Gives a failed call in MCP's words: a result that the model reads, so that it can do better.
///
/// # Errors
/// What is wrong with the request and not with the call: the tool is not there, or not for this caller.
pub(super) fn failure(name: &str, error: &Error) -> Result<CallToolResult, ErrorData> {
    if matches!(error.code, Code::ToolNotFound | Code::Unauthorized) {
        return Err(unknown(name));
    }
    let mut about = json!({
        "code": error.code.as_str(),
        "message": error.message,
        "retryable": error.code.retryable(),
    });
    if let Some(ms) = error.retry_after_ms {
        about["retry_after_ms"] = ms.into();
    }
    if let Some(detail) = &error.detail {
        about["detail"] = detail.clone();
    }
    let mut failed = CallToolResult::error(vec![ContentBlock::text(error.to_string())]);
    failed.meta = Some(MetaObject(JsonObject::from_iter([(
        ERROR_KEY.to_owned(),
        about,
    )])));
    Ok(failed)
}

/// Says that there is no such tool, for this caller.
pub(super) fn unknown(name: &str) -> ErrorData {
    ErrorData::invalid_params(format!("unknown tool: {name}"), None)
}

fn part(part: ContentPart) -> ContentBlock {
    if let (Some(blob), None) = (&part.blob, &part.data) {
        return link(&part, format!("trunkline:blob/{blob}"));
    }
    let media_type = part.media_type.clone();
    match (part.kind, part.data, part.uri) {
        (ContentKind::Image, Some(data), _) => {
            ContentBlock::image(data, media_type.unwrap_or_else(|| BYTES.to_owned()))
        }
        (ContentKind::Audio, Some(data), _) => {
            ContentBlock::audio(data, media_type.unwrap_or_else(|| BYTES.to_owned()))
        }
        (ContentKind::Resource, Some(data), Some(uri)) => {
            embedded(ResourceContents::blob(data, uri), media_type)
        }
        (ContentKind::Resource, None, Some(uri)) => match part.text {
            Some(text) => embedded(ResourceContents::text(text, uri), media_type),
            None => {
                let part = ContentPart {
                    name: part.name,
                    media_type,
                    ..ContentPart::default()
                };
                link(&part, uri)
            }
        },
        // Nothing of a part without what its kind needs can be shown but its text.
        _ => ContentBlock::text(part.text.unwrap_or_default()),
    }
}

fn embedded(contents: ResourceContents, media_type: Option<String>) -> ContentBlock {
    let contents = match media_type {
        Some(media_type) => contents.with_mime_type(media_type),
        None => contents,
    };
    ContentBlock::Resource(EmbeddedResource::new(contents))
}

fn link(part: &ContentPart, uri: String) -> ContentBlock {
    let name = part.name.clone().unwrap_or_else(|| uri.clone());
    let mut resource = Resource::new(uri, name);
    resource.mime_type.clone_from(&part.media_type);
    ContentBlock::ResourceLink(resource)
}
