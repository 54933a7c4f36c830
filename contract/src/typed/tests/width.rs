//! The invariant that no type is too narrow, on any schema and any value.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::collect::Collector;
use super::super::model::{Body, Type, Types};

/// Says whether a type admits a value, as the languages do.
fn admits(of: &Type, value: &Value, types: &Types) -> bool {
    match of {
        Type::Json => true,
        Type::Null => value.is_null(),
        Type::Boolean => value.is_boolean(),
        // With a fraction of nothing it is whole, too; Rust's integers are said to be narrower.
        Type::Integer(whole) => value
            .as_f64()
            .is_some_and(|n| n.fract() == 0.0 && !(whole.is_unsigned && n < 0.0)),
        Type::Number => value.is_number(),
        Type::String => value.is_string(),
        Type::Literals(all) => all.iter().any(|one| {
            one.value == *value || (value.is_f64() && one.value.as_f64() == value.as_f64())
        }),
        Type::Array(item) => value
            .as_array()
            .is_some_and(|all| all.iter().all(|one| admits(item, one, types))),
        Type::Tuple(items) => value.as_array().is_some_and(|all| {
            all.len() == items.len()
                && all
                    .iter()
                    .zip(items)
                    .all(|(one, item)| admits(item, one, types))
        }),
        Type::Map(item) => value
            .as_object()
            .is_some_and(|all| all.values().all(|one| admits(item, one, types))),
        Type::Nullable(inner) => value.is_null() || admits(inner, value, types),
        Type::Named(at) => match &types.definitions[*at].body {
            Body::Struct(fields) => value.as_object().is_some_and(|object| {
                fields
                    .fields
                    .iter()
                    .all(|field| match object.get(&field.name) {
                        None => !field.is_required,
                        Some(found) => admits(&field.of, found, types),
                    })
            }),
            Body::Words(all) => all.iter().any(|one| one.value == *value),
            Body::Union(members) => members.iter().any(|one| admits(one, value, types)),
            Body::Alias(of) => admits(of, value, types),
        },
    }
}

fn any_schema() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!(true)),
        Just(json!({})),
        Just(json!({"$ref": "#/$defs/a"})),
        Just(json!({"$ref": "#/$defs/b"})),
        Just(json!({"enum": ["x", 1, null, true]})),
        Just(json!({"const": "x"})),
        Just(json!({"const": -1})),
        Just(json!({"type": ["string", "null"]})),
        Just(json!({"type": "integer", "minimum": 0})),
        prop::sample::select(vec![
            "string", "integer", "number", "boolean", "null", "object", "array"
        ])
        .prop_map(|name| json!({ "type": name })),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        let several = || prop::collection::vec(inner.clone(), 1..3);
        prop_oneof![
            several().prop_map(|all| json!({ "anyOf": all })),
            several().prop_map(|all| json!({ "allOf": all })),
            (several(), any::<bool>()).prop_map(|(all, is_exact)| {
                let count = if is_exact { Some(all.len()) } else { None };
                json!({"type": "array", "prefixItems": all, "minItems": count, "maxItems": count})
            }),
            inner.clone().prop_map(|item| json!({"type": "array", "items": item})),
            (inner.clone(), inner.clone(), any::<bool>()).prop_map(|(a, rest, is_required)| {
                let required = if is_required { vec!["a"] } else { vec![] };
                json!({"type": "object", "properties": {"a": a}, "required": required,
                    "additionalProperties": rest})
            }),
            (inner.clone(), inner).prop_map(|(a, b)| {
                json!({"type": ["object", "string"], "properties": {"a": a, "b": b}, "allOf": [{"required": ["a"]}]})
            }),
        ]
    })
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!("x")),
        Just(json!("y")),
        Just(json!(1)),
        Just(json!(-1)),
        Just(json!(1.5)),
        Just(json!(1.0)),
        Just(json!(1_u64 << 63)),
        Just(json!(null)),
        Just(json!(true)),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[abc]", inner, 0..3)
                .prop_map(|all| Value::Object(all.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Proves X4: a type admits every value that its schema admits.
    #[test]
    fn no_type_is_too_narrow(
        schema in any_schema(),
        a in any_schema(),
        b in any_schema(),
        values in prop::collection::vec(any_value(), 1..8),
    ) {
        let mut schema = json!({"allOf": [schema], "$defs": {"a": a, "b": b}});
        remove_nulls(&mut schema);
        let Ok(validator) = jsonschema::draft202012::new(&schema) else {
            return Ok(());
        };
        let mut collector = Collector::new();
        let of = collector.add(&schema, "Root", "Root");
        let names: BTreeSet<&str> =
            collector.types.definitions.iter().map(|one| one.name.as_str()).collect();
        prop_assert_eq!(names.len(), collector.types.definitions.len());
        for value in values {
            prop_assert!(
                !validator.is_valid(&value) || admits(&of, &value, &collector.types),
                "{} fits {}, but not {:?} of {:?}", value, schema, of, collector.types
            );
        }
    }
}

/// Takes out the bounds of arrays that are null, which are none.
fn remove_nulls(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            map.retain(|name, value| !(name.ends_with("Items") && value.is_null()));
            map.values_mut().for_each(remove_nulls);
        }
        Value::Array(all) => all.iter_mut().for_each(remove_nulls),
        _ => {}
    }
}
