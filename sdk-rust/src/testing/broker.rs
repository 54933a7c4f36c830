//! The broker of a test, with the plugin's instances on it.

use std::collections::BTreeMap;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, json};
use tokio::sync::RwLock;
use trunkline_broker::core::{InstanceSetup, InstanceSignal};
use trunkline_broker::instance::InstanceKey;
use trunkline_broker::testing::{HOOKS_URL, TOKEN, TestBroker as Core};
use trunkline_contract::error::{Code, Error};
use trunkline_contract::rpc::admin::{DlqListParams, DlqListResult};
use trunkline_contract::rpc::{DeadLetter, ReportedState, Start as From, method};
use trunkline_contract::topic::Filter;

use super::http::HttpFake;
use super::life::{Life, signals_of};
use super::observer::{Observer, includes};
use super::outside::Fake;
use super::process::{Process, Slot, in_slot};
use super::start::Start;
use crate::client::Client;
use crate::duration::{IntoDuration, in_ms};
use crate::event::Event;
use crate::faults::Faults;
use crate::hub::{Hub, Stop};
use crate::link::Link;
use crate::payload::Json;
use crate::plugin::Plugin;
use crate::publish::Publish;
use crate::sending::SendMessage;
use crate::tool::ToolCall;

/// Real time that something may take which the clock of the test does not move.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// Real time between two looks at whether everything has come to rest.
const LOOK: Duration = Duration::from_micros(200);
/// Real time that a plugin's tasks have to get to where they wait.
const TURN: Duration = Duration::from_millis(50);
/// A handler that waits for something outside is at rest after this many looks.
const RESTING_LOOKS: u32 = 100;
/// The clock moves at most so far at once while a handler works, so that its lease is extended; and first in small
/// steps, since a handler that a busy machine holds up is not one that waits.
const STEP_MS: u64 = 10_000;
const FIRST_STEP_MS: u64 = 500;
/// How many steps are small.
const FIRST_STEPS: u32 = 20;

/// How far the clock moves while handlers work.
#[derive(Default)]
struct Stride {
    steps: u32,
}

impl Stride {
    /// At most so far; with nobody at work as far as wanted.
    fn next_ms(&mut self, is_idle: bool) -> Option<u64> {
        if is_idle {
            self.steps = 0;
            return None;
        }
        self.steps += 1;
        let grown = self.steps.saturating_sub(FIRST_STEPS).min(5);
        Some((FIRST_STEP_MS << grown).min(STEP_MS))
    }
}

/// A broker in memory with a plugin on it; see the module's documentation.
///
/// Waits move the broker's clock. Handlers see real time: a handler's own timers and its timeout
/// are not moved. What is published on the way is seen through a subscription of the test's, which
/// [`Published::matched`](crate::Published::matched) counts.
pub struct TestBroker {
    core: Arc<RwLock<Option<Core>>>,
    client: Client,
    observer: Observer,
    pub(super) setups: Vec<InstanceSetup>,
    plugin: Plugin,
    instances: Vec<Seat>,
    /// The hubs of the agents, whose handlers are work under way too.
    agents: Mutex<Vec<Weak<Hub>>>,
    pub(super) faults: Arc<Faults>,
    outside: Arc<Fake>,
    over: Arc<Stop>,
}

/// One instance through all its lives.
struct Seat {
    key: InstanceKey,
    slot: Slot,
    life: Mutex<Option<tokio::task::JoinHandle<()>>>,
}

impl IntoFuture for Start {
    type Output = TestBroker;
    type IntoFuture = Pin<Box<dyn Future<Output = TestBroker> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            self.plugin
                .check()
                .unwrap_or_else(|error| panic!("the plugin is not valid: {error}"));
            let setups: Vec<_> = self.instances.iter().map(|name| self.setup(name)).collect();
            let core = Core::start(1).expect("a broker in memory starts");
            let core = Arc::new(RwLock::new(Some(core)));
            let faults = Arc::<Faults>::default();
            let outside = Fake::new(faults.clone());
            let client = connect(&core, &outside, Client::new("test")).await;
            let observer = Observer::default();
            let all = client
                .subscribe([">"])
                .name("observer")
                .start(From::Earliest)
                .credit(4096);
            let all = all.await.expect("the test may read everything");
            tokio::spawn(observer.clone().watch(all));
            let instances = setups
                .iter()
                .map(|setup| Seat {
                    key: setup.key.clone(),
                    slot: Slot::default(),
                    life: Mutex::default(),
                })
                .collect();
            let broker = TestBroker {
                core,
                client,
                observer,
                setups,
                plugin: self.plugin,
                instances,
                agents: Mutex::default(),
                faults,
                outside,
                over: Arc::default(),
            };
            broker.tell_time().await;
            broker.start_instances().await;
            broker
        })
    }
}

/// Connects a client to whatever broker there is at the time.
async fn connect(core: &Arc<RwLock<Option<Core>>>, outside: &Arc<Fake>, client: Client) -> Client {
    client.core().hub().set_fake(outside);
    let core = core.clone();
    let dialer = Arc::new(move || {
        let core = core.clone();
        let dialed: Pin<Box<dyn Future<Output = _> + Send>> = Box::pin(async move {
            match core.read().await.as_ref() {
                Some(core) => core.dial().await,
                None => Err(std::io::ErrorKind::ConnectionRefused.into()),
            }
        });
        dialed
    });
    client.core().hub().started();
    let connected = client.token(TOKEN).dialer(dialer).connect().await;
    connected.unwrap_or_else(|error| panic!("a client could not connect: {error}"))
}

impl TestBroker {
    /// Starts a broker with one instance, `default`, of a plugin. Needs a tokio runtime.
    pub fn start(plugin: Plugin) -> Start {
        Start {
            plugin,
            manifest: None,
            config: Json::Object(Map::new()),
            secrets: BTreeMap::new(),
            instances: vec!["default".to_owned()],
            features: BTreeMap::new(),
        }
    }

    pub(super) fn core(&self) -> &RwLock<Option<Core>> {
        &self.core
    }

    /// Gives the client that the test speaks through.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Connects an agent, with its handlers.
    pub async fn attach(&self, client: Client) -> Client {
        let client = connect(&self.core, &self.outside, client).await;
        let mut agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        agents.retain(|agent| agent.strong_count() > 0);
        agents.push(Arc::downgrade(client.core().hub()));
        drop(agents);
        client
    }

    /// Publishes an event: set options on what this gives, then await it.
    pub fn publish(&self, topic: impl Into<String>, payload: impl Serialize) -> Publish {
        self.outside.go_on();
        self.client.publish(topic, payload)
    }

    /// Sends a message through a channel of the plugin.
    pub fn send(&self, kind: impl Into<String>, message: impl Serialize) -> SendMessage {
        self.outside.go_on();
        self.client.send(kind, message)
    }

    /// Waits for an event on a topic, whose payload has at least these members, and gives it. Each
    /// event is given once. The clock moves as long as nothing comes, at most by `within`.
    ///
    /// # Panics
    /// When none came; the message says what came instead.
    pub async fn expect_published(
        &self,
        filter: &str,
        payload: impl Serialize,
        within: impl IntoDuration,
    ) -> Event {
        let payload = serde_json::to_value(payload).expect("an expectation has a JSON form");
        let within = within.into_duration().expect("a duration");
        self.look_for(filter, Some(&payload), within)
            .await
            .unwrap_or_else(|missed| panic!("{missed}"))
    }

    /// The same; what was missed is an error.
    pub(crate) async fn look_for(
        &self,
        filter: &str,
        payload: Option<&Json>,
        within: Duration,
    ) -> Result<Event, String> {
        if let Some(event) = self.wait_for(filter, payload, within).await? {
            return Ok(event);
        }
        let instead = self.observer.describe();
        let what = payload.map_or_else(|| "an event".to_owned(), ToString::to_string);
        Err(format!(
            "expected {what} on {filter} within {within:?}; {instead}"
        ))
    }

    /// Makes sure that no such event comes while the clock moves by `within`.
    ///
    /// # Panics
    /// When one came.
    pub async fn expect_nothing(
        &self,
        filter: &str,
        payload: impl Serialize,
        within: impl IntoDuration,
    ) {
        let payload = serde_json::to_value(payload).expect("an expectation has a JSON form");
        let within = within.into_duration().expect("a duration");
        self.look_for_nothing(filter, Some(&payload), within)
            .await
            .unwrap_or_else(|found| panic!("{found}"));
    }

    /// The same; what was found is an error.
    pub(crate) async fn look_for_nothing(
        &self,
        filter: &str,
        payload: Option<&Json>,
        within: Duration,
    ) -> Result<(), String> {
        let Some(event) = self.wait_for(filter, payload, within).await? else {
            return Ok(());
        };
        let what = payload.map_or_else(|| "event".to_owned(), ToString::to_string);
        let found = event.payload.as_str();
        Err(format!(
            "expected no {what} on {filter} within {within:?}, found {found}"
        ))
    }

    async fn wait_for(
        &self,
        filter: &str,
        payload: Option<&Json>,
        within: Duration,
    ) -> Result<Option<Event>, String> {
        let filter = Filter::parse(filter).map_err(|error| error.to_string())?;
        let fits = |event: &Event| {
            filter.matches(&event.topic)
                && payload.is_none_or(|asked| {
                    event
                        .payload
                        .json()
                        .is_ok_and(|found: Json| includes(&found, asked))
                })
        };
        let look = || self.observer.take(fits);
        Ok(self.wait_until(within, look).await?.0)
    }

    /// Moves the clock, at most by `within`, until there is what is looked for; gives how much of the
    /// time is left, in ms.
    pub(super) async fn wait_until<T>(
        &self,
        within: Duration,
        mut look: impl FnMut() -> Option<T>,
    ) -> Result<(Option<T>, u64), String> {
        let mut left_ms = in_ms(within);
        let mut stride = Stride::default();
        loop {
            let is_idle = self.rest().await;
            if let Some(complaint) = self.faults.complaint() {
                return Err(complaint);
            }
            if let Some(found) = look() {
                return Ok((Some(found), left_ms));
            }
            if left_ms == 0 {
                return Ok((None, 0));
            }
            let most_ms = stride.next_ms(is_idle).unwrap_or(left_ms);
            let step_ms = self.next_step_ms(left_ms.min(most_ms)).await;
            self.step(step_ms).await;
            left_ms -= step_ms;
        }
    }

    /// Moves the clock, and lets everything happen that is due.
    pub async fn advance(&self, by: impl IntoDuration) {
        let mut left_ms = in_ms(by.into_duration().expect("a duration"));
        let mut is_idle = self.rest().await;
        let mut stride = Stride::default();
        while left_ms > 0 {
            let most_ms = stride.next_ms(is_idle).unwrap_or(left_ms);
            let step_ms = self.next_step_ms(left_ms.min(most_ms)).await;
            self.step(step_ms).await;
            left_ms -= step_ms;
            is_idle = self.rest().await;
        }
    }

    /// How far the clock moves until something is due.
    async fn next_step_ms(&self, left_ms: u64) -> u64 {
        let core = self.core.read().await;
        let core = core.as_ref().expect("the broker runs");
        let now_ms = trunkline_broker::clock::Clock::now(&**core.clock()).mono_ms;
        let due = core
            .broker()
            .with(|core| core.next_event_ms())
            .await
            .expect("it runs");
        let waits = self.outside.next_due_ms();
        let due = [due, waits].into_iter().flatten().min();
        let until = due.map_or(left_ms, |at| at.saturating_sub(now_ms).max(1));
        until.min(left_ms)
    }

    async fn step(&self, ms: u64) {
        self.outside.complain();
        // First: what the broker hands out at this time begins at this time, as a lease that is renewed.
        self.tell_time_in(ms).await;
        let core = self.core.read().await;
        core.as_ref()
            .expect("the broker runs")
            .advance(ms)
            .await
            .expect("the broker runs");
        self.tell_time().await;
        // Handlers work in real time: what they work on stays theirs while the clock jumps.
        for seat in &self.instances {
            in_slot(&seat.slot, |process| {
                if let Some(process) = process {
                    process.link().extend_all();
                }
            });
        }
    }

    /// Tells the outside what time it is.
    async fn tell_time(&self) {
        self.tell_time_in(0).await;
    }

    async fn tell_time_in(&self, ms: u64) {
        let core = self.core.read().await;
        let core = core.as_ref().expect("the broker runs");
        let now = trunkline_broker::clock::Clock::now(&**core.clock());
        let wall_ms = now.wall_ms.max(0) as u64;
        self.outside.set_now(now.mono_ms + ms, wall_ms + ms);
    }

    /// Gives a server outside, whose answers are the test's. Nothing leaves the process: a call
    /// that no answer was given for fails the test. One of `on_start`, or for the address of a connection, waits
    /// for its answer until the clock moves.
    ///
    /// # Arguments
    /// * `server` - its address; a path in it is part of every path
    pub fn http(&self, server: impl Into<String>) -> HttpFake {
        HttpFake {
            fake: self.outside.clone(),
            server: server.into(),
        }
    }

    pub(crate) fn outside(&self) -> &Arc<Fake> {
        &self.outside
    }

    /// Waits until everything that was sent has been handled; the clock stands still.
    ///
    /// A handler that waits for something outside does not hold it up for long.
    pub async fn settle(&self) {
        self.rest().await;
    }

    /// Settles; says whether nothing is being worked on.
    async fn rest(&self) -> bool {
        self.outside.go_on();
        let mut before = None;
        let mut looks = 0;
        let rest = async {
            loop {
                let now = self.look().await;
                looks = if before.as_ref() == Some(&now) {
                    looks + 1
                } else {
                    0
                };
                let is_idle = now.busy == 0;
                // A handler counts at both ends of its link.
                let only_waits = now.busy <= 2 * self.outside.waiting();
                if (only_waits && looks >= 2) || looks >= RESTING_LOOKS {
                    return is_idle;
                }
                before = Some(now);
                tokio::time::sleep(LOOK).await;
            }
        };
        match tokio::time::timeout(PATIENCE, rest).await {
            Ok(is_idle) => is_idle,
            Err(late) => panic!("the plugin and the broker do not come to rest: {late}"),
        }
    }

    fn agents(&self) -> Vec<Arc<Hub>> {
        let agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        agents.iter().filter_map(Weak::upgrade).collect()
    }

    /// Lets everybody say what they have to say, and counts it.
    async fn look(&self) -> Look {
        let core = self.core.read().await;
        let core = core.as_ref().expect("the broker runs");
        core.settle().await.expect("the broker runs");
        let statuses = core.broker().with(|core| core.instance_statuses()).await;
        let statuses = statuses.expect("the broker runs");
        let mut busy = statuses.iter().map(|status| status.in_flight).sum::<u64>();
        for seat in &self.instances {
            busy += in_slot(&seat.slot, |process| {
                process.map_or(1, |process| process.busy(|| signals_of(core, &seat.key)))
            });
        }
        if self.outside.has_timers() {
            for seat in &self.instances {
                let turn = in_slot(&seat.slot, |process| process.map(Process::turn));
                if let Some(turn) = turn
                    && tokio::time::timeout(TURN, turn).await.is_err()
                {
                    busy += 1;
                }
            }
            busy += self.outside.working();
        }
        for agent in self.agents() {
            let link = agent.link().filter(|link| link.closed().is_none());
            let Some(link) = link else { continue };
            // Once this is answered, it knows what the broker has said to it before.
            let params = json!({});
            let turn = agent.call::<Json>(method::SYSTEM_INFO, &params);
            if tokio::time::timeout(TURN, turn).await.is_err() {
                busy += 1;
            }
            busy += link.busy();
        }
        // The answer comes after all that the broker had to say to this client before.
        let asked = self
            .client
            .request::<Json>(method::SYSTEM_INFO, &json!({}))
            .await;
        if asked.is_err_and(|error| error.code == Code::LinkLost) {
            busy += 1;
        }
        let pending = statuses.iter().map(|status| status.pending).collect();
        Look {
            busy,
            pending,
            seen: self.observer.total(),
        }
    }

    /// Takes what was published and not yet expected.
    pub(super) fn take_published(&self) -> Vec<Event> {
        self.observer.take_all()
    }

    /// Gives what the handlers did that fails a test, once.
    pub(super) fn complaint(&self) -> Option<String> {
        self.faults.complaint()
    }

    /// Gives the link of the first instance, if it lives.
    pub(super) fn first_link(&self) -> Option<Arc<Link>> {
        let seat = self.instances.first()?;
        in_slot(&seat.slot, |process| {
            process.map(|process| process.link().clone())
        })
    }

    /// Calls a tool of the plugin, by its full name.
    pub fn call_tool<T: DeserializeOwned>(
        &self,
        name: impl Into<String>,
        arguments: impl Serialize,
    ) -> ToolCall<T> {
        self.outside.go_on();
        self.client.call_tool(name, arguments)
    }

    /// Gives the dead letters, oldest first.
    pub async fn dead_letters(&self) -> Vec<DeadLetter> {
        self.settle().await;
        let params = DlqListParams::default();
        let listed: Result<DlqListResult, Error> =
            self.client.request(method::ADMIN_DLQ_LIST, &params).await;
        listed
            .unwrap_or_else(|error| panic!("the dead letters could not be listed: {error}"))
            .letters
    }

    /// Kills the broker and starts it again on what was durable; plugins start again with it.
    pub async fn restart(&self) {
        self.restart_after("0s").await;
    }

    /// The same; nobody is there for this time.
    #[doc(hidden)]
    pub async fn restart_after(&self, away: impl IntoDuration) {
        let away_ms = in_ms(away.into_duration().expect("a duration"));
        self.settle().await;
        self.stop_instances().await;
        {
            let mut slot = self.core.write().await;
            let core = slot.take().expect("the broker runs");
            if let Err(error) = core.stop().await {
                tracing::debug!(%error, "The broker had ended already.");
            }
            core.clock().advance(away_ms);
            *slot = Some(core.restart().await.expect("a broker in memory starts"));
        }
        self.start_instances().await;
    }

    async fn start_instances(&self) {
        {
            let core = self.core.read().await;
            let core = core.as_ref().expect("the broker runs");
            let known = core.broker();
            let told = known.with(|core| core.set_hooks_url(HOOKS_URL.to_owned()));
            told.await.expect("the broker runs");
        }
        for (seat, setup) in self.instances.iter().zip(&self.setups) {
            {
                let core = self.core.read().await;
                let core = core.as_ref().expect("the broker runs");
                core.configure(setup.clone())
                    .await
                    .expect("the instance can be configured");
            }
            let life = Life {
                core: self.core.clone(),
                key: seat.key.clone(),
                slot: seat.slot.clone(),
                plugin: self.plugin.again(),
                faults: self.faults.clone(),
                outside: self.outside.clone(),
                over: self.over.clone(),
            };
            let task = tokio::spawn(life.go_on());
            *seat.life.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
        }
        for seat in &self.instances {
            let ready = tokio::time::timeout(PATIENCE, self.started(&seat.key)).await;
            assert!(
                ready.is_ok(),
                "the instance {} did not say that it is ready",
                seat.key
            );
        }
    }

    /// Waits for the first word of an instance about itself.
    async fn started(&self, key: &InstanceKey) {
        loop {
            // What a start asks of a server outside, the test answers afterwards.
            if self.outside.held() > 0 {
                return;
            }
            let signals = {
                let core = self.core.read().await;
                signals_of(core.as_ref().expect("the broker runs"), key)
            };
            for signal in signals {
                match signal {
                    InstanceSignal::Status {
                        state: ReportedState::Ready,
                        ..
                    } => return,
                    InstanceSignal::Status { state, reason, .. } => {
                        // A test of a start that fails goes on from here.
                        tracing::info!(?state, ?reason, "The instance did not become ready.");
                        return;
                    }
                    InstanceSignal::Refused(error) => {
                        panic!("the handshake of {key} failed: {error}")
                    }
                    _ => {}
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn stop_instances(&self) {
        self.over.set();
        for seat in &self.instances {
            in_slot(&seat.slot, |process| {
                if let Some(process) = process {
                    process.stop();
                }
            });
            let life = seat
                .life
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            if let Some(life) = life
                && let Err(error) = life.await
            {
                tracing::error!(%error, "The keeper of an instance panicked.");
            }
        }
        self.over.clear();
    }
}

impl Drop for TestBroker {
    fn drop(&mut self) {
        self.over.set();
        for seat in &self.instances {
            in_slot(&seat.slot, |process| {
                if let Some(process) = process {
                    process.stop();
                }
            });
        }
    }
}

/// What was seen in one look.
#[derive(PartialEq, Eq, Debug)]
struct Look {
    busy: u64,
    pending: Vec<u64>,
    seen: usize,
}
