//! The history of a run: what drivers saw from outside the broker, one JSON line per fact.
//!
//! It is not the broker's log, and nothing inside the broker writes to it. Every record is appended with one
//! `write` to a file opened for appending, so threads and processes (a plugin that is killed, too) share one
//! history, and the order of its lines is an order in which the facts can have happened.
//!
//! Two rules make that order mean something: what gives something away (an ack, a detach, a kill) is recorded
//! **before** it is done, what is received (a delivery, an answer) **after** it was read.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// One line of a history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Milliseconds of the machine's monotonic clock, the same for all its processes.
    pub at: u64,
    /// What happened.
    pub what: Record,
}

/// A fact that a driver saw or caused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum Record {
    /// An event is about to be published.
    #[serde(rename = "pub.invoke")]
    PubInvoke {
        /// Event id.
        id: String,
        /// Which publisher.
        source: String,
        /// Complete topic.
        topic: String,
        /// Session, if order is asked.
        session: Option<String>,
        /// Of the payload's bytes, see [`hash`].
        hash: u64,
    },
    /// A publish was acknowledged: from here on the event must survive everything.
    #[serde(rename = "pub.ok")]
    PubOk {
        /// Event id.
        id: String,
        /// Which publisher.
        source: String,
        /// The number it was given.
        seq: u64,
        /// The broker says that it was stored before.
        duplicate: bool,
    },
    /// A publish was refused.
    #[serde(rename = "pub.err")]
    PubErr {
        /// Event id.
        id: String,
        /// Which publisher.
        source: String,
        /// Stable error code.
        code: String,
    },
    /// The link ended before a publish was answered.
    #[serde(rename = "pub.unknown")]
    PubUnknown {
        /// Event id.
        id: String,
        /// Which publisher.
        source: String,
    },
    /// A subscription was created.
    #[serde(rename = "sub")]
    Sub {
        /// Its full name.
        sub: String,
        /// Its topic filters.
        filters: Vec<String>,
        /// Its cursor at creation: events above it are owed.
        from_seq: u64,
    },
    /// A link began to serve a subscription.
    #[serde(rename = "attach")]
    Attach {
        /// Subscription.
        sub: String,
        /// The link's number, unique in the history.
        link: u64,
        /// Which life of the broker it belongs to, counted from 1.
        life: u64,
        /// The process that holds the link's far end.
        pid: u32,
        /// Most events in flight.
        credit: u64,
    },
    /// A link ended or is about to be ended by its driver.
    #[serde(rename = "detach")]
    Detach {
        /// The link's number.
        link: u64,
    },
    /// A delivery was received.
    #[serde(rename = "dlv")]
    Dlv(Dlv),
    /// An ack is about to be sent.
    #[serde(rename = "ack.sent")]
    AckSent {
        /// Subscription.
        sub: String,
        /// Delivery id.
        delivery: String,
        /// Event id.
        id: String,
    },
    /// An ack, sent as a request, was answered and not called stale.
    #[serde(rename = "ack.ok")]
    AckOk {
        /// Subscription.
        sub: String,
        /// Delivery id.
        delivery: String,
        /// Event id.
        id: String,
    },
    /// An ack was answered as stale.
    #[serde(rename = "ack.stale")]
    AckStale {
        /// Subscription.
        sub: String,
        /// Delivery id.
        delivery: String,
        /// Event id.
        id: String,
    },
    /// A nak is about to be sent.
    #[serde(rename = "nak")]
    Nak {
        /// It counts as a failure.
        counted: bool,
        /// Subscription.
        sub: String,
        /// Delivery id.
        delivery: String,
        /// Event id.
        id: String,
    },
    /// A reject is about to be sent.
    #[serde(rename = "reject")]
    Reject {
        /// Subscription.
        sub: String,
        /// Delivery id.
        delivery: String,
        /// Event id.
        id: String,
    },
    /// A dead letter was found.
    #[serde(rename = "dead")]
    Dead {
        /// Subscription.
        sub: String,
        /// Event id.
        id: String,
        /// Why it is there.
        reason: String,
    },
    /// The broker said that it skipped events.
    #[serde(rename = "gap")]
    Gap {
        /// Subscription.
        sub: String,
        /// First skipped number.
        from: u64,
        /// Last skipped number.
        to: u64,
    },
    /// A subscription's cursor is about to be moved: what was settled may come again.
    #[serde(rename = "seek")]
    Seek {
        /// Subscription.
        sub: String,
    },
    /// An event found in the broker's log at the end.
    #[serde(rename = "log")]
    Log {
        /// Its number.
        seq: u64,
        /// Event id.
        id: String,
    },
    /// The whole log was read.
    #[serde(rename = "log.end")]
    LogEnd,
    /// How far the log is durable, where a driver can see it.
    #[serde(rename = "mark")]
    Mark {
        /// Everything up to here is durable.
        seq: u64,
    },
    /// The broker is about to be killed.
    #[serde(rename = "crash")]
    Crash {
        /// The life that ends.
        life: u64,
    },
    /// The power is about to be cut under the broker.
    #[serde(rename = "cut")]
    Cut {
        /// The life that ends.
        life: u64,
    },
    /// A process that serves subscriptions is about to be killed.
    #[serde(rename = "kill")]
    Kill {
        /// Its process id.
        pid: u32,
    },
    /// The broker is about to be stopped, so that it does nothing until it goes on.
    #[serde(rename = "stop")]
    Stop,
    /// The broker went on after a stop.
    #[serde(rename = "cont")]
    Cont,
    /// The broker is ready again.
    #[serde(rename = "restart")]
    Restart {
        /// The life that begins.
        life: u64,
    },
    /// A fault is over; everything must recover from here on.
    #[serde(rename = "fault.end")]
    FaultEnd,
    /// Everything that was owed has been settled, or the wait for it was given up.
    #[serde(rename = "drain.end")]
    DrainEnd {
        /// How many acked events were still unsettled.
        unsettled: u64,
    },
    /// Anything that helps a reader: the seed, the fault that was chosen.
    #[serde(rename = "note")]
    Note {
        /// Free text.
        text: String,
    },
}

/// A delivery as it was received.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dlv {
    /// Subscription.
    pub sub: String,
    /// The link it came over.
    pub link: u64,
    /// Event id.
    pub id: String,
    /// Session of the event.
    pub session: Option<String>,
    /// Of the payload's bytes.
    pub hash: u64,
    /// Delivery id.
    pub delivery: String,
    /// Its number among the attempts.
    pub attempt: u64,
    /// The broker says that it is a repeat.
    pub redelivered: bool,
    /// Dead letter that it was replayed from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay_of: Option<String>,
    /// The event's number, where the driver can see it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// How long the lease lasts.
    pub lease_ms: u64,
}

/// An open history that can be added to by many threads and processes at once.
#[derive(Debug)]
pub struct History {
    file: File,
    path: PathBuf,
}

impl History {
    /// Opens the history at `path`, creating it when it is not there; what it holds stays.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Self {
            file,
            path: path.to_owned(),
        })
    }

    /// Appends one record with the present time.
    ///
    /// # Panics
    /// When the file cannot be written: a run whose history is incomplete proves nothing.
    pub fn record(&self, what: Record) {
        let mut line =
            serde_json::to_vec(&Line { at: now_ms(), what }).expect("records are plain data");
        line.push(b'\n');
        (&self.file)
            .write_all(&line)
            .expect("the history can be written");
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads every line written so far.
    ///
    /// # Errors
    /// The file cannot be read, or a line is no record.
    pub fn read(path: &Path) -> io::Result<Vec<Line>> {
        BufReader::new(File::open(path)?)
            .lines()
            .map(|line| serde_json::from_str(&line?).map_err(io::Error::from))
            .collect()
    }
}

/// Milliseconds of the machine's monotonic clock.
pub fn now_ms() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000 + now.tv_nsec as u64 / 1_000_000
}

/// Hashes bytes with FNV-1a: enough to tell two payloads of a run apart.
pub fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_back_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let history = History::open(&dir.path().join("history.jsonl")).unwrap();
        let records = [
            Record::PubOk {
                id: "a".into(),
                source: "p".into(),
                seq: 7,
                duplicate: false,
            },
            Record::Crash { life: 1 },
            Record::LogEnd,
        ];
        for record in &records {
            history.record(record.clone());
        }
        let lines = History::read(history.path()).unwrap();
        assert_eq!(
            lines
                .iter()
                .map(|line| line.what.clone())
                .collect::<Vec<_>>(),
            records
        );
    }

    #[test]
    fn writers_on_many_threads_never_tear_a_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("history.jsonl");
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let history = History::open(&path).unwrap();
                scope.spawn(move || {
                    for n in 0..500 {
                        history.record(Record::Note {
                            text: format!("{thread}/{n}"),
                        });
                    }
                });
            }
        });
        assert_eq!(History::read(&path).unwrap().len(), 2_000);
    }
}
