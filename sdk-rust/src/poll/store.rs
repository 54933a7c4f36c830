//! The keys of a poller, and commits made of what was decided.

use serde::{Deserialize, Serialize};
use trunkline_contract::error::Error;
use trunkline_contract::limits::TIMER_DATA_BYTES_MAX;
use trunkline_contract::rpc::{TimerOp, TimerSetParams};
use trunkline_patterns::poller::{Commit, Next, Op, Operation, Park, Parked, Stored};

use super::declare::Declared;
use crate::batch::{Batch, Change};
use crate::context::Context;
use crate::event::Event;
use crate::http::Secrets;
use crate::payload::{Bytes, Json};

/// What an item's timer may hold beside the item.
const PARK_MARGIN: usize = 1_024;
/// How long a long item is kept that became a dead letter: as long as it may be replayed.
const ITEM_TTL: &str = "30d";

/// One thing that the author's function caused.
pub(super) enum Piece {
    Event(Box<Event>),
    Change(Change),
    Timer(Box<TimerOp>),
}

impl Operation for Piece {
    fn bytes(&self) -> usize {
        match self {
            Self::Event(event) => {
                let metadata = event
                    .metadata
                    .values()
                    .map(|value| value.to_string().len() + 64);
                512 + event.payload.as_str().len() + metadata.sum::<usize>()
            }
            Self::Change(change) => change.bytes(),
            Self::Timer(timer) => 256 + timer.data.as_ref().map_or(0, |data| data.get().len()),
        }
    }
}

/// Takes a completed batch apart.
pub(super) fn pieces(batch: Batch) -> Vec<Piece> {
    let events = batch
        .events
        .into_iter()
        .map(|event| Piece::Event(Box::new(event)));
    let changes = batch.kv.into_iter().map(Piece::Change);
    let timers = batch
        .timers
        .into_iter()
        .map(|timer| Piece::Timer(Box::new(timer)));
    events.chain(changes).chain(timers).collect()
}

/// An item that waits by itself, as its timer brings it.
#[derive(Serialize, Deserialize)]
pub(super) struct Waiting {
    pub(super) id: String,
    pub(super) how: Park,
    /// The item; absent where it is under a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) item: Option<Json>,
}

/// Reads what is kept of the poller.
pub(super) async fn load(ctx: &Context, poll: &Declared) -> Result<Stored, Error> {
    let kv = ctx.kv();
    let state = kv.entry(&poll.key("state")).await?;
    let seen = kv.entry(&poll.key("seen")).await?;
    let text = |entry: &Option<crate::kv::Entry>| {
        entry.as_ref().map(|entry| entry.value.as_str().to_owned())
    };
    let (stored, lost) = Stored::read(text(&state).as_deref(), text(&seen).as_deref());
    if let Some(lost) = lost {
        ctx.log().field("poll", poll.plan.kind.as_str()).error(lost);
    }
    Ok(stored)
}

/// Makes a batch of what was decided.
pub(super) fn batch(poll: &Declared, commit: Commit<Piece>, secrets: &Secrets) -> Batch {
    let mut batch = Batch::default();
    for op in commit.ops {
        match op {
            Op::Own(Piece::Event(event)) => batch.events.push(*event),
            Op::Own(Piece::Change(change)) => batch.kv.push(change),
            Op::Own(Piece::Timer(timer)) => batch.timers.push(*timer),
            Op::Park(parked) => batch = park(poll, batch, parked),
        }
    }
    if let Some(mut state) = commit.state {
        if let Some(error) = &mut state.last_error {
            error.text = secrets.hide(&error.text);
        }
        if let Some(paused) = &mut state.paused {
            paused.reason = secrets.hide(&paused.reason);
        }
        batch = batch.put(poll.key("state"), &*state);
    }
    if let Some(seen) = commit.seen {
        match Bytes::from_json(seen) {
            Ok(seen) => batch = batch.put(poll.key("seen"), seen),
            Err(error) => batch.fault = Some(Box::new(error)),
        }
    }
    match commit.last {
        Some(next) => arm(poll, batch, next),
        None => batch,
    }
}

/// Sets the timers so that the next tick is due when it was decided.
pub(super) fn arm(poll: &Declared, batch: Batch, next: Next) -> Batch {
    match next {
        Next::Unchanged => batch,
        Next::Scheduled => {
            let mut batch = batch;
            batch.timers.push(TimerOp::cancel(poll.again()));
            batch
        }
        Next::In(after_ms) => {
            let name = if poll.plan.is_immediate() {
                poll.timer()
            } else {
                poll.again()
            };
            batch.timer(Ok(TimerSetParams {
                name,
                // One session, so that no two ticks run at the same time.
                session: Some(format!("timer:{}", poll.timer())),
                after_ms: Some(after_ms),
                ..TimerSetParams::default()
            }))
        }
    }
}

/// Lets an item wait by itself, as the event of a timer of its own.
fn park(poll: &Declared, batch: Batch, parked: Parked) -> Batch {
    let hash = parked.event_id.replace(':', "-");
    let after_ms = match &parked.how {
        Park::Retry { after_ms, .. } => after_ms.unwrap_or(0),
        Park::Reject { .. } => 0,
    };
    let is_long = parked.payload.to_string().len() > TIMER_DATA_BYTES_MAX - PARK_MARGIN;
    let mut batch = batch;
    if is_long {
        let key = poll.key(&format!("item/{hash}"));
        batch = batch.put(key, &parked.payload).ttl(ITEM_TTL);
    }
    let waiting = Waiting {
        id: parked.event_id,
        how: bounded(parked.how),
        item: (!is_long).then_some(parked.payload),
    };
    batch.timer(Bytes::encode(&waiting).map(|data| TimerSetParams {
        name: format!("{}{hash}", poll.items()),
        after_ms: Some(after_ms),
        data: Some(data.raw().to_owned()),
        ..TimerSetParams::default()
    }))
}

/// Cuts a reason to what fits beside an item.
fn bounded(mut how: Park) -> Park {
    let (Park::Retry { reason, .. } | Park::Reject { reason, .. }) = &mut how;
    reason.truncate(reason.floor_char_boundary(PARK_MARGIN / 4));
    how
}
