//! What references of one document lead to, and the types that were made of it.

use std::collections::{BTreeMap, BTreeSet};

use super::budget::Budget;
use super::circles::circles;
use super::model::Type;
use super::read::Reader;
use super::shape::Shape;

/// Deepest nesting of what is not named by itself; what lies deeper is any value.
const NESTING_MAX: usize = 128;

/// A document that types are made of.
#[derive(Debug)]
pub(super) struct Document {
    refs: BTreeMap<String, Shape>,
    /// Pointers to what contains itself.
    recursive: BTreeSet<String>,
    /// Pointers to what is itself again before it is anything.
    endless: BTreeSet<String>,
    /// Set before the type is finished, so that it may name itself.
    pub(super) made: BTreeMap<String, Type>,
    /// Begins the names of its definitions.
    pub(super) prefix: String,
    pub(super) budget: Budget,
    depth: usize,
}

impl Document {
    pub(super) fn new(reader: Reader<'_>, prefix: &str) -> Self {
        let (refs, budget) = reader.into_refs();
        let recursive = pointers_in_circles(&refs, &inner_refs);
        let endless = pointers_in_circles(&refs, &|shape, found| match shape {
            Shape::Ref(next) => found.push(next.clone()),
            Shape::Union(members) => found.extend(members.iter().filter_map(|one| match one {
                Shape::Ref(next) => Some(next.clone()),
                _ => None,
            })),
            _ => {}
        });
        Self {
            refs,
            recursive,
            endless,
            made: BTreeMap::new(),
            prefix: prefix.to_owned(),
            budget,
            depth: 0,
        }
    }

    /// Gives what a pointer leads to, if that is anything.
    pub(super) fn target(&self, pointer: &str) -> Option<&Shape> {
        let target = self.refs.get(pointer);
        target.filter(|_| !self.endless.contains(pointer))
    }

    /// Says whether anything refers to the whole of it.
    pub(super) fn refers_to_itself(&self) -> bool {
        self.refs.contains_key("")
    }

    /// Says whether what a reference leads to contains itself.
    pub(super) fn is_recursive(&self, pointer: &str) -> bool {
        self.recursive.contains(pointer)
    }

    /// Goes one step into a shape, and takes what its type weighs; says whether there was room.
    pub(super) fn enter(&mut self, shape: &Shape) -> bool {
        let parts = match shape {
            Shape::Literals(_) => shape.weight(),
            _ => 1,
        };
        let has_room = self.depth < NESTING_MAX && self.budget.take(parts);
        self.depth += usize::from(has_room);
        has_room
    }

    /// Goes back out of a shape.
    pub(super) fn leave(&mut self) {
        self.depth -= 1;
    }
}

fn pointers_in_circles(
    refs: &BTreeMap<String, Shape>,
    next: &dyn Fn(&Shape, &mut Vec<String>),
) -> BTreeSet<String> {
    let places: BTreeMap<&String, usize> = refs.keys().zip(0..).collect();
    let edges: Vec<Vec<usize>> = refs
        .values()
        .map(|shape| {
            let mut found = Vec::new();
            next(shape, &mut found);
            found
                .iter()
                .filter_map(|pointer| places.get(pointer).copied())
                .collect()
        })
        .collect();
    let is_in_circle = circles(&edges);
    let pointers = refs.keys().zip(is_in_circle);
    pointers
        .filter(|(_, is_in_circle)| *is_in_circle)
        .map(|(pointer, _)| pointer.clone())
        .collect()
}

fn inner_refs(shape: &Shape, found: &mut Vec<String>) {
    match shape {
        Shape::Ref(pointer) => found.push(pointer.clone()),
        Shape::Array(inner) | Shape::Map(inner) => inner_refs(inner, found),
        Shape::Tuple(all) | Shape::Union(all) => all.iter().for_each(|one| inner_refs(one, found)),
        Shape::Struct(one) => {
            one.members
                .iter()
                .for_each(|member| inner_refs(&member.shape, found));
            one.rest.iter().for_each(|rest| inner_refs(rest, found));
        }
        _ => {}
    }
}
