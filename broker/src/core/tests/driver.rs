//! A synchronous driver: one core, one memory store, one virtual clock.
//!
//! Reads are answered and batches committed at once, unless a test holds them back. Links write what they
//! are given at once, unless a test stalls them. Nothing here sleeps.

use std::collections::{HashMap, HashSet};

use serde_json::{Value, json};
use trunkline_contract::grant::{Grants, Scopes};
use trunkline_contract::tool::{ToolDeclaration, ToolFilter};
use trunkline_contract::topic::Filter;

use crate::clock::{Clock, SeededRandom, VirtualClock};
use crate::core::{
    BatchToken, BlobRequest, ClientGrant, ConfigAnswer, ControlRequest, Core, CoreOptions, Flow,
    InstanceReport, InstanceSetup, InstanceSignal, LinkKind, LogLine, Output, ReadRequest,
    Retention, Tokens,
};
use crate::instance::InstanceKey;
use crate::router::{LinkId, RetryPolicy};
use crate::store::memory::{MemoryOptions, MemoryStore};
use crate::store::{Batch, Reader, Store};

use super::files::MemoryFiles;

/// Wall clock at which every test begins.
pub(crate) const START_MS: i64 = 1_750_000_000_000;

/// Options of a test broker.
pub(crate) fn options() -> CoreOptions {
    CoreOptions {
        version: "0.1.0".into(),
        pid: 7,
        started_at_ms: START_MS,
        frame_bytes_max: 1 << 20,
        store_kind: "memory",
        retention: Retention::default(),
        tokens: Tokens::default(),
        source_events_per_second: None,
    }
}

/// One broker in a test.
pub(crate) struct Broker {
    pub(crate) core: Core,
    pub(crate) store: MemoryStore,
    pub(crate) clock: VirtualClock,
    reader: Box<dyn Reader>,
    seed: u64,
    next_id: u64,
    /// Frames that links have read and no test has looked at.
    frames: HashMap<LinkId, Vec<Value>>,
    /// Frames that wait because their link is paused.
    unread: HashMap<LinkId, Vec<Vec<u8>>>,
    paused: HashSet<LinkId>,
    /// Links that read nothing.
    stalled: HashSet<LinkId>,
    pub(crate) closed: HashSet<LinkId>,
    pub(crate) signals: Vec<(InstanceKey, InstanceSignal)>,
    pub(crate) config_answers: Vec<(InstanceKey, u64, ConfigAnswer)>,
    pub(crate) controls: Vec<ControlRequest>,
    pub(crate) logs: Vec<LogLine>,
    pub(crate) spans: Vec<crate::core::Span>,
    /// What instances that are configured from here on receive beside their own topics.
    pub(crate) granted: Vec<Filter>,
    /// What instances that are configured from here on may call.
    pub(crate) callable: Vec<ToolFilter>,
    /// What the manifests of instances that are configured from here on declare as callable.
    pub(crate) tools: Vec<ToolDeclaration>,
    /// The webhooks and secrets of instances that are configured from here on.
    pub(crate) webhooks: Vec<trunkline_contract::webhook::Webhook>,
    pub(crate) secrets: std::collections::BTreeMap<String, String>,
    /// Reads are kept in `held_reads` instead of being answered.
    pub(crate) hold_reads: bool,
    pub(crate) held_reads: Vec<ReadRequest>,
    /// Batches are kept in `held_batch` instead of being committed.
    pub(crate) hold_batches: bool,
    pub(crate) held_batch: Option<(BatchToken, Batch)>,
    /// The files of blobs.
    pub(crate) files: MemoryFiles,
    /// Work on files is kept in `held_blobs` instead of being done.
    pub(crate) hold_blobs: bool,
    pub(crate) held_blobs: Vec<BlobRequest>,
}

impl Broker {
    /// A broker with default options.
    pub(crate) fn new() -> Self {
        Self::with(options(), MemoryOptions::default(), 1)
    }

    pub(crate) fn with(options: CoreOptions, memory: MemoryOptions, seed: u64) -> Self {
        let store = MemoryStore::new(memory);
        let clock = VirtualClock::new(START_MS);
        let mut reader = store.reader().unwrap();
        let core = open(options, &mut *reader, &clock, seed);
        let mut broker = Self {
            core,
            store,
            clock,
            reader,
            seed,
            next_id: 1,
            frames: HashMap::new(),
            unread: HashMap::new(),
            paused: HashSet::new(),
            stalled: HashSet::new(),
            closed: HashSet::new(),
            signals: Vec::new(),
            config_answers: Vec::new(),
            controls: Vec::new(),
            logs: Vec::new(),
            spans: Vec::new(),
            granted: Vec::new(),
            callable: Vec::new(),
            tools: Vec::new(),
            webhooks: Vec::new(),
            secrets: std::collections::BTreeMap::new(),
            hold_reads: false,
            held_reads: Vec::new(),
            hold_batches: false,
            held_batch: None,
            files: MemoryFiles::default(),
            hold_blobs: false,
            held_blobs: Vec::new(),
        };
        broker.run();
        broker
    }

    /// Ends this life as `kill -9` does and begins another on the same store. Links are gone; instances
    /// must be configured again.
    pub(crate) fn restart(&mut self) {
        self.seed += 1;
        let options = self.core.options.clone();
        self.reader = self.store.reader().unwrap();
        self.core = open(options, &mut *self.reader, &self.clock, self.seed);
        self.frames.clear();
        self.unread.clear();
        self.paused.clear();
        self.stalled.clear();
        self.closed.clear();
        self.held_reads.clear();
        self.held_batch = None;
        self.held_blobs.clear();
        self.files.restart();
        self.run();
    }

    pub(crate) fn attach(&mut self, kind: LinkKind) -> LinkId {
        self.core.set_now(self.clock.now());
        let link = self.core.attach(kind).unwrap();
        self.run();
        link
    }

    /// The link ends.
    pub(crate) fn detach(&mut self, link: LinkId) {
        self.core.set_now(self.clock.now());
        self.core.detach(link);
        self.run();
    }

    /// A client with these scopes.
    pub(crate) fn client(&mut self, name: &str, scopes: &[&str]) -> LinkId {
        let token = format!("token of {name}");
        let grant = ClientGrant {
            name: Some(name.into()),
            scopes: Scopes::parse(scopes).unwrap().into(),
        };
        self.core.options.tokens.add(&token, grant);
        let link = self.attach(LinkKind::Attached);
        let params = json!({
            "role": "client", "token": token,
            "protocol": { "name": "trunkline", "min": "1.0", "max": "1.0" },
        });
        self.call(link, "connect", &params).unwrap();
        link
    }

    /// An operator who may do everything.
    pub(crate) fn admin(&mut self) -> LinkId {
        let scopes = ["admin", "read:>", "publish:>", "kv:", "lock:", "blob"];
        self.client("operator", &scopes)
    }

    /// Configures the instance `plugin/instance` that serves the kind of its plugin's name.
    pub(crate) fn configure(&mut self, name: &str) -> InstanceKey {
        let setup = self.setup(name);
        let key = setup.key.clone();
        self.core.set_now(self.clock.now());
        self.core.configure(setup).unwrap();
        self.run();
        key
    }

    /// What [`Self::configure`] gives the core.
    pub(crate) fn setup(&self, name: &str) -> InstanceSetup {
        let granted = self.granted.clone();
        let key = InstanceKey::parse(name);
        let (kind, instance) = (&key.plugin, &key.instance);
        let filter = |text: String| Filter::parse(&text).unwrap();
        let mut grants = Grants {
            publish: vec![
                filter(format!("plugin.inbound.{kind}.{instance}")),
                filter(format!("plugin.delivery.{kind}.{instance}")),
            ],
            receive: vec![filter(format!("plugin.outbound.{kind}.{instance}"))],
            call: self.callable.clone(),
        };
        grants.receive.extend(granted);
        for webhook in &self.webhooks {
            grants.add_webhook(&webhook.kind, instance);
        }
        for tool in &self.tools {
            grants.add_tool(kind, &tool.name);
        }
        InstanceSetup {
            key: key.clone(),
            version: "1.2.3".into(),
            kinds: vec![kind.to_string()],
            features: std::collections::BTreeMap::new(),
            grants,
            tools: self.tools.clone(),
            webhooks: self.webhooks.clone(),
            config: serde_json::Map::new(),
            secrets: self.secrets.clone(),
            state_dir: None,
            retry: RetryPolicy::default(),
            legacy: false,
            ping_interval_ms: 0,
        }
    }

    /// Configures, starts and activates the instance `plugin/instance`; it is ready.
    pub(crate) fn plugin(&mut self, name: &str) -> LinkId {
        let key = self.configure(name);
        let link = self.attach(LinkKind::Spawned(key.clone()));
        let hello = json!({
            "manifest": { "plugin": { "id": key.plugin, "version": "1.2.3" } },
            "server_version": "1.2.3", "protocol": "trunkline/1.0",
        });
        self.reply_to(link, "initialize", &hello);
        self.core.activate(&key);
        self.run();
        self.reply_to(link, "instance.activate", &json!({}));
        self.call(link, "instance.status", &json!({ "state": "ready" }))
            .unwrap();
        let report = InstanceReport {
            state: trunkline_contract::rpc::InstanceState::Ready,
            reason: "it said so".into(),
            pid: Some(42),
            restarts: 0,
            exit: None,
            next_start_ms: None,
        };
        self.core.report(&key, report);
        self.run();
        link
    }

    /// Answers the broker's request of this method, which must have come.
    pub(crate) fn reply_to(&mut self, link: LinkId, method: &str, result: &Value) {
        let frames = self.frames.entry(link).or_default();
        let index = frames
            .iter()
            .position(|frame| frame["method"] == method)
            .unwrap_or_else(|| panic!("no {method} came: {frames:?}"));
        let request = frames.remove(index);
        self.feed(
            link,
            &json!({ "jsonrpc": "2.0", "id": request["id"], "result": result }),
        );
    }

    /// Sends a request without looking at its answer. Returns its id.
    pub(crate) fn request(&mut self, link: LinkId, method: &str, params: &Value) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.feed(
            link,
            &json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }),
        );
        id
    }

    /// The answer to a request, if it has come.
    pub(crate) fn answer(&mut self, link: LinkId, id: u64) -> Option<Result<Value, Value>> {
        let frames = self.frames.get_mut(&link)?;
        let index = frames
            .iter()
            .position(|frame| frame.get("method").is_none() && frame["id"] == id)?;
        let mut frame = frames.remove(index);
        Some(match frame.get_mut("error") {
            Some(error) => Err(error.take()),
            None => Ok(frame["result"].take()),
        })
    }

    /// Sends a request and gives its answer, or its error.
    pub(crate) fn call(
        &mut self,
        link: LinkId,
        method: &str,
        params: &Value,
    ) -> Result<Value, Value> {
        let id = self.request(link, method, params);
        self.answer(link, id)
            .unwrap_or_else(|| panic!("{method} was not answered: {:?}", self.frames.get(&link)))
    }

    /// The code of the error that a request must be answered with.
    pub(crate) fn refusal(&mut self, link: LinkId, method: &str, params: &Value) -> String {
        let error = self
            .call(link, method, params)
            .expect_err("a refusal was expected");
        error["data"]["code"].as_str().unwrap_or("?").to_owned()
    }

    pub(crate) fn notify(&mut self, link: LinkId, method: &str, params: &Value) {
        self.feed(
            link,
            &json!({ "jsonrpc": "2.0", "method": method, "params": params }),
        );
    }

    /// Publishes one event and gives the answer.
    pub(crate) fn publish(
        &mut self,
        link: LinkId,
        topic: &str,
        event: &Value,
    ) -> Result<Value, Value> {
        self.call(
            link,
            "broker.publish",
            &json!({ "topic": topic, "event": event }),
        )
    }

    pub(crate) fn feed(&mut self, link: LinkId, frame: &Value) {
        self.feed_bytes(link, frame.to_string().as_bytes());
    }

    /// One frame as it comes in, without its newline.
    pub(crate) fn feed_bytes(&mut self, link: LinkId, frame: &[u8]) {
        self.unread.entry(link).or_default().push(frame.to_vec());
        self.run();
    }

    /// Makes a link stop (or start) reading what is written to it.
    pub(crate) fn stall(&mut self, link: LinkId, stalled: bool) {
        if stalled {
            self.stalled.insert(link);
        } else {
            self.stalled.remove(&link);
            self.drain(link);
        }
        self.run();
    }

    /// Notifications of one method that came, taken out.
    pub(crate) fn take(&mut self, link: LinkId, method: &str) -> Vec<Value> {
        let frames = self.frames.entry(link).or_default();
        let (taken, kept) = std::mem::take(frames)
            .into_iter()
            .partition(|frame| frame["method"] == method);
        *frames = kept;
        let taken: Vec<Value> = taken;
        taken
            .into_iter()
            .map(|mut frame| frame["params"].take())
            .collect()
    }

    /// Frames of one method that came, taken out whole.
    pub(crate) fn take_frames(&mut self, link: LinkId, method: &str) -> Vec<Value> {
        let frames = self.frames.entry(link).or_default();
        let (taken, kept) = std::mem::take(frames)
            .into_iter()
            .partition(|frame| frame["method"] == method);
        *frames = kept;
        taken
    }

    /// Time passes: everything that becomes due meanwhile happens when it is due.
    pub(crate) fn advance(&mut self, ms: u64) {
        let end = self.clock.now().mono_ms + ms;
        loop {
            let now = self.clock.now().mono_ms;
            match self.core.next_deadline_ms() {
                Some(at) if at <= end => self
                    .clock
                    .advance(at.saturating_sub(now).max(u64::from(at > now))),
                _ => break,
            }
            self.core.set_now(self.clock.now());
            self.core.tick();
            self.run();
            if self.core.next_deadline_ms().is_some_and(|at| at <= now) && self.hold_batches {
                break;
            }
        }
        let now = self.clock.now().mono_ms;
        self.clock.advance(end.saturating_sub(now));
        self.core.set_now(self.clock.now());
        self.core.tick();
        self.run();
    }

    /// Moves the clock at once: what is due in between sees the end of it.
    pub(crate) fn leap(&mut self, ms: u64) {
        self.clock.advance(ms);
        self.core.set_now(self.clock.now());
        self.core.tick();
        self.run();
    }

    /// Feeds what can be fed and carries out what the core asks, until nothing is left to do.
    pub(crate) fn run(&mut self) {
        loop {
            self.core.set_now(self.clock.now());
            let mut busy = self.feed_all();
            self.core.settle_down();
            for output in self.core.take_outputs() {
                busy = true;
                self.carry_out(output);
            }
            busy |= self.commit();
            if !busy {
                break;
            }
        }
    }

    fn feed_all(&mut self) -> bool {
        let mut busy = false;
        let links: Vec<LinkId> = self.unread.keys().copied().collect();
        for link in links {
            while !self.paused.contains(&link) {
                let Some(frames) = self.unread.get_mut(&link).filter(|f| !f.is_empty()) else {
                    break;
                };
                let frame = frames.remove(0);
                busy = true;
                match self.core.frame(link, &frame) {
                    Flow::Continue => {}
                    Flow::Pause => {
                        self.paused.insert(link);
                    }
                    Flow::Close => {
                        self.closed.insert(link);
                    }
                }
            }
        }
        busy
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Flush(link) => {
                self.core.flushing(link);
                self.drain(link);
            }
            Output::Close(link) => {
                self.drain(link);
                self.core.detach(link);
                self.closed.insert(link);
            }
            Output::Resume(link) => {
                self.paused.remove(&link);
            }
            Output::Read(request) if self.hold_reads => self.held_reads.push(request),
            Output::Read(request) => self.read(request),
            Output::Signal(key, signal) => self.signals.push((key, signal)),
            Output::ConfigAnswered(key, revision, answer) => {
                self.config_answers.push((key, revision, answer));
            }
            Output::Control(request) => self.controls.push(request),
            Output::Audit(_) => {}
            Output::Log(line) => self.logs.push(line),
            Output::Span(span) => self.spans.push(*span),
            Output::Blob(request) if self.hold_blobs => self.held_blobs.push(request),
            Output::Blob(request) => {
                let answer = request.answer(&mut self.files);
                self.core.blob_done(answer);
            }
        }
    }

    fn read(&mut self, request: ReadRequest) {
        let now = self.clock.now();
        let answer = request.answer(&mut *self.reader, now.wall_ms).unwrap();
        self.core.read_done(answer);
    }

    /// Answers the reads that were held back.
    pub(crate) fn release_reads(&mut self) {
        self.hold_reads = false;
        for request in std::mem::take(&mut self.held_reads) {
            self.read(request);
        }
        self.run();
    }

    /// Does the work on files that was held back.
    pub(crate) fn release_blobs(&mut self) {
        self.hold_blobs = false;
        for request in std::mem::take(&mut self.held_blobs) {
            let answer = request.answer(&mut self.files);
            self.core.blob_done(answer);
        }
        self.run();
    }

    /// Commits the batch that was held back.
    pub(crate) fn release_batch(&mut self) {
        self.hold_batches = false;
        if let Some((token, batch)) = self.held_batch.take() {
            let results = self.store.commit(batch).unwrap();
            self.core.batch_done(token, results);
        }
        self.run();
    }

    fn commit(&mut self) -> bool {
        let Some((token, batch)) = self.core.take_batch() else {
            return false;
        };
        if self.hold_batches {
            self.held_batch = Some((token, batch));
            return false;
        }
        let results = self.store.commit(batch).unwrap();
        self.core.batch_done(token, results);
        true
    }

    fn drain(&mut self, link: LinkId) {
        if self.stalled.contains(&link) {
            return;
        }
        let Some(outbox) = self.core.outbox(link) else {
            return;
        };
        let mut bytes = Vec::new();
        loop {
            let next = outbox.unwritten();
            if next.is_empty() {
                break;
            }
            bytes.extend_from_slice(next);
            let written = next.len();
            outbox.written(written);
        }
        self.core.wrote(link);
        let frames = self.frames.entry(link).or_default();
        for line in bytes.split(|byte| *byte == b'\n').filter(|l| !l.is_empty()) {
            frames.push(serde_json::from_slice(line).expect("whole frames of valid JSON"));
        }
    }
}

fn open(options: CoreOptions, reader: &mut dyn Reader, clock: &VirtualClock, seed: u64) -> Core {
    let random = Box::new(SeededRandom(seed));
    let router_random = Box::new(SeededRandom(seed.wrapping_add(1 << 32)));
    Core::open(options, reader, clock.now(), random, router_random).unwrap()
}
