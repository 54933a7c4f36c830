//! Named types, as they are written: the same for every language.

use super::shape::{Literal, Whole};

/// A type as it is used.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Type {
    /// Any JSON value.
    Json,
    Null,
    Boolean,
    Integer(Whole),
    Number,
    String,
    /// Values that are no definition: whole numbers, truth values, or of several kinds.
    Literals(Vec<Literal>),
    Array(Box<Type>),
    Tuple(Vec<Type>),
    Map(Box<Type>),
    /// Or null.
    Nullable(Box<Type>),
    /// A definition, by its place in [`Types::definitions`].
    Named(usize),
}

/// Longest text that is written where it is used, and not by a name.
const WORD_BYTES_MAX: usize = 64;

/// A type that has a name.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Definition {
    pub(super) name: String,
    pub(super) docs: String,
    pub(super) body: Body,
}

impl Definition {
    /// Gives the one text that this is, where it is short enough to stand in place of the name.
    pub(super) fn word(&self) -> Option<&[Literal]> {
        match &self.body {
            Body::Words(words) => match words.as_slice() {
                [one] if one.value.as_str()?.len() <= WORD_BYTES_MAX => Some(words),
                _ => None,
            },
            _ => None,
        }
    }
}

/// What a name stands for.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Body {
    Struct(Fields),
    /// Texts; at least one.
    Words(Vec<Literal>),
    /// Two or more, none of them null.
    Union(Vec<Type>),
    /// Another type, that contains this one again.
    Alias(Type),
}

/// The members of an object.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Fields {
    pub(super) fields: Vec<Field>,
    /// What other members are, where the schema speaks of them.
    pub(super) rest: Option<Type>,
}

/// A member of an object.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) docs: String,
    pub(super) is_required: bool,
    pub(super) of: Type,
}

/// All types of one file, in the order in which they are written.
#[derive(Clone, Debug, Default)]
pub(super) struct Types {
    pub(super) definitions: Vec<Definition>,
}

impl Types {
    /// Gives the fields of a type that is an object with members of known names.
    pub(super) fn fields(&self, of: &Type) -> Option<&Fields> {
        match of {
            Type::Named(at) => match &self.definitions[*at].body {
                Body::Struct(fields) => Some(fields),
                _ => None,
            },
            _ => None,
        }
    }

    /// Gives for each definition those that a value of it holds in itself, not in an array or a map.
    pub(super) fn held(&self) -> Vec<Vec<usize>> {
        let bodies = self.definitions.iter().map(|one| &one.body);
        bodies
            .map(|body| {
                let mut found = Vec::new();
                match body {
                    Body::Struct(fields) => {
                        let types = fields.fields.iter().map(|field| &field.of);
                        types.for_each(|of| held(of, &mut found));
                    }
                    Body::Union(members) => members.iter().for_each(|one| held(one, &mut found)),
                    Body::Alias(of) => held(of, &mut found),
                    Body::Words(_) => {}
                }
                found
            })
            .collect()
    }
}

fn held(of: &Type, found: &mut Vec<usize>) {
    match of {
        Type::Named(at) => found.push(*at),
        Type::Nullable(inner) => held(inner, found),
        Type::Tuple(items) => items.iter().for_each(|item| held(item, found)),
        _ => {}
    }
}
