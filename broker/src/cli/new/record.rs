//! What an earlier `new` wrote, as it lies beside its files.

use std::collections::BTreeMap;
use std::path::{Component, Path};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use trunkline_templates::{File, VERSION};

/// Names the record's file.
pub(super) const RECORD: &str = ".trunkline-template.json";

/// Tells which answers made the files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Answers {
    /// The plugin's id.
    pub(super) name: String,
    /// The pattern.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) pattern: Option<String>,
    /// The channel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) channel: Option<String>,
    /// The language.
    pub(super) lang: String,
}

/// Tells what was written, so that what has changed since is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// Which version of the scaffolds.
    pub(super) template_version: String,
    /// Made of these.
    pub(super) answers: Answers,
    /// SHA-256 of each file, by its path.
    pub(super) files: BTreeMap<String, String>,
}

impl Record {
    /// Records files.
    pub(super) fn new(answers: Answers, files: &BTreeMap<String, File>) -> Self {
        let hashes = files
            .iter()
            .map(|(path, file)| (path.clone(), hash(&file.bytes)));
        Self {
            template_version: VERSION.to_owned(),
            answers,
            files: hashes.collect(),
        }
    }

    /// Reads a record; what is none, or names what lies elsewhere, says nothing.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let record: Self = serde_json::from_slice(bytes).ok()?;
        let is_below = |path: &String| {
            let mut parts = Path::new(path).components();
            !path.is_empty() && parts.all(|part| matches!(part, Component::Normal(_)))
        };
        record.files.keys().all(is_below).then_some(record)
    }

    /// Writes it down, for people too.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("texts have a JSON form");
        bytes.push(b'\n');
        bytes
    }

    /// Says whether a file is as it was written.
    pub(super) fn owns(&self, path: &str, bytes: &[u8]) -> bool {
        self.files
            .get(path)
            .is_some_and(|known| *known == hash(bytes))
    }
}

fn hash(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(64);
    for byte in Sha256::digest(bytes) {
        text.push_str(&format!("{byte:02x}"));
    }
    text
}
