//! Types and clients as Rust: structs and enums with serde's derives.
//!
//! Alternatives are an untagged enum where a value tells by itself which one it is; where it does
//! not, they are any value.

use super::circles::components;
use super::clients::{CLIENT_MARK, Face, FaceTool, Takes};
use super::model::{Body, Definition, Field, Fields, Type, Types};
use super::names::{Names, RUST_WORDS, pascal, snake};
use super::shape::Literal;
use super::text::{Page, docs_lines, quoted_rust};
use super::told::Told;

/// Any JSON value.
const ANY: &str = "serde_json::Value";
/// Longest tuple that has the derived traits; a longer one is a list.
const TUPLE_ITEMS_MAX: usize = 12;
/// Longest line where it can be helped.
const COLUMNS: usize = 100;

/// What types are to each other.
struct Facts<'a> {
    types: &'a Types,
    told: Told<'a>,
    /// Of each definition, whether a value of it can be made of nothing.
    defaults: Vec<bool>,
    /// Definitions that hold each other in themselves have the same number.
    circles: Vec<usize>,
}

impl<'a> Facts<'a> {
    fn new(types: &'a Types) -> Self {
        let told = Told::new(types, is_any);
        Self {
            defaults: defaults(types, &told),
            circles: components(&types.held()),
            types,
            told,
        }
    }
}

/// Writes a module with a struct for each plugin.
pub(super) fn client(faces: &[Face], types: &Types) -> String {
    let mut page = Page::new("    ");
    for face in faces {
        page.gap(1);
        face_struct(&mut page, face, types);
    }
    let facts = Facts::new(types);
    for at in 0..types.definitions.len() {
        page.gap(1);
        define(&mut page, at, &facts);
    }
    let body = page.into_text();
    let mut head = Page::new("    ");
    head.line(&format!("// {CLIENT_MARK}; what is changed here is lost."));
    let plugins: Vec<String> = faces
        .iter()
        .map(|face| format!("`{}`", face.plugin))
        .collect();
    head.gap(1);
    head.line(&format!(
        "//! Tools of {}, with their types.",
        plugins.join(", ")
    ));
    head.gap(1);
    // What tools and members are called, and how many are used, is not chosen here.
    head.line("#![allow(");
    head.deeper();
    head.lines([
        "dead_code,",
        "missing_docs,",
        "unreachable_pub,",
        "clippy::doc_lazy_continuation,",
        "clippy::doc_markdown,",
        "clippy::doc_overindented_list_items,",
        "clippy::enum_variant_names,",
        "clippy::large_enum_variant,",
        "clippy::struct_excessive_bools,",
        "clippy::struct_field_names",
    ]);
    head.back();
    head.line(")]");
    head.gap(1);
    if body.contains("BTreeMap<") {
        head.line("use std::collections::BTreeMap;");
        head.gap(1);
    }
    if !types.definitions.is_empty() {
        head.line("use serde::{Deserialize, Serialize};");
    }
    head.line("use trunkline::{ToolCall, ToolCaller};");
    head.into_text() + &body
}

fn docs(page: &mut Page, text: &str) {
    for line in docs_lines(text) {
        // Code in a description would be run as an example: nothing is fenced, and with one space between
        // words nothing is indented, not in a quote or a list either.
        let words: Vec<&str> = line.split_whitespace().collect();
        let line = words.join(" ").replace("```", "'''").replace("~~~", "'''");
        page.line(&format!("/// {line}"));
    }
}

fn face_struct(page: &mut Page, face: &Face, types: &Types) {
    let name = &face.class;
    docs(
        page,
        &format!("Calls the tools of the plugin `{}`.", face.plugin),
    );
    page.line("#[derive(Clone, Debug)]");
    page.line(&format!("pub struct {name}<C> {{"));
    page.line("    caller: C,");
    page.line("}");
    page.gap(1);
    page.line(&format!("impl<C: ToolCaller> {name}<C> {{"));
    page.deeper();
    page.line("/// Calls by a client or the context of a handler, or by a reference to one.");
    page.line("pub fn new(caller: C) -> Self {");
    page.line("    Self { caller }");
    page.line("}");
    for tool in &face.tools {
        page.gap(1);
        method(page, tool, types);
    }
    page.back();
    page.line("}");
}

fn method(page: &mut Page, tool: &FaceTool, types: &Types) {
    docs(page, &tool.docs);
    let (takes, given) = match &tool.takes {
        Takes::Nothing => (String::new(), "serde_json::Map::new()".to_owned()),
        Takes::Object(of) => (
            format!(", arguments: {}", print(of, types)),
            "arguments".to_owned(),
        ),
    };
    let gives = print(&tool.gives, types);
    let name = &tool.rust;
    let line = format!("pub fn {name}(&self{takes}) -> ToolCall<{gives}> {{");
    if page.width(&line) <= COLUMNS {
        page.line(&line);
    } else {
        page.line(&format!("pub fn {name}("));
        page.line("    &self,");
        page.line(&format!("    {},", takes.trim_start_matches(", ")));
        page.line(&format!(") -> ToolCall<{gives}> {{"));
    }
    page.deeper();
    page.line(&format!(
        "self.caller.call_tool({}, {given})",
        quoted_rust(&tool.full_name)
    ));
    page.back();
    page.line("}");
}

fn define(page: &mut Page, at: usize, facts: &Facts<'_>) {
    let Definition {
        name,
        docs: text,
        body,
    } = &facts.types.definitions[at];
    let with_default = facts.defaults[at];
    docs(page, text);
    match body {
        Body::Struct(fields) => {
            derive(page, with_default);
            object(page, at, fields, facts);
        }
        Body::Words(words) => words_enum(page, name, words),
        Body::Union(members) if facts.told.is_apart(at) => {
            alternatives(page, at, members, facts);
        }
        Body::Union(_) => transparent(page, name, ANY, true),
        Body::Alias(of) => transparent(page, name, &boxed(of, at, facts), with_default),
    }
}

fn derive(page: &mut Page, with_default: bool) {
    let default = if with_default { "Default, " } else { "" };
    page.line(&format!(
        "#[derive(Clone, Debug, {default}PartialEq, Serialize, Deserialize)]"
    ));
}

fn transparent(page: &mut Page, name: &str, of: &str, with_default: bool) {
    derive(page, with_default);
    page.line("#[serde(transparent)]");
    page.line(&format!("pub struct {name}(pub {of});"));
}

fn object(page: &mut Page, at: usize, fields: &Fields, facts: &Facts<'_>) {
    let name = &facts.types.definitions[at].name;
    let mut names = Names::default();
    let rest = fields.rest.as_ref().map(|of| {
        let own = names.identifier("rest", RUST_WORDS);
        (own, print(of, facts.types))
    });
    if fields.fields.is_empty() && rest.is_none() {
        page.line(&format!("pub struct {name} {{}}"));
        return;
    }
    page.line(&format!("pub struct {name} {{"));
    page.deeper();
    for field in &fields.fields {
        member(page, at, field, &mut names, facts);
    }
    if let Some((own, of)) = rest {
        page.line("/// What is not known here.");
        page.line("#[serde(flatten)]");
        page.line(&format!("pub {own}: BTreeMap<String, {of}>,"));
    }
    page.back();
    page.line("}");
}

fn member(page: &mut Page, at: usize, field: &Field, names: &mut Names, facts: &Facts<'_>) {
    docs(page, &field.docs);
    let own = names.identifier(&snake(&field.name), RUST_WORDS);
    let mut serde = Vec::new();
    if own != field.name {
        serde.push(format!("rename = {}", quoted_rust(&field.name)));
    }
    let of = boxed(&field.of, at, facts);
    let of = match (&field.of, field.is_required) {
        (_, true) => of,
        (inner, false) => {
            serde.push("default".to_owned());
            serde.push("skip_serializing_if = \"Option::is_none\"".to_owned());
            // Absent and null are one.
            if matches!(inner, Type::Nullable(_)) {
                of
            } else {
                format!("Option<{of}>")
            }
        }
    };
    if !serde.is_empty() {
        page.line(&format!("#[serde({})]", serde.join(", ")));
    }
    page.line(&format!("pub {own}: {of},"));
}

/// Writes the type of a member, in a box where it would contain itself.
fn boxed(of: &Type, at: usize, facts: &Facts<'_>) -> String {
    match of {
        Type::Named(to) if facts.circles[*to] == facts.circles[at] => {
            format!("Box<{}>", print(of, facts.types))
        }
        Type::Nullable(inner) => format!("Option<{}>", boxed(inner, at, facts)),
        Type::Tuple(items) => tuple(items.iter().map(|item| boxed(item, at, facts)).collect()),
        of => print(of, facts.types),
    }
}

fn words_enum(page: &mut Page, name: &str, words: &[Literal]) {
    derive(page, words.len() == 1);
    page.line(&format!("pub enum {name} {{"));
    page.deeper();
    let mut names = Names::without(&["Self"]);
    for word in words {
        let text = word.value.as_str().unwrap_or_default();
        docs(page, &word.docs);
        let own = match pascal(text) {
            own if own.is_empty() => names.type_name("Value"),
            own if own.starts_with(|c: char| c.is_ascii_digit()) => {
                names.type_name(&format!("Value{own}"))
            }
            own => names.type_name(&own),
        };
        if own != text {
            page.line(&format!("#[serde(rename = {})]", quoted_rust(text)));
        }
        if words.len() == 1 {
            page.line("#[default]");
        }
        page.line(&format!("{own},"));
    }
    page.back();
    page.line("}");
}

fn alternatives(page: &mut Page, at: usize, members: &[Type], facts: &Facts<'_>) {
    let types = facts.types;
    let name = types.definitions[at].name.as_str();
    derive(page, false);
    page.line("#[serde(untagged)]");
    page.line(&format!("pub enum {name} {{"));
    page.deeper();
    let mut names = Names::without(&["Self"]);
    for of in facts.told.ordered(members) {
        let wanted = match of {
            Type::Named(to) => {
                let full = &types.definitions[*to].name;
                full.strip_prefix(name).unwrap_or(full).to_owned()
            }
            Type::Null | Type::Json | Type::Literals(_) | Type::Nullable(_) => "Other".to_owned(),
            Type::Boolean => "Boolean".to_owned(),
            Type::Integer(_) => "Integer".to_owned(),
            Type::Number => "Number".to_owned(),
            Type::String => "Text".to_owned(),
            Type::Array(_) | Type::Tuple(_) => "List".to_owned(),
            Type::Map(_) => "Map".to_owned(),
        };
        let wanted = match wanted.as_bytes().first() {
            Some(first) if first.is_ascii_digit() => format!("Variant{wanted}"),
            _ => wanted,
        };
        let own = names.type_name(&wanted);
        page.line(&format!("{own}({}),", boxed(of, at, facts)));
    }
    page.back();
    page.line("}");
}

/// Says of each definition whether a value of it can be made of nothing.
fn defaults(types: &Types, told: &Told<'_>) -> Vec<bool> {
    let mut known = vec![false; types.definitions.len()];
    // What needs itself is never reached.
    let mut is_new = true;
    while is_new {
        is_new = false;
        // What is used comes after what uses it, mostly.
        for (at, one) in types.definitions.iter().enumerate().rev() {
            let found = match &one.body {
                Body::Struct(fields) => {
                    let mut must = fields.fields.iter().filter(|field| field.is_required);
                    must.all(|field| has_default(&field.of, &known))
                }
                Body::Words(words) => words.len() == 1,
                Body::Union(_) => !told.is_apart(at),
                Body::Alias(of) => has_default(of, &known),
            };
            is_new |= found != known[at];
            known[at] = found;
        }
    }
    known
}

fn has_default(of: &Type, known: &[bool]) -> bool {
    match of {
        Type::Tuple(items) => items.iter().all(|item| has_default(item, known)),
        Type::Named(at) => known[*at],
        _ => true,
    }
}

fn tuple(items: Vec<String>) -> String {
    match items.as_slice() {
        several if several.len() > TUPLE_ITEMS_MAX => format!("Vec<{ANY}>"),
        [one] => format!("({one},)"),
        several => format!("({})", several.join(", ")),
    }
}

fn print(of: &Type, types: &Types) -> String {
    match of {
        // No integer of serde's holds all that a large one may be.
        of if is_any(of) => ANY.to_owned(),
        Type::Json => ANY.to_owned(),
        Type::Null => "()".to_owned(),
        Type::Boolean => "bool".to_owned(),
        Type::Integer(whole) if whole.is_unsigned => "u64".to_owned(),
        Type::Integer(_) => "i64".to_owned(),
        Type::Number => "f64".to_owned(),
        Type::String => "String".to_owned(),
        Type::Literals(values) => literals(values).to_owned(),
        Type::Array(item) => format!("Vec<{}>", print(item, types)),
        Type::Tuple(items) => tuple(items.iter().map(|item| print(item, types)).collect()),
        Type::Map(value) => format!("BTreeMap<String, {}>", print(value, types)),
        Type::Nullable(inner) => format!("Option<{}>", print(inner, types)),
        Type::Named(at) => types.definitions[*at].name.clone(),
    }
}

/// Says of what is no definition whether it is written as any value.
fn is_any(of: &Type) -> bool {
    match of {
        Type::Json => true,
        Type::Integer(whole) => whole.is_large && !whole.is_unsigned,
        Type::Literals(values) => literals(values) == ANY,
        _ => false,
    }
}

/// Gives the type of values that are no texts alone.
fn literals(values: &[Literal]) -> &'static str {
    if values.iter().all(|one| one.value.is_boolean()) {
        "bool"
    } else if values.iter().all(|one| one.value.is_i64()) {
        "i64"
    } else if values.iter().all(|one| one.value.is_u64()) {
        "u64"
    } else {
        ANY
    }
}
