//! Declarations and results of an MCP server in our words.

use rmcp::model::{CallToolResult, ContentBlock, ResourceContents, Tool};
use serde_json::Value;
use serde_json::value::RawValue;
use trunkline_contract::error::{Code, Error};
use trunkline_contract::limits::TOOL_DESCRIPTION_BYTES_MAX;
use trunkline_contract::rpc::{ContentKind, ContentPart, ToolCallResult};
use trunkline_contract::tool::ToolDeclaration;

/// Gives a declaration.
pub(super) fn declaration(name: &str, tool: &Tool, timeout_ms: Option<u64>) -> ToolDeclaration {
    let mut description = tool
        .description
        .clone()
        .or_else(|| tool.title.clone().map(Into::into))
        .unwrap_or_default()
        .into_owned();
    let mut end = description.len().min(TOOL_DESCRIPTION_BYTES_MAX);
    while !description.is_char_boundary(end) {
        end -= 1;
    }
    description.truncate(end);
    let annotations = tool.annotations.as_ref();
    let schema = |schema: &serde_json::Map<String, Value>| Value::Object(schema.clone());
    ToolDeclaration {
        name: name.to_owned(),
        description,
        input_schema: Some(schema(&tool.input_schema)),
        output_schema: tool.output_schema.as_deref().map(schema),
        timeout_ms,
        idempotent: annotations.is_some_and(|hints| {
            hints.idempotent_hint == Some(true) || hints.read_only_hint == Some(true)
        }),
        ..ToolDeclaration::default()
    }
}

/// Gives a result.
///
/// # Errors
/// `tool_failed` with the text that the server gave.
pub(super) fn result(result: CallToolResult) -> Result<ToolCallResult, Error> {
    if result.is_error == Some(true) {
        let texts = result.content.iter().filter_map(|part| part.as_text());
        let text: Vec<&str> = texts.map(|part| part.text.as_str()).collect();
        let text = if text.is_empty() {
            "the MCP server gave no reason".to_owned()
        } else {
            text.join("\n")
        };
        let error = Error::new(Code::ToolFailed, text);
        return Err(match result.structured_content {
            Some(detail) => error.detail(detail),
            None => error,
        });
    }
    let content: Vec<ContentPart> = result.content.into_iter().filter_map(part).collect();
    let output = match result.structured_content {
        Some(value) => Some(raw(&value)?),
        None => None,
    };
    // The text of structured content says it again, for those who do not read it.
    let repeats = output.as_ref().is_some_and(|output| {
        matches!(content.as_slice(), [only] if only.kind == ContentKind::Text
            && only.text.as_deref().is_some_and(|text| is_same(text, output)))
    });
    Ok(ToolCallResult {
        output,
        content: (!content.is_empty() && !repeats).then_some(content),
        chunks: None,
    })
}

fn is_same(text: &str, output: &RawValue) -> bool {
    match (
        serde_json::from_str::<Value>(text),
        serde_json::from_str::<Value>(output.get()),
    ) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}

fn raw(value: &Value) -> Result<Box<RawValue>, Error> {
    serde_json::value::to_raw_value(value)
        .map_err(|error| Error::new(Code::Internal, format!("the output is no JSON: {error}")))
}

fn part(block: ContentBlock) -> Option<ContentPart> {
    let none = ContentPart::default();
    Some(match block {
        ContentBlock::Text(text) => ContentPart {
            text: Some(text.text),
            ..none
        },
        ContentBlock::Image(image) => ContentPart {
            kind: ContentKind::Image,
            data: Some(image.data),
            media_type: Some(image.mime_type),
            ..none
        },
        ContentBlock::Audio(audio) => ContentPart {
            kind: ContentKind::Audio,
            data: Some(audio.data),
            media_type: Some(audio.mime_type),
            ..none
        },
        ContentBlock::ResourceLink(link) => ContentPart {
            kind: ContentKind::Resource,
            uri: Some(link.uri),
            name: Some(link.name),
            media_type: link.mime_type,
            ..none
        },
        ContentBlock::Resource(resource) => match resource.resource {
            ResourceContents::TextResourceContents {
                uri,
                mime_type,
                text,
                ..
            } => ContentPart {
                kind: ContentKind::Resource,
                uri: Some(uri),
                media_type: mime_type,
                text: Some(text),
                ..none
            },
            ResourceContents::BlobResourceContents {
                uri,
                mime_type,
                blob,
                ..
            } => ContentPart {
                kind: ContentKind::Resource,
                uri: Some(uri),
                media_type: mime_type,
                data: Some(blob),
                ..none
            },
            _ => return None,
        },
        _ => return None,
    })
}
