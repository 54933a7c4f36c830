//! Types and clients as TypeScript: interfaces and types that strict compilers take, with syntax that
//! can be taken off without a compiler.

use serde_json::Value;

use super::clients::{CLIENT_MARK, Face, FaceTool, Takes};
use super::model::{Body, Definition, Fields, Type, Types};
use super::names::is_identifier;
use super::shape::Literal;
use super::text::{Page, docs_lines, quoted};

/// Writes a module with a class for each plugin.
pub(super) fn client(faces: &[Face], types: &Types) -> String {
    let mut page = Page::new("  ");
    for face in faces {
        page.gap(1);
        class(&mut page, face, types);
    }
    for definition in written(types) {
        page.gap(1);
        define(&mut page, definition, types, false);
    }
    let body = page.into_text();
    let mut head = Page::new("  ");
    head.line(&format!("// {CLIENT_MARK}; what is changed here is lost."));
    let json = if uses_json(&body) { "Json, " } else { "" };
    head.line(&format!(
        "import type {{ CallOptions, {json}ToolCall, ToolCaller }} from \"trunkline\";"
    ));
    head.into_text() + &body
}

/// Writes declarations of types alone; their objects may have members that are not known.
pub(super) fn module(head: &[&str], types: &Types) -> String {
    let mut page = Page::new("  ");
    page.lines(head.iter().copied());
    for definition in written(types) {
        page.gap(1);
        define(&mut page, definition, types, true);
    }
    page.into_text()
}

fn uses_json(body: &str) -> bool {
    let is_word = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
    body.lines()
        .filter(|line| !line.trim_start().starts_with(['*', '/']))
        .any(|line| {
            line.match_indices("Json").any(|(at, sign)| {
                !is_word(line[..at].chars().next_back())
                    && !is_word(line[at + sign.len()..].chars().next())
            })
        })
}

/// Gives the definitions that have a name here: one text alone is written where it is used.
fn written(types: &Types) -> impl Iterator<Item = &Definition> {
    types.definitions.iter().filter(|one| one.word().is_none())
}

fn docs(page: &mut Page, text: &str) {
    let lines: Vec<String> = docs_lines(text)
        .iter()
        .map(|line| line.replace("*/", "*\\/"))
        .collect();
    match lines.as_slice() {
        [] => {}
        [one] => page.line(&format!("/** {one} */")),
        several => {
            page.line("/**");
            for line in several {
                page.line(&format!(" * {line}"));
            }
            page.line(" */");
        }
    }
}

fn class(page: &mut Page, face: &Face, types: &Types) {
    docs(page, &format!("Tools of the plugin `{}`.", face.plugin));
    page.line(&format!("export class {} {{", face.class));
    page.deeper();
    page.lines([
        "readonly #caller: ToolCaller;",
        "readonly #options: CallOptions;",
    ]);
    page.gap(1);
    page.lines([
        "/**",
        " * @param caller - What calls: a client, or the context of a handler.",
        " * @param options - What holds for each call that says nothing else.",
        " */",
        "constructor(caller: ToolCaller, options: CallOptions = {}) {",
        "  this.#caller = caller;",
        "  this.#options = options;",
        "}",
    ]);
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
        Takes::Nothing => (String::new(), "{}"),
        Takes::Object(of) => {
            let is_optional = match of {
                Type::Map(_) => true,
                of => types
                    .fields(of)
                    .is_some_and(|fields| fields.fields.iter().all(|one| !one.is_required)),
            };
            let end = if is_optional { " = {}" } else { "" };
            (format!("args: {}{end}, ", print(of, types)), "args")
        }
    };
    let gives = print(&tool.gives, types);
    let name = &tool.node;
    page.line(&format!(
        "{name}({takes}options: CallOptions = {{}}): ToolCall<{gives}> {{"
    ));
    page.deeper();
    page.line(&format!(
        "return this.#caller.callTool({}, {given}, {{ ...this.#options, ...options }});",
        quoted(&tool.full_name)
    ));
    page.back();
    page.line("}");
}

fn define(page: &mut Page, definition: &Definition, types: &Types, is_open: bool) {
    let name = &definition.name;
    match &definition.body {
        Body::Struct(fields) => {
            docs(page, &definition.docs);
            page.line(&format!("export interface {name} {{"));
            page.deeper();
            members(page, fields, types, is_open);
            page.back();
            page.line("}");
        }
        Body::Words(words) => {
            docs(page, &documented(&definition.docs, words));
            page.line(&format!("export type {name} = {};", literals(words)));
        }
        Body::Union(members) => {
            docs(page, &definition.docs);
            let members: Vec<String> = members.iter().map(|one| print(one, types)).collect();
            page.line(&format!("export type {name} = {};", members.join(" | ")));
        }
        Body::Alias(of) => {
            docs(page, &definition.docs);
            page.line(&format!("export type {name} = {};", print(of, types)));
        }
    }
}

/// Says what each word means, where the schema does.
fn documented(docs: &str, words: &[Literal]) -> String {
    let mut text = docs.to_owned();
    for word in words.iter().filter(|word| !word.docs.is_empty()) {
        if !text.is_empty() {
            let is_list = text
                .lines()
                .last()
                .is_some_and(|line| line.starts_with("- "));
            text.push_str(if is_list { "\n" } else { "\n\n" });
        }
        text.push_str(&format!(
            "- `{}`: {}",
            word.value.as_str().unwrap_or_default(),
            word.docs
        ));
    }
    text
}

fn members(page: &mut Page, fields: &Fields, types: &Types, is_open: bool) {
    for field in &fields.fields {
        docs(page, &field.docs);
        let name = if is_identifier(&field.name) {
            field.name.clone()
        } else {
            quoted(&field.name)
        };
        let sign = if field.is_required { "" } else { "?" };
        page.line(&format!("{name}{sign}: {};", print(&field.of, types)));
    }
    if is_open || fields.rest.is_some() {
        // It has to admit the members above, too.
        page.line("/** What is not known here. */");
        page.line("[member: string]: Json;");
    }
}

fn literals(literals: &[Literal]) -> String {
    let values: Vec<String> = literals
        .iter()
        .map(|one| match &one.value {
            Value::String(text) => quoted(text),
            // Beyond what a number holds exactly it comes as another type.
            Value::Number(number) if !is_exact(number) => "bigint".to_owned(),
            other => other.to_string(),
        })
        .collect();
    values.join(" | ")
}

fn is_exact(number: &serde_json::Number) -> bool {
    const MOST: u64 = (1 << 53) - 1;
    match (number.as_i64(), number.as_u64()) {
        (Some(whole), _) => whole.unsigned_abs() <= MOST,
        (None, Some(whole)) => whole <= MOST,
        (None, None) => false,
    }
}

fn print(of: &Type, types: &Types) -> String {
    match of {
        Type::Json => "Json".to_owned(),
        Type::Null => "null".to_owned(),
        Type::Boolean => "boolean".to_owned(),
        Type::Integer(whole) if whole.is_large => "number | bigint".to_owned(),
        Type::Integer(_) | Type::Number => "number".to_owned(),
        Type::String => "string".to_owned(),
        Type::Literals(values) => literals(values),
        Type::Array(item) => {
            let item = print(item, types);
            if item.contains(" | ") {
                format!("({item})[]")
            } else {
                format!("{item}[]")
            }
        }
        Type::Tuple(items) => {
            let items: Vec<String> = items.iter().map(|item| print(item, types)).collect();
            format!("[{}]", items.join(", "))
        }
        // A `Record` may not stand in the type that is its value.
        Type::Map(value) => format!("{{ [member: string]: {} }}", print(value, types)),
        Type::Nullable(inner) => format!("{} | null", print(inner, types)),
        Type::Named(at) => {
            let one = &types.definitions[*at];
            one.word().map_or_else(|| one.name.clone(), literals)
        }
    }
}
