//! Which handler gets an event, and when: the events of one session in order, sessions in
//! parallel, all of it bounded by the credit that the broker was given.
//!
//! A handler that is done at its first poll costs no task. On a runtime with several threads each
//! handler is a task from the start, so that one that computes does not hold up the others.
//!
//! Invariant: of one route and session, one event is being handled at a time; this also holds
//! across a reconnect, when the broker hands over again what an old handler still works on.

use std::collections::VecDeque;
use std::future::Future;
#[cfg(feature = "host")]
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Poll, Waker};
use std::time::Duration;

use rustc_hash::FxHashMap;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::Notify;
use tokio::time::Instant;
use trunkline_contract::error::{Code, Error};
use trunkline_contract::rpc::{NakItem, method};
use trunkline_contract::topic::Filter;

use crate::batch::Batch;
use crate::context::{Context, Handling, InstanceContext};
use crate::faults::KillAt;
use crate::handler::Work;
use crate::hub::Stop;
use crate::incoming::Incoming;
use crate::instance::InstanceCore;
use crate::link::{Lease, Link};
use crate::outbound::may_be_old_echoes;
use crate::outcome::{Failure, Outcome, Reject};
use crate::panic::{Guarded, guarded};
use crate::receipt::Receipt;
use crate::settle::{Mode, nak_params, settle};
use crate::tool::{Made, Serving};
use tools::{ToolRoute, Tools, stopping};

#[cfg(feature = "host")]
mod asked;
mod tools;
#[cfg(feature = "host")]
pub(crate) use asked::Asked;

/// Ephemeral events at work or waiting for their session; beyond, the newest are dropped.
const EPHEMERAL_MAX: usize = 1024;
/// How long a cancelled handler may still take.
const GRACE: Duration = Duration::from_secs(1);

/// One handler, and what it is for.
#[derive(Clone)]
pub(crate) struct Route {
    /// The subscription's own name; none for the instance's main subscription.
    pub(crate) name: Option<String>,
    pub(crate) filters: Vec<Filter>,
    pub(crate) mode: Mode,
    pub(crate) timeout: Duration,
    pub(crate) is_manual: bool,
    pub(crate) work: Work,
    /// Which of the events that fit are for it; none: all.
    pub(crate) takes: Option<Takes>,
}

/// Picks events by more than their topic.
pub(crate) type Takes = Arc<dyn Fn(&Incoming) -> bool + Send + Sync>;

impl Route {
    /// Its handler is a function of this process, which may be done at once.
    fn is_called(&self, core: &InstanceCore) -> bool {
        matches!(self.work.now(core), Work::Call(_))
    }

    fn fits(&self, incoming: &Incoming) -> bool {
        let mut filters = self.filters.iter();
        filters.any(|filter| filter.matches(incoming.topic()))
            && self.takes.as_ref().is_none_or(|takes| takes(incoming))
    }
}

pub(crate) struct Dispatcher {
    instance: InstanceContext,
    routes: Vec<Route>,
    state: Mutex<State>,
    idle: Notify,
    tools: Tools,
    #[cfg(feature = "host")]
    asked: asked::Overdue,
}

#[derive(Default)]
struct State {
    /// Sessions at work, with what waits behind.
    busy: FxHashMap<(usize, String), VecDeque<Job>>,
    running: FxHashMap<u64, Weak<Running>>,
    last: u64,
    /// Ephemeral events at work or waiting: no credit bounds them.
    ephemeral: usize,
    is_draining: bool,
}

struct Job {
    link: Arc<Link>,
    incoming: Box<Incoming>,
    /// It is a call of a tool, whose time is over then.
    call: Option<Box<(Serving, Instant)>>,
}

/// Whose handler it is.
enum Of {
    Route(usize),
    Tool(Arc<ToolRoute>),
}

/// One handler at work.
struct Running {
    dispatcher: Arc<Dispatcher>,
    number: u64,
    of: Of,
    ctx: Context,
    lease: Option<Lease>,
    /// The session that it holds; set once somebody else could want it.
    session: Mutex<Option<String>>,
    abort: Stop,
    is_done: AtomicBool,
    /// Its name with whoever was asked to handle it.
    #[cfg(feature = "host")]
    ticket: OnceLock<u64>,
}

impl Dispatcher {
    pub(crate) fn new(instance: InstanceContext, routes: Vec<Route>) -> Arc<Self> {
        Arc::new(Self {
            instance,
            routes,
            state: Mutex::default(),
            idle: Notify::new(),
            tools: Tools::default(),
            #[cfg(feature = "host")]
            asked: asked::Overdue::default(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The route for an event: by its subscription, and within the main one by its topic.
    fn route(&self, incoming: &Incoming) -> Option<usize> {
        let fits = |route: &Route| route.fits(incoming);
        let Some(delivery) = incoming.delivery() else {
            return self.routes.iter().position(fits);
        };
        let mut routes = self.routes.iter();
        match self.main_or_own(&delivery.subscription) {
            None => routes.position(|route| route.name.is_none() && fits(route)),
            Some(own) => {
                let its = routes.position(|route| route.name.as_deref() == Some(own));
                // What another version of the plugin has declared is handled by its topic.
                its.or_else(|| self.routes.iter().position(fits))
            }
        }
    }

    /// The name that the plugin gave a subscription; none for the main one.
    fn main_or_own<'a>(&self, subscription: &'a str) -> Option<&'a str> {
        let own = self.instance.hub().own_name(subscription);
        own.filter(|own| !own.is_empty())
    }

    /// Takes an event: handles it now, or after the one before it in its session.
    pub(crate) fn dispatch(self: &Arc<Self>, link: &Arc<Link>, incoming: Box<Incoming>) {
        let Some(route) = self.route(&incoming) else {
            // The instance's main subscription holds what it may receive; what a subscription of
            // its own has a handler for comes by that one.
            let subscription = incoming.delivery().map(|delivery| &*delivery.subscription);
            let is_main = subscription.is_none_or(|name| self.main_or_own(name).is_none());
            if is_main && self.routes.iter().any(|route| route.fits(&incoming)) {
                settle_unhandled(link, &incoming);
            } else {
                refuse(link, &incoming);
            }
            return;
        };
        let job = Job {
            link: link.clone(),
            incoming,
            call: None,
        };
        let is_inline = Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread;
        let mut state = self.lock();
        if state.is_draining {
            drop(state);
            give_back(&job.link, &job.incoming);
            return;
        }
        // While no session is at work, nobody needs to know this one's name.
        if job.incoming.delivery().is_none() {
            if state.ephemeral >= EPHEMERAL_MAX {
                drop(state);
                tracing::debug!(
                    topic = job.incoming.topic(),
                    "An ephemeral event found no room."
                );
                return;
            }
            state.ephemeral += 1;
        }
        let is_at_once = is_inline && self.routes[route].is_called(self.instance.instance_core());
        let session = if state.busy.is_empty() && is_at_once {
            None
        } else {
            match job.incoming.session_key() {
                None => None,
                Some(session) => {
                    if let Some(waiting) = state.busy.get_mut(&(route, session.clone())) {
                        waiting.push_back(job);
                        return;
                    }
                    (!is_at_once).then_some(session)
                }
            }
        };
        if let Some(session) = &session {
            state.busy.insert((route, session.clone()), VecDeque::new());
        }
        let running = self.begin(&mut state, route, job, session);
        drop(state);
        running.start(is_inline);
    }

    fn begin(
        self: &Arc<Self>,
        state: &mut State,
        route: usize,
        job: Job,
        session: Option<String>,
    ) -> Arc<Running> {
        let Route {
            mode,
            timeout,
            is_manual,
            ..
        } = self.routes[route];
        let deadline = Instant::now() + timeout;
        let lease = job.link.begin(job.incoming.delivery(), deadline + GRACE);
        let instance = self.instance.clone();
        let handling = Handling::new(instance, job.link, job.incoming, mode, is_manual, deadline);
        self.run(state, Of::Route(route), handling, lease, session)
    }

    /// Begins a call of a tool; the route has counted it.
    fn begin_tool(self: &Arc<Self>, route: Arc<ToolRoute>, job: Job, is_inline: bool) {
        let (call, deadline) = *job.call.expect("only calls are given here");
        let lease = job.link.begin(None, deadline);
        let instance = self.instance.clone();
        let mut handling = Handling::new(
            instance,
            job.link,
            job.incoming,
            Mode::Tool,
            false,
            deadline,
        );
        handling.call = Some(Box::new(call));
        let running = self.run(&mut self.lock(), Of::Tool(route), handling, lease, None);
        let is_cancelled = self.tools.begun(&running);
        running.clone().start(is_inline);
        if is_cancelled {
            running.stop();
        }
    }

    fn run(
        self: &Arc<Self>,
        state: &mut State,
        of: Of,
        handling: Handling,
        lease: Option<Lease>,
        session: Option<String>,
    ) -> Arc<Running> {
        state.last += 1;
        let running = Arc::new(Running {
            dispatcher: self.clone(),
            number: state.last,
            of,
            ctx: Context::new(handling),
            lease,
            session: Mutex::new(session),
            abort: Stop::default(),
            is_done: AtomicBool::new(false),
            #[cfg(feature = "host")]
            ticket: OnceLock::new(),
        });
        state
            .running
            .insert(running.number, Arc::downgrade(&running));
        running
    }

    /// Begins to take events, again after a drain.
    pub(crate) fn open(&self) {
        self.instance.instance_core().leaving().clear();
        self.lock().is_draining = false;
    }

    /// Takes no more events, gives back what waits, and waits for what runs; what still runs after
    /// `patience` is cancelled.
    pub(crate) async fn drain(&self, patience: Duration) {
        let waiting: Vec<Job> = {
            let mut state = self.lock();
            state.is_draining = true;
            self.instance.instance_core().leaving().set();
            let waiting = state.busy.values_mut().flat_map(std::mem::take);
            let waiting: Vec<Job> = waiting.collect();
            let ephemeral = |job: &&Job| job.incoming.delivery().is_none();
            state.ephemeral -= waiting.iter().filter(ephemeral).count();
            waiting
        };
        for job in &waiting {
            give_back(&job.link, &job.incoming);
        }
        for job in self.tools.take_waiting() {
            job.refuse(stopping());
        }
        if tokio::time::timeout(patience, self.idle()).await.is_ok() {
            return;
        }
        let running: Vec<_> = self
            .lock()
            .running
            .values()
            .filter_map(Weak::upgrade)
            .collect();
        tracing::warn!(
            running = running.len(),
            "Handlers are cancelled at the end of the drain."
        );
        for running in &running {
            running.stop();
        }
        drop(running);
        if tokio::time::timeout(2 * GRACE, self.idle()).await.is_err() {
            tracing::error!("Handlers did not end after they were cancelled.");
        }
    }

    async fn idle(&self) {
        loop {
            let idle = self.idle.notified();
            tokio::pin!(idle);
            idle.as_mut().enable();
            if self.lock().running.is_empty() {
                return;
            }
            idle.await;
        }
    }
}

fn settle_unhandled(link: &Link, incoming: &Incoming) {
    if let Some(delivery) = incoming.delivery() {
        link.ack(&delivery.id);
    }
}

fn refuse(link: &Link, incoming: &Incoming) {
    let topic = incoming.topic();
    tracing::warn!(topic, "An event came that no handler is for.");
    if let Some(delivery) = incoming.delivery() {
        let reject = Reject::new(format!("there is no handler for {topic}"))
            .code(Code::NotImplemented.as_str());
        let item = crate::settle::reject_item(delivery.id.clone(), &reject);
        link.notify_data(method::BROKER_REJECT, &crate::settle::reject_params(item));
    }
}

/// Hands an event back that was not begun: not now, and no failure.
pub(crate) fn give_back(link: &Link, incoming: &Incoming) {
    if let Some(delivery) = incoming.delivery() {
        let item = NakItem {
            delivery: delivery.id.clone(),
            delay_ms: Some(0),
            reason: Some(Code::Draining.as_str().to_owned()),
            error: None,
            counted: false,
        };
        link.notify_data(method::BROKER_NAK, &nak_params(item));
    }
}

impl Running {
    /// How it is handled.
    fn work(&self) -> &Work {
        match &self.of {
            Of::Route(route) => {
                let route = &self.dispatcher.routes[*route];
                route.work.now(self.ctx.instance_core())
            }
            Of::Tool(route) => &route.work,
        }
    }

    /// The call, where it is one.
    fn call(&self) -> Option<(&Serving, &Arc<ToolRoute>)> {
        match &self.of {
            Of::Route(_) => None,
            Of::Tool(route) => Some((self.ctx.handling().call.as_deref()?, route)),
        }
    }

    /// Tells the handler that its work is to end.
    fn stop(self: &Arc<Self>) {
        self.abort.set();
        #[cfg(feature = "host")]
        self.cancel_asked();
    }

    fn start(self: Arc<Self>, is_inline: bool) {
        #[cfg(feature = "host")]
        if let Work::Ask(ask) = self.work() {
            let ask = ask.clone();
            if !self.dies(KillAt::InHandler) {
                self.ask(&*ask);
            }
            return;
        }
        if !is_inline {
            tokio::spawn(async move {
                match self.called() {
                    Ok(_) if self.dies(KillAt::InHandler) => {}
                    Ok(handled) => self.go_on(handled).await,
                    Err(outcome) => self.done(*outcome),
                }
            });
            return;
        }
        let mut handled = match self.called() {
            Ok(_) if self.dies(KillAt::InHandler) => return,
            Ok(handled) => handled,
            Err(outcome) => return self.done(*outcome),
        };
        // The waker is for nobody: a handler that is not done is polled again by its task.
        let mut at_once = std::task::Context::from_waker(Waker::noop());
        match std::pin::Pin::new(&mut handled).poll(&mut at_once) {
            Poll::Ready(outcome) if !self.ctx.handling().is_manual => {
                self.done(outcome.unwrap_or_else(Outcome::Failed));
            }
            Poll::Ready(outcome) => {
                self.hold_session();
                let ended =
                    Guarded(Box::pin(async move { outcome.unwrap_or_else(Outcome::Failed) }) as _);
                tokio::spawn(async move { self.go_on(ended).await });
            }
            Poll::Pending => {
                self.hold_session();
                tokio::spawn(async move { self.go_on(handled).await });
            }
        }
    }

    /// Dies here, if a test wants it so. An adapter dies in the handler that it is around of.
    fn dies(&self, at: KillAt) -> bool {
        if at == KillAt::InHandler
            && let Of::Route(route) = self.of
            && let Work::Cut(cut) = &self.dispatcher.routes[route].work
            && cut.is_around(self.ctx.instance_core())
        {
            return false;
        }
        self.ctx.handling().link.dies(at)
    }

    /// Calls the handler; what does not fit its type never reaches it.
    fn called(&self) -> Result<Guarded<dyn Future<Output = Outcome> + Send>, Box<Outcome>> {
        let Work::Call(handler) = self.work() else {
            unreachable!("what is asked for is never called");
        };
        match guarded(|| handler(self.ctx.clone())) {
            Ok(Ok(handled)) => Ok(Guarded(handled)),
            Ok(Err(error)) if self.call().is_some() => {
                Err(Box::new(Outcome::Failed(Made(error).into())))
            }
            Ok(Err(error)) => {
                let code = error.code.as_str();
                let reject = Reject::new(error.message).code(code);
                Err(Box::new(Outcome::Failed(reject.into())))
            }
            Err(failure) => Err(Box::new(Outcome::Failed(failure))),
        }
    }

    /// Makes later events of the session wait, now that this one goes on in a task of its own.
    fn hold_session(&self) {
        let Of::Route(route) = self.of else { return };
        if let Some(session) = self.ctx.handling().incoming.session_key() {
            self.dispatcher
                .lock()
                .busy
                .insert((route, session.clone()), VecDeque::new());
            *self.session.lock().unwrap_or_else(PoisonError::into_inner) = Some(session);
        }
    }

    async fn go_on(self: Arc<Self>, handled: Guarded<dyn Future<Output = Outcome> + Send>) {
        let handling = self.ctx.handling();
        let work = async {
            let outcome = handled.await.unwrap_or_else(Outcome::Failed);
            if handling.is_manual && matches!(outcome, Outcome::Nothing) {
                handling.settled.wait().await;
            }
            outcome
        };
        tokio::pin!(work);
        let is_late = tokio::select! {
            outcome = &mut work => return self.done(outcome),
            () = tokio::time::sleep_until(handling.deadline) => true,
            () = self.abort.wait() => false,
        };
        handling.cancelled.set();
        let outcome = match tokio::time::timeout(GRACE, work).await {
            Ok(outcome) => outcome,
            Err(_) => self.overdue(is_late),
        };
        self.done(outcome);
    }

    /// What a handler that does not end comes to.
    fn overdue(&self, is_late: bool) -> Outcome {
        let timeout = match &self.of {
            Of::Route(route) => self.dispatcher.routes[*route].timeout,
            Of::Tool(_) => {
                let error = if is_late {
                    Error::new(Code::TimedOut, "the call's time is over")
                } else if self.dispatcher.lock().is_draining {
                    stopping()
                } else {
                    Error::new(Code::Cancelled, "the caller cancelled the call")
                };
                return Outcome::Failed(Made(error).into());
            }
        };
        if is_late {
            let text = format!("the handler did not end within {timeout:?}");
            return Outcome::Failed(Failure::located(Error::new(Code::TimedOut, text), None));
        }
        // Nobody is to blame: the instance stops.
        let retry = crate::outcome::Retry::after("0s").because("the instance stops");
        Outcome::Failed(retry.uncounted().into())
    }

    /// Looks for the message that a receipt is about; until then this is at work.
    fn find(self: &Arc<Self>, receipt: Receipt) {
        self.go_aside(|this| async move { crate::outbound::later(&this.ctx, receipt).await });
    }

    /// Asks what earlier lives of the process sent, before what may be an echo of it comes in.
    fn recall(self: &Arc<Self>, batch: Batch) {
        self.go_aside(|this| async move {
            match crate::outbound::recall(this.ctx.instance_core()).await {
                Ok(()) => Outcome::Batch(batch),
                Err(error) => {
                    let retry = crate::outcome::Retry::after("2s").because(error.to_string());
                    Outcome::Failed(retry.uncounted().into())
                }
            }
        });
    }

    /// Settles with what somebody else has to be asked for.
    fn go_aside<F: Future<Output = Outcome> + Send>(
        self: &Arc<Self>,
        ask: impl FnOnce(Arc<Self>) -> F + Send + 'static,
    ) {
        let is_held = self
            .session
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some();
        if !is_held {
            self.hold_session();
        }
        let this = self.clone();
        tokio::spawn(async move {
            let outcome = ask(this.clone()).await;
            this.done(outcome);
        });
    }

    /// Settles, and lets the next of the session begin.
    fn done(self: &Arc<Self>, outcome: Outcome) {
        let outcome = match outcome {
            Outcome::Receipt(receipt) if self.ctx.handling().mode == Mode::On => {
                return self.find(receipt);
            }
            Outcome::Batch(batch) if may_be_old_echoes(self.ctx.instance_core(), &batch.events) => {
                return self.recall(batch);
            }
            outcome => outcome,
        };
        if self.is_done.swap(true, Ordering::AcqRel) {
            return;
        }
        let handling = self.ctx.handling();
        if self.dies(KillAt::BeforeCommit) {
            return;
        }
        // What was settled by hand says so by returning nothing.
        if !(handling.is_manual && handling.settled.is_set() && matches!(outcome, Outcome::Nothing))
        {
            match &handling.call {
                Some(call) => crate::tool::settle(&self.ctx, call, outcome),
                None => settle(&self.ctx, outcome),
            }
        }
        if handling
            .link
            .faults()
            .is_some_and(|faults| faults.dies(KillAt::AfterCommit))
        {
            let link = handling.link.clone();
            tokio::spawn(async move {
                link.quiesce(GRACE).await;
                link.die();
            });
        }
        handling.link.finish(self.lease);
        let session = self
            .session
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let next_call = self
            .call()
            .and_then(|(call, route)| self.dispatcher.tools.done(route, call));
        let mut state = self.dispatcher.lock();
        state.running.remove(&self.number);
        let mut next = None;
        if let Of::Route(_) = self.of
            && handling.incoming.delivery().is_none()
        {
            state.ephemeral -= 1;
        }
        if let (Some(session), Of::Route(route)) = (session, &self.of) {
            let route = *route;
            let key = (route, session);
            match state.busy.get_mut(&key).and_then(VecDeque::pop_front) {
                Some(job) => {
                    let session = Some(key.1);
                    next = Some(self.dispatcher.begin(&mut state, route, job, session));
                }
                None => {
                    state.busy.remove(&key);
                }
            }
        }
        let is_idle = state.running.is_empty();
        let is_draining = state.is_draining;
        drop(state);
        if let (Some(job), Of::Tool(route)) = (next_call, &self.of) {
            if is_draining {
                route.uncount();
                job.refuse(stopping());
            } else {
                self.dispatcher.begin_tool(route.clone(), job, false);
            }
        }
        if is_idle {
            self.dispatcher.idle.notify_waiters();
        }
        if let Some(next) = next {
            // Its own task, so that a long queue does not become a deep stack.
            next.start(false);
        }
    }
}
