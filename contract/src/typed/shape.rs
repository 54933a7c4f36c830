//! What a schema admits, without names: the sets of values that types can be made of.
//!
//! [`union`] is exact or wider; [`meet`] gives what two schemas admit together, or something wider.

use std::cell::Cell;
use std::collections::BTreeMap;

use serde_json::Value;

use super::budget::{Budget, weight_of};

/// Most alternatives that are combined one by one.
const ALTERNATIVES_MAX: usize = 64;
/// Most alternatives of a union; what has more is any value.
const UNION_MAX: usize = 1_024;
/// Most values that are listed; more are all of their kinds.
const LITERALS_MAX: usize = 4_096;
/// The largest whole number up to which a double holds all of them.
pub(super) const DOUBLE_WHOLE_MAX: f64 = 9_007_199_254_740_991.0;
/// Most references that are followed to join the schemas of one place.
const FOLLOWED_MAX: u32 = 64;

/// A set of JSON values.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Shape {
    /// Any value.
    Json,
    Null,
    Boolean,
    /// A whole number.
    Integer(Whole),
    Number,
    String,
    /// These texts, whole numbers and truth values; never empty.
    Literals(Vec<Literal>),
    Array(Box<Shape>),
    /// An array with an item of each of these.
    Tuple(Vec<Shape>),
    /// An object whose members have any name.
    Map(Box<Shape>),
    Struct(Struct),
    /// Two or more, none of them a union or any value.
    Union(Vec<Shape>),
    /// What a pointer into the document leads to.
    Ref(String),
}

/// What is known of a whole number's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Whole {
    /// It is never negative.
    pub(super) is_unsigned: bool,
    /// It is said to go beyond what a double holds exactly.
    pub(super) is_large: bool,
}

/// One value that is admitted.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Literal {
    pub(super) value: Value,
    pub(super) docs: String,
}

/// An object with members of known names.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Struct {
    pub(super) docs: String,
    pub(super) members: Vec<Member>,
    /// It has no other members.
    pub(super) is_closed: bool,
    /// What its other members are, where the schema speaks of them.
    pub(super) rest: Option<Box<Shape>>,
}

/// A member of an object.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) docs: String,
    pub(super) is_required: bool,
    pub(super) shape: Shape,
}

impl Shape {
    /// Takes null out of it; says whether it was there.
    pub(super) fn without_null(self) -> (Shape, bool) {
        match self {
            Shape::Union(mut members) => {
                let count = members.len();
                members.retain(|member| *member != Shape::Null);
                let had_null = members.len() < count;
                (union(members), had_null)
            }
            other => (other, false),
        }
    }

    /// Says how much there is to copy: parts, and what texts weigh.
    pub(super) fn weight(&self) -> usize {
        let inner: usize = match self {
            Shape::Literals(literals) => literals
                .iter()
                .map(|one| 1 + weight_of(&one.docs) + one.value.as_str().map_or(0, weight_of))
                .sum(),
            Shape::Array(inner) | Shape::Map(inner) => inner.weight(),
            Shape::Tuple(all) | Shape::Union(all) => all.iter().map(Shape::weight).sum(),
            Shape::Struct(found) => {
                let members = found.members.iter().map(|one| {
                    1 + weight_of(&one.name) + weight_of(&one.docs) + one.shape.weight()
                });
                let rest = found.rest.as_ref().map_or(0, |rest| rest.weight());
                members.sum::<usize>() + rest + weight_of(&found.docs)
            }
            Shape::Ref(pointer) => weight_of(pointer),
            _ => 0,
        };
        1 + inner
    }
}

/// What may be looked up and copied while schemas are joined.
pub(super) struct Joining<'a> {
    refs: &'a BTreeMap<String, Option<Shape>>,
    budget: &'a Budget,
    follows_left: Cell<u32>,
}

impl<'a> Joining<'a> {
    /// Begins at one place of a document; of what references lead to, some may not be known yet.
    pub(super) fn new(refs: &'a BTreeMap<String, Option<Shape>>, budget: &'a Budget) -> Self {
        Self {
            refs,
            budget,
            follows_left: Cell::new(FOLLOWED_MAX),
        }
    }

    /// Says whether there is room for so many copies.
    fn may_copy(&self, shape: &Shape, count: usize) -> bool {
        !self.budget.is_spent() && self.budget.take(shape.weight().saturating_mul(count))
    }

    /// Gives a copy of what a reference leads to.
    fn target(&self, pointer: &str) -> Option<Shape> {
        let left = self.follows_left.get().checked_sub(1)?;
        self.follows_left.set(left);
        let target = self.refs.get(pointer)?.as_ref()?;
        self.may_copy(target, 1).then(|| target.clone())
    }
}

/// Gives what any of these admits.
pub(super) fn union(shapes: Vec<Shape>) -> Shape {
    let mut found: Vec<Shape> = Vec::new();
    let mut literals: Vec<Literal> = Vec::new();
    for shape in flat(shapes) {
        match shape {
            Shape::Json => return Shape::Json,
            Shape::Literals(more) => {
                for literal in more {
                    if widen(&mut found, &literal.value) {
                        continue;
                    }
                    if literals.len() == LITERALS_MAX {
                        for one in std::mem::take(&mut literals) {
                            add(&mut found, kind_of(&one.value));
                        }
                    }
                    if !literals.iter().any(|one| one.value == literal.value) {
                        literals.push(literal);
                    }
                }
            }
            shape => add(&mut found, shape),
        }
        if found.len() > UNION_MAX {
            return Shape::Json;
        }
    }
    if found.contains(&Shape::Number) {
        found.retain(|shape| !matches!(shape, Shape::Integer(_)));
    }
    let both = [true, false].map(Value::Bool);
    if both
        .iter()
        .all(|value| literals.iter().any(|one| one.value == *value))
    {
        literals.retain(|one| !one.value.is_boolean());
        if !found.contains(&Shape::Boolean) {
            found.push(Shape::Boolean);
        }
    }
    literals.retain(|one| !widen(&mut found, &one.value));
    if !literals.is_empty() {
        found.push(Shape::Literals(literals));
    }
    match found.len() {
        0 => Shape::Json,
        1 => found.swap_remove(0),
        _ => Shape::Union(found),
    }
}

fn flat(shapes: Vec<Shape>) -> Vec<Shape> {
    let mut all = Vec::new();
    for shape in shapes {
        match shape {
            Shape::Union(members) => all.extend(members),
            other => all.push(other),
        }
    }
    all
}

fn add(found: &mut Vec<Shape>, shape: Shape) {
    match shape {
        Shape::Integer(whole) => join_whole(found, whole),
        shape if found.contains(&shape) => {}
        shape => found.push(shape),
    }
}

/// Gives all values of a literal's kind.
fn kind_of(value: &Value) -> Shape {
    match value {
        Value::String(_) => Shape::String,
        Value::Bool(_) => Shape::Boolean,
        Value::Number(_) => Shape::Integer(whole_of(value)),
        Value::Null | Value::Array(_) | Value::Object(_) => Shape::Json,
    }
}

/// Says whether a literal is one of these kinds; whole numbers are made as wide as it is.
fn widen(found: &mut [Shape], value: &Value) -> bool {
    match found.iter_mut().find(|shape| admits(shape, value)) {
        Some(Shape::Integer(whole)) => {
            whole.join(whole_of(value));
            true
        }
        other => other.is_some(),
    }
}

/// Gives the size of a whole number.
fn whole_of(value: &Value) -> Whole {
    Whole {
        is_unsigned: value.is_u64(),
        is_large: value.as_f64().is_some_and(|n| n.abs() > DOUBLE_WHOLE_MAX),
    }
}

fn join_whole(found: &mut Vec<Shape>, whole: Whole) {
    for shape in found.iter_mut() {
        if let Shape::Integer(other) = shape {
            return other.join(whole);
        }
    }
    found.push(Shape::Integer(whole));
}

impl Whole {
    fn join(&mut self, other: Whole) {
        self.is_unsigned &= other.is_unsigned;
        self.is_large |= other.is_large;
    }
}

/// Says whether a shape admits a literal's value.
fn admits(shape: &Shape, value: &Value) -> bool {
    match shape {
        Shape::Json => true,
        Shape::String => value.is_string(),
        Shape::Boolean => value.is_boolean(),
        Shape::Integer(_) | Shape::Number => value.is_number(),
        Shape::Literals(literals) => literals.iter().any(|one| one.value == *value),
        _ => false,
    }
}

/// Gives what both admit, or something wider; `None` if that is nothing.
pub(super) fn meet(a: Shape, b: Shape, joining: &Joining<'_>) -> Option<Shape> {
    match (a, b) {
        (Shape::Json, other) | (other, Shape::Json) => Some(other),
        (Shape::Ref(a), Shape::Ref(b)) if a == b => Some(Shape::Ref(a)),
        (Shape::Ref(pointer), other) | (other, Shape::Ref(pointer)) => {
            let Some(target) = joining.target(&pointer) else {
                return Some(Shape::Ref(pointer));
            };
            let met = meet(target, other, joining)?;
            // What narrows nothing keeps its name.
            let is_same = joining.refs.get(&pointer).and_then(Option::as_ref) == Some(&met);
            Some(if is_same { Shape::Ref(pointer) } else { met })
        }
        (Shape::Union(members), other) | (other, Shape::Union(members)) => {
            let count = match &other {
                Shape::Union(others) => others.len(),
                _ => 1,
            };
            if members.len().saturating_mul(count) > ALTERNATIVES_MAX
                || !joining.may_copy(&other, members.len())
            {
                return Some(Shape::Union(members));
            }
            let met: Vec<Shape> = members
                .into_iter()
                .filter_map(|member| meet(member, other.clone(), joining))
                .collect();
            (!met.is_empty()).then(|| union(met))
        }
        (Shape::Literals(mut literals), other) | (other, Shape::Literals(mut literals)) => {
            literals.retain(|one| admits(&other, &one.value));
            (!literals.is_empty()).then_some(Shape::Literals(literals))
        }
        (Shape::Integer(a), Shape::Integer(b)) => Some(Shape::Integer(Whole {
            is_unsigned: a.is_unsigned || b.is_unsigned,
            is_large: a.is_large && b.is_large,
        })),
        (Shape::Integer(whole), Shape::Number) | (Shape::Number, Shape::Integer(whole)) => {
            Some(Shape::Integer(whole))
        }
        (Shape::Struct(a), Shape::Struct(b)) => Some(Shape::Struct(meet_members(a, b, joining))),
        (Shape::Struct(found), Shape::Map(_)) | (Shape::Map(_), Shape::Struct(found)) => {
            Some(Shape::Struct(found))
        }
        (Shape::Map(a), Shape::Map(b)) => {
            let value = meet(*a, *b, joining).unwrap_or(Shape::Json);
            Some(Shape::Map(Box::new(value)))
        }
        (Shape::Array(a), Shape::Array(b)) => {
            let item = meet(*a, *b, joining).unwrap_or(Shape::Json);
            Some(Shape::Array(Box::new(item)))
        }
        (Shape::Tuple(items), Shape::Array(_) | Shape::Tuple(_))
        | (Shape::Array(_), Shape::Tuple(items)) => Some(Shape::Tuple(items)),
        (a, b) => (a == b).then_some(a),
    }
}

fn meet_members(mut a: Struct, b: Struct, joining: &Joining<'_>) -> Struct {
    let names = a.members.iter().map(|one| one.name.clone());
    let places: BTreeMap<String, usize> = names.zip(0..).collect();
    for member in b.members {
        match places.get(&member.name) {
            None => a.members.push(member),
            Some(at) => {
                let known = &mut a.members[*at];
                known.is_required |= member.is_required;
                let before = std::mem::replace(&mut known.shape, Shape::Json);
                known.shape = meet(before, member.shape, joining).unwrap_or(Shape::Json);
                if known.docs.is_empty() {
                    known.docs = member.docs;
                }
            }
        }
    }
    if a.docs.is_empty() {
        a.docs = b.docs;
    }
    a.is_closed |= b.is_closed;
    // Of two sayings about the rest the wider is kept: there is one place for it.
    a.rest = match (a.rest, b.rest) {
        (Some(a), Some(b)) if a != b => Some(Box::new(Shape::Json)),
        (Some(rest), _) | (None, Some(rest)) => Some(rest),
        (None, None) => None,
    };
    a
}
