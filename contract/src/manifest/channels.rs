//! `[[channels]]`: the kinds a plugin serves, and what each channel can do.

use super::Channel;
use super::fields::{check_kind, texts};
use crate::message::{ChannelFeatures, FileFeatures, Level};
use crate::toml::TableReader;

/// Reads `[[channels]]`.
pub(super) fn read(root: &TableReader<'_>) -> Vec<Channel> {
    let mut channels: Vec<Channel> = Vec::new();
    for channel in root.tables("channels") {
        if channel.entry("kind").is_none() {
            channel.missing("kind", r#"add kind = "telegram""#);
        }
        let kind = channel.text_at("kind");
        let features = channel
            .table("features")
            .map(read_features)
            .unwrap_or_default();
        if let Some((kind, place)) = kind {
            check_kind(channel.sink(), "channels.kind", kind, place);
            if channels.iter().any(|other| other.kind == kind) {
                let message = format!("channel kind {kind:?} is declared twice");
                channel.sink().error("duplicate", place, message);
            } else {
                channels.push(Channel {
                    kind: kind.to_owned(),
                    features,
                });
            }
        }
        channel.finish();
    }
    channels
}

/// The words of a level.
const LEVELS: &[(&str, Level)] = &[
    ("none", Level::None),
    ("partial", Level::Partial),
    ("full", Level::Full),
];

fn read_features(features: TableReader<'_>) -> ChannelFeatures {
    let level = |key| features.choice(key, LEVELS);
    let count = |key| {
        let most = features.integer(key, 1..=u64::from(u32::MAX));
        most.map(|most| most as u32)
    };
    let read = ChannelFeatures {
        text_chars_max: count("text_chars_max"),
        edits: level("edits"),
        deletes: level("deletes"),
        reactions: level("reactions"),
        threads: level("threads"),
        typing: level("typing"),
        receipts: level("receipts"),
        polls: level("polls"),
        poll_options_max: count("poll_options_max"),
        forwards: level("forwards"),
        cards: level("cards"),
        files: features.table("files").map(read_files),
        parts: texts(&features, "parts"),
        ..ChannelFeatures::default()
    };
    features.finish();
    read
}

fn read_files(files: TableReader<'_>) -> FileFeatures {
    let read = FileFeatures {
        level: files.choice("level", LEVELS),
        bytes_max: files.integer("bytes_max", 1..=u64::MAX),
        media_types: texts(&files, "media_types"),
        ..FileFeatures::default()
    };
    files.finish();
    read
}

#[cfg(test)]
mod tests {
    use super::super::Manifest;
    use crate::message::Level;

    fn text(features: &str, more: &str) -> String {
        format!(
            "[plugin]\nid = \"a\"\nversion = \"0.1.0\"\ncommand = [\"x\"]\n[[channels]]\nkind = \"a\"\n\
             features = {{ {features} }}\n{more}"
        )
    }

    #[test]
    fn every_feature_of_a_channel_is_read() {
        let features = "polls = \"none\", poll_options_max = 10, forwards = \"partial\", \
                        cards = \"full\", parts = [\"image\", \"a.*\"], files = { level = \"none\" }";
        let read = Manifest::parse(&text(features, "")).unwrap().value;
        let found = &read.channels[0].features;
        assert_eq!(found.polls, Some(Level::None));
        assert_eq!(found.poll_options_max, Some(10));
        assert_eq!(found.forwards, Some(Level::Partial));
        assert_eq!(found.cards, Some(Level::Full));
        assert_eq!(found.parts.as_deref().unwrap(), ["image", "a.*"]);
        let files = found.files.as_ref().unwrap();
        assert_eq!(files.level, Some(Level::None));
    }

    #[test]
    fn receipts_that_the_channel_does_not_have_come_from_no_webhook() {
        let webhook = "[[webhooks]]\nkind = \"a\"\nverify = \"twilio\"\nsecret = \"{config.key}\"\n\
                       receipt = { provider_id = \"/Sid\", state = \"/Status\" }\n\
                       [config.key]\ntype = \"string\"\nsecret = true\n";
        Manifest::parse(&text("receipts = \"partial\"", webhook)).unwrap();
        let refused = Manifest::parse(&text("receipts = \"none\"", webhook)).unwrap_err();
        assert_eq!(refused.len(), 1);
        assert!(refused[0].to_string().contains("webhooks.receipt tells"));
    }
}
