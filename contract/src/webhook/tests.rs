use super::*;

fn read(text: &str) -> Result<Webhook, String> {
    let read: Webhook = serde_json::from_str(text).map_err(|error| error.to_string())?;
    read.check()
        .map_err(|(key, text)| format!("{key}: {text}"))?;
    Ok(read)
}

#[test]
fn a_declaration_is_read_with_one_secret_or_several() {
    let one = r#"{"kind":"github","verify":"github","secret":"{config.key}"}"#;
    let read_one = read(one).unwrap();
    assert_eq!(
        read_one,
        Webhook::new("github", Scheme::Github, "{config.key}")
    );
    assert_eq!(read_one.methods, ["POST"]);
    let two = r#"{"kind":"a","name":"b","verify":"standard","secrets":["{config.new}","{config.old}"],"respond":"3s","id":"header:X-Id"}"#;
    let read_two = read(two).unwrap();
    assert_eq!(read_two.label(), "a/b");
    assert_eq!(read_two.config_keys().collect::<Vec<_>>(), ["new", "old"]);
    let again: Webhook = serde_json::from_value(serde_json::to_value(&read_two).unwrap()).unwrap();
    assert_eq!(again, read_two);
}

#[test]
fn what_would_not_be_checked_is_refused() {
    let refused = |extra: &str| {
        let text = format!(r#"{{"kind":"a","verify":"generic","secret":"{{config.s}}",{extra}}}"#);
        read(&text).unwrap_err()
    };
    let unsigned =
        r#""signature":{"header":"X-S","template":"{timestamp}","timestamp":"header:X-T"}"#;
    assert!(refused(unsigned).contains("{body}"));
    let untimed = r#""signature":{"header":"X-S","template":"{timestamp}.{body}"}"#;
    assert!(refused(untimed).contains("timestamp ="));
    let unproven = r#""signature":{"header":"X-S","timestamp":"header:X-T"}"#;
    assert!(refused(unproven).contains("unsigned time"));
    let no_id = r#""signature":{"header":"X-S","template":"{id}.{body}"}"#;
    assert!(refused(no_id).starts_with("id: "));
    assert!(refused(r#""signature":{"header":"X S"}"#).contains("name of a header"));
    assert!(refused(r#""signature":{"header":"X","template":"{x}{body}"}"#).contains("{x}"));
    assert!(refused(r#""methods":["post"],"signature":{"header":"X"}"#).contains("methods"));
    assert!(refused(r#""respond":"1h","signature":{"header":"X"}"#).contains("respond"));
    assert!(refused(r#""color":1"#).contains("unknown field"));
    assert!(read(r#"{"kind":"a","verify":"generic","secret":"{config.s}"}"#).is_err());
    assert!(read(r#"{"kind":"a","verify":"slack","secret":[]}"#).is_err());
    assert!(read(r#"{"kind":"a","verify":"slack","secret":"{config.}"}"#).is_err());
    assert!(
        read(r#"{"kind":"a","verify":"github","secret":"{config.s}","id":"delivery"}"#).is_err()
    );
    // Every reader of a manifest would know it.
    assert!(read(r#"{"kind":"a","verify":"github","secret":"s"}"#).is_err());
}

#[test]
fn a_secret_is_filled_with_the_values_of_the_config() {
    let value = |key: &str| (key == "a").then(|| "1".to_owned());
    assert_eq!(Webhook::filled("x{config.a}y", value), Ok("x1y".to_owned()));
    assert_eq!(Webhook::filled("{config.b}", value), Err("b".to_owned()));
}

#[test]
fn every_scheme_is_written_as_it_is_read() {
    for (word, scheme) in Scheme::WORDS {
        let text = format!("{word:?}");
        assert_eq!(serde_json::from_str::<Scheme>(&text).unwrap(), *scheme);
        assert_eq!(scheme.as_str(), *word);
    }
    for (word, algorithm) in Algorithm::WORDS {
        assert_eq!(
            serde_json::to_string(algorithm).unwrap(),
            format!("{word:?}")
        );
    }
}
