//! What the core asks the store's reader, and what comes back.

use trunkline_contract::topic::Filter;

use crate::router::SubId;
use crate::store::{EventPage, ReadLimit, Seq, StateEntry, StoreFacts, StoredEvent};

use super::admin::AdminRead;
use super::dead_letters::DeadRead;
use super::kv::KvRead;
use super::poller::PollerRead;
use super::retention::RetentionRead;
use super::route::RouteRead;
use super::subscribe::StartRead;
use super::tail::{TailOpening, TailRead};

/// A bounded read. It carries what its answer is for, so that the core keeps no table of them.
#[derive(Debug)]
pub enum ReadRequest {
    /// More of the log for a subscription.
    Page {
        /// For whom.
        sub: SubId,
        /// Which asking.
        generation: u32,
        /// After this.
        after: Seq,
        /// Matching any of these.
        filters: Vec<Filter>,
        /// At most this much.
        limit: ReadLimit,
    },
    /// Bodies for a subscription.
    Bodies {
        /// For whom.
        sub: SubId,
        /// Which.
        seqs: Vec<Seq>,
    },
    /// One state entry.
    Get {
        /// Its key.
        key: Vec<u8>,
        /// What the answer is for.
        then: GetThen,
    },
    /// State entries under a prefix.
    Scan {
        /// The prefix.
        prefix: Vec<u8>,
        /// After this key.
        after: Option<Vec<u8>>,
        /// At most so many.
        limit: usize,
        /// What the answer is for.
        then: ScanThen,
    },
    /// A piece of the log that is not for a subscription.
    Log {
        /// After this.
        after: Seq,
        /// Matching any of these.
        filters: Vec<Filter>,
        /// At most this much.
        limit: ReadLimit,
        /// What the answer is for.
        then: LogThen,
    },
    /// The last number before an instant.
    SeqBefore {
        /// Wall-clock ms.
        at_ms: i64,
        /// What the answer is for.
        then: Box<StartRead>,
    },
    /// How large everything is.
    Facts {
        /// Events to count: for whom, after this, matching any of these.
        counts: Vec<(SubId, Seq, Vec<Filter>)>,
        /// What the answer is for.
        then: FactsThen,
    },
}

/// What a single entry is read for.
#[derive(Debug)]
pub enum GetThen {
    /// `kv.get`.
    Kv(KvRead),
    /// Where a session was last served.
    Route(RouteRead),
    /// A dead letter.
    Dead(DeadRead),
    /// A poller.
    Poller(Box<PollerRead>),
}

/// What a scan is for.
#[derive(Debug)]
pub enum ScanThen {
    /// `kv.list` and `kv.watch`.
    Kv(KvRead),
    /// Dead letters.
    Dead(DeadRead),
    /// Pollers.
    Poller(Box<PollerRead>),
}

/// What a piece of the log is for.
#[derive(Debug)]
pub enum LogThen {
    /// A tail.
    Tail(TailRead),
    /// Retention looks for what may go.
    Retention(RetentionRead),
}

/// What sizes are for.
#[derive(Debug)]
pub enum FactsThen {
    /// `admin.status` and `admin.doctor`.
    Admin(AdminRead),
    /// Retention.
    Retention,
    /// A tail that begins.
    Tail(Box<TailOpening>),
}

/// The answer to a [`ReadRequest`].
#[derive(Debug)]
pub enum ReadAnswer {
    /// To `Page`.
    Page(SubId, u32, EventPage),
    /// To `Bodies`: what was asked, what was found.
    Bodies(SubId, Vec<Seq>, Vec<StoredEvent>),
    /// To `Get`.
    Get(Option<StateEntry>, GetThen),
    /// To `Scan`.
    Scan(Vec<StateEntry>, ScanThen),
    /// To `Log`.
    Log(EventPage, LogThen),
    /// To `SeqBefore`.
    SeqBefore(Seq, Box<StartRead>),
    /// To `Facts`.
    Facts(StoreFacts, Vec<(SubId, u64)>, FactsThen),
}

impl ReadRequest {
    /// Carries the read out.
    ///
    /// # Errors
    /// [`crate::store::Failed`] when the store cannot be read any more.
    pub fn answer(
        self,
        reader: &mut dyn crate::store::Reader,
        now_ms: i64,
    ) -> Result<ReadAnswer, crate::store::Failed> {
        Ok(match self {
            Self::Page {
                sub,
                generation,
                after,
                filters,
                limit,
            } => ReadAnswer::Page(sub, generation, reader.events(after, &filters, limit)?),
            Self::Bodies { sub, seqs } => {
                let found = reader.events_at(&seqs)?;
                ReadAnswer::Bodies(sub, seqs, found)
            }
            Self::Get { key, then } => ReadAnswer::Get(reader.get(&key, now_ms)?, then),
            Self::Scan {
                prefix,
                after,
                limit,
                then,
            } => ReadAnswer::Scan(reader.scan(&prefix, after.as_deref(), limit, now_ms)?, then),
            Self::Log {
                after,
                filters,
                limit,
                then,
            } => ReadAnswer::Log(reader.events(after, &filters, limit)?, then),
            Self::SeqBefore { at_ms, then } => {
                ReadAnswer::SeqBefore(reader.seq_before(at_ms)?, then)
            }
            Self::Facts { counts, then } => {
                let counts = counts
                    .into_iter()
                    .map(|(sub, after, filters)| Ok((sub, reader.count(after, &filters)?)))
                    .collect::<Result<Vec<_>, crate::store::Failed>>()?;
                ReadAnswer::Facts(reader.facts()?, counts, then)
            }
        })
    }
}
