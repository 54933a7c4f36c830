//! Which alternatives a value tells apart by itself, so that it can be read as one of them and no other.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::model::{Body, Fields, Type, Types};

/// Most alternatives that are told apart; more are any value.
const ALTERNATIVES_MAX: usize = 64;

/// A set of kinds of JSON values.
type Kinds = u8;
const NULL: Kinds = 1;
const BOOLEAN: Kinds = 2;
const NUMBER: Kinds = 4;
const STRING: Kinds = 8;
const ARRAY: Kinds = 16;
const OBJECT: Kinds = 32;
const ALL: Kinds = 63;

/// The members of an object that must be one of some texts, with those texts.
type Marks<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;

/// What is known of each definition.
#[derive(Debug)]
pub(super) struct Told<'a> {
    types: &'a Types,
    is_any: fn(&Type) -> bool,
    kinds: Vec<Kinds>,
    marks: Vec<Marks<'a>>,
    /// Values of any kind are read as it.
    is_open: Vec<bool>,
    is_apart: Vec<bool>,
}

impl<'a> Told<'a> {
    /// Looks at all definitions; `is_any` says which types that are no definitions are any value in
    /// the language.
    pub(super) fn new(types: &'a Types, is_any: fn(&Type) -> bool) -> Self {
        let count = types.definitions.len();
        let mut told = Self {
            types,
            is_any,
            kinds: vec![0; count],
            marks: Vec::new(),
            is_open: vec![false; count],
            is_apart: vec![false; count],
        };
        told.find_kinds();
        let bodies = types.definitions.iter().map(|one| &one.body);
        told.marks = bodies
            .map(|body| match body {
                Body::Struct(fields) => told.marks_of(fields),
                _ => Marks::new(),
            })
            .collect();
        told.find_apart();
        told
    }

    /// Says of a union whether a value fits one alternative alone: they are of different kinds, or
    /// objects with different texts in a member that each must have. One may take what is left.
    pub(super) fn is_apart(&self, at: usize) -> bool {
        self.is_apart[at]
    }

    /// Gives the alternatives in the order in which a value is tried: an object would be read from an
    /// array, a text from an object, and what takes any value from each.
    pub(super) fn ordered<'t>(&self, members: &'t [Type]) -> Vec<&'t Type> {
        let mut ordered: Vec<&Type> = members.iter().collect();
        ordered.sort_by_key(|of| match of {
            of if self.is_open(of) => 3,
            Type::Named(at) if matches!(self.types.definitions[*at].body, Body::Words(_)) => 2,
            of if self.kinds(of) & OBJECT != 0 => 1,
            _ => 0,
        });
        ordered
    }

    fn find_kinds(&mut self) {
        let mut is_new = true;
        while is_new {
            is_new = false;
            // What is used comes after what uses it, mostly.
            for at in (0..self.kinds.len()).rev() {
                let found = match &self.types.definitions[at].body {
                    Body::Struct(_) => OBJECT,
                    Body::Words(_) => STRING,
                    Body::Union(members) => members.iter().fold(0, |all, of| all | self.kinds(of)),
                    Body::Alias(of) => self.kinds(of),
                };
                is_new |= found != self.kinds[at];
                self.kinds[at] = found;
            }
        }
    }

    fn kinds(&self, of: &Type) -> Kinds {
        match of {
            Type::Json => ALL,
            Type::Null => NULL,
            Type::Boolean => BOOLEAN,
            Type::Integer(_) | Type::Number => NUMBER,
            Type::String => STRING,
            Type::Literals(values) => values.iter().fold(0, |all, one| {
                all | match one.value {
                    Value::String(_) => STRING,
                    Value::Bool(_) => BOOLEAN,
                    _ => NUMBER,
                }
            }),
            Type::Array(_) | Type::Tuple(_) => ARRAY,
            Type::Map(_) => OBJECT,
            Type::Nullable(inner) => NULL | self.kinds(inner),
            Type::Named(at) => self.kinds[*at],
        }
    }

    fn marks_of(&self, fields: &'a Fields) -> Marks<'a> {
        let must = fields.fields.iter().filter(|field| field.is_required);
        must.filter_map(|field| {
            let Type::Named(at) = field.of else {
                return None;
            };
            let Body::Words(words) = &self.types.definitions[at].body else {
                return None;
            };
            let words = words.iter().filter_map(|one| one.value.as_str());
            Some((field.name.as_str(), words.collect()))
        })
        .collect()
    }

    fn find_apart(&mut self) {
        let unions: Vec<(usize, &'a [Type])> = self
            .types
            .definitions
            .iter()
            .enumerate()
            .filter_map(|(at, one)| match &one.body {
                Body::Union(members) => Some((at, members.as_slice())),
                _ => None,
            })
            .collect();
        for (at, members) in &unions {
            self.is_apart[*at] = self.differ(members);
        }
        // What is open makes other things open, until nothing new is.
        let mut is_new = true;
        while is_new {
            is_new = false;
            for at in (0..self.is_open.len()).rev() {
                let is_open = match &self.types.definitions[at].body {
                    Body::Union(members) => {
                        let open = members.iter().filter(|of| self.is_open(of)).count();
                        self.is_apart[at] &= open <= 1;
                        !self.is_apart[at] || open > 0
                    }
                    Body::Alias(of) => self.is_open(of),
                    Body::Struct(_) | Body::Words(_) => false,
                };
                is_new |= is_open != self.is_open[at];
                self.is_open[at] = is_open;
            }
        }
    }

    fn is_open(&self, of: &Type) -> bool {
        match of {
            Type::Named(at) => self.is_open[*at],
            Type::Nullable(inner) => self.is_open(inner),
            of => (self.is_any)(of),
        }
    }

    fn differ(&self, members: &[Type]) -> bool {
        members.len() <= ALTERNATIVES_MAX
            && members.iter().enumerate().all(|(number, one)| {
                members[..number].iter().all(|other| {
                    self.kinds(one) & self.kinds(other) == 0 || self.differ_in_mark(one, other)
                })
            })
    }

    fn differ_in_mark(&self, one: &Type, other: &Type) -> bool {
        let (Type::Named(one), Type::Named(other)) = (one, other) else {
            return false;
        };
        let (ours, theirs) = (&self.marks[*one], &self.marks[*other]);
        ours.iter().any(|(name, words)| {
            let same = theirs.get(name);
            same.is_some_and(|found| found.is_disjoint(words))
        })
    }
}
