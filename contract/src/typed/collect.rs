//! Gives names to the shapes that need one: objects, sets of texts, alternatives, and what contains itself.

use serde_json::Value;

use super::budget::{Budget, DOCUMENT_PARTS_MAX, FILE_PARTS_MAX};
use super::document::Document;
use super::model::{Body, Definition, Field, Fields, Type, Types};
use super::names::{Names, RESERVED_TYPES, pascal};
use super::read::Reader;
use super::shape::{Shape, Struct};

/// Most types of one file; what would be another is any value.
const TYPES_MAX: usize = 4_096;
/// Said of the type of all chunks that are texts.
const STREAMED_DOCS: &str = "All chunks as one text, or an empty list if there were none.";

/// Collects the types of one file.
#[derive(Debug)]
pub(super) struct Collector {
    pub(super) types: Types,
    names: Names,
    budget: Budget,
}

impl Collector {
    pub(super) fn new() -> Self {
        Self {
            types: Types::default(),
            names: Names::without(RESERVED_TYPES),
            budget: Budget::of(FILE_PARTS_MAX),
        }
    }

    /// Takes a name that no type may have.
    pub(super) fn reserve(&mut self, wanted: &str) -> String {
        self.names.type_name(wanted)
    }

    /// Adds the schema of a value.
    ///
    /// # Arguments
    /// * `name` - the name of the type, where it needs one.
    /// * `prefix` - begins the names of the types inside.
    pub(super) fn add(&mut self, schema: &Value, name: &str, prefix: &str) -> Type {
        let mut reader = self.reader(schema);
        let shape = reader.root();
        self.collect(reader, shape, name, prefix)
    }

    /// Adds the schema of what is always an object.
    pub(super) fn add_object(&mut self, schema: &Value, name: &str, prefix: &str) -> Type {
        let mut reader = self.reader(schema);
        let shape = reader.root_object();
        self.collect(reader, shape, name, prefix)
    }

    /// Adds every definition of a document under its own name.
    pub(super) fn add_definitions(&mut self, document: &Value) {
        let mut reader = self.reader(document);
        let names = document.get("$defs").and_then(Value::as_object);
        let pointers: Vec<String> = names
            .into_iter()
            .flat_map(|names| names.keys())
            .map(|name| format!("/$defs/{name}"))
            .collect();
        for pointer in &pointers {
            reader.reference(&format!("#{pointer}"), 0);
        }
        let mut document = Document::new(reader, "");
        for pointer in &pointers {
            self.reference(pointer, "", &mut document);
        }
        self.budget.take(document.budget.used());
    }

    /// Reads a document, with its part of what may still be made.
    fn reader<'a>(&self, document: &'a Value) -> Reader<'a> {
        let most = self.budget.left().min(DOCUMENT_PARTS_MAX);
        Reader::new(document, Budget::of(most))
    }

    /// Gives the type of all chunks of a stream, under this name where it needs one: texts are one text,
    /// anything else is a list, and so is nothing at all.
    pub(super) fn streamed(&mut self, chunk: Type, name: &str) -> Type {
        match is_text(&chunk, &self.types) {
            IsText::Never => Type::Array(Box::new(chunk)),
            IsText::Maybe => Type::Json,
            IsText::Always => match self.begin(&Shape::Union(Vec::new()), name) {
                Ok(at) => {
                    let definition = &mut self.types.definitions[at];
                    STREAMED_DOCS.clone_into(&mut definition.docs);
                    let list = Type::Array(Box::new(chunk));
                    definition.body = Body::Union(vec![Type::String, list]);
                    Type::Named(at)
                }
                Err(plain) => plain,
            },
        }
    }

    fn collect(&mut self, reader: Reader<'_>, shape: Shape, name: &str, prefix: &str) -> Type {
        let mut document = Document::new(reader, prefix);
        let of = self.whole(shape, name, &mut document);
        self.budget.take(document.budget.used());
        of
    }

    /// Gives the type of the whole document.
    fn whole(&mut self, shape: Shape, name: &str, document: &mut Document) -> Type {
        let prefix = document.prefix.clone();
        // Whoever reads the file looks for this name, whatever the document calls it.
        let shape = match shape {
            Shape::Ref(pointer) if !document.is_recursive(&pointer) => {
                document.target(&pointer).cloned().unwrap_or(Shape::Json)
            }
            other => other,
        };
        // The whole of it contains itself: there is one type for both.
        if document.refers_to_itself()
            && matches!(
                shape,
                Shape::Literals(_) | Shape::Struct(_) | Shape::Union(_)
            )
            && let (shape, is_nullable) = shape.clone().without_null()
            && let Ok(at) = self.begin(&shape, name)
        {
            let of = nullable(Type::Named(at), is_nullable);
            document.made.insert(String::new(), of.clone());
            self.finish(at, shape, &prefix, document);
            return of;
        }
        self.of(shape, name, &prefix, document)
    }

    /// Gives the type of a shape; names inside begin with `inside`.
    fn of(&mut self, shape: Shape, name: &str, inside: &str, document: &mut Document) -> Type {
        if !document.enter(&shape) {
            return Type::Json;
        }
        let (shape, is_nullable) = shape.without_null();
        let of = self.not_null(shape, name, inside, document);
        document.leave();
        nullable(of, is_nullable)
    }

    fn not_null(
        &mut self,
        shape: Shape,
        name: &str,
        inside: &str,
        document: &mut Document,
    ) -> Type {
        match shape {
            Shape::Json => Type::Json,
            Shape::Null => Type::Null,
            Shape::Boolean => Type::Boolean,
            Shape::Integer(whole) => Type::Integer(whole),
            Shape::Number => Type::Number,
            Shape::String => Type::String,
            Shape::Array(item) => {
                let name = format!("{name}Item");
                Type::Array(Box::new(self.of(*item, &name, &name, document)))
            }
            Shape::Map(value) => {
                let name = format!("{name}Value");
                Type::Map(Box::new(self.of(*value, &name, &name, document)))
            }
            Shape::Tuple(items) => {
                let mut types = Vec::new();
                for (number, item) in items.into_iter().enumerate() {
                    let name = format!("{name}Item{}", number + 1);
                    types.push(self.of(item, &name, &name, document));
                }
                Type::Tuple(types)
            }
            Shape::Ref(pointer) => self.reference(&pointer, name, document),
            shape @ (Shape::Literals(_) | Shape::Struct(_) | Shape::Union(_)) => {
                match self.begin(&shape, name) {
                    Ok(at) => {
                        self.finish(at, shape, inside, document);
                        Type::Named(at)
                    }
                    Err(plain) => plain,
                }
            }
        }
    }

    /// Gives the type of what a reference leads to.
    fn reference(&mut self, pointer: &str, name: &str, document: &mut Document) -> Type {
        if let Some(made) = document.made.get(pointer) {
            return made.clone();
        }
        let Some(shape) = document.target(pointer).cloned() else {
            return Type::Json;
        };
        let own = match pointer.rsplit_once('/') {
            Some((_, last)) => format!("{}{}", document.prefix, pascal(last)),
            None => document.prefix.clone(),
        };
        let (shape, is_nullable) = shape.without_null();
        let needs_name = match shape {
            Shape::Literals(_) | Shape::Struct(_) | Shape::Union(_) => true,
            // Another name for what has one, or gets one.
            Shape::Ref(_) => false,
            _ => document.is_recursive(pointer),
        };
        if !needs_name {
            let name = if name.is_empty() { &own } else { name };
            let of = self.of(shape, name, name, document);
            return nullable(of, is_nullable);
        }
        let at = match self.begin(&shape, &own) {
            Ok(at) => at,
            Err(plain) => return nullable(plain, is_nullable),
        };
        let of = nullable(Type::Named(at), is_nullable);
        document.made.insert(pointer.to_owned(), of.clone());
        self.finish(at, shape, &own, document);
        of
    }

    /// Makes room for a definition, or gives the type of what needs none or finds no room.
    fn begin(&mut self, shape: &Shape, name: &str) -> Result<usize, Type> {
        if let Shape::Literals(literals) = shape
            && !literals.iter().all(|one| one.value.is_string())
        {
            return Err(Type::Literals(literals.clone()));
        }
        if self.types.definitions.len() == TYPES_MAX {
            return Err(Type::Json);
        }
        self.types.definitions.push(Definition {
            name: self.names.type_name(name),
            docs: String::new(),
            body: Body::Alias(Type::Json),
        });
        Ok(self.types.definitions.len() - 1)
    }

    fn finish(&mut self, at: usize, shape: Shape, inside: &str, document: &mut Document) {
        let mut docs = String::new();
        let body = match shape {
            Shape::Literals(literals) => Body::Words(literals),
            Shape::Struct(mut found) => {
                docs = std::mem::take(&mut found.docs);
                Body::Struct(self.fields(found, inside, document))
            }
            Shape::Union(members) => {
                let mut types = Vec::new();
                for (number, member) in members.into_iter().enumerate() {
                    let name = format!("{inside}{}", variant(&member, number));
                    types.push(self.of(member, &name, &name, document));
                }
                Body::Union(types)
            }
            other => Body::Alias(self.of(other, inside, inside, document)),
        };
        // A member that found no room makes the whole of it any value.
        let body = match body {
            Body::Union(types) if types.contains(&Type::Json) => Body::Alias(Type::Json),
            body => body,
        };
        let definition = &mut self.types.definitions[at];
        definition.docs = docs;
        definition.body = body;
    }

    fn fields(&mut self, found: Struct, inside: &str, document: &mut Document) -> Fields {
        let mut fields = Vec::new();
        for member in found.members {
            let name = format!("{inside}{}", pascal(&member.name));
            fields.push(Field {
                of: self.of(member.shape, &name, &name, document),
                name: member.name,
                docs: member.docs,
                is_required: member.is_required,
            });
        }
        let rest = found.rest.map(|rest| {
            let name = format!("{inside}Rest");
            self.of(*rest, &name, &name, document)
        });
        Fields { fields, rest }
    }
}

fn nullable(of: Type, is_nullable: bool) -> Type {
    match of {
        of if !is_nullable => of,
        Type::Json | Type::Null | Type::Nullable(_) => of,
        of => Type::Nullable(Box::new(of)),
    }
}

/// Ends the name of an alternative: by the one text that a member of it must have, else by its number.
fn variant(member: &Shape, number: usize) -> String {
    let numbered = (number + 1).to_string();
    let Shape::Struct(found) = member else {
        return numbered;
    };
    let words = found.members.iter().filter(|one| one.is_required);
    words
        .filter_map(|one| match &one.shape {
            Shape::Literals(literals) if literals.len() == 1 => literals[0].value.as_str(),
            _ => None,
        })
        .map(pascal)
        .find(|word| !word.is_empty())
        .unwrap_or(numbered)
}

/// Whether a value of a type is a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum IsText {
    Never,
    Maybe,
    Always,
}

fn is_text(of: &Type, types: &Types) -> IsText {
    let several = |all: &mut dyn Iterator<Item = IsText>| {
        let mut all = all.peekable();
        let first = all.peek().copied().unwrap_or(IsText::Never);
        if all.all(|one| one == first) {
            first
        } else {
            IsText::Maybe
        }
    };
    match of {
        Type::Json => IsText::Maybe,
        Type::String => IsText::Always,
        Type::Literals(values) => several(&mut values.iter().map(|one| match one.value {
            Value::String(_) => IsText::Always,
            _ => IsText::Never,
        })),
        Type::Nullable(inner) => match is_text(inner, types) {
            IsText::Never => IsText::Never,
            IsText::Maybe | IsText::Always => IsText::Maybe,
        },
        Type::Named(at) => match &types.definitions[*at].body {
            Body::Struct(_) => IsText::Never,
            Body::Words(_) => IsText::Always,
            Body::Union(members) => several(&mut members.iter().map(|one| is_text(one, types))),
            Body::Alias(of) => is_text(of, types),
        },
        _ => IsText::Never,
    }
}
