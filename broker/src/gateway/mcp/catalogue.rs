//! The tools of one caller as MCP clients see them, made once and read by every call.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use rmcp::model::{JsonObject, Tool, ToolAnnotations};
use serde_json::Value;
use trunkline_contract::rpc::ToolEntry;
use trunkline_contract::tool::mcp_name;

use crate::config::McpNames;

/// What a name stands for.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Target {
    /// The tool, as `<plugin>.<tool>`.
    pub(super) tool: String,
    /// Which instance, if the name says so.
    pub(super) instance: Option<String>,
    /// Whether what it gives is declared.
    pub(super) has_output_schema: bool,
}

#[derive(Debug)]
struct Listed {
    tool: Tool,
    target: Target,
}

/// Every tool of one caller, sorted by name.
#[derive(Debug, Default)]
pub(super) struct Catalogue {
    listed: Vec<Listed>,
    by_name: HashMap<String, usize>,
    /// Names that are understood and not listed: the plugin's own where several instances are listed.
    plain: HashMap<String, Target>,
}

impl Catalogue {
    /// Makes the list of what the broker gave.
    pub(super) fn of(entries: Vec<ToolEntry>, given: &McpNames) -> Self {
        let given: HashMap<&str, &str> = given
            .iter()
            .map(|(name, target)| (target.as_str(), name.as_str()))
            .collect();
        let mut catalogue = Self::default();
        for entry in entries {
            catalogue.add(entry, &given);
        }
        catalogue
            .listed
            .sort_by(|one, other| one.tool.name.cmp(&other.tool.name));
        // Names are made so that no two are the same; if two were, only the first could be called.
        catalogue
            .listed
            .dedup_by(|one, other| one.tool.name == other.tool.name);
        let names = catalogue.listed.iter().enumerate();
        catalogue.by_name = names
            .map(|(at, listed)| (listed.tool.name.clone().into_owned(), at))
            .collect();
        catalogue
    }

    fn add(&mut self, entry: ToolEntry, given: &HashMap<&str, &str>) {
        let Some((plugin, name)) = entry.name.split_once('.') else {
            return;
        };
        let (plugin, name) = (plugin.to_owned(), name.to_owned());
        let has_output_schema = entry.output_schema.is_some();
        let target = |instance: Option<&str>| Target {
            tool: entry.name.clone(),
            instance: instance.map(ToOwned::to_owned),
            has_output_schema,
        };
        let description = describe(&entry);
        let input_schema = Arc::new(input_schema(entry.input_schema));
        let output_schema = entry.output_schema.and_then(|schema| match schema {
            Value::Object(schema) => Some(Arc::new(schema)),
            _ => None,
        });
        let annotations = entry
            .idempotent
            .then(|| ToolAnnotations::new().idempotent(true));
        let tool = |mcp_name: String| {
            let mut tool = Tool::new(mcp_name, description.clone(), input_schema.clone());
            tool.output_schema.clone_from(&output_schema);
            tool.annotations.clone_from(&annotations);
            tool
        };
        let mut list = |full: &str, own: String, target: Target| {
            let name = given.get(full).map_or(own, |name| (*name).to_owned());
            self.listed.push(Listed {
                tool: tool(name),
                target,
            });
        };
        if entry.instances.len() > 1 {
            for instance in &entry.instances {
                let instance = instance.instance.as_str();
                list(
                    &format!("{}/{instance}", entry.name),
                    mcp_name(&plugin, &name, Some(instance)),
                    target(Some(instance)),
                );
            }
            self.plain
                .insert(mcp_name(&plugin, &name, None), target(None));
        } else {
            list(&entry.name, mcp_name(&plugin, &name, None), target(None));
        }
    }

    /// Gives what a client is shown; `is_modern` clients take outputs that are no objects.
    pub(super) fn tools(&self, is_modern: bool) -> Vec<Tool> {
        let tools = self.listed.iter().map(|listed| {
            let mut tool = listed.tool.clone();
            if !is_modern && !is_object(tool.output_schema.as_deref()) {
                tool.output_schema = None;
            }
            tool
        });
        tools.collect()
    }

    /// Gives one tool as clients are shown it.
    pub(super) fn tool(&self, name: &str) -> Option<&Tool> {
        Some(&self.listed[*self.by_name.get(name)?].tool)
    }

    /// Says what a name stands for.
    pub(super) fn find(&self, name: &str) -> Option<&Target> {
        match self.by_name.get(name) {
            Some(at) => Some(&self.listed[*at].target),
            None => self.plain.get(name),
        }
    }
}

/// A tool without a description is refused by some clients.
fn describe(entry: &ToolEntry) -> Cow<'static, str> {
    if entry.description.is_empty() {
        return format!("{} of the plugin {}", entry.name, entry.plugin).into();
    }
    entry.description.clone().into()
}

/// MCP wants the schema of an object; whatever else was declared holds beside that.
fn input_schema(schema: Value) -> JsonObject {
    let mut schema = match schema {
        Value::Object(schema) => schema,
        _ => JsonObject::new(),
    };
    schema
        .entry("type")
        .or_insert_with(|| Value::String("object".to_owned()));
    schema
}

fn is_object(schema: Option<&JsonObject>) -> bool {
    schema.is_some_and(|schema| schema.get("type").is_some_and(|kind| kind == "object"))
}
