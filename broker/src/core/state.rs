//! The core's state, and what it asks of whoever drives it.

use std::collections::BTreeSet;
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};
use serde_json::value::RawValue;
use trunkline_contract::envelope::rfc3339;
use trunkline_contract::error::{Code, Error};
use trunkline_contract::rpc;

use crate::clock::{Now, Random};
use crate::instance::InstanceKey;
use crate::router::{Command, LinkId, Loss, Router};
use crate::store::{EventPage, Failed, Reader, Seq, StateEntry};

use super::batch::{InFlight, Staged};
use super::boot::{read_boot, scan_all};
use super::client::Tokens;
use super::instance::{Instance, InstanceSignal};
use super::lifecycle::Rejections;
use super::limits::{LINKS_MAX, TOPICS_MAX};
use super::lock::Locks;
use super::peer::{Call, Peer, Phase, ReplyTo, Role};
use super::read::{ReadAnswer, ReadRequest};
use super::retention::{Retention, Retirement};
use super::ring::Ring;
use super::route::Routes;
use super::tail::Tails;

/// What does not change while the broker lives.
#[derive(Debug, Clone)]
pub struct CoreOptions {
    /// Version of the broker.
    pub version: String,
    /// Process id shown by status.
    pub pid: u32,
    /// Wall-clock ms at which it started.
    pub started_at_ms: i64,
    /// Largest frame on any link, in bytes.
    pub frame_bytes_max: usize,
    /// `sqlite` or `memory`, shown by status.
    pub store_kind: &'static str,
    /// What is kept, and for how long.
    pub retention: Retention,
    /// Who may attach.
    pub tokens: Tokens,
    /// Publishes per second each source may make, if limited.
    pub source_events_per_second: Option<u32>,
}

/// A line for an instance's log.
#[derive(Debug, Clone)]
pub struct LogLine {
    /// Whose.
    pub key: InstanceKey,
    /// `debug`, `info`, `warn` or `error`.
    pub level: String,
    /// The broker says it of the instance; false: the instance says it.
    pub is_brokers: bool,
    /// What it says.
    pub message: String,
    /// Fields, as a JSON object.
    pub fields: Option<Box<RawValue>>,
}

/// A request that the control plane answers: it owns processes, logs and config.
#[derive(Debug, Clone)]
pub struct ControlRequest {
    /// Who asked.
    pub link: LinkId,
    /// Which request of theirs.
    pub id: Option<Box<RawValue>>,
    /// `admin.…`
    pub method: String,
    /// Its parameters.
    pub params: Option<Box<RawValue>>,
}

/// What the driver is asked to do.
#[derive(Debug)]
pub enum Output {
    /// Write what waits in this link's outbox.
    Flush(LinkId),
    /// Close this link once its outbox is written.
    Close(LinkId),
    /// A frame that had to wait was applied: read on.
    Resume(LinkId),
    /// Read the store; answer with [`Core::read_done`].
    Read(ReadRequest),
    /// Something happened to an instance's link.
    Signal(InstanceKey, InstanceSignal),
    /// What a running plugin made of the config of this revision.
    ConfigAnswered(InstanceKey, u64, super::ConfigAnswer),
    /// Ask the control plane; answer with [`Core::respond`].
    Control(ControlRequest),
    /// Append to an instance's log.
    Log(LogLine),
    /// A span has ended, for whoever exports them.
    Span(Box<super::Span>),
    /// Write down what an operator did.
    Audit(super::AuditRecord),
    /// Work on files; answer with [`Core::blob_done`].
    Blob(super::BlobRequest),
}

/// Named counters, shown by `admin.status`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counters {
    values: FxHashMap<&'static str, u64>,
}

impl Counters {
    pub(crate) fn add(&mut self, name: &'static str, by: u64) {
        *self.values.entry(name).or_default() += by;
    }

    pub(crate) fn get(&self, name: &str) -> u64 {
        self.values.get(name).copied().unwrap_or(0)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.values.iter().map(|(name, value)| (*name, *value))
    }
}

/// The broker as a state machine.
pub struct Core {
    pub(crate) options: CoreOptions,
    pub(crate) router: Router,
    pub(crate) ring: Ring,
    pub(crate) peers: FxHashMap<LinkId, Peer>,
    pub(crate) instances: FxHashMap<InstanceKey, Instance>,
    pub(crate) processes: super::process::Processes,
    pub(crate) standings: super::standing::Standings,
    /// Instances by the kind they serve.
    pub(crate) kinds: FxHashMap<Box<str>, Vec<InstanceKey>>,
    pub(crate) topics: FxHashSet<Arc<str>>,
    pub(crate) routes: Routes,
    pub(crate) locks: Locks,
    pub(crate) blobs: super::blob::Blobs,
    pub(crate) tails: Tails,
    pub(crate) dead: super::dead_letters::DeadLetters,
    pub(crate) notes: super::doctor::Notes,
    pub(crate) hooks: super::hook::Hooks,
    pub(crate) retirement: Retirement,
    pub(crate) rejections: Rejections,
    pub(crate) kv_state: super::kv::KvState,
    pub(crate) tools: super::tool::Tools,
    pub(crate) timekeeper: super::timer::Timers,
    pub(crate) rates: FxHashMap<Arc<str>, super::publish::Rate>,
    pub(crate) counters: Counters,
    pub(crate) meter: super::metrics::CoreMeter,
    pub(crate) spans: super::span::Spans,
    pub(crate) staged: Vec<Staged>,
    pub(crate) staged_bytes: usize,
    pub(crate) in_flight: Option<InFlight>,
    /// Highest number the store has given to anything.
    pub(crate) last_seq: Seq,
    pub(crate) outputs: Vec<Output>,
    pub(crate) now: Now,
    pub(crate) random: Box<dyn Random>,
    /// Timers of the core itself (pings, deadlines), beside the router's.
    pub(crate) timers: BTreeSet<(u64, Timer)>,
    next_link: u32,
    pub(crate) boot: u32,
    pub(crate) draining: bool,
    pub(crate) audits: super::audit::Audits,
    /// Where HTTP is answered, if it is.
    pub(crate) http: Option<String>,
    /// Timestamp text of `now.wall_ms`, made once per millisecond.
    pub(crate) timestamp: (i64, String),
}

/// Something that is due at a time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    Connect(LinkId),
    TokenEnd(LinkId),
    Ping(LinkId),
    DrainEnd(InstanceKey),
    Lock,
    Retire,
    Rejections,
    Progress(InstanceKey),
    /// A tool call, by its number.
    Tool(u64),
    Hook(Seq),
    /// Timers of instances.
    Timers,
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core")
            .field("router", &self.router)
            .field("peers", &self.peers.len())
            .finish_non_exhaustive()
    }
}

impl Core {
    /// Brings the broker back from its store.
    ///
    /// # Errors
    /// [`Failed`] when the store cannot be read, or holds records that this version did not write.
    pub fn open(
        options: CoreOptions,
        reader: &mut dyn Reader,
        now: Now,
        random: Box<dyn Random>,
        router_random: Box<dyn Random>,
    ) -> Result<Self, Failed> {
        let facts = reader.facts()?;
        let retention = options.retention;
        let boot = read_boot(reader, now)? + 1;
        let mut router = Router::new(boot, facts.head, router_random);
        let mut last_seq = facts.head;
        let entries = scan_all(reader, b"s/", now)?;
        last_seq = last_seq.max(
            entries
                .iter()
                .map(|entry| entry.revision)
                .max()
                .unwrap_or(0),
        );
        let pairs: Vec<_> = entries
            .into_iter()
            .map(|entry| (entry.key, entry.value))
            .collect();
        router.restore(&pairs, now).map_err(|key| Failed {
            reason: format!("expected a record of this version at {key:?}, found something else"),
        })?;
        let mut core = Self {
            ring: Ring::new(facts.head),
            retirement: Retirement::new(facts, now),
            options,
            router,
            peers: FxHashMap::default(),
            instances: FxHashMap::default(),
            processes: super::process::Processes::default(),
            standings: super::standing::restore(reader, now)?,
            kinds: FxHashMap::default(),
            topics: FxHashSet::default(),
            routes: Routes::default(),
            locks: Locks::restore(
                &scan_all(reader, b"l/", now)?,
                &scan_all(reader, b"lx/", now)?,
                now,
            ),
            blobs: super::blob::Blobs::restore(reader, &retention, now)?,
            tails: Tails::default(),
            hooks: super::hook::restore(reader, now)?,
            dead: super::dead_letters::DeadLetters::restore(reader, now)?,
            notes: super::doctor::Notes::default(),
            rejections: Rejections::default(),
            kv_state: super::kv::KvState::restore(reader, now, boot)?,
            tools: super::tool::Tools::default(),
            timekeeper: super::timer::Timers::restore(reader, now)?,
            rates: FxHashMap::default(),
            counters: Counters::default(),
            meter: super::metrics::CoreMeter::default(),
            spans: super::span::Spans::default(),
            staged: Vec::new(),
            staged_bytes: 0,
            in_flight: None,
            last_seq,
            outputs: Vec::new(),
            now,
            random,
            timers: BTreeSet::new(),
            next_link: 1,
            boot,
            draining: false,
            audits: super::audit::Audits::default(),
            http: None,
            timestamp: (i64::MIN, String::new()),
        };
        core.write_boot();
        core.arm_locks();
        core.arm(
            now.mono_ms + super::retention::RETIRE_INTERVAL_MS,
            Timer::Retire,
        );
        Ok(core)
    }

    /// Tells the core what time it is; call it before feeding anything in.
    pub fn set_now(&mut self, now: Now) {
        debug_assert!(
            now.mono_ms >= self.now.mono_ms,
            "monotonic time never runs backwards"
        );
        self.now = now;
    }

    /// Does what has become due.
    pub fn tick(&mut self) {
        self.router.tick(self.now);
        while let Some((at, timer)) = self.timers.first().cloned() {
            if at > self.now.mono_ms {
                break;
            }
            self.timers.pop_first();
            self.meter.timer_lag_ms.record(self.now.mono_ms - at);
            match timer {
                Timer::Connect(link) => self.connect_timed_out(link),
                Timer::TokenEnd(link) => self.token_ended(link),
                Timer::Ping(link) => self.ping(link),
                Timer::DrainEnd(key) => self.drain_ended(&key),
                Timer::Lock => self.expire_locks(),
                Timer::Retire => self.retire(),
                Timer::Rejections => self.report_rejections(),
                Timer::Progress(key) => self.progress_due(&key),
                Timer::Tool(number) => self.tool_due(number),
                Timer::Hook(seq) => self.hook_timed_out(seq),
                Timer::Timers => self.timers_due(),
            }
        }
    }

    /// When [`Core::tick`] is due next, in monotonic ms.
    pub fn next_deadline_ms(&self) -> Option<u64> {
        self.sooner(self.timers.first().map(|(at, _)| *at))
    }

    /// The sooner of a timer and of what the router waits for.
    pub(super) fn sooner(&self, own: Option<u64>) -> Option<u64> {
        // While a batch is under way nothing can be flushed: its result comes first, without a timer.
        let router = if self.in_flight.is_some() {
            self.router.next_timer_ms()
        } else {
            self.router.next_deadline_ms()
        };
        own.into_iter().chain(router).min()
    }

    /// Lets the router act on what changed. Call it once after a group of inputs; then take outputs and batch.
    pub fn settle_down(&mut self) {
        loop {
            self.pump_released();
            self.router.run(self.now);
            let mut commands = self.router.take_commands();
            if commands.is_empty() {
                self.router.recycle(commands);
                break;
            }
            for command in commands.drain(..) {
                self.carry_out(command);
            }
            self.router.recycle(commands);
        }
    }

    fn carry_out(&mut self, command: Command) {
        match command {
            Command::Deliver {
                link,
                event,
                id,
                attempt,
                redelivered,
                lease_ms,
                is_last,
                subscription,
            } => {
                self.deliver(
                    link,
                    &event,
                    id,
                    attempt,
                    redelivered,
                    lease_ms,
                    is_last,
                    &subscription,
                );
            }
            Command::DeliverEphemeral { link, event } => self.deliver_ephemeral(link, &event),
            Command::Gap {
                link,
                subscription,
                from,
                to,
                count,
                id,
            } => {
                self.deliver_gap(link, &subscription, from, to, count, id);
            }
            Command::Read {
                sub,
                generation,
                after,
                filters,
                limit,
            } => match self.ring.read(after, &filters, limit) {
                Some(page) => {
                    self.meter.ring_hits += 1;
                    self.router.page(sub, generation, page, self.now);
                }
                None => {
                    self.meter.ring_misses += 1;
                    self.outputs.push(Output::Read(ReadRequest::Page {
                        sub,
                        generation,
                        after,
                        filters,
                        limit,
                    }));
                }
            },
            Command::ReadAt { sub, seqs } => match self.ring.read_at(&seqs) {
                Some(found) => {
                    self.meter.ring_hits += 1;
                    self.router.bodies(sub, &seqs, found, self.now);
                }
                None => {
                    self.meter.ring_misses += 1;
                    self.outputs
                        .push(Output::Read(ReadRequest::Bodies { sub, seqs }));
                }
            },
            Command::Undelivered { event, reason } => self.say_undelivered(&event, reason),
            Command::Failed(failed) => self.attempt_failed(&failed),
            Command::Ended { seq } => self.timer_settled(seq),
            Command::Drained { sub } => self.drained(sub),
            Command::Died {
                subscription,
                id,
                reason,
            } => self.advise_dead(&subscription, &id, reason),
        }
    }

    /// The answer to a read.
    pub fn read_done(&mut self, answer: ReadAnswer) {
        match answer {
            ReadAnswer::Page(sub, generation, page) => {
                self.router.page(sub, generation, page, self.now);
            }
            ReadAnswer::Bodies(sub, asked, found) => {
                self.router.bodies(sub, &asked, found, self.now);
            }
            ReadAnswer::Get(entry, then) => self.got(entry, then),
            ReadAnswer::Scan(entries, then) => self.scanned(entries, then),
            ReadAnswer::Log(page, then) => self.log_read(page, then),
            ReadAnswer::SeqBefore(seq, then) => self.start_found(seq, *then),
            ReadAnswer::Facts(facts, counts, then) => match then {
                super::read::FactsThen::Admin(read) => self.admin_facts(facts, &counts, &read),
                super::read::FactsThen::Retention => {
                    self.unname_blobs(facts);
                    self.retire_facts(facts);
                }
                super::read::FactsThen::Tail(opening) => self.tail_opens(facts, *opening),
            },
        }
    }

    fn got(&mut self, entry: Option<StateEntry>, then: super::read::GetThen) {
        use super::read::GetThen;
        match then {
            GetThen::Kv(read) => self.kv_got(entry, read),
            GetThen::Route(read) => self.route_found(entry, read),
            GetThen::Dead(read) => self.dead_found(entry, read),
            GetThen::Poller(read) => self.poller_found(entry, *read),
        }
    }

    fn scanned(&mut self, entries: Vec<StateEntry>, then: super::read::ScanThen) {
        use super::read::ScanThen;
        match then {
            ScanThen::Kv(read) => self.kv_scanned(entries, read),
            ScanThen::Dead(read) => self.dead_scanned(entries, read),
            ScanThen::Poller(read) => self.pollers_scanned(&entries, *read),
        }
    }

    fn log_read(&mut self, page: EventPage, then: super::read::LogThen) {
        use super::read::LogThen;
        match then {
            LogThen::Tail(read) => self.tail_read(page, &read),
            LogThen::Retention(read) => self.retire_page(page, read),
        }
    }

    /// What is to be done since the last call.
    pub fn take_outputs(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.outputs)
    }

    /// Admits a link.
    ///
    /// # Errors
    /// `quota_exceeded` when there are too many.
    pub fn attach(&mut self, kind: super::LinkKind) -> Result<LinkId, Error> {
        if self.peers.len() >= LINKS_MAX {
            return Err(Error::new(
                Code::QuotaExceeded,
                format!("expected at most {LINKS_MAX} links at once"),
            ));
        }
        let id = LinkId(self.next_link);
        self.next_link = self.next_link.wrapping_add(1);
        self.peers.insert(id, Peer::new());
        self.counters.add("links_opened", 1);
        match kind {
            super::LinkKind::Attached | super::LinkKind::Remote => {
                if let Some(peer) = self.peers.get_mut(&id) {
                    peer.is_remote = kind == super::LinkKind::Remote;
                }
                self.arm(
                    self.now.mono_ms + super::limits::CONNECT_TIMEOUT_MS,
                    Timer::Connect(id),
                );
            }
            super::LinkKind::Spawned(key) => self.spawned(id, &key),
            super::LinkKind::Process(key) => self.process_spawned(id, &key),
        }
        Ok(id)
    }

    /// A link ended (end of file, a write error, or we closed it).
    pub fn detach(&mut self, link: LinkId) {
        let Some(peer) = self.peers.remove(&link) else {
            return;
        };
        let lost = self.router.link_down(link, Loss::Link, self.now);
        self.tails.drop_link(link);
        self.drop_lock_waits(link);
        self.drop_watches(link);
        self.tools_detached(link, peer.instance());
        self.drop_audits(link);
        if let Some(key) = &peer.process {
            self.process_detached(key, link, &peer);
        }
        match &peer.role {
            Role::Instance(key) => self.instance_detached(key, link, lost, &peer),
            Role::Client { .. } | Role::Unknown => {}
        }
    }

    /// What waits to be written to a link.
    pub fn outbox(&mut self, link: LinkId) -> Option<&mut super::Outbox> {
        self.peers.get_mut(&link).map(|peer| &mut peer.out)
    }

    /// Some of a link's outbox was written: there may be room again.
    pub fn wrote(&mut self, link: LinkId) {
        let Some(peer) = self.peers.get_mut(&link) else {
            return;
        };
        if peer.out.is_empty() {
            for id in std::mem::take(&mut peer.unwritten_deliveries) {
                self.router
                    .settle(link, id, crate::router::Settle::Ack, self.now);
            }
        }
        let Some(peer) = self.peers.get(&link) else {
            return;
        };
        let room = peer.out.len() < trunkline_contract::limits::LINK_UNWRITTEN_BYTES_MAX;
        self.router.set_writable(link, room);
        if room {
            self.resume_watches(link);
            self.resume_tail(link);
            self.resume_tools(link);
        }
    }

    /// Says whether links must be paused until a batch is on its way.
    pub fn is_full(&self) -> bool {
        self.staged.len() >= super::limits::STAGED_COMMITS_MAX
            || self.staged_bytes >= super::limits::STAGED_BYTES_MAX
    }

    /// The largest frame a link may send.
    pub fn frame_bytes_max(&self) -> usize {
        self.options.frame_bytes_max
    }

    /// Answers a request that was passed to the control plane.
    pub fn respond(
        &mut self,
        link: LinkId,
        id: Option<&RawValue>,
        answer: Result<Box<RawValue>, Error>,
    ) {
        let to = ReplyTo {
            link,
            id: id.map(ToOwned::to_owned),
        };
        match answer {
            Ok(result) => self.answer(&to, &result),
            Err(error) => self.refuse(&to, &error),
        }
    }

    /// Sends a notification to one link (log lines that the control plane streams).
    pub fn notify(&mut self, link: LinkId, method: &str, params: &impl serde::Serialize) {
        self.write_control(link, |out| rpc::write_notification(out, method, params));
    }

    pub(crate) fn answer(&mut self, to: &ReplyTo, result: &(impl serde::Serialize + ?Sized)) {
        self.audited(to, None);
        if let Some(id) = &to.id {
            self.write_control(to.link, |out| rpc::write_result(out, id, result));
        }
    }

    pub(crate) fn refuse(&mut self, to: &ReplyTo, error: &Error) {
        self.audited(to, Some(error));
        self.counters.add("requests_refused", 1);
        if let Some(id) = &to.id {
            self.write_control(to.link, |out| rpc::write_error(out, Some(id), error));
        }
    }

    pub(crate) fn reply(&mut self, to: &ReplyTo, result: Result<impl serde::Serialize, Error>) {
        match result {
            Ok(result) => self.answer(to, &result),
            Err(error) => self.refuse(to, &error),
        }
    }

    pub(crate) fn write_control(&mut self, link: LinkId, write: impl FnOnce(&mut Vec<u8>)) {
        if let Some(peer) = self.peers.get_mut(&link) {
            peer.out.control(write);
            if !peer.flush {
                peer.flush = true;
                self.outputs.push(Output::Flush(link));
            }
        }
    }

    /// The driver took note that this link is to be flushed.
    pub fn flushing(&mut self, link: LinkId) {
        if let Some(peer) = self.peers.get_mut(&link) {
            peer.flush = false;
        }
    }

    /// Sends a request of ours.
    pub(crate) fn call(
        &mut self,
        link: LinkId,
        call: Call,
        method: &str,
        params: &impl serde::Serialize,
    ) {
        let Some(peer) = self.peers.get_mut(&link) else {
            return;
        };
        let id = peer.next_call;
        peer.next_call += 1;
        peer.calls.insert(id, call);
        self.write_control(link, |out| rpc::write_request(out, id, method, params));
    }

    pub(crate) fn close(&mut self, link: LinkId) {
        if let Some(peer) = self.peers.get_mut(&link) {
            peer.phase = Phase::Closing;
            self.router.set_serving(link, false);
            self.outputs.push(Output::Close(link));
        }
    }

    pub(crate) fn arm(&mut self, at_ms: u64, timer: Timer) {
        self.timers.insert((at_ms, timer));
    }

    /// The shared text of a topic.
    pub(crate) fn topic(&mut self, text: &str) -> Arc<str> {
        if let Some(found) = self.topics.get(text) {
            return found.clone();
        }
        if self.topics.len() >= TOPICS_MAX {
            self.topics.clear();
        }
        let topic: Arc<str> = text.into();
        self.topics.insert(topic.clone());
        topic
    }

    /// `now` as RFC 3339.
    pub(crate) fn timestamp(&mut self) -> &str {
        if self.timestamp.0 != self.now.wall_ms {
            self.timestamp = (self.now.wall_ms, rfc3339(self.now.wall_ms));
        }
        &self.timestamp.1
    }

    /// A new event id: time first, so that the dedupe index grows at its end.
    pub(crate) fn new_id(&mut self) -> String {
        let mut random = [0u8; 10];
        random[..8].copy_from_slice(&self.random.bits().to_le_bytes());
        random[8..].copy_from_slice(&self.random.bits().to_le_bytes()[..2]);
        trunkline_contract::id::uuid_v7(self.now.wall_ms.max(0) as u64, random)
    }
}
