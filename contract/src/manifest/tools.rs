//! `[[tools]]` of a `plugin.toml`.

use std::time::Duration;

use serde_json::Value;

use crate::limits::{TOOL_CONCURRENCY_MAX, TOOL_TIMEOUT_MS_MAX, TOOLS_MAX};
use crate::toml::{Diagnostic, Kind, Place, Severity, TableReader};
use crate::tool::{ToolDeclaration, ToolKind};

/// Holds one `[[tools]]` table.
#[derive(Debug, Clone, PartialEq)]
pub struct ManifestTool {
    /// What is declared; a schema that stands in a file is absent until it is read.
    pub declaration: ToolDeclaration,
    /// Files that hold schemas, relative to the plugin's directory.
    pub files: Vec<SchemaFileRef>,
    /// Where the table stands.
    pub place: Place,
}

/// Names a file that holds a schema.
#[derive(Debug, Clone, PartialEq)]
pub struct SchemaFileRef {
    /// The schema is that of the output, not of the input.
    pub is_output: bool,
    /// Path, relative to the plugin's directory.
    pub path: String,
    /// Where the path stands.
    pub place: Place,
}

/// Reads the files that hold schemas, and checks every tool.
///
/// # Arguments
/// * `tools` - what the manifest declares; the schemas are put in.
/// * `read` - gives the text of a file relative to the plugin's directory, or says why not.
pub(super) fn resolve(
    tools: &mut [ManifestTool],
    mut read: impl FnMut(&str) -> Result<String, String>,
) -> Vec<Diagnostic> {
    let mut diagnostics = Vec::new();
    let mut report = |code, place: &Place, message: String| {
        diagnostics.push(Diagnostic::new(Severity::Error, code, place, message));
    };
    for tool in tools {
        for file in std::mem::take(&mut tool.files) {
            let path = &file.path;
            let text = match read(path) {
                Ok(text) => text,
                Err(why) => {
                    report(
                        "unreadable",
                        &file.place,
                        format!("{path} cannot be read: {why}"),
                    );
                    continue;
                }
            };
            match serde_json::from_str::<Value>(&text) {
                Ok(schema) if file.is_output => tool.declaration.output_schema = Some(schema),
                Ok(schema) => tool.declaration.input_schema = Some(schema),
                Err(why) => {
                    let message = format!("{path} has to hold a JSON Schema: {why}");
                    report("invalid_value", &file.place, message);
                }
            }
        }
        if let Err(error) = tool.declaration.check() {
            report("invalid_value", &tool.place, error.message);
        }
    }
    diagnostics
}

/// Reads every `[[tools]]`.
pub(super) fn read(root: &TableReader<'_>) -> Vec<ManifestTool> {
    let mut tools: Vec<ManifestTool> = Vec::new();
    for table in root.tables("tools") {
        let place = table.place().clone();
        if tools.len() == TOOLS_MAX {
            let message = format!("a plugin has at most {TOOLS_MAX} tools");
            table.sink().error("quota_exceeded", &place, message);
            break;
        }
        let Some(tool) = read_tool(table) else {
            continue;
        };
        if tools
            .iter()
            .any(|other| other.declaration.name == tool.declaration.name)
        {
            let message = format!("tool {:?} is declared twice", tool.declaration.name);
            root.sink().error("duplicate", &tool.place, message);
        } else {
            tools.push(tool);
        }
    }
    tools
}

fn read_tool(table: TableReader<'_>) -> Option<ManifestTool> {
    if table.entry("name").is_none() {
        table.missing("name", r#"add name = "send_invoice""#);
    }
    let name = table.text_at("name");
    let mut files = Vec::new();
    let mut declaration = ToolDeclaration {
        name: name.map_or(String::new(), |(name, _)| name.to_owned()),
        description: table.text("description").unwrap_or_default().to_owned(),
        kind: table.choice("kind", ToolKind::WORDS).unwrap_or_default(),
        input_schema: read_schema(&table, "input_schema"),
        output_schema: read_schema(&table, "output_schema"),
        timeout_ms: read_timeout(&table),
        concurrency: table
            .integer("concurrency", 1..=u64::from(TOOL_CONCURRENCY_MAX))
            .map(|most| most as u32),
        idempotent: table.boolean("idempotent").unwrap_or(false),
        streaming: table.boolean("streaming").unwrap_or(false),
    };
    for (key, inline, is_output) in [
        (
            "input_schema_file",
            declaration.input_schema.is_some(),
            false,
        ),
        (
            "output_schema_file",
            declaration.output_schema.is_some(),
            true,
        ),
    ] {
        let Some((path, place)) = table.text_at(key) else {
            continue;
        };
        let is_inside = !path.is_empty()
            && !path.starts_with('/')
            && !path.split(['/', '\\']).any(|part| part == "..");
        if inline {
            let message = format!(
                "{} and the schema itself are both given",
                table.path_of(key)
            );
            table.sink().error("duplicate", place, message);
        } else if is_inside {
            files.push(SchemaFileRef {
                is_output,
                path: path.to_owned(),
                place: place.clone(),
            });
        } else {
            let message = format!("{} {path:?} leads out of the plugin", table.path_of(key));
            let hint = "write a path relative to the plugin's directory";
            table
                .sink()
                .error_hint("invalid_value", place, message, hint);
        }
    }
    let place = name.map_or_else(|| table.place().clone(), |(_, place)| place.clone());
    if files.is_empty()
        && name.is_some()
        && let Err(error) = declaration.check()
    {
        table.sink().error("invalid_value", &place, error.message);
        declaration.input_schema = None;
    }
    table.finish();
    name?;
    Some(ManifestTool {
        declaration,
        files,
        place,
    })
}

/// Reads a schema: a table, or JSON as text.
fn read_schema(table: &TableReader<'_>, key: &'static str) -> Option<Value> {
    let node = table.get(key)?;
    match &node.kind {
        Kind::Table(_) | Kind::Boolean(_) => Some(node.to_json()),
        Kind::String(text) => match serde_json::from_str(text) {
            Ok(schema) => Some(schema),
            Err(why) => {
                let message = format!("{} has to be a JSON Schema: {why}", table.path_of(key));
                table.sink().error_hint(
                    "invalid_value",
                    &node.place,
                    message,
                    "write a table, or JSON between three single quotes",
                );
                None
            }
        },
        _ => {
            table.wrong_type(key, "a table, or JSON as text", node);
            None
        }
    }
}

fn read_timeout(table: &TableReader<'_>) -> Option<u64> {
    let timeout = table.duration("timeout")?;
    let most = Duration::from_millis(TOOL_TIMEOUT_MS_MAX);
    if timeout.is_zero() || timeout > most {
        let place = &table.entry("timeout")?.node.place;
        let message = format!("{} has to be between 1ms and 1h", table.path_of("timeout"));
        table.sink().error("invalid_value", place, message);
        return None;
    }
    Some(timeout.as_millis() as u64)
}
