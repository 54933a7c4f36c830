//! Types and clients as Rust: structs and enums with serde's derives.
//!
//! Alternatives are an untagged enum where a value tells by itself which one it is; where it does
//! not, they are any value.

use std::collections::BTreeSet;

use serde_json::Value;

use super::clients::{CLIENT_MARK, Face, FaceTool, Takes};
use super::model::{Body, Definition, Field, Fields, Type, Types};
use super::names::{Names, RUST_WORDS, pascal, snake};
use super::shape::Literal;
use super::text::{Page, docs_lines, quoted_rust};

/// Longest tuple that has the derived traits; a longer one is a list.
const TUPLE_ITEMS_MAX: usize = 12;
/// Most alternatives that are told apart; more are any value.
const ALTERNATIVES_MAX: usize = 64;
/// Longest line where it can be helped.
const COLUMNS: usize = 100;

/// Writes a module with a struct for each plugin.
pub(super) fn client(faces: &[Face], types: &Types) -> String {
    let mut page = Page::new("    ");
    for face in faces {
        page.gap(1);
        face_struct(&mut page, face, types);
    }
    let defaults = defaults(types);
    for at in 0..types.definitions.len() {
        page.gap(1);
        define(&mut page, at, types, &defaults);
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
        let line = words
            .join(" ")
            .replace("```", "'''")
            .replace("~~~", "'''");
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

fn define(page: &mut Page, at: usize, types: &Types, defaults: &[bool]) {
    let Definition {
        name,
        docs: text,
        body,
    } = &types.definitions[at];
    docs(page, text);
    match body {
        Body::Struct(fields) => {
            derive(page, defaults[at]);
            object(page, at, fields, types);
        }
        Body::Words(words) => words_enum(page, name, words),
        Body::Union(members) if is_told_apart(members, types) => {
            alternatives(page, at, members, types);
        }
        Body::Union(_) => transparent(page, name, "serde_json::Value", true),
        Body::Alias(of) => transparent(page, name, &print(of, types), defaults[at]),
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

fn object(page: &mut Page, at: usize, fields: &Fields, types: &Types) {
    let name = &types.definitions[at].name;
    let mut names = Names::default();
    let rest = fields.rest.as_ref().map(|of| {
        let own = names.identifier("rest", RUST_WORDS);
        (own, print(of, types))
    });
    if fields.fields.is_empty() && rest.is_none() {
        page.line(&format!("pub struct {name} {{}}"));
        return;
    }
    page.line(&format!("pub struct {name} {{"));
    page.deeper();
    for field in &fields.fields {
        member(page, at, field, &mut names, types);
    }
    if let Some((own, of)) = rest {
        page.line("/// What is not known here.");
        page.line("#[serde(flatten)]");
        page.line(&format!("pub {own}: BTreeMap<String, {of}>,"));
    }
    page.back();
    page.line("}");
}

fn member(page: &mut Page, at: usize, field: &Field, names: &mut Names, types: &Types) {
    docs(page, &field.docs);
    let own = names.identifier(&snake(&field.name), RUST_WORDS);
    let mut serde = Vec::new();
    if own != field.name {
        serde.push(format!("rename = {}", quoted_rust(&field.name)));
    }
    let of = boxed(&field.of, at, types);
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
fn boxed(of: &Type, at: usize, types: &Types) -> String {
    match of {
        Type::Named(to) if *to == at || types.holds(*to, at) => {
            format!("Box<{}>", print(of, types))
        }
        Type::Nullable(inner) => format!("Option<{}>", boxed(inner, at, types)),
        Type::Tuple(items) => tuple(items.iter().map(|item| boxed(item, at, types)).collect()),
        of => print(of, types),
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

fn alternatives(page: &mut Page, at: usize, members: &[Type], types: &Types) {
    let name = types.definitions[at].name.as_str();
    derive(page, false);
    page.line("#[serde(untagged)]");
    page.line(&format!("pub enum {name} {{"));
    page.deeper();
    let mut names = Names::without(&["Self"]);
    let mut ordered: Vec<&Type> = members.iter().collect();
    // An object would be read from an array, too.
    ordered.sort_by_key(|of| kinds(of, types).contains(&Kind::Object));
    for of in ordered {
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
        page.line(&format!("{own}({}),", boxed(of, at, types)));
    }
    page.back();
    page.line("}");
}

/// A kind of JSON value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Null,
    Boolean,
    Number,
    String,
    Array,
    Object,
}

fn kinds(of: &Type, types: &Types) -> BTreeSet<Kind> {
    let mut found = BTreeSet::new();
    collect_kinds(of, types, &mut found, &mut BTreeSet::new());
    found
}

fn collect_kinds(of: &Type, types: &Types, found: &mut BTreeSet<Kind>, seen: &mut BTreeSet<usize>) {
    match of {
        Type::Json => found.extend([
            Kind::Null,
            Kind::Boolean,
            Kind::Number,
            Kind::String,
            Kind::Array,
            Kind::Object,
        ]),
        Type::Null => found.extend([Kind::Null]),
        Type::Boolean => found.extend([Kind::Boolean]),
        Type::Integer(_) | Type::Number => found.extend([Kind::Number]),
        Type::String => found.extend([Kind::String]),
        Type::Literals(values) => found.extend(values.iter().map(|one| match one.value {
            Value::String(_) => Kind::String,
            Value::Bool(_) => Kind::Boolean,
            _ => Kind::Number,
        })),
        Type::Array(_) | Type::Tuple(_) => found.extend([Kind::Array]),
        Type::Map(_) => found.extend([Kind::Object]),
        Type::Nullable(inner) => {
            found.insert(Kind::Null);
            collect_kinds(inner, types, found, seen);
        }
        Type::Named(at) if seen.insert(*at) => match &types.definitions[*at].body {
            Body::Struct(_) => found.extend([Kind::Object]),
            Body::Words(_) => found.extend([Kind::String]),
            Body::Union(members) => {
                for one in members {
                    collect_kinds(one, types, found, seen);
                }
            }
            Body::Alias(of) => collect_kinds(of, types, found, seen),
        },
        Type::Named(_) => {}
    }
}

/// Says whether a value fits one of these alone: they are of different kinds, or objects with different
/// words in a member that each must have.
fn is_told_apart(members: &[Type], types: &Types) -> bool {
    members.len() <= ALTERNATIVES_MAX
        && members.iter().enumerate().all(|(number, one)| {
            members[..number].iter().all(|other| {
                kinds(one, types).is_disjoint(&kinds(other, types))
                    || differ_in_word(one, other, types)
            })
        })
}

fn differ_in_word(one: &Type, other: &Type, types: &Types) -> bool {
    let (Some(one), Some(other)) = (types.fields(one), types.fields(other)) else {
        return false;
    };
    one.fields
        .iter()
        .filter(|field| field.is_required)
        .any(|field| {
            let same = other.fields.iter().find(|found| found.name == field.name);
            same.is_some_and(|found| {
                let (Some(ours), Some(theirs)) =
                    (words_of(&field.of, types), words_of(&found.of, types))
                else {
                    return false;
                };
                found.is_required
                    && !ours
                        .iter()
                        .any(|our| theirs.iter().any(|their| our.value == their.value))
            })
        })
}

fn words_of<'a>(of: &Type, types: &'a Types) -> Option<&'a [Literal]> {
    match of {
        Type::Named(at) => match &types.definitions[*at].body {
            Body::Words(words) => Some(words),
            _ => None,
        },
        _ => None,
    }
}

/// Says of each definition whether a value of it can be made of nothing.
fn defaults(types: &Types) -> Vec<bool> {
    let mut known = vec![false; types.definitions.len()];
    // What needs itself is never reached.
    loop {
        let next: Vec<bool> = types
            .definitions
            .iter()
            .map(|one| match &one.body {
                Body::Struct(fields) => {
                    let mut must = fields.fields.iter().filter(|field| field.is_required);
                    must.all(|field| has_default(&field.of, &known))
                }
                Body::Words(words) => words.len() == 1,
                Body::Union(members) => !is_told_apart(members, types),
                Body::Alias(of) => has_default(of, &known),
            })
            .collect();
        if next == known {
            return known;
        }
        known = next;
    }
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
        several if several.len() > TUPLE_ITEMS_MAX => "Vec<serde_json::Value>".to_owned(),
        [one] => format!("({one},)"),
        several => format!("({})", several.join(", ")),
    }
}

fn print(of: &Type, types: &Types) -> String {
    match of {
        Type::Json => "serde_json::Value".to_owned(),
        Type::Null => "()".to_owned(),
        Type::Boolean => "bool".to_owned(),
        Type::Integer(whole) if whole.is_unsigned => "u64".to_owned(),
        // No integer of serde's holds all of these.
        Type::Integer(whole) if whole.is_large => "serde_json::Value".to_owned(),
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

/// Gives the type of values that are no texts alone.
fn literals(values: &[Literal]) -> &'static str {
    if values.iter().all(|one| one.value.is_boolean()) {
        "bool"
    } else if values.iter().all(|one| one.value.is_i64()) {
        "i64"
    } else if values.iter().all(|one| one.value.is_u64()) {
        "u64"
    } else {
        "serde_json::Value"
    }
}
