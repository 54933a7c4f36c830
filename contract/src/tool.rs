//! Tools: what a plugin declares as callable, and the names under which it is called.
//!
//! | name | form | used by |
//! |---|---|---|
//! | tool | `<plugin>.<tool>` | `tool.call`, grants, scopes |
//! | topic | `plugin.tool.<plugin>.<tool>`, answers on `….reply` | the topic form of a call |
//! | MCP name | `<plugin>__<tool>[__<instance>]` | peers that know neither dots nor instances |
//!
//! Not here: whether a schema can be compiled, and which instance answers.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::error::{Code, Error};
use crate::id::{is_instance_name, is_plugin_id, is_tool_name};
use crate::limits::{
    TOOL_CONCURRENCY, TOOL_CONCURRENCY_MAX, TOOL_DESCRIPTION_BYTES_MAX, TOOL_SCHEMA_BYTES_MAX,
    TOOL_TIMEOUT_MS, TOOL_TIMEOUT_MS_MAX,
};

/// Longest MCP name.
pub const MCP_NAME_BYTES_MAX: usize = 64;

const TOPIC_PREFIX: &str = "plugin.tool.";
const REPLY: &str = ".reply";

/// Tells what a callable is for. All kinds are declared, listed and called alike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ToolKind {
    /// For a model to choose.
    #[default]
    Tool,
    /// For a person to give.
    Command,
    /// Finds context for a prompt.
    Retriever,
}

impl ToolKind {
    /// Lists the words used in manifests.
    pub const WORDS: &'static [(&'static str, Self)] = &[
        ("tool", Self::Tool),
        ("command", Self::Command),
        ("retriever", Self::Retriever),
    ];

    /// Gives the text form.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tool => "tool",
            Self::Command => "command",
            Self::Retriever => "retriever",
        }
    }

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "the form serde calls")]
    fn is_default(&self) -> bool {
        *self == Self::Tool
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the form serde calls")]
fn is_false(value: &bool) -> bool {
    !*value
}

/// Declares one callable, in a manifest, in `declares.tools` and in `tool.register`.
///
/// What is left out is not stated: a declaration in the handshake may leave out what the manifest
/// says already.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ToolDeclaration {
    /// Its name inside the plugin, `[a-z][a-z0-9_-]{0,31}`.
    pub name: String,
    /// What it does, for people and models.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// What it is for.
    #[serde(default, skip_serializing_if = "ToolKind::is_default")]
    pub kind: ToolKind,
    /// JSON Schema 2020-12 of its arguments, an object; absent: any object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_schema: Option<Value>,
    /// JSON Schema 2020-12 of its output, of one chunk if it is streaming; absent: anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<Value>,
    /// How long a call may take when the caller does not say less.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// How many calls one instance runs at once; more wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// Running it twice does no more than running it once.
    #[serde(default, skip_serializing_if = "is_false")]
    pub idempotent: bool,
    /// Its output comes in chunks.
    #[serde(default, skip_serializing_if = "is_false")]
    pub streaming: bool,
}

impl ToolDeclaration {
    /// Gives the schema of the arguments: what was declared, or any object.
    pub fn input_schema(&self) -> Value {
        self.input_schema
            .clone()
            .unwrap_or_else(|| json!({ "type": "object" }))
    }

    /// Gives how long a call may take.
    pub fn timeout_ms(&self) -> u64 {
        self.timeout_ms.unwrap_or(TOOL_TIMEOUT_MS)
    }

    /// Gives how many calls one instance runs at once.
    pub fn concurrency(&self) -> u32 {
        self.concurrency.unwrap_or(TOOL_CONCURRENCY)
    }

    /// Checks names, sizes and ranges; not whether the schemas can be compiled.
    ///
    /// # Errors
    /// [`Code::InvalidArguments`], or [`Code::QuotaExceeded`] for what is too large; the message
    /// names the tool.
    ///
    /// ```
    /// use trunkline_contract::tool::ToolDeclaration;
    /// let tool = ToolDeclaration { name: "refund".into(), ..ToolDeclaration::default() };
    /// assert!(tool.check().is_ok());
    /// let tool = ToolDeclaration { name: "Refund".into(), ..tool };
    /// assert!(tool.check().is_err());
    /// ```
    pub fn check(&self) -> Result<(), Error> {
        let invalid = |message: String| Err(Error::new(Code::InvalidArguments, message));
        let name = &self.name;
        if !is_tool_name(name) {
            return invalid(format!(
                "expected a tool name (1 to 32 of a-z, 0-9, _ and -, a letter first, no __ inside, \
                 no _ at the end, not \"reply\"), found {name:?}"
            ));
        }
        if let Some(ms) = self.timeout_ms
            && !(1..=TOOL_TIMEOUT_MS_MAX).contains(&ms)
        {
            return invalid(format!(
                "tool {name:?}: expected timeout_ms between 1 and {TOOL_TIMEOUT_MS_MAX}, found {ms}"
            ));
        }
        if let Some(most) = self.concurrency
            && !(1..=TOOL_CONCURRENCY_MAX).contains(&most)
        {
            return invalid(format!(
                "tool {name:?}: expected concurrency between 1 and {TOOL_CONCURRENCY_MAX}, found \
                 {most}"
            ));
        }
        let quota = |what: &str, most: usize, found: usize| {
            Error::new(
                Code::QuotaExceeded,
                format!("tool {name:?}: expected {what} of at most {most} bytes, found {found}"),
            )
        };
        if self.description.len() > TOOL_DESCRIPTION_BYTES_MAX {
            let found = self.description.len();
            return Err(quota("a description", TOOL_DESCRIPTION_BYTES_MAX, found));
        }
        for (what, schema) in [
            ("input_schema", &self.input_schema),
            ("output_schema", &self.output_schema),
        ] {
            let Some(schema) = schema else { continue };
            if !schema.is_object() && !schema.is_boolean() {
                return invalid(format!(
                    "tool {name:?}: expected {what} to be an object or a boolean"
                ));
            }
            let bytes = schema.to_string().len();
            if bytes > TOOL_SCHEMA_BYTES_MAX {
                return Err(quota(what, TOOL_SCHEMA_BYTES_MAX, bytes));
            }
        }
        Ok(())
    }

    /// Completes what this declaration leaves out with what the manifest says of the same tool.
    ///
    /// # Errors
    /// [`Code::DeclarationConflict`] when both say something, and not the same.
    pub fn under(self, manifest: &ToolDeclaration) -> Result<ToolDeclaration, Error> {
        let name = &self.name;
        let conflict = |member: &str| {
            let message = format!(
                "tool {name:?}: expected {member} as the manifest has it, found something else"
            );
            Err(Error::new(Code::DeclarationConflict, message)
                .detail(json!({ "tool": name, "member": member })))
        };
        if !self.description.is_empty()
            && !manifest.description.is_empty()
            && self.description != manifest.description
        {
            return conflict("description");
        }
        if self.kind != ToolKind::default() && self.kind != manifest.kind {
            return conflict("kind");
        }
        if self.input_schema.is_some()
            && manifest.input_schema.is_some()
            && self.input_schema != manifest.input_schema
        {
            return conflict("input_schema");
        }
        if self.output_schema.is_some()
            && manifest.output_schema.is_some()
            && self.output_schema != manifest.output_schema
        {
            return conflict("output_schema");
        }
        if self
            .timeout_ms
            .is_some_and(|ms| ms != manifest.timeout_ms())
        {
            return conflict("timeout_ms");
        }
        if self
            .concurrency
            .is_some_and(|most| most != manifest.concurrency())
        {
            return conflict("concurrency");
        }
        if self.idempotent && !manifest.idempotent {
            return conflict("idempotent");
        }
        if self.streaming && !manifest.streaming {
            return conflict("streaming");
        }
        let mut merged = manifest.clone();
        if merged.description.is_empty() {
            merged.description = self.description;
        }
        merged.input_schema = manifest.input_schema.clone().or(self.input_schema);
        merged.output_schema = manifest.output_schema.clone().or(self.output_schema);
        Ok(merged)
    }
}

/// Gives the full name of a tool, `<plugin>.<tool>`.
///
/// ```
/// assert_eq!(trunkline_contract::tool::full_name("stripe", "refund"), "stripe.refund");
/// ```
pub fn full_name(plugin: &str, tool: &str) -> String {
    format!("{plugin}.{tool}")
}

/// Takes a full name apart; `None` if it is none.
///
/// ```
/// use trunkline_contract::tool::parse_full_name;
/// assert_eq!(parse_full_name("stripe.refund"), Some(("stripe", "refund")));
/// assert_eq!(parse_full_name("refund"), None);
/// ```
pub fn parse_full_name(name: &str) -> Option<(&str, &str)> {
    let (plugin, tool) = name.split_once('.')?;
    (is_plugin_id(plugin) && is_tool_name(tool)).then_some((plugin, tool))
}

/// Gives the topic whose events are calls of a tool.
///
/// ```
/// assert_eq!(trunkline_contract::tool::topic("stripe", "refund"), "plugin.tool.stripe.refund");
/// ```
pub fn topic(plugin: &str, tool: &str) -> String {
    format!("{TOPIC_PREFIX}{plugin}.{tool}")
}

/// Gives the topic on which such calls are answered.
pub fn reply_topic(plugin: &str, tool: &str) -> String {
    format!("{TOPIC_PREFIX}{plugin}.{tool}{REPLY}")
}

/// Takes the topic of a call apart; `None` for any other topic, also for that of an answer.
///
/// ```
/// use trunkline_contract::tool::parse_topic;
/// assert_eq!(parse_topic("plugin.tool.stripe.refund"), Some(("stripe", "refund")));
/// assert_eq!(parse_topic("plugin.tool.stripe.refund.reply"), None);
/// ```
pub fn parse_topic(topic: &str) -> Option<(&str, &str)> {
    parse_full_name(topic.strip_prefix(TOPIC_PREFIX)?)
}

/// Gives the MCP name of a tool, of one instance or (where there is only one) of the plugin.
///
/// It has at most [`MCP_NAME_BYTES_MAX`] bytes of `[a-z0-9_-]`. [`parse_mcp_name`] reverses it,
/// except where plugin, tool and instance together are too long: such a name is
/// `<plugin>___<32 hexadecimal digits>` and is found by making the names of all tools.
///
/// ```
/// use trunkline_contract::tool::mcp_name;
/// assert_eq!(mcp_name("stripe", "refund", None), "stripe__refund");
/// assert_eq!(mcp_name("stripe", "refund", Some("eu")), "stripe__refund__eu");
/// ```
pub fn mcp_name(plugin: &str, tool: &str, instance: Option<&str>) -> String {
    let name = match instance {
        None => format!("{plugin}__{tool}"),
        Some(instance) => format!("{plugin}__{tool}__{instance}"),
    };
    if name.len() <= MCP_NAME_BYTES_MAX {
        return name;
    }
    // No tool name begins with `_`, so that this form is nobody else's.
    let hash = Sha256::digest(name.as_bytes());
    let mut short = format!("{plugin}___");
    for byte in &hash[..16] {
        use fmt::Write;
        write!(short, "{byte:02x}").expect("a String takes every write");
    }
    short.truncate(MCP_NAME_BYTES_MAX);
    short
}

/// Holds an MCP name taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct McpName<'a> {
    /// The plugin.
    pub plugin: &'a str,
    /// The tool.
    pub tool: &'a str,
    /// The instance, where the name has one.
    pub instance: Option<&'a str>,
}

/// Takes an MCP name apart; `None` for what is none, and for the short form of one that is too long.
///
/// ```
/// use trunkline_contract::tool::parse_mcp_name;
/// let name = parse_mcp_name("stripe__refund__eu").unwrap();
/// assert_eq!((name.plugin, name.tool, name.instance), ("stripe", "refund", Some("eu")));
/// assert!(parse_mcp_name("stripe").is_none());
/// ```
pub fn parse_mcp_name(name: &str) -> Option<McpName<'_>> {
    let (plugin, rest) = name.split_once("__")?;
    let (tool, instance) = match rest.split_once("__") {
        Some((tool, instance)) => (tool, Some(instance)),
        None => (rest, None),
    };
    let is_name =
        is_plugin_id(plugin) && is_tool_name(tool) && instance.is_none_or(is_instance_name);
    is_name.then_some(McpName {
        plugin,
        tool,
        instance,
    })
}

/// Selects tools in grants and scopes: `<plugin>.<tool>`, `<plugin>.*`, or `*` for all.
///
/// `>` is another way to write a final `*`.
///
/// ```
/// use trunkline_contract::tool::ToolFilter;
/// let filter = ToolFilter::parse("stripe.*").unwrap();
/// assert!(filter.matches("stripe.refund") && !filter.matches("mail.send"));
/// assert!(ToolFilter::parse("stripe").is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, JsonSchema)]
#[schemars(with = "String")]
pub struct ToolFilter {
    text: String,
}

impl ToolFilter {
    /// Reads a filter.
    ///
    /// # Errors
    /// [`Code::InvalidArguments`], saying what was found.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let is_filter = matches!(text, "*" | ">")
            || match text.split_once('.') {
                Some((plugin, "*" | ">")) => is_plugin_id(plugin),
                Some((plugin, tool)) => is_plugin_id(plugin) && is_tool_name(tool),
                None => false,
            };
        if !is_filter {
            return Err(Error::new(
                Code::InvalidArguments,
                format!("expected <plugin>.<tool>, <plugin>.* or *, found {text:?}"),
            ));
        }
        Ok(Self {
            text: text.to_owned(),
        })
    }

    /// Gives the text form.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Says whether the tool of this full name is selected.
    pub fn matches(&self, tool: &str) -> bool {
        match self.prefix() {
            Some(prefix) => tool.starts_with(prefix),
            None => self.text == tool,
        }
    }

    /// Says whether every tool that `other` selects is selected by this one too.
    pub fn covers(&self, other: &ToolFilter) -> bool {
        match (self.prefix(), other.prefix()) {
            (Some(ours), Some(theirs)) => theirs.starts_with(ours),
            (Some(ours), None) => other.text.starts_with(ours),
            (None, Some(_)) => false,
            (None, None) => self.text == other.text,
        }
    }

    /// What the names selected begin with; `None`: it is one name.
    fn prefix(&self) -> Option<&str> {
        self.text.strip_suffix(['*', '>'])
    }
}

impl fmt::Display for ToolFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for ToolFilter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(|error| serde::de::Error::custom(error.message))
    }
}

impl Serialize for ToolFilter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared(name: &str) -> ToolDeclaration {
        ToolDeclaration {
            name: name.to_owned(),
            ..ToolDeclaration::default()
        }
    }

    #[test]
    fn an_mcp_name_is_short_and_leads_back() {
        for (plugin, tool, instance) in [
            ("stripe", "refund", None),
            ("stripe", "refund", Some("eu-2")),
            ("a-b_c", "d_e-f", Some("0")),
            (&"p".repeat(30), &"t".repeat(32), None),
        ] {
            let name = mcp_name(plugin, tool, instance);
            assert!(name.len() <= MCP_NAME_BYTES_MAX, "{name}");
            let parsed = parse_mcp_name(&name).unwrap();
            assert_eq!(
                (parsed.plugin, parsed.tool, parsed.instance),
                (plugin, tool, instance)
            );
        }
        let long = mcp_name(&"p".repeat(30), &"t".repeat(32), Some("eu"));
        assert_eq!(long.len(), MCP_NAME_BYTES_MAX);
        assert!(parse_mcp_name(&long).is_none(), "found by a table, {long}");
        assert_ne!(long, mcp_name(&"p".repeat(30), &"t".repeat(32), Some("us")));
    }

    #[test]
    fn a_filter_covers_what_it_selects() {
        let filter = |text: &str| ToolFilter::parse(text).unwrap();
        assert!(filter("*").covers(&filter("a.*")) && filter("a.*").covers(&filter("a.b")));
        assert!(!filter("a.*").covers(&filter("*")) && !filter("a.b").covers(&filter("a.*")));
        assert!(!filter("a.*").covers(&filter("ab.c")) && !filter("a.*").matches("ab.c"));
        for bad in [
            "", "a", "a.", ".b", "a.b.c", "a.b*", "a*", "A.b", "a.reply", "*.b",
        ] {
            assert!(ToolFilter::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_is_too_large_or_out_of_range_is_refused() {
        let check = |tool: ToolDeclaration| tool.check().unwrap_err().code;
        let mut tool = declared("a");
        tool.timeout_ms = Some(TOOL_TIMEOUT_MS_MAX + 1);
        assert_eq!(check(tool), Code::InvalidArguments);
        let mut tool = declared("a");
        tool.concurrency = Some(0);
        assert_eq!(check(tool), Code::InvalidArguments);
        let mut tool = declared("a");
        tool.description = "x".repeat(TOOL_DESCRIPTION_BYTES_MAX + 1);
        assert_eq!(check(tool), Code::QuotaExceeded);
        let mut tool = declared("a");
        tool.input_schema = Some(json!({ "title": "x".repeat(TOOL_SCHEMA_BYTES_MAX) }));
        assert_eq!(check(tool), Code::QuotaExceeded);
        let mut tool = declared("a");
        tool.output_schema = Some(json!([]));
        assert_eq!(check(tool), Code::InvalidArguments);
    }

    #[test]
    fn what_the_handshake_leaves_out_the_manifest_says() {
        let manifest = ToolDeclaration {
            input_schema: Some(json!({ "type": "object", "required": ["id"] })),
            timeout_ms: Some(5000),
            idempotent: true,
            ..declared("refund")
        };
        assert_eq!(declared("refund").under(&manifest), Ok(manifest.clone()));
        let more = ToolDeclaration {
            description: "Refunds.".to_owned(),
            output_schema: Some(json!(true)),
            ..declared("refund")
        };
        let merged = more.under(&manifest).unwrap();
        assert_eq!(merged.description, "Refunds.");
        assert_eq!(merged.output_schema, Some(json!(true)));
        let other = ToolDeclaration {
            input_schema: Some(json!({ "type": "object" })),
            ..declared("refund")
        };
        let error = other.under(&manifest).unwrap_err();
        assert_eq!(error.code, Code::DeclarationConflict);
        assert_eq!(error.detail.unwrap()["member"], "input_schema");
        let other = ToolDeclaration {
            streaming: true,
            ..declared("refund")
        };
        assert!(other.under(&manifest).is_err());
    }
}
