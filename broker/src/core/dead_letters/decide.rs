//! `admin.dlq.replay` and `admin.dlq.discard`.
//!
//! A replay is one commit: the record goes, and the event is pending again for its subscription alone,
//! attempt 1, with `metadata.replay_of`. Of many, a page at a time; one request replays at most
//! [`REPLAY_MAX`].

use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;
use trunkline_contract::envelope::{Draft, Stamp};
use trunkline_contract::error::{Code, Error};
use trunkline_contract::rpc::admin::{DlqCountResult, DlqSelectParams};
use trunkline_contract::rpc::{self, DeadReason};
use trunkline_contract::topic::session_key;

use crate::core::batch::{Ticket, commit_error};
use crate::core::limits::REPLAY_MAX;
use crate::core::peer::ReplyTo;
use crate::core::read::{GetThen, ReadRequest, ScanThen};
use crate::core::state::{Core, Output};
use crate::instance::InstanceKey;
use crate::router::SubId;
use crate::store::{Commit, CommitError, Expect, Receipt, StateEntry, StateOp, StoredEvent};

use super::index::{LetterId, id_of, key_of};
use super::request::{
    DeadRead, DeadTicket, FILED_FROM, Reading, letter, not_found, parse_id, text_of,
};
use super::which::Which;

/// Records replayed in one commit.
const REPLAY_PAGE: usize = 16;
/// Records discarded in one commit.
const DISCARD_PAGE: usize = 256;

/// A request over many records.
#[derive(Debug)]
pub(crate) struct Job {
    to: ReplyTo,
    which: Which,
    after: Option<LetterId>,
    left: usize,
    count: u64,
}

/// An event that is pending again once its commit is durable.
#[derive(Debug)]
pub(crate) struct Replayed {
    sub: SubId,
    event: StoredEvent,
    session: Option<String>,
}

/// The parts of an envelope that a replay needs.
#[derive(Deserialize)]
struct Sent {
    id: String,
    timestamp: String,
    topic: String,
    source: String,
    #[serde(default)]
    session_id: Option<String>,
}

/// What was selected.
enum Selected {
    One(LetterId, String),
    Many(Which),
}

impl Core {
    fn select_dead(&self, params: Option<&RawValue>) -> Result<Selected, Error> {
        let params: DlqSelectParams = rpc::params(params)?;
        let (subscription, plugin) = (params.subscription.as_deref(), params.plugin.as_deref());
        let session = params.session.as_deref();
        match (params.id, subscription.or(plugin), params.all) {
            (Some(id), None, false) if session.is_none() => Ok(Selected::One(parse_id(&id)?, id)),
            (None, Some(_), false) | (None, None, true) => {
                let which = self.which_dead(subscription, plugin, session)?;
                Ok(Selected::Many(which))
            }
            _ => Err(Error::new(
                Code::InvalidArguments,
                "expected exactly one of id, subscription, plugin and all, and a session with one \
                 of the last three",
            )),
        }
    }

    pub(crate) fn replay_dead(&mut self, to: &ReplyTo, params: Option<&RawValue>) {
        match self.select_dead(params) {
            Ok(Selected::One(id, text)) => self.outputs.push(Output::Read(ReadRequest::Get {
                key: key_of(id),
                then: GetThen::Dead(DeadRead(Reading::Replay {
                    to: to.clone(),
                    id: text.into(),
                })),
            })),
            Ok(Selected::Many(which)) => self.replay_more(Box::new(Job {
                to: to.clone(),
                which,
                after: None,
                left: REPLAY_MAX,
                count: 0,
            })),
            Err(error) => self.refuse(to, &error),
        }
    }

    /// One record: what stands in its way is said.
    pub(super) fn replay_found(&mut self, to: &ReplyTo, id: &str, entry: Option<StateEntry>) {
        let result = entry
            .ok_or_else(|| not_found(id))
            .and_then(|entry| self.revive(&entry));
        match result {
            Ok((state, replayed)) => {
                let job = Box::new(Job {
                    to: to.clone(),
                    which: Which::default(),
                    after: None,
                    left: 0,
                    count: 0,
                });
                self.stage_replay(state, job, vec![replayed]);
            }
            Err(error) => self.refuse(to, &error),
        }
    }

    fn replay_more(&mut self, job: Box<Job>) {
        let ids = self
            .dead
            .ids_after(job.which.sub, job.after, REPLAY_PAGE.min(job.left));
        if ids.is_empty() {
            return self.answer(&job.to, &DlqCountResult { count: job.count });
        }
        self.outputs.push(Output::Read(ReadRequest::Scan {
            prefix: job.which.prefix(),
            after: job.after.map(key_of),
            limit: ids.len(),
            then: ScanThen::Dead(DeadRead(Reading::ReplayPage(job))),
        }));
    }

    /// A page of records: what cannot be replayed stays.
    pub(super) fn replay_page(&mut self, entries: &[StateEntry], mut job: Box<Job>) {
        let Some(last) = entries.last().and_then(|entry| id_of(&entry.key)) else {
            return self.answer(&job.to, &DlqCountResult { count: job.count });
        };
        job.after = Some(last);
        let mut state = Vec::new();
        let mut letters = Vec::new();
        for entry in entries {
            if !letter(entry).is_ok_and(|letter| job.which.takes(&letter)) {
                continue;
            }
            if let Ok((ops, replayed)) = self.revive(entry) {
                state.extend(ops);
                letters.push(replayed);
            }
        }
        if letters.is_empty() {
            return self.replay_more(job);
        }
        job.left = job.left.saturating_sub(letters.len());
        self.stage_replay(state, job, letters);
    }

    fn stage_replay(&mut self, state: Vec<StateOp>, job: Box<Job>, letters: Vec<Replayed>) {
        for letter in &letters {
            self.router.replay_staged(letter.sub);
        }
        let commit = Commit {
            state,
            ..Commit::default()
        };
        self.stage(commit, Ticket::Dead(DeadTicket::Replayed { job, letters }));
    }

    /// What brings one record back, or why it cannot.
    fn revive(&self, entry: &StateEntry) -> Result<(Vec<StateOp>, Replayed), Error> {
        let letter = letter(entry)?;
        let (died_in, seq) = id_of(&entry.key).ok_or_else(|| not_found(&letter.id))?;
        let text = text_of((died_in, seq));
        let refused = |why: &str| {
            Error::new(
                Code::InvalidArguments,
                format!("expected a dead letter that can be replayed, found {text:?}: {why}"),
            )
        };
        if letter.reason == DeadReason::Filed || seq >= FILED_FROM {
            return Err(refused("it never was an event"));
        }
        if letter.event.get() == "null" {
            return Err(refused("its payload was cut to stay within the quota"));
        }
        let raw = letter.event.get();
        let sent: Sent =
            serde_json::from_str(raw).map_err(|_| refused("its envelope cannot be read"))?;
        let sub = self.replayed_by(died_in, &text, &letter.subscription, &sent.topic)?;
        if !self.router.may_replay(sub, seq) {
            return Err(refused("its event is pending already"));
        }
        let draft = Draft::parse(raw)?;
        let replay_of = format!("\"{text}\"");
        let stamp = Stamp {
            id: &sent.id,
            timestamp: &sent.timestamp,
            topic: &sent.topic,
            source: &sent.source,
            metadata: &[("replay_of", &replay_of)],
        };
        let envelope = draft.envelope(&stamp);
        let session = session_key(&sent.topic, sent.session_id.as_deref());
        let envelope_text =
            std::str::from_utf8(&envelope).map_err(|_| refused("its envelope is no text"))?;
        let row = self
            .router
            .replay_op(sub, seq, &sent.topic, session.clone(), envelope_text);
        let gone = StateOp {
            key: entry.key.clone(),
            value: None,
            expect: Expect::Revision(entry.revision),
            expires_at_ms: None,
        };
        let event = StoredEvent {
            seq,
            stored_at_ms: self.now.wall_ms,
            topic: Arc::from(sent.topic),
            source: Arc::from(sent.source),
            session: sent.session_id.map(Into::into),
            // Whoever replays wants it delivered, also when its time is over.
            expires_at_ms: None,
            envelope: envelope.into(),
        };
        let replayed = Replayed {
            sub,
            event,
            session,
        };
        Ok((vec![gone, row], replayed))
    }

    /// Where a dead letter goes back to: its subscription, the one that has its name now, or its instance's main one;
    /// the first of them that selects its topic.
    fn replayed_by(
        &self,
        died_in: SubId,
        text: &str,
        name: &str,
        topic: &str,
    ) -> Result<SubId, Error> {
        let is_its_own = |sub: &SubId| {
            let there = self.router.get(*sub);
            there.is_some_and(|there| there.name() == name)
        };
        let own = Some(died_in).filter(is_its_own);
        let main = InstanceKey::main_of_subscription(name);
        let main = main.and_then(|main| self.router.find(&main));
        let known = [own, self.router.find(name), main];
        let known = known
            .into_iter()
            .flatten()
            .filter_map(|sub| self.router.get(sub));
        let mut is_gone = true;
        for there in known {
            is_gone = false;
            if there.filters().iter().any(|filter| filter.matches(topic)) {
                return Ok(there.id());
            }
        }
        if is_gone {
            return Err(Error::new(
                Code::NotFound,
                format!("subscription {name:?} of {text:?} is gone"),
            ));
        }
        Err(Error::new(
            Code::TopicNotGranted,
            format!(
                "{text:?} cannot be replayed: its subscription {name:?} no longer selects {topic}"
            ),
        ))
    }

    pub(super) fn replayed(
        &mut self,
        mut job: Box<Job>,
        letters: Vec<Replayed>,
        result: &Result<Receipt, CommitError>,
    ) {
        if let Err(error) = result {
            for letter in &letters {
                self.router.replay_refused(letter.sub);
            }
            let mut error = commit_error(error);
            error.index = None;
            return self.refuse(&job.to, &error);
        }
        let count = letters.len() as u64;
        self.counters.add("dead_letters_replayed", count);
        job.count += count;
        for letter in letters {
            self.router
                .replayed(letter.sub, letter.event, letter.session);
        }
        if job.left == 0 {
            return self.answer(&job.to, &DlqCountResult { count: job.count });
        }
        self.replay_more(job);
    }

    pub(crate) fn discard_dead(&mut self, to: &ReplyTo, params: Option<&RawValue>) {
        let job = |which| {
            Box::new(Job {
                to: to.clone(),
                which,
                after: None,
                left: usize::MAX,
                count: 0,
            })
        };
        match self.select_dead(params) {
            Ok(Selected::One(id, text)) => {
                if !self.dead.contains(id) {
                    return self.refuse(to, &not_found(&text));
                }
                let mut job = job(Which::default());
                job.left = 0;
                self.stage_discard(&[id], job);
            }
            Ok(Selected::Many(which)) => self.discard_more(job(which)),
            Err(error) => self.refuse(to, &error),
        }
    }

    fn discard_more(&mut self, mut job: Box<Job>) {
        let ids = self.dead.ids_after(job.which.sub, job.after, DISCARD_PAGE);
        let Some(last) = ids.last() else {
            return self.answer(&job.to, &DlqCountResult { count: job.count });
        };
        if job.which.reads() {
            self.outputs.push(Output::Read(ReadRequest::Scan {
                prefix: job.which.prefix(),
                after: job.after.map(key_of),
                limit: ids.len(),
                then: ScanThen::Dead(DeadRead(Reading::DiscardPage(job))),
            }));
            return;
        }
        job.after = Some(*last);
        self.stage_discard(&ids, job);
    }

    /// A page of records: those that are meant go.
    pub(super) fn discard_page(&mut self, entries: &[StateEntry], mut job: Box<Job>) {
        let Some(last) = entries.last().and_then(|entry| id_of(&entry.key)) else {
            return self.answer(&job.to, &DlqCountResult { count: job.count });
        };
        job.after = Some(last);
        let meant = |entry: &&StateEntry| letter(entry).is_ok_and(|it| job.which.takes(&it));
        let ids = entries.iter().filter(meant);
        let ids: Vec<_> = ids.filter_map(|entry| id_of(&entry.key)).collect();
        if ids.is_empty() {
            return self.discard_more(job);
        }
        self.stage_discard(&ids, job);
    }

    fn stage_discard(&mut self, ids: &[LetterId], job: Box<Job>) {
        let state = ids.iter().map(|id| StateOp {
            key: key_of(*id),
            value: None,
            expect: Expect::Any,
            expires_at_ms: None,
        });
        let commit = Commit {
            state: state.collect(),
            ..Commit::default()
        };
        let count = ids.len() as u64;
        self.stage(commit, Ticket::Dead(DeadTicket::Discarded { job, count }));
    }

    pub(super) fn discarded(
        &mut self,
        mut job: Box<Job>,
        count: u64,
        result: &Result<Receipt, CommitError>,
    ) {
        if let Err(error) = result {
            return self.refuse(&job.to, &commit_error(error));
        }
        self.counters.add("dead_letters_discarded", count);
        job.count += count;
        if job.left == 0 {
            return self.answer(&job.to, &DlqCountResult { count: job.count });
        }
        self.discard_more(job);
    }
}
