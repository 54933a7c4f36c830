//! Tests of checking, comparing and the JSON Schema.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::*;

fn schema() -> ConfigSchema {
    let key = |kind| ConfigKey {
        kind,
        ..ConfigKey::default()
    };
    let token = ConfigKey {
        secret: true,
        unique: true,
        required: true,
        ..key(ConfigType::String)
    };
    let poll = ConfigKey {
        default: Some(json!("5s")),
        hot: true,
        ..key(ConfigType::Duration)
    };
    let keys = [
        ("bot_token", token),
        ("poll", poll),
        ("retries", key(ConfigType::Integer)),
        ("ratio", key(ConfigType::Number)),
        ("chats", key(ConfigType::Array)),
        (
            "account",
            ConfigKey {
                unique: true,
                ..key(ConfigType::String)
            },
        ),
    ];
    let keys = keys
        .into_iter()
        .map(|(name, key)| (name.to_owned(), key))
        .collect();
    ConfigSchema {
        keys,
        is_open: false,
    }
}

fn map(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

/// Checks values and references; a file is where it is said to be, unless it is said to be missing.
fn check(
    schema: &ConfigSchema,
    literals: &Map<String, Value>,
    referenced: &BTreeMap<String, String>,
) -> Result<Checked, Vec<Problem>> {
    let given = literals
        .clone()
        .into_iter()
        .map(|(name, value)| (name, value.into()));
    let mut given: BTreeMap<String, Given> = given.collect();
    let texts = referenced.iter();
    given.extend(texts.map(|(name, text)| (name.clone(), Given::Referenced(text.clone()))));
    schema.check(&given, &|path, _| match path {
        "missing" => Err("names no file".to_owned()),
        path => Ok(format!("/etc/{path}")),
    })
}

fn token(value: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("bot_token".to_owned(), value.to_owned())])
}

#[test]
fn a_secret_leaves_the_config_and_a_default_fills_it() {
    let checked = check(&schema(), &map(json!({"retries": 3})), &token("s3cret")).unwrap();
    assert_eq!(
        Value::Object(checked.config.clone()),
        json!({"retries": 3, "bot_token": {"$secret": "bot_token"}, "poll": "5s"})
    );
    assert_eq!(checked.secrets["bot_token"], "s3cret");
    assert!(!format!("{checked:?}").contains("s3cret"));
}

#[test]
fn every_problem_is_reported_at_once() {
    let literals = map(json!({
        "bot_token": "s3cret", "pol": "5s", "retries": 1.5, "ratio": "x", "chats": {}, "poll": 5,
    }));
    let problems = check(&schema(), &literals, &BTreeMap::new()).unwrap_err();
    let text: Vec<String> = problems
        .iter()
        .map(|p| {
            format!(
                "{} {} / {}",
                p.code,
                p.message,
                p.hint.as_deref().unwrap_or("-")
            )
        })
        .collect();
    expect_test::expect![[r#"
        secret_literal bot_token is secret and stands in the file / write bot_token_env = "NAME_OF_A_VARIABLE" or bot_token = { file = "secrets/bot_token" }
        wrong_type chats has to be array, found object / -
        unknown_key unknown config key "pol" / did you mean "poll"?
        wrong_type poll has to be a duration with a unit: a bare number is seconds to one reader and milliseconds to the next: write "30s" or "250ms" / -
        wrong_type ratio has to be number, found string / -
        wrong_type retries has to be integer, found number / -"#]]
    .assert_eq(&text.join("\n"));
    assert!(!text.join("").contains("s3cret"));
}

#[test]
fn a_required_key_that_is_missing_is_an_error_and_an_empty_secret_too() {
    let problems = check(&schema(), &Map::new(), &BTreeMap::new()).unwrap_err();
    assert_eq!(problems[0].code, "missing_key");
    assert_eq!(
        problems[0].hint.as_deref(),
        Some("add bot_token_env = \"NAME_OF_A_VARIABLE\"")
    );
    let problems = check(&schema(), &Map::new(), &token("")).unwrap_err();
    assert_eq!(problems[0].code, "secret_missing");
}

#[test]
fn a_reference_fills_a_public_key_with_its_own_type() {
    let mut referenced = token("t");
    referenced.insert("retries".to_owned(), "7\n".to_owned());
    let checked = check(&schema(), &Map::new(), &referenced).unwrap();
    assert_eq!(checked.config["retries"], json!(7));
    referenced.insert("retries".to_owned(), "many".to_owned());
    let problems = check(&schema(), &Map::new(), &referenced).unwrap_err();
    assert_eq!(
        problems[0].message,
        "the value referred to by retries is no integer"
    );
}

#[test]
fn two_instances_with_one_unique_value_are_found_without_showing_it() {
    let a = check(&schema(), &Map::new(), &token("same")).unwrap();
    let b = check(&schema(), &Map::new(), &token("other")).unwrap();
    let c = check(&schema(), &Map::new(), &token("same")).unwrap();
    assert_eq!(
        schema().shared_values(&[&a, &b, &c]),
        vec![("bot_token".to_owned(), 0, 2)],
        "an absent unique key (account) is shared by nobody"
    );
}

#[test]
fn a_change_of_hot_keys_alone_needs_no_restart() {
    let with = |poll: &str, token_value: &str| {
        check(
            &schema(),
            &map(json!({ "poll": poll })),
            &token(token_value),
        )
        .unwrap()
    };
    assert!(schema().is_hot_change(&with("5s", "t"), &with("9s", "t")));
    assert!(!schema().is_hot_change(&with("5s", "t"), &with("9s", "u")));
    assert!(schema().is_hot_change(&with("5s", "t"), &with("5s", "t")));
}

#[test]
fn an_open_schema_takes_any_key_and_keeps_references_secret() {
    let open = ConfigSchema {
        keys: BTreeMap::new(),
        is_open: true,
    };
    let checked = check(&open, &map(json!({"any": [1]})), &token("t")).unwrap();
    assert_eq!(checked.config["any"], json!([1]));
    assert_eq!(checked.config["bot_token"], json!({"$secret": "bot_token"}));
}

/// A schema as a manifest declares it.
fn declared(config: &str) -> ConfigSchema {
    let begin = "[plugin]\nid = \"a\"\nversion = \"1.0.0\"\ncommand = [\"./a\"]\n";
    let manifest = crate::manifest::Manifest::parse(&format!("{begin}{config}"));
    manifest.unwrap().value.config
}

const EVERYTHING: &str = r#"
[config.mode]
type = "string"
options = ["poll", "webhook"]
default = "poll"
[config.url]
type = "string"
required = true
when = { mode = "webhook" }
pattern = "^https://"
max_length = 20
[config.strict]
type = "boolean"
default = false
when = { mode = "webhook" }
[config.retries]
type = "integer"
min = 0
max = 9
when = { strict = true }
[config.ratio]
type = "number"
min = 0.5
options = [0.5, 1, 2]
[config.chats]
type = "array"
items = { type = "integer", min = 1 }
min_items = 1
max_items = 2
[config.headers]
type = "object"
values = { type = "string", min_length = 2 }
max_items = 2
[config.token]
type = "string"
secret = true
unique = true
[config.poll]
type = "duration"
[config.logo]
type = "file"
[config.anything]
type = "object"
[config.proxy]
type = "object"
[config.proxy.fields.port]
type = "integer"
default = 3128
hot = true
[config.proxy.fields.host]
type = "string"
required = true
[config.proxy.fields.password]
type = "string"
secret = true
unique = true
[config.accounts]
type = "array"
[config.accounts.items]
type = "object"
[config.accounts.items.fields.name]
type = "string"
required = true
[config.accounts.items.fields.key]
type = "string"
secret = true
unique = true
"#;

/// Reads a value as the broker does: a table of one `env` is a reference where no table belongs.
fn given(value: &Value, key: Option<&ConfigKey>) -> Given {
    match value {
        Value::Object(entries) => {
            let is_table = key.is_some_and(|key| key.kind == ConfigType::Object);
            match entries.get("env") {
                Some(Value::String(text)) if !is_table && entries.len() == 1 => {
                    Given::Referenced(text.clone())
                }
                _ => {
                    let below = |name: &String| key.and_then(|key| key.below(name));
                    let each = entries.iter();
                    Given::Table(each.map(|(n, v)| (n.clone(), given(v, below(n)))).collect())
                }
            }
        }
        Value::Array(items) => {
            let item = key.and_then(|key| key.items.as_deref());
            Given::List(items.iter().map(|value| given(value, item)).collect())
        }
        value => Given::Literal(value.clone()),
    }
}

fn check_value(schema: &ConfigSchema, value: &Value) -> Result<Checked, Vec<Problem>> {
    let entries = value.as_object().unwrap().iter();
    let given = entries.map(|(name, value)| (name.clone(), given(value, schema.keys.get(name))));
    schema.check(&given.collect(), &|path, _| match path {
        "missing" => Err("names no file".to_owned()),
        path => Ok(format!("/etc/{path}")),
    })
}

/// Proves LN54: nested tables, lists, maps, files, secrets and conditions are checked, filled and
/// taken apart at every depth.
#[test]
fn nested_values_are_filled_and_taken_apart() {
    let checked = check_value(
        &declared(EVERYTHING),
        &json!({
            "mode": "webhook", "url": "https://a", "strict": true, "retries": 3.0,
            "chats": [1, 2], "headers": {"a": "bc"}, "logo": "logo.png",
            "proxy": {"host": "h", "password": {"env": "pw"}},
            "accounts": [{"name": "x", "key": {"env": "k0"}}, {"name": "y", "key": {"env": "k1"}}],
            "anything": {"env": "text"},
        }),
    )
    .unwrap();
    assert_eq!(
        Value::Object(checked.config),
        json!({
            "mode": "webhook", "url": "https://a", "strict": true, "retries": 3,
            "chats": [1, 2], "headers": {"a": "bc"}, "logo": "/etc/logo.png",
            "proxy": {"host": "h", "port": 3128, "password": {"$secret": "proxy.password"}},
            "accounts": [
                {"name": "x", "key": {"$secret": "accounts[0].key"}},
                {"name": "y", "key": {"$secret": "accounts[1].key"}},
            ],
            "anything": {"env": "text"},
        })
    );
    assert_eq!(checked.secrets["proxy.password"], "pw");
    assert_eq!(checked.secrets["accounts[1].key"], "k1");
}

/// Proves LN54: every problem is said at once, with its path, what was expected and what was found.
#[test]
fn every_problem_at_every_depth_is_said_at_once() {
    let problems = check_value(
        &declared(EVERYTHING),
        &json!({
            "mode": "pol", "ratio": 3, "chats": ["x", 0, 5], "headers": {"a": "b"}, "logo": "missing",
            "proxy": {"prt": 1, "password": "s3cret", "port": "x"},
            "accounts": [{"key": {"env": ""}}], "retries": 10,
        }),
    )
    .unwrap_err();
    let said = |problems: &[Problem]| -> String {
        let lines = problems.iter().map(|p| {
            let hint = p
                .hint
                .as_deref()
                .map_or(String::new(), |hint| format!(" / {hint}"));
            format!("{} {}{hint}", p.code, p.message)
        });
        lines.collect::<Vec<_>>().join("\n")
    };
    let text = said(&problems);
    assert!(!text.contains("s3cret"), "{text}");
    expect_test::expect![[r#"
        secret_missing the secret referred to by accounts[0].key is empty
        missing_key accounts[0].name is required and missing / add name = … (string)
        wrong_type chats[0] has to be integer, found string
        invalid_value chats[1] has to be at least 1, found 0
        invalid_value headers.a has to have at least 2 characters, found 1
        file_unusable logo names no file
        invalid_value mode has to be one of "poll", "webhook", found another / did you mean "poll"?
        secret_literal proxy.password is secret and stands in the file / write password_env = "NAME_OF_A_VARIABLE" or password = { file = "secrets/password" }
        wrong_type proxy.port has to be integer, found string
        unknown_key unknown config key "proxy.prt" / did you mean "port"?
        missing_key proxy.host is required and missing / add host = … (string)
        invalid_value ratio has to be one of 0.5, 1, 2, found another
        invalid_value retries has to be at most 9, found 10"#]].assert_eq(&text);
    let without = json!({"mode": "webhook", "retries": 1});
    let text = said(&check_value(&declared(EVERYTHING), &without).unwrap_err());
    expect_test::expect![[r#"
        inapplicable retries counts only with strict = true, and is given / leave it out; unset it where it is in common
        missing_key url is required with mode = "webhook", and is missing / add url = … (string)"#]].assert_eq(&text);
}

/// Proves P8c: one value of a unique key is found at every depth, and named by where it stands.
#[test]
fn a_shared_credential_is_found_in_tables_and_lists() {
    let schema = declared(EVERYTHING);
    let read = |value: Value| check_value(&schema, &value).unwrap();
    let a = read(json!({"proxy": {"host": "h", "password": {"env": "pw"}}, "token": {"env": "t"}}));
    let b = read(json!({"accounts": [{"name": "x", "key": {"env": "pw"}}]}));
    let c = read(json!({
        "proxy": {"host": "i", "password": {"env": "pw"}},
        "accounts": [{"name": "y", "key": {"env": "other"}}, {"name": "z", "key": {"env": "pw"}}],
    }));
    assert_eq!(
        schema.shared_values(&[&a, &b, &c]),
        [
            ("accounts[1].key".to_owned(), 1, 2),
            ("proxy.password".to_owned(), 0, 2),
        ]
    );
}

#[test]
fn a_secret_below_a_key_that_is_not_hot_needs_a_restart() {
    let schema = declared(EVERYTHING);
    let read = |port: u16, password: &str| {
        let proxy = json!({"host": "h", "port": port, "password": {"env": password}});
        check_value(&schema, &json!({ "proxy": proxy })).unwrap()
    };
    assert!(schema.is_hot_change(&read(1, "a"), &read(2, "a")));
    assert!(!schema.is_hot_change(&read(1, "a"), &read(1, "b")));
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    fn scalar() -> impl Strategy<Value = Value> {
        prop_oneof![
            any::<bool>().prop_map(Value::from),
            (-2..12i64).prop_map(Value::from),
            prop_oneof![Just(0.5), Just(1.0), Just(2.5)].prop_map(Value::from),
            prop_oneof![
                Just("poll"),
                Just("webhook"),
                Just("https://a"),
                Just("https://a-very-long-one"),
                Just("5s"),
                Just("5 s"),
                Just(""),
                Just("ab"),
            ]
            .prop_map(Value::from),
        ]
    }

    fn reference() -> impl Strategy<Value = Value> {
        Just(json!({ "env": "NAME" }))
    }

    fn proxy() -> impl Strategy<Value = Value> {
        let member = prop_oneof![scalar(), reference()];
        let name = prop_oneof![Just("host"), Just("port"), Just("password"), Just("what")];
        table(name, member, 4)
    }

    fn table(
        name: impl Strategy<Value = &'static str>,
        member: impl Strategy<Value = Value>,
        most: usize,
    ) -> impl Strategy<Value = Value> {
        let entries = proptest::collection::vec((name, member), 0..most);
        entries.prop_map(|entries| {
            let entries = entries.into_iter();
            Value::Object(
                entries
                    .map(|(name, value)| (name.to_owned(), value))
                    .collect(),
            )
        })
    }

    fn config() -> impl Strategy<Value = Value> {
        let name = prop_oneof![
            Just("mode"),
            Just("url"),
            Just("strict"),
            Just("retries"),
            Just("ratio"),
            Just("chats"),
            Just("headers"),
            Just("token"),
            Just("poll"),
            Just("anything"),
            Just("proxy"),
            Just("accounts"),
            Just("unknown"),
        ];
        let account = table(
            prop_oneof![Just("name"), Just("key")],
            prop_oneof![scalar(), reference()],
            3,
        );
        let member = prop_oneof![
            6 => scalar(),
            1 => reference(),
            2 => proxy(),
            1 => proptest::collection::vec(scalar(), 0..4).prop_map(Value::from),
            1 => proptest::collection::vec(account, 0..3).prop_map(Value::from),
        ];
        table(name, member, 5)
    }

    /// Tells whether a key that is no secret and no table refers to its value, which a JSON Schema
    /// does not see.
    fn refers(value: &Value, key: Option<&ConfigKey>) -> bool {
        match (given(value, key), key) {
            (Given::Referenced(_), Some(key)) => !key.secret,
            (Given::Table(_), _) => value.as_object().is_some_and(|entries| {
                let below = |name: &String| key.and_then(|key| key.below(name));
                entries
                    .iter()
                    .any(|(name, value)| refers(value, below(name)))
            }),
            (Given::List(_), _) => value.as_array().is_some_and(|items| {
                let item = key.and_then(|key| key.items.as_deref());
                items.iter().any(|value| refers(value, item))
            }),
            _ => false,
        }
    }

    /// Takes a config through both checks; gives whether it is right, if they can be compared.
    fn judge(
        validator: &jsonschema::Validator,
        schema: &ConfigSchema,
        value: &Value,
    ) -> Option<bool> {
        let entries = value.as_object().unwrap();
        if entries
            .iter()
            .any(|(name, value)| refers(value, schema.keys.get(name)))
        {
            return None;
        }
        let checked = check_value(schema, value);
        assert_eq!(
            checked.is_ok(),
            validator.is_valid(value),
            "{value}\n{checked:?}"
        );
        Some(checked.is_ok())
    }

    /// Proves LN54: the JSON Schema of a config and the check that the daemon does agree.
    #[test]
    fn the_json_schema_and_the_check_agree() {
        let schema = declared(EVERYTHING);
        let document = schema.json_schema("a");
        let validator = jsonschema::validator_for(&document).unwrap();
        let mut runner = proptest::test_runner::TestRunner::deterministic();
        let (mut right, mut wrong) = (0, 0);
        for _ in 0..4000 {
            let tree = config().new_tree(&mut runner).unwrap();
            match judge(
                &validator,
                &schema,
                &proptest::strategy::ValueTree::current(&tree),
            ) {
                Some(true) => right += 1,
                Some(false) => wrong += 1,
                None => {}
            }
        }
        assert!(right > 200 && wrong > 200, "{right} right, {wrong} wrong");
    }
}
