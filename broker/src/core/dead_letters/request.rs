//! `admin.dlq.list`, `admin.dlq.show` and `dead_letter.put`.

use serde_json::value::RawValue;
use trunkline_contract::envelope::rfc3339;
use trunkline_contract::error::{Code, Error};
use trunkline_contract::rpc::admin::{DlqListParams, DlqListResult, DlqShowParams};
use trunkline_contract::rpc::{self, DeadLetter, DeadReason, HandlerError};

use crate::core::batch::{Ticket, commit_error};
use crate::core::limits::LIST_MAX;
use crate::core::peer::{ReplyTo, Role};
use crate::core::read::{GetThen, ReadRequest, ScanThen};
use crate::core::state::{Core, Output};
use crate::router::{Failure, SubId};
use crate::store::{Commit, CommitError, Receipt, Seq, StateEntry};

use super::decide::{Job, Replayed};
use super::index::{LetterId, id_of, key_of};
use super::which::Which;

/// Records read for one page of a list: they may be large.
const PAGE: usize = 64;
/// Envelopes up to this many bytes stand in a list.
const LISTED_BYTES_MAX: usize = 16 << 10;

/// A dead letter that is being read.
#[derive(Debug)]
pub struct DeadRead(pub(super) Reading);

#[derive(Debug)]
pub(super) enum Reading {
    Show {
        to: ReplyTo,
        id: Box<str>,
    },
    List {
        to: ReplyTo,
        which: Which,
        limit: usize,
    },
    /// One record to replay.
    Replay {
        to: ReplyTo,
        id: Box<str>,
    },
    /// A page of records to replay.
    ReplayPage(Box<Job>),
    /// A page of records some of which are to be discarded.
    DiscardPage(Box<Job>),
    Cut,
}

/// A dead letter that is being written.
#[derive(Debug)]
pub(crate) enum DeadTicket {
    Filed {
        to: ReplyTo,
        id: String,
    },
    Replayed {
        job: Box<Job>,
        letters: Vec<Replayed>,
    },
    Discarded {
        job: Box<Job>,
        count: u64,
    },
    Cut,
}

/// The wire's id of a record.
pub(super) fn text_of((sub, seq): LetterId) -> String {
    format!("{:x}-{seq:x}", sub.0)
}

/// Reads what [`text_of`] wrote.
pub(super) fn parse_id(text: &str) -> Result<LetterId, Error> {
    let parse = || {
        let (sub, seq) = text.split_once('-')?;
        let sub = u32::from_str_radix(sub, 16).ok()?;
        Some((SubId(sub), u64::from_str_radix(seq, 16).ok()?))
    };
    parse().ok_or_else(|| {
        Error::new(
            Code::InvalidArguments,
            format!("expected the id of a dead letter, found {text:?}"),
        )
    })
}

pub(super) fn not_found(id: &str) -> Error {
    Error::new(
        Code::NotFound,
        format!("expected a dead letter {id:?}, found none"),
    )
}

impl Core {
    /// The subscription of that name.
    pub(super) fn dead_of(&self, name: &str) -> Result<SubId, Error> {
        self.router.find(name).ok_or_else(|| {
            Error::new(
                Code::NotFound,
                format!("expected the full name of a subscription, found {name:?}"),
            )
        })
    }

    pub(crate) fn list_dead(&mut self, to: &ReplyTo, params: Option<&RawValue>) {
        let result = rpc::params::<DlqListParams>(params).and_then(|params| {
            let which = self.which_dead(
                params.subscription.as_deref(),
                params.plugin.as_deref(),
                params.session.as_deref(),
            )?;
            let after = params.after.as_deref().map(parse_id).transpose()?;
            let limit = params.limit.map_or(PAGE, |limit| limit as usize);
            Ok((which, after, limit.clamp(1, LIST_MAX).min(PAGE)))
        });
        let (which, after, limit) = match result {
            Ok(asked) => asked,
            Err(error) => return self.refuse(to, &error),
        };
        self.outputs.push(Output::Read(ReadRequest::Scan {
            prefix: which.prefix(),
            after: after.map(key_of),
            // Of many only some may be meant.
            limit: if which.reads() { PAGE } else { limit } + 1,
            then: ScanThen::Dead(DeadRead(Reading::List {
                to: to.clone(),
                which,
                limit,
            })),
        }));
    }

    pub(crate) fn show_dead(&mut self, to: &ReplyTo, params: Option<&RawValue>) {
        let result = rpc::params::<DlqShowParams>(params)
            .and_then(|params| Ok((parse_id(&params.id)?, params.id)));
        match result {
            Ok((id, text)) => self.outputs.push(Output::Read(ReadRequest::Get {
                key: key_of(id),
                then: GetThen::Dead(DeadRead(Reading::Show {
                    to: to.clone(),
                    id: text.into(),
                })),
            })),
            Err(error) => self.refuse(to, &error),
        }
    }

    pub(crate) fn dead_found(&mut self, entry: Option<StateEntry>, read: DeadRead) {
        match read.0 {
            Reading::Show { to, id } => {
                let bytes_max = self.options.frame_bytes_max;
                let result = entry
                    .ok_or_else(|| not_found(&id))
                    .and_then(|entry| letter(&entry))
                    .map(|letter| fit(letter, bytes_max));
                self.reply(&to, result);
            }
            Reading::Replay { to, id } => self.replay_found(&to, &id, entry),
            Reading::Cut => self.cut_dead(entry),
            Reading::List { .. } | Reading::ReplayPage(_) | Reading::DiscardPage(_) => {}
        }
    }

    pub(crate) fn dead_scanned(&mut self, entries: Vec<StateEntry>, read: DeadRead) {
        match read.0 {
            Reading::List { to, which, limit } => {
                let total = match which.sub {
                    Some(sub) => self.dead.count_of(sub),
                    None => self.dead.total(),
                };
                let bytes_max = self.options.frame_bytes_max / 2;
                let result = page(&entries, &which, limit, bytes_max).map(|mut result| {
                    result.total = total as u64;
                    result
                });
                self.reply(&to, result);
            }
            Reading::ReplayPage(job) => self.replay_page(&entries, job),
            Reading::DiscardPage(job) => self.discard_page(&entries, job),
            Reading::Show { .. } | Reading::Replay { .. } | Reading::Cut => {}
        }
    }

    /// `dead_letter.put`: files what never was an event, under the peer's own subscription.
    pub(crate) fn put_dead_letter(&mut self, to: &ReplyTo, params: Option<&RawValue>) {
        let params = match rpc::params::<rpc::DeadLetterPutParams>(params) {
            Ok(params) => params,
            Err(error) => return self.refuse(to, &error),
        };
        let peer = self
            .peers
            .get(&to.link)
            .expect("frames come from known links");
        let name = match &peer.role {
            Role::Instance(key) => key.main_subscription(),
            Role::Client { name, .. } => format!("client.{name}"),
            Role::Unknown => return,
        };
        let version = peer
            .instance()
            .and_then(|key| self.instances.get(key))
            .map(|instance| instance.setup.version.clone());
        let sub = self.router.find(&name).unwrap_or(SubId(0));
        let id = (sub, self.dead.next_filed(self.boot));
        let failure = match &params.error {
            Some(error) => Failure {
                r#type: (!error.kind.is_empty()).then(|| error.kind.clone()),
                message: error.message.clone(),
                traceback: error.traceback.clone(),
            }
            .bounded(),
            None => Failure::new(params.reason.clone()),
        };
        let error = HandlerError {
            kind: failure.r#type.unwrap_or_default(),
            message: failure.message,
            traceback: failure.traceback,
        };
        let mut origin = params.origin;
        crate::router::cut(&mut origin, 1024);
        let letter = DeadLetter {
            id: text_of(id),
            subscription: name,
            seq: 0,
            reason: DeadReason::Filed,
            code: None,
            attempts: 0,
            first_error: Some(error.clone()),
            last_error: Some(error),
            exit: None,
            stderr_tail: None,
            plugin_version: version,
            dead_at: rfc3339(self.now.wall_ms),
            event: params.payload,
            origin: Some(origin),
        };
        let commit = Commit {
            state: vec![crate::router::put_record(key_of(id), &letter)],
            ..Commit::default()
        };
        self.counters.add("dead_letters_filed", 1);
        if let Some(meter) = self.meter_of(to.link) {
            self.router.meters_mut().get(meter).died(DeadReason::Filed);
        }
        let ticket = DeadTicket::Filed {
            to: to.clone(),
            id: text_of(id),
        };
        self.stage(commit, Ticket::Dead(ticket));
    }

    pub(crate) fn dead_done(&mut self, ticket: DeadTicket, result: Result<Receipt, CommitError>) {
        match (ticket, result) {
            (DeadTicket::Filed { to, id }, Ok(_)) => {
                self.answer(&to, &rpc::DeadLetterPutResult { id });
            }
            (DeadTicket::Filed { to, .. }, Err(error)) => self.refuse(&to, &commit_error(&error)),
            (DeadTicket::Replayed { job, letters }, result) => self.replayed(job, letters, &result),
            (DeadTicket::Discarded { job, count }, result) => self.discarded(job, count, &result),
            (DeadTicket::Cut, result) => self.dead_cut(result.is_ok()),
        }
    }
}

/// A record as it was written.
pub(super) fn letter(entry: &StateEntry) -> Result<DeadLetter, Error> {
    serde_json::from_slice(&entry.value).map_err(|error| {
        Error::new(
            Code::Internal,
            format!("expected a dead letter in the store, found something else: {error}"),
        )
    })
}

/// Leaves out what would not fit a frame beside the envelope.
fn fit(mut letter: DeadLetter, bytes_max: usize) -> DeadLetter {
    let text = serde_json::to_string(&letter).map_or(0, |text| text.len());
    if text + 1024 > bytes_max {
        letter.stderr_tail = None;
        letter.exit = None;
        let errors = [&mut letter.first_error, &mut letter.last_error];
        for error in errors.into_iter().flatten() {
            error.traceback = None;
        }
    }
    letter
}

/// One page of a list that fits a frame; `entries` holds one more than were asked for if there are more.
fn page(
    entries: &[StateEntry],
    which: &Which,
    limit: usize,
    bytes_max: usize,
) -> Result<DlqListResult, Error> {
    let mut result = DlqListResult::default();
    let mut bytes = 0;
    for entry in entries.iter().take(PAGE) {
        let mut letter = letter(entry)?;
        if !which.takes(&letter) {
            continue;
        }
        if letter.event.get().len() > LISTED_BYTES_MAX {
            letter.event = RawValue::NULL.to_owned();
        }
        bytes += entry.value.len().min(LISTED_BYTES_MAX * 3) + 256;
        if result.letters.len() == limit || (bytes > bytes_max && !result.letters.is_empty()) {
            result.next = result.letters.last().map(|last| last.id.clone());
            break;
        }
        if let Some(id) = id_of(&entry.key) {
            letter.id = text_of(id);
        }
        result.letters.push(letter);
    }
    if result.next.is_none()
        && entries.len() > PAGE
        && let Some(id) = id_of(&entries[PAGE - 1].key)
    {
        result.next = Some(text_of(id));
    }
    Ok(result)
}

/// Numbers from here on were given to what never was an event.
pub(super) const FILED_FROM: Seq = 1 << 63;
