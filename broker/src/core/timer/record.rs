//! The durable form of a timer, and what follows from it.

use serde::{Deserialize, Serialize};
use trunkline_contract::envelope::parse_rfc3339;
use trunkline_contract::error::{Code, Error};
use trunkline_contract::id::is_event_id;
use trunkline_contract::limits::{
    SESSION_ID_BYTES_MAX, TIMER_DATA_BYTES_MAX, TIMER_EVERY_MS_MAX, TIMER_NAME_BYTES_MAX,
};
use trunkline_contract::rpc::{Misfire, TimerSetParams};
use trunkline_patterns::schedule::{self, Due, Schedule, jittered};

use crate::instance::InstanceKey;
use crate::store::Seq;

/// The row of a timer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Row {
    pub(super) set: TimerSetParams,
    /// When it was set; intervals and delays count from here.
    pub(super) set_at_ms: i64,
    /// Tells this setting of the timer from every other.
    pub(super) nonce: u64,
    /// When it is due next.
    pub(super) due_ms: i64,
    /// Due times before that which are not made up for.
    pub(super) missed: u32,
    /// How often it was due before.
    pub(super) count: u64,
}

/// The row of an event that is not settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FiredRow {
    /// Of the setting that was due.
    pub(super) nonce: u64,
    /// Which due time it was.
    pub(super) due_ms: i64,
}

/// A timer that is set.
#[derive(Debug, Clone)]
pub(super) struct Timer {
    pub(super) row: Row,
    pub(super) schedule: Schedule,
    /// Revision of its row.
    pub(super) revision: Seq,
    /// When it stands in the queue, wall clock; none while it waits for a settlement or the disk.
    pub(super) queued_ms: Option<i64>,
    /// Its event is on its way to the disk.
    pub(super) is_firing: bool,
}

impl Timer {
    /// Makes a timer of what was asked for.
    ///
    /// # Errors
    /// `invalid_arguments`, `quota_exceeded` for data that is too large.
    pub(super) fn new(set: TimerSetParams, now_ms: i64, nonce: u64) -> Result<Self, Error> {
        check(&set)?;
        let schedule = schedule_of(&set, now_ms)?;
        let due_ms = match one_shot(&set, now_ms)? {
            Some(at_ms) => at_ms,
            None => schedule.next_after(now_ms).ok_or_else(|| {
                let text = "expected a schedule that is due some day, found none of its times left";
                Error::new(Code::InvalidArguments, text)
            })?,
        };
        Ok(Self {
            row: Row {
                set,
                set_at_ms: now_ms,
                nonce,
                due_ms,
                missed: 0,
                count: 0,
            },
            schedule,
            revision: 0,
            queued_ms: None,
            is_firing: false,
        })
    }

    /// Brings a timer back; none for a row that this version would not have written.
    pub(super) fn restore(row: Row, revision: Seq) -> Option<Self> {
        let schedule = schedule_of(&row.set, row.set_at_ms).ok()?;
        Some(Self {
            row,
            schedule,
            revision,
            queued_ms: None,
            is_firing: false,
        })
    }

    pub(super) fn due(&self) -> Due {
        Due {
            at_ms: self.row.due_ms,
            missed: self.row.missed,
        }
    }

    /// When to act on its due time.
    pub(super) fn acts_at_ms(&self) -> i64 {
        jittered(self.row.due_ms, self.row.set.jitter_ms, self.row.nonce)
    }

    pub(super) fn misfire(&self) -> schedule::Misfire {
        match self.row.set.misfire {
            Misfire::Skip => schedule::Misfire::Skip,
            Misfire::Once => schedule::Misfire::Once,
            Misfire::All => schedule::Misfire::All,
        }
    }

    /// Bytes that count for the quota.
    pub(super) fn bytes(&self) -> usize {
        bytes(&self.row.set)
    }
}

/// What is remembered of an event that is not settled.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fired {
    pub(super) row: FiredRow,
    pub(super) seq: Seq,
    /// The commit that ends it is on its way.
    pub(super) is_ending: bool,
}

pub(super) fn key(of: &InstanceKey, name: &str) -> Vec<u8> {
    format!("w/{}/{}/{name}", of.plugin, of.instance).into_bytes()
}

pub(super) fn fired_key(of: &InstanceKey, name: &str) -> Vec<u8> {
    format!("wf/{}/{}/{name}", of.plugin, of.instance).into_bytes()
}

/// Whose timer a key is, and its name.
pub(super) fn parse_key(key: &[u8]) -> Option<(InstanceKey, String)> {
    let text = std::str::from_utf8(key).ok()?;
    let mut parts = text.splitn(4, '/').skip(1);
    let (plugin, instance, name) = (parts.next()?, parts.next()?, parts.next()?);
    Some((InstanceKey::new(plugin, instance), name.to_owned()))
}

/// What a timer counts with: its texts, and a share for the rest of its row.
pub(super) fn bytes(set: &TimerSetParams) -> usize {
    let texts = [&set.session, &set.at, &set.cron, &set.tz];
    let texts: usize = texts
        .iter()
        .filter_map(|text| text.as_deref())
        .map(str::len)
        .sum();
    let data = set.data.as_ref().map_or(0, |data| data.get().len());
    128 + set.name.len() + texts + data
}

fn invalid(text: String) -> Error {
    Error::new(Code::InvalidArguments, text)
}

/// Checks the name of a timer.
pub(super) fn check_name(name: &str) -> Result<(), Error> {
    let is_plain = name.is_ascii() && is_event_id(name) || !name.chars().any(char::is_control);
    if (1..=TIMER_NAME_BYTES_MAX).contains(&name.len()) && is_plain {
        return Ok(());
    }
    Err(invalid(format!(
        "expected a timer's name of 1 to {TIMER_NAME_BYTES_MAX} bytes without control characters, \
         found {} bytes",
        name.len()
    )))
}

fn check(set: &TimerSetParams) -> Result<(), Error> {
    check_name(&set.name)?;
    let given = [
        ("after_ms", set.after_ms.is_some()),
        ("at", set.at.is_some()),
        ("every_ms", set.every_ms.is_some()),
        ("cron", set.cron.is_some()),
    ];
    let given: Vec<&str> = given
        .iter()
        .filter(|(_, is)| *is)
        .map(|(name, _)| *name)
        .collect();
    if given.len() != 1 {
        let found = if given.is_empty() {
            "none".to_owned()
        } else {
            given.join(", ")
        };
        return Err(invalid(format!(
            "expected one of after_ms, at, every_ms and cron, found {found}"
        )));
    }
    if let (Some(tz), None) = (&set.tz, &set.cron) {
        return Err(invalid(format!(
            "expected tz only with cron, found {tz:?} with {}",
            given[0]
        )));
    }
    let longest = set.after_ms.unwrap_or(0).max(set.jitter_ms);
    if longest > TIMER_EVERY_MS_MAX {
        return Err(invalid(format!(
            "expected at most {TIMER_EVERY_MS_MAX} ms, found {longest}"
        )));
    }
    if let Some(session) = set
        .session
        .as_ref()
        .filter(|s| s.len() > SESSION_ID_BYTES_MAX)
    {
        return Err(invalid(format!(
            "expected a session of at most {SESSION_ID_BYTES_MAX} bytes, found {}",
            session.len()
        )));
    }
    let data = set.data.as_ref().map_or(0, |data| data.get().len());
    if data > TIMER_DATA_BYTES_MAX {
        let text = format!("expected data of at most {TIMER_DATA_BYTES_MAX} bytes, found {data}");
        return Err(Error::new(Code::QuotaExceeded, text));
    }
    Ok(())
}

/// When a timer that is due once is due.
fn one_shot(set: &TimerSetParams, set_at_ms: i64) -> Result<Option<i64>, Error> {
    if let Some(after_ms) = set.after_ms {
        return Ok(Some(set_at_ms.saturating_add(after_ms as i64)));
    }
    let Some(at) = &set.at else { return Ok(None) };
    let at_ms = parse_rfc3339(at)
        .ok_or_else(|| invalid(format!("expected an instant in RFC 3339, found {at:?}")))?;
    Ok(Some(at_ms))
}

fn schedule_of(set: &TimerSetParams, set_at_ms: i64) -> Result<Schedule, Error> {
    if let Some(at_ms) = one_shot(set, set_at_ms)? {
        return Ok(Schedule::at(at_ms));
    }
    let schedule = match (&set.cron, set.every_ms) {
        (Some(cron), _) => Schedule::cron(cron, set.tz.as_deref()),
        (None, every) => Schedule::every(every.unwrap_or(0), set_at_ms),
    };
    schedule.map_err(|error| invalid(error.to_string()))
}
