//! `[[webhooks]]` of a `plugin.toml`.

use super::Channel;
use super::fields::{check_kind, texts};
use crate::config_schema::ConfigSchema;
use crate::limits::WEBHOOKS_MAX;
use crate::message::{Level, ReceiptState};
use crate::toml::{Kind, Place, Sink, TableReader};
use crate::webhook::{
    Algorithm, Encoding, EventId, KeyForm, PartFields, ReceiptFields, Scheme, Signature, Webhook,
};

/// Reads every `[[webhooks]]`.
pub(super) fn read(
    root: &TableReader<'_>,
    channels: &[Channel],
    config: &ConfigSchema,
) -> Vec<Webhook> {
    let mut webhooks: Vec<Webhook> = Vec::new();
    for table in root.tables("webhooks") {
        let place = table.place().clone();
        let sink = table.sink();
        if webhooks.len() == WEBHOOKS_MAX {
            let message = format!("a plugin has at most {WEBHOOKS_MAX} webhooks");
            sink.error("quota_exceeded", &place, message);
            break;
        }
        let Some(webhook) = read_webhook(table) else {
            continue;
        };
        check_names(&webhook, channels, config, sink, &place);
        if webhooks
            .iter()
            .any(|other| other.label() == webhook.label())
        {
            let message = format!("webhook {:?} is declared twice", webhook.label());
            let hint = "give each a name of its own: it is the end of its path";
            sink.error_hint("duplicate", &place, message, hint);
        } else {
            webhooks.push(webhook);
        }
    }
    webhooks
}

/// Checks what a declaration names beside itself.
fn check_names(
    webhook: &Webhook,
    channels: &[Channel],
    config: &ConfigSchema,
    sink: &Sink,
    place: &Place,
) {
    if !channels.iter().any(|channel| channel.kind == webhook.kind) {
        let message = format!(
            "webhooks.kind {:?} is no channel of this plugin",
            webhook.kind
        );
        let hint = format!("add [[channels]] with kind = {:?}", webhook.kind);
        sink.error_hint("invalid_value", place, message, hint);
    }
    let channel = channels.iter().find(|channel| channel.kind == webhook.kind);
    let tells = channel.and_then(|channel| channel.features.receipts.as_ref());
    if webhook.receipt.is_some() && tells == Some(&Level::None) {
        let message = "webhooks.receipt tells what the channel declares that it does not tell";
        let hint = "channels.features.receipts is \"none\": say partial or full, or leave one out";
        sink.error_hint("invalid_value", place, message, hint);
    }
    for key in webhook.config_keys() {
        match config.keys.get(key) {
            Some(found) if found.secret => {}
            Some(_) => {
                let message = format!("config.{key} holds a secret of a webhook and is not secret");
                let hint = format!("add secret = true to [config.{key}]");
                sink.error_hint("invalid_value", place, message, hint);
            }
            None => {
                let message = format!("{{config.{key}}} names no key of this plugin's config");
                let hint = format!("add [config.{key}] with type = \"string\" and secret = true");
                sink.error_hint("invalid_value", place, message, hint);
            }
        }
    }
}

fn read_webhook(table: TableReader<'_>) -> Option<Webhook> {
    if table.entry("kind").is_none() {
        table.missing("kind", r#"add kind = "github""#);
    }
    if table.entry("verify").is_none() {
        table.missing(
            "verify",
            r#"add verify = "standard", or the name of another scheme"#,
        );
    }
    let kind = table.text_at("kind");
    if let Some((kind, place)) = kind {
        check_kind(table.sink(), "webhooks.kind", kind, place);
    }
    let name = table.text("name");
    let verify = table.choice("verify", Scheme::WORDS);
    let secret = read_secrets(&table);
    let signature = table.table("signature").map(read_signature);
    let id = table.text_at("id").and_then(|(text, place)| {
        let id = EventId::parse(text);
        if id.is_none() {
            let message = format!("webhooks.id {text:?} says no place of an id");
            let hint = "write header:<name>, a JSON pointer such as /id, content, or none";
            table
                .sink()
                .error_hint("invalid_value", place, message, hint);
        }
        id
    });
    let session = table.text("session").map(str::to_owned);
    let respond = table.duration("respond");
    let methods = texts(&table, "methods");
    let body_bytes_max = table.integer("body_bytes_max", 1..=u64::MAX);
    let content_types = texts(&table, "content_types").unwrap_or_default();
    let tolerance = table.duration("tolerance");
    let verify_token = table.text("verify_token").map(str::to_owned);
    let origins = texts(&table, "origins").unwrap_or_default();
    let part = table.table("part").map(read_part);
    let receipt = table.table("receipt").map(read_receipt);
    let (kind, verify, secret) = (kind?.0, verify?, secret?);
    let webhook = Webhook {
        name: name.map(str::to_owned),
        secret,
        signature,
        id,
        session,
        respond,
        body_bytes_max,
        content_types,
        tolerance,
        verify_token,
        origins,
        part,
        receipt,
        ..Webhook::new(kind, verify, "")
    };
    let webhook = match methods {
        Some(methods) => Webhook { methods, ..webhook },
        None => webhook,
    };
    if let Err((key, message)) = webhook.check() {
        let place = table
            .entry(key)
            .map_or(table.place(), |entry| &entry.node.place);
        let message = format!("webhooks.{key}: {message}");
        table.sink().error("invalid_value", place, message);
    }
    table.finish();
    Some(webhook)
}

fn read_secrets(table: &TableReader<'_>) -> Option<Vec<String>> {
    let Some(entry) = table.entry("secret") else {
        if table.entry("secrets").is_none() {
            table.missing("secret", r#"add secret = "{config.webhook_secret}""#);
        }
        return texts(table, "secrets");
    };
    match &entry.node.kind {
        Kind::Array(_) => texts(table, "secret"),
        _ => table.text("secret").map(|text| vec![text.to_owned()]),
    }
}

fn read_signature(table: TableReader<'_>) -> Signature {
    if table.entry("header").is_none() {
        table.missing("header", r#"add header = "X-Signature""#);
    }
    let separator = table.text_at("separator").and_then(|(text, place)| {
        let mut chars = text.chars();
        let first = chars.next();
        if first.is_none() || chars.next().is_some() {
            let message =
                format!("webhooks.signature.separator has to be one character, found {text:?}");
            table.sink().error("invalid_value", place, message);
        }
        first
    });
    let read = Signature {
        algorithm: table
            .choice("algorithm", Algorithm::WORDS)
            .unwrap_or_default(),
        header: table.text("header").unwrap_or_default().to_owned(),
        prefix: table.text("prefix").unwrap_or_default().to_owned(),
        separator,
        encoding: table
            .choice("encoding", Encoding::WORDS)
            .unwrap_or_default(),
        key: table.choice("key", KeyForm::WORDS).unwrap_or_default(),
        template: table
            .text("template")
            .map_or_else(Signature::body_alone, str::to_owned),
        timestamp: table.text("timestamp").map(str::to_owned),
    };
    table.finish();
    read
}

/// Reads a pointer that has to be there; one that is not, is reported.
fn pointer(table: &TableReader<'_>, key: &'static str) -> String {
    if table.entry(key).is_none() {
        let hint = format!("add {key} = \"/…\", a JSON pointer into the body");
        table.missing(key, &hint);
    }
    // What is missing is reported once.
    table.text(key).unwrap_or("/").to_owned()
}

fn read_part(table: TableReader<'_>) -> PartFields {
    let optional = |key| table.text(key).map(str::to_owned);
    let read = PartFields {
        session: pointer(&table, "session"),
        group: optional("group"),
        seq: optional("seq"),
        total: optional("total"),
        is_final: optional("final"),
        data: pointer(&table, "data"),
    };
    table.finish();
    read
}

fn read_receipt(table: TableReader<'_>) -> ReceiptFields {
    let states = table.table("states").map(|states| {
        let entries = states.entries().iter();
        let read = entries.filter_map(|entry| match &entry.node.kind {
            Kind::String(state) => {
                let state = serde_json::Value::String(state.clone());
                let state = serde_json::from_value::<ReceiptState>(state);
                Some((entry.key.clone(), state.unwrap_or_default()))
            }
            _ => {
                states.wrong_type(&entry.key, "a string", &entry.node);
                None
            }
        });
        read.collect()
    });
    let read = ReceiptFields {
        provider_id: pointer(&table, "provider_id"),
        state: pointer(&table, "state"),
        states: states.unwrap_or_default(),
    };
    table.finish();
    read
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::Manifest;
    use super::*;

    #[test]
    fn webhooks_are_read_and_checked_where_they_stand() {
        let text = |webhook: &str| {
            format!(
                "[plugin]\nid = \"a\"\nversion = \"0.1.0\"\ncommand = [\"x\"]\n[[channels]]\nkind = \"a\"\n\
                 [[webhooks]]\nkind = \"a\"\n{webhook}\n[config.key]\ntype = \"string\"\nsecret = true\n"
            )
        };
        let good = text(
            "verify = \"generic\"\nsecrets = [\"{config.key}\"]\nrespond = \"3s\"\nid = \"/id\"\n\
             signature = { header = \"X-S\", separator = \",\", prefix = \"v1=\", timestamp = \"part:t=\", \
             template = \"{timestamp}.{body}\" }",
        );
        let manifest = Manifest::parse(&good).unwrap().value;
        assert_eq!(manifest.webhooks.len(), 1);
        assert_eq!(manifest.webhooks[0].respond, Some(Duration::from_secs(3)));
        for (wrong, code, line) in [
            (
                "verify = \"githup\"\nsecret = \"{config.key}\"",
                "invalid_value",
                9,
            ),
            (
                "verify = \"github\"\nsecret = \"{config.other}\"",
                "invalid_value",
                7,
            ),
            (
                "verify = \"github\"\nsecret = \"literal\"",
                "invalid_value",
                10,
            ),
            (
                "verify = \"github\"\nsecret = \"{config.key}\"\nid = \"x\"",
                "invalid_value",
                11,
            ),
            (
                "verify = \"github\"\nsecret = \"{config.key}\"\npart = { session = \"/a\" }",
                "missing_key",
                11,
            ),
            (
                "verify = \"github\"\nsecret = \"{config.key}\"\ncolor = 1",
                "unknown_key",
                11,
            ),
        ] {
            let diagnostics = Manifest::parse(&text(wrong)).unwrap_err();
            let found = &diagnostics[0];
            assert_eq!(
                (found.code, found.line),
                (code, line),
                "{wrong}: {diagnostics:?}"
            );
        }
    }

    #[test]
    fn parts_and_receipts_of_webhooks_are_read_and_checked() {
        let text = |fields: &str| {
            format!(
                "[plugin]\nid = \"a\"\nversion = \"0.1.0\"\ncommand = [\"x\"]\n[[channels]]\nkind = \"a\"\n\
                 [[webhooks]]\nkind = \"a\"\nverify = \"github\"\nsecret = \"{{config.key}}\"\n{fields}\n\
                 [config.key]\ntype = \"string\"\nsecret = true\n"
            )
        };
        let part =
            "part = { session = \"/from\", seq = \"/n\", final = \"/last\", data = \"/text\" }";
        let receipt = "receipt = { provider_id = \"/Sid\", state = \"/Status\", states = { undelivered = \"failed\" } }";
        let read = |fields: &str| {
            Manifest::parse(&text(fields))
                .unwrap()
                .value
                .webhooks
                .remove(0)
        };
        let source = read(part).source().unwrap();
        assert_eq!(source.label(), "a");
        let found = source.part.unwrap();
        assert_eq!(
            (&*found.session, found.group, &*found.data),
            ("/from", None, "/text")
        );
        assert_eq!(
            (found.seq.as_deref(), found.is_final.as_deref()),
            (Some("/n"), Some("/last"))
        );
        let found = read(receipt).source().unwrap().receipt.unwrap();
        assert_eq!(found.states["undelivered"], ReceiptState::Failed);
        assert_eq!(read("session = \"/from\"").source(), None);

        let pointer = "receipt = { provider_id = \"Sid\", state = \"/Status\" }";
        let escaped = "part = { session = \"/from~2\", data = \"/text\" }";
        let state = "receipt = { provider_id = \"/a\", state = \"/b\", states = { x = \"lost\" } }";
        let kind = "receipt = { provider_id = \"/a\", state = \"/b\", states = { x = 1 } }";
        let unknown = "part = { session = \"/from\", data = \"/text\", sequence = \"/n\" }";
        for (wrong, code, line, says) in [
            (
                format!("{part}\n{receipt}"),
                "invalid_value",
                12,
                "found both",
            ),
            (pointer.to_owned(), "invalid_value", 11, "JSON pointer"),
            (escaped.to_owned(), "invalid_value", 11, "JSON pointer"),
            (state.to_owned(), "invalid_value", 11, "found \"lost\""),
            (kind.to_owned(), "wrong_type", 11, "states.x"),
            (unknown.to_owned(), "unknown_key", 11, "sequence"),
            ("part = true".to_owned(), "wrong_type", 11, "a table"),
            (
                format!("{part}\nrespond = \"3s\""),
                "invalid_value",
                12,
                "no handler answers",
            ),
        ] {
            let diagnostics = Manifest::parse(&text(&wrong)).unwrap_err();
            let found = &diagnostics[0];
            assert_eq!(
                (found.code, found.line),
                (code, line),
                "{wrong}: {diagnostics:?}"
            );
            assert!(found.message.contains(says), "{says:?}: {diagnostics:?}");
        }
    }
}
