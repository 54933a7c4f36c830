//! What a schema admits, without names: the sets of values that types can be made of.
//!
//! [`union`] is exact or wider; [`meet`] gives what two schemas admit together, or something wider.

use serde_json::Value;

/// Most alternatives that are combined one by one.
const ALTERNATIVES_MAX: usize = 64;

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
                    if !literals.iter().any(|one| one.value == literal.value) {
                        literals.push(literal);
                    }
                }
            }
            Shape::Integer(whole) => join_whole(&mut found, whole),
            shape if found.contains(&shape) => {}
            shape => found.push(shape),
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
    literals.retain(|one| !found.iter().any(|shape| admits(shape, &one.value)));
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

fn join_whole(found: &mut Vec<Shape>, whole: Whole) {
    for shape in found.iter_mut() {
        if let Shape::Integer(other) = shape {
            other.is_unsigned &= whole.is_unsigned;
            other.is_large |= whole.is_large;
            return;
        }
    }
    found.push(Shape::Integer(whole));
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
///
/// `resolve` gives what a reference leads to, if that is known yet.
pub(super) fn meet(a: Shape, b: Shape, resolve: &dyn Fn(&str) -> Option<Shape>) -> Option<Shape> {
    match (a, b) {
        (Shape::Json, other) | (other, Shape::Json) => Some(other),
        (Shape::Ref(a), Shape::Ref(b)) if a == b => Some(Shape::Ref(a)),
        (Shape::Ref(pointer), other) | (other, Shape::Ref(pointer)) => {
            let Some(target) = resolve(&pointer) else {
                return Some(Shape::Ref(pointer));
            };
            let met = meet(target.clone(), other, resolve)?;
            // What narrows nothing keeps its name.
            Some(if met == target {
                Shape::Ref(pointer)
            } else {
                met
            })
        }
        (Shape::Union(members), other) | (other, Shape::Union(members)) => {
            let count = match &other {
                Shape::Union(others) => others.len(),
                _ => 1,
            };
            if members.len().saturating_mul(count) > ALTERNATIVES_MAX {
                return Some(Shape::Union(members));
            }
            let met: Vec<Shape> = members
                .into_iter()
                .filter_map(|member| meet(member, other.clone(), resolve))
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
        (Shape::Struct(a), Shape::Struct(b)) => Some(Shape::Struct(meet_members(a, b, resolve))),
        (Shape::Struct(found), Shape::Map(_)) | (Shape::Map(_), Shape::Struct(found)) => {
            Some(Shape::Struct(found))
        }
        (Shape::Map(a), Shape::Map(b)) => {
            let value = meet(*a, *b, resolve).unwrap_or(Shape::Json);
            Some(Shape::Map(Box::new(value)))
        }
        (Shape::Array(a), Shape::Array(b)) => {
            let item = meet(*a, *b, resolve).unwrap_or(Shape::Json);
            Some(Shape::Array(Box::new(item)))
        }
        (Shape::Tuple(items), Shape::Array(_) | Shape::Tuple(_))
        | (Shape::Array(_), Shape::Tuple(items)) => Some(Shape::Tuple(items)),
        (a, b) => (a == b).then_some(a),
    }
}

fn meet_members(mut a: Struct, b: Struct, resolve: &dyn Fn(&str) -> Option<Shape>) -> Struct {
    for member in b.members {
        match a.members.iter_mut().find(|one| one.name == member.name) {
            None => a.members.push(member),
            Some(known) => {
                known.is_required |= member.is_required;
                let before = std::mem::replace(&mut known.shape, Shape::Json);
                known.shape = meet(before, member.shape, resolve).unwrap_or(Shape::Json);
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
