//! What is read of the store at start: the number of this life, and whole ranges of records.

use crate::clock::Now;
use crate::store::{Failed, Reader, StateEntry};

use super::state::Core;

const BOOT_KEY: &[u8] = b"m/boot";

pub(crate) fn read_boot(reader: &mut dyn Reader, now: Now) -> Result<u32, Failed> {
    let entry = reader.get(BOOT_KEY, now.wall_ms)?;
    let text = entry.map(|entry| String::from_utf8_lossy(&entry.value).into_owned());
    match text {
        None => Ok(0),
        Some(text) => text.parse().map_err(|_| Failed {
            reason: format!("expected a number at m/boot, found {text:?}"),
        }),
    }
}

impl Core {
    pub(crate) fn write_boot(&mut self) {
        let commit = crate::store::Commit {
            state: vec![crate::store::StateOp {
                key: BOOT_KEY.to_vec(),
                value: Some(self.boot.to_string().into_bytes()),
                expect: crate::store::Expect::Any,
                expires_at_ms: None,
            }],
            ..Default::default()
        };
        self.stage(commit, super::batch::Ticket::Nothing);
    }
}

/// Everything under a prefix. Used at start only, when nothing else happens.
pub(crate) fn scan_all(
    reader: &mut dyn Reader,
    prefix: &[u8],
    now: Now,
) -> Result<Vec<StateEntry>, Failed> {
    let mut all: Vec<StateEntry> = Vec::new();
    loop {
        let after = all.last().map(|entry| entry.key.clone());
        let page = reader.scan(prefix, after.as_deref(), 1024, now.wall_ms)?;
        let done = page.len() < 1024;
        all.extend(page);
        if done {
            return Ok(all);
        }
    }
}
