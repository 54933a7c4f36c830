//! Types and clients as Python: TypedDicts that strict mypy and pyright take, and that Python 3.10
//! can read at run time without anything from outside.
//!
//! Members that may be absent stand in a class with `total=False`, because `NotRequired` is not in
//! the standard library of 3.10.

use std::collections::BTreeSet;

use serde_json::Value;

use super::clients::{CLIENT_MARK, Face, FaceTool, Takes};
use super::model::{Body, Definition, Field, Fields, Type, Types};
use super::names::{PYTHON_WORDS, RESERVED_TYPES, is_identifier};
use super::shape::Literal;
use super::text::{Page, docs_lines, quoted};

/// What annotations use of the language itself.
const BUILTINS: &[&str] = &["bool", "dict", "float", "int", "list", "str"];

/// Longest line where it can be helped.
const COLUMNS: usize = 100;

/// Writes types, with the names of builtins that mean something else in some places.
struct Printer<'a> {
    types: &'a Types,
    names: BTreeSet<&'a str>,
    /// Builtins that are methods of the class at hand.
    hidden: BTreeSet<&'a str>,
}

/// Writes a module with a class for each plugin.
pub(super) fn client(faces: &[Face], types: &Types) -> String {
    let mut page = Page::new("    ");
    let mut is_hidden = false;
    for face in faces {
        page.gap(2);
        let names = face.tools.iter().map(|tool| tool.python.as_str());
        let hidden: BTreeSet<&str> = names.filter(|name| BUILTINS.contains(name)).collect();
        is_hidden |= !hidden.is_empty();
        let printer = Printer {
            hidden,
            ..Printer::plain(types)
        };
        class(&mut page, face, &printer);
    }
    for definition in written(types) {
        page.gap(2);
        define(&mut page, definition, &Printer::plain(types));
    }
    let body = page.into_text();
    let plugins: Vec<&str> = faces.iter().map(|face| face.plugin.as_str()).collect();
    let mut head = Page::new("    ");
    head.line(&format!("# {CLIENT_MARK}; what is changed here is lost."));
    head.line(&format!(
        "\"\"\"Tools of {}, with their types.\"\"\"",
        plugins.join(", ")
    ));
    head.gap(1);
    head.line("from __future__ import annotations");
    head.gap(1);
    head.line(&typing(&body, &["TYPE_CHECKING"]));
    head.gap(1);
    head.line("if TYPE_CHECKING:");
    head.deeper();
    if is_hidden {
        head.line("import builtins");
        head.gap(1);
    }
    head.line("from trunkline import Duration, ToolCall, ToolCaller");
    if body.contains("Unpack[") {
        head.line("from typing_extensions import Unpack");
    }
    head.back();
    head.into_text() + &body
}

/// Writes a module of types alone.
pub(super) fn module(head: &[&str], types: &Types) -> String {
    let mut page = Page::new("    ");
    for definition in written(types) {
        page.gap(2);
        define(&mut page, definition, &Printer::plain(types));
    }
    let body = page.into_text();
    let mut top = Page::new("    ");
    top.lines(head.iter().copied());
    top.gap(1);
    top.line("from __future__ import annotations");
    top.gap(1);
    top.line(&typing(&body, &[]));
    top.gap(1);
    let names: Vec<&str> = written(types).map(|one| one.name.as_str()).collect();
    top.line("__all__ = [");
    top.deeper();
    for name in names.iter().copied().collect::<BTreeSet<_>>() {
        top.line(&format!("{},", quoted(name)));
    }
    top.back();
    top.line("]");
    top.into_text() + &body
}

/// Gives the import of what a text uses of `typing`.
fn typing(body: &str, always: &[&str]) -> String {
    let mut names: BTreeSet<&str> = always.iter().copied().collect();
    for (name, sign) in [
        ("Any", "Any"),
        ("Literal", "Literal["),
        ("TypeAlias", "TypeAlias"),
        ("TypedDict", "TypedDict"),
        ("Union", "Union["),
    ] {
        if uses(body, sign) {
            names.insert(name);
        }
    }
    // Constants first, as formatters sort them.
    let mut names: Vec<&str> = names.into_iter().collect();
    names.sort_by_key(|name| (name.chars().any(char::is_lowercase), *name));
    format!("from typing import {}", names.join(", "))
}

/// Says whether a word stands in a text by itself, outside of descriptions.
fn uses(body: &str, sign: &str) -> bool {
    let mut is_docs = false;
    body.lines().any(|line| {
        let quotes = line.matches("\"\"\"").count();
        let was_docs = is_docs;
        is_docs ^= quotes % 2 == 1;
        if was_docs || quotes > 0 {
            return false;
        }
        line.match_indices(sign).any(|(at, _)| {
            let before = line[..at].chars().next_back();
            let after = line[at + sign.len()..].chars().next();
            let is_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
            !is_word(before) && (sign.ends_with('[') || !is_word(after))
        })
    })
}

/// Gives the definitions that have a name in Python: one text alone is written where it is used.
fn written(types: &Types) -> impl Iterator<Item = &Definition> {
    types.definitions.iter().filter(|one| one.word().is_none())
}

/// Writes a docstring; says whether there was anything to write.
fn docs(page: &mut Page, text: &str) -> bool {
    let lines = docs_lines(text);
    let lines: Vec<String> = lines
        .iter()
        // What stands after three of these would be run as an example.
        .map(|line| line.replace(">>>", "> > >"))
        .map(|line| line.replace('\\', "\\\\").replace("\"\"\"", "\\\"\\\"\\\""))
        .map(|line| match line.strip_suffix('"') {
            // An odd backslash before it is its own.
            Some(start) if (start.len() - start.trim_end_matches('\\').len()) % 2 == 0 => {
                format!("{start}\\\"")
            }
            _ => line,
        })
        .collect();
    match lines.as_slice() {
        [] => {}
        [one] => page.line(&format!("\"\"\"{one}\"\"\"")),
        [first, rest @ ..] => {
            page.line(&format!("\"\"\"{first}"));
            for line in rest {
                page.line(line);
            }
            page.line("\"\"\"");
        }
    }
    !lines.is_empty()
}

fn class(page: &mut Page, face: &Face, printer: &Printer<'_>) {
    let name = &face.class;
    let (text, none) = (printer.builtin("str"), "None");
    page.line(&format!("class {name}:"));
    page.deeper();
    page.line(&format!("\"\"\"Tools of the plugin ``{}``.", face.plugin));
    page.gap(1);
    page.line("Args:");
    page.lines([
        "    caller: What calls: a client, or the context of a handler.",
        "    timeout: How long a call may take.",
        "    instance: Which instance runs it, where the plugin has several.",
        "    idempotency_key: Names what is done: a repeat is answered as the first was.",
    ]);
    page.line("\"\"\"");
    page.gap(1);
    page.line("__slots__ = (\"_caller\", \"_idempotency_key\", \"_instance\", \"_timeout\")");
    page.gap(1);
    page.line("def __init__(");
    page.deeper();
    page.lines(["self,", "caller: ToolCaller,", "*,"]);
    page.line("timeout: Duration | None = None,");
    page.line(&format!("instance: {text} | {none} = None,"));
    page.line(&format!("idempotency_key: {text} | {none} = None,"));
    page.back();
    page.line(") -> None:");
    page.deeper();
    page.lines([
        "self._caller = caller",
        "self._timeout = timeout",
        "self._instance = instance",
        "self._idempotency_key = idempotency_key",
    ]);
    page.back();
    for tool in &face.tools {
        page.gap(1);
        method(page, tool, printer);
    }
    page.back();
}

fn method(page: &mut Page, tool: &FaceTool, printer: &Printer<'_>) {
    let fields = match &tool.takes {
        Takes::Nothing => None,
        Takes::Object(of) => printer.types.fields(of),
    };
    // What is to be called may be an argument's name, too.
    let this = match &tool.takes {
        Takes::Nothing => "self",
        Takes::Object(_) => "self, /",
    };
    let takes = match &tool.takes {
        Takes::Nothing => String::new(),
        Takes::Object(Type::Map(value)) => format!(", **arguments: {}", printer.of(value)),
        Takes::Object(of) if fields.is_some_and(is_dict) => {
            format!(", **arguments: Unpack[{}]", printer.of(of))
        }
        // Keyword arguments have no form for alternatives, and none without a name.
        Takes::Object(_) => ", **arguments: Any".to_owned(),
    };
    let gives = printer.of(&tool.gives);
    let line = format!("def {}({this}{takes}) -> ToolCall[{gives}]:", tool.python);
    if page.width(&line) <= COLUMNS {
        page.line(&line);
    } else {
        page.line(&format!("def {}(", tool.python));
        page.deeper();
        page.line(&format!("{this}{takes}"));
        page.back();
        page.line(&format!(") -> ToolCall[{gives}]:"));
    }
    page.deeper();
    docs(page, &tool.docs);
    page.line("return self._caller.call_tool(");
    page.deeper();
    page.line(&format!("{},", quoted(&tool.full_name)));
    page.line(if tool.takes == Takes::Nothing {
        "{},"
    } else {
        "arguments,"
    });
    page.lines([
        "timeout=self._timeout,",
        "instance=self._instance,",
        "idempotency_key=self._idempotency_key,",
    ]);
    page.back();
    page.line(")");
    page.back();
}

fn define(page: &mut Page, definition: &Definition, printer: &Printer<'_>) {
    let name = &definition.name;
    match &definition.body {
        Body::Struct(fields) if is_dict(fields) => dict(page, definition, fields, printer),
        Body::Struct(_) => {
            page.line(&format!("{name}: TypeAlias = dict[str, Any]"));
            docs(page, &definition.docs);
        }
        Body::Words(words) => {
            let values: Vec<String> = words.iter().map(value).collect();
            alias(page, name, "Literal", &values);
            docs(page, &documented(&definition.docs, words));
        }
        // Members are quoted, as they may come later; the whole is not, so that it can be read at run time.
        Body::Union(members) => {
            let members: Vec<String> = members
                .iter()
                .map(|one| forward(&printer.of(one)))
                .collect();
            alias(page, name, "Union", &members);
            docs(page, &definition.docs);
        }
        Body::Alias(Type::Array(item)) => {
            alias(page, name, "list", &[forward(&printer.of(item))]);
        }
        Body::Alias(Type::Map(value)) => {
            alias(
                page,
                name,
                "dict",
                &["str".to_owned(), forward(&printer.of(value))],
            );
        }
        Body::Alias(Type::Tuple(items)) => {
            alias(page, name, "list", &[forward(&printer.any_of(items))]);
        }
        Body::Alias(of) => page.line(&format!("{name}: TypeAlias = {}", printer.of(of))),
    }
}

/// Writes a name for a generic type, over several lines where one is too long.
fn alias(page: &mut Page, name: &str, of: &str, members: &[String]) {
    let line = format!("{name}: TypeAlias = {of}[{}]", members.join(", "));
    if page.width(&line) <= COLUMNS {
        return page.line(&line);
    }
    page.line(&format!("{name}: TypeAlias = {of}["));
    page.deeper();
    for member in members {
        page.line(&format!("{member},"));
    }
    page.back();
    page.line("]");
}

/// Says what each word means, where the schema does.
fn documented(docs: &str, words: &[Literal]) -> String {
    let mut text = docs.to_owned();
    for word in words.iter().filter(|word| !word.docs.is_empty()) {
        let value = word.value.as_str().unwrap_or_default();
        begin_list(&mut text);
        text.push_str(&format!("- ``{value}``: {}", word.docs));
    }
    text
}

/// Ends what a list follows: with an empty line, or where there is a list already, with the line.
fn begin_list(text: &mut String) {
    let is_list = text
        .lines()
        .last()
        .is_some_and(|line| line.starts_with("- "));
    if !text.is_empty() {
        text.push_str(if is_list { "\n" } else { "\n\n" });
    }
}

/// Writes a type that may come later, as a text.
fn forward(of: &str) -> String {
    if of.contains('"') || of.contains('\\') {
        // A text inside of a text: single quotes around it.
        return format!("'{}'", of.replace('\\', "\\\\").replace('\'', "\\'"));
    }
    format!("\"{of}\"")
}

/// Says whether an object can be a `TypedDict`: that has no member without a name.
fn is_dict(fields: &Fields) -> bool {
    let mut must = fields.fields.iter().filter(|field| field.is_required);
    must.all(|field| !field.name.is_empty())
}

/// Writes an object: a class for what must be there, one for what may be, or both in one.
fn dict(page: &mut Page, definition: &Definition, fields: &Fields, printer: &Printer<'_>) {
    let name = &definition.name;
    // Who has one without a name that may be absent reads and writes it untyped.
    let named = fields.fields.iter().filter(|field| !field.name.is_empty());
    let is_plain = named.clone().all(|field| printer.is_attribute(&field.name));
    let (must, may): (Vec<&Field>, Vec<&Field>) = named.partition(|field| field.is_required);
    if !is_plain {
        return named_dict(page, definition, &must, &may, printer);
    }
    let (bases, own) = match (must.as_slice(), may.as_slice()) {
        (_, []) => ("TypedDict".to_owned(), &must),
        ([], _) => ("TypedDict, total=False".to_owned(), &may),
        _ => {
            page.line(&format!("class _{name}(TypedDict):"));
            page.deeper();
            attributes(page, &must, printer);
            page.back();
            page.gap(2);
            (format!("_{name}, total=False"), &may)
        }
    };
    page.line(&format!("class {name}({bases}):"));
    page.deeper();
    let has_docs = docs(page, &definition.docs);
    if has_docs && !own.is_empty() {
        page.gap(1);
    }
    attributes(page, own, printer);
    if !has_docs && own.is_empty() {
        page.line("pass");
    }
    page.back();
}

fn attributes(page: &mut Page, fields: &[&Field], printer: &Printer<'_>) {
    for field in fields {
        page.line(&format!("{}: {}", field.name, printer.of(&field.of)));
        docs(page, &field.docs);
    }
}

/// Writes an object whose members are no names of Python.
fn named_dict(
    page: &mut Page,
    definition: &Definition,
    must: &[&Field],
    may: &[&Field],
    printer: &Printer<'_>,
) {
    let name = &definition.name;
    let mut bases = Vec::new();
    for (fields, end, total) in [(must, "Required", ""), (may, "Optional", ", total=False")] {
        if fields.is_empty() {
            continue;
        }
        let base = format!("_{name}_{end}");
        if fields.iter().all(|field| printer.is_attribute(&field.name)) {
            page.line(&format!("class {base}(TypedDict{total}):"));
            page.deeper();
            attributes(page, fields, printer);
            page.back();
            page.gap(2);
            bases.push(base);
            continue;
        }
        page.line(&format!("{base} = TypedDict("));
        page.deeper();
        page.line(&format!("{},", quoted(&base)));
        page.line("{");
        page.deeper();
        for field in fields {
            let of = forward(&printer.of(&field.of));
            page.line(&format!("{}: {of},", quoted(&field.name)));
        }
        page.back();
        page.line("},");
        if !total.is_empty() {
            page.line("total=False,");
        }
        page.back();
        page.line(")");
        page.gap(2);
        bases.push(base);
    }
    page.line(&format!("class {name}({}):", bases.join(", ")));
    page.deeper();
    let mut text = definition.docs.clone();
    let described = must
        .iter()
        .chain(may)
        .filter(|field| !field.docs.is_empty());
    for field in described.filter(|field| !printer.is_attribute(&field.name)) {
        begin_list(&mut text);
        text.push_str(&format!("- ``{}``: {}", field.name, field.docs));
    }
    if !docs(page, &text) {
        page.line("pass");
    }
    page.back();
}

fn literals(literals: &[Literal]) -> String {
    let values: Vec<String> = literals.iter().map(value).collect();
    format!("Literal[{}]", values.join(", "))
}

fn value(literal: &Literal) -> String {
    match &literal.value {
        Value::String(text) => quoted(text),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        other => other.to_string(),
    }
}

impl<'a> Printer<'a> {
    fn plain(types: &'a Types) -> Self {
        Self {
            types,
            names: types
                .definitions
                .iter()
                .map(|one| one.name.as_str())
                .collect(),
            hidden: BTreeSet::new(),
        }
    }

    /// Says whether a member can be written in the body of a class: it is no word, is not mangled, and
    /// hides no type from the members after it.
    fn is_attribute(&self, name: &str) -> bool {
        let is_type = BUILTINS.contains(&name) || RESERVED_TYPES.contains(&name);
        is_identifier(name)
            && !PYTHON_WORDS.contains(&name)
            && !name.starts_with("__")
            && !is_type
            && !self.names.contains(name)
    }

    fn builtin(&self, name: &str) -> String {
        if self.hidden.contains(name) {
            format!("builtins.{name}")
        } else {
            name.to_owned()
        }
    }

    fn any_of(&self, items: &[Type]) -> String {
        let mut kinds: Vec<String> = Vec::new();
        for item in items {
            let kind = self.of(item);
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        if kinds.iter().any(|kind| kind == "Any") {
            return "Any".to_owned();
        }
        kinds.join(" | ")
    }

    fn of(&self, of: &Type) -> String {
        match of {
            Type::Json => "Any".to_owned(),
            Type::Null => "None".to_owned(),
            Type::Boolean => self.builtin("bool"),
            Type::Integer(_) => self.builtin("int"),
            Type::Number => self.builtin("float"),
            Type::String => self.builtin("str"),
            Type::Literals(values) => literals(values),
            Type::Array(item) => format!("{}[{}]", self.builtin("list"), self.of(item)),
            // JSON arrays are lists, whatever is in them.
            Type::Tuple(items) => format!("{}[{}]", self.builtin("list"), self.any_of(items)),
            Type::Map(value) => {
                let (dict, text) = (self.builtin("dict"), self.builtin("str"));
                format!("{dict}[{text}, {}]", self.of(value))
            }
            Type::Nullable(inner) => format!("{} | None", self.of(inner)),
            Type::Named(at) => {
                let one = &self.types.definitions[*at];
                one.word().map_or_else(|| one.name.clone(), literals)
            }
        }
    }
}
