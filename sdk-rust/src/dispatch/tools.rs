//! Calls of tools: which handler gets one, how many run at once, and which one a cancel means.
//!
//! Calls have no order. Where a tool says how many of them it runs at once, more wait here, oldest
//! first; the broker, which knows the same number, sends no more by itself.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use rustc_hash::FxHashMap;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::time::Instant;
use trunkline_contract::error::{Code, Error};
use trunkline_contract::limits::{EARLY_CANCELS_MAX, TOOL_QUEUE_MAX, TOOL_TIMEOUT_MS, TOOLS_MAX};
use trunkline_contract::rpc::{ToolCancelParams, ToolCreditParams, method};
use trunkline_contract::tool::ToolDeclaration;

use super::{Dispatcher, Job, Running, Work};
use crate::link::{Link, Request};
use crate::tool::{Serving, Tool};

/// One tool that is offered.
pub(super) struct ToolRoute {
    declaration: ToolDeclaration,
    pub(super) work: Work,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    running: u32,
    waiting: VecDeque<Job>,
}

impl ToolRoute {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that one less runs, and none in its place.
    pub(super) fn uncount(&self) {
        self.lock().running -= 1;
    }

    /// How long a call may take.
    pub(super) fn timeout(&self, call: &Serving) -> Duration {
        let own = self.declaration.timeout_ms.map(Duration::from_millis);
        match (own, call.timeout) {
            (Some(own), Some(given)) => own.min(given),
            (own, given) => own
                .or(given)
                .unwrap_or(Duration::from_millis(TOOL_TIMEOUT_MS)),
        }
    }
}

/// The tools of one instance, and the calls of them.
#[derive(Default)]
pub(super) struct Tools {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// In the order in which they were declared.
    routes: Vec<Arc<ToolRoute>>,
    calls: FxHashMap<Box<str>, Weak<Running>>,
    /// Cancels of calls that have not come.
    early: VecDeque<String>,
}

impl State {
    fn find(&self, name: &str) -> Option<&Arc<ToolRoute>> {
        let mut routes = self.routes.iter();
        routes.find(|route| route.declaration.name == name)
    }
}

impl State {
    /// Says whether a call was cancelled before it came.
    fn take_early(&mut self, call_id: &str) -> bool {
        let at = self.early.iter().position(|early| early == call_id);
        at.is_some_and(|at| self.early.remove(at).is_some())
    }
}

impl Tools {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets a call that is done; gives the one that begins in its place.
    pub(super) fn done(&self, route: &ToolRoute, call: &Serving) -> Option<Job> {
        self.lock().calls.remove(&call.call_id);
        let mut queue = route.lock();
        let next = queue.waiting.pop_front();
        if next.is_none() {
            queue.running -= 1;
        }
        next
    }

    /// Takes what waits, to be given back.
    pub(super) fn take_waiting(&self) -> Vec<Job> {
        let state = self.lock();
        let waiting = state
            .routes
            .iter()
            .flat_map(|route| std::mem::take(&mut route.lock().waiting));
        waiting.collect()
    }

    /// Says that a call runs; true when it was cancelled before.
    pub(super) fn begun(&self, running: &Arc<Running>) -> bool {
        let Some((call, _)) = running.call() else {
            return false;
        };
        let mut state = self.lock();
        state
            .calls
            .insert(call.call_id.clone(), Arc::downgrade(running));
        state.take_early(&call.call_id)
    }
}

impl Dispatcher {
    /// Offers tools, each in place of the one of its name; all of them, or none.
    pub(crate) fn offer_tools(&self, tools: Vec<Tool>) -> Result<Vec<ToolDeclaration>, Error> {
        let declared = tools
            .into_iter()
            .map(Tool::declared)
            .collect::<Result<Vec<_>, _>>()?;
        let mut state = self.tools.lock();
        let is_new = |declaration: &&ToolDeclaration| state.find(&declaration.name).is_none();
        let new = declared.iter().map(|(declaration, _)| declaration);
        let count = state.routes.len() + new.filter(is_new).count();
        if count > TOOLS_MAX {
            let text = format!("expected at most {TOOLS_MAX} tools, found {count}");
            return Err(Error::new(Code::QuotaExceeded, text));
        }
        let mut declarations = Vec::with_capacity(declared.len());
        for (declaration, work) in declared {
            declarations.push(declaration.clone());
            let route = Arc::new(ToolRoute {
                declaration,
                work,
                queue: Mutex::default(),
            });
            let name = &route.declaration.name;
            let known = state
                .routes
                .iter()
                .position(|known| known.declaration.name == *name);
            match known {
                Some(known) => state.routes[known] = route,
                None => state.routes.push(route),
            }
        }
        Ok(declarations)
    }

    /// Offers tools no longer; calls of them that run go on.
    pub(crate) fn withdraw_tools(&self, names: &[String]) {
        let mut state = self.tools.lock();
        state
            .routes
            .retain(|route| !names.contains(&route.declaration.name));
    }

    /// What is offered now.
    pub(crate) fn tools(&self) -> Vec<ToolDeclaration> {
        let state = self.tools.lock();
        let declarations = state.routes.iter().map(|route| route.declaration.clone());
        declarations.collect()
    }

    /// Takes a call: runs it now, or when there is room for it.
    pub(crate) fn call_tool(self: &Arc<Self>, link: &Arc<Link>, request: Request) {
        let (mut call, incoming) = match Serving::read(request) {
            Ok(read) => read,
            Err((request, error)) => {
                link.answer_data(&request, Err::<&(), _>(&error));
                return;
            }
        };
        let name = call.tool.rsplit('.').next().unwrap_or_default();
        let found = {
            let mut state = self.tools.lock();
            if state.take_early(&call.call_id) {
                Err(cancelled())
            } else {
                state.find(name).cloned().ok_or_else(|| {
                    let text = format!("this plugin has no tool {name:?}");
                    Error::new(Code::ToolNotFound, text)
                })
            }
        };
        let route = match found {
            Ok(route) => route,
            Err(error) => return call.answer(link, Err(error)),
        };
        call.is_streaming = route.declaration.streaming;
        let due = Instant::now() + route.timeout(&call);
        let job = Job {
            link: link.clone(),
            incoming: Box::new(incoming),
            call: Some(Box::new((call, due))),
        };
        if self.lock().is_draining {
            job.refuse(stopping());
            return;
        }
        let job = {
            let mut queue = route.lock();
            let most = route.declaration.concurrency.unwrap_or(u32::MAX);
            if queue.running < most {
                queue.running += 1;
                Ok(job)
            } else if queue.waiting.len() < TOOL_QUEUE_MAX {
                queue.waiting.push_back(job);
                return;
            } else {
                Err(job)
            }
        };
        match job {
            Ok(job) => {
                let is_inline = Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread;
                self.begin_tool(route, job, is_inline);
            }
            Err(job) => {
                let text = format!("{TOOL_QUEUE_MAX} calls of this tool wait");
                job.refuse(Error::new(Code::RateLimited, text));
            }
        }
    }

    /// Takes `tool.cancel` and `tool.credit`.
    pub(crate) fn tool_notified(&self, name: &str, params: &str) -> Result<(), serde_json::Error> {
        if name == method::TOOL_CREDIT {
            let credit: ToolCreditParams = serde_json::from_str(params)?;
            let running = self.running(&credit.call_id);
            if let Some((call, _)) = running.as_ref().and_then(|running| running.call()) {
                call.credit(credit.bytes);
            }
            return Ok(());
        }
        let cancel: ToolCancelParams = serde_json::from_str(params)?;
        if let Some(running) = self.running(&cancel.call_id) {
            running.stop();
        } else if let Some(job) = self.take_call(&cancel.call_id) {
            job.refuse(cancelled());
        } else {
            let mut state = self.tools.lock();
            if state.early.len() >= EARLY_CANCELS_MAX {
                state.early.pop_front();
            }
            state.early.push_back(cancel.call_id);
        }
        Ok(())
    }

    fn running(&self, call_id: &str) -> Option<Arc<Running>> {
        self.tools.lock().calls.get(call_id)?.upgrade()
    }

    /// Takes a call that waits.
    fn take_call(&self, call_id: &str) -> Option<Job> {
        let state = self.tools.lock();
        let is_meant = |job: &Job| {
            job.call
                .as_ref()
                .is_some_and(|call| *call.0.call_id == *call_id)
        };
        state.routes.iter().find_map(|route| {
            let mut queue = route.lock();
            let at = queue.waiting.iter().position(is_meant)?;
            queue.waiting.remove(at)
        })
    }
}

fn cancelled() -> Error {
    Error::new(Code::Cancelled, "the caller cancelled the call")
}

pub(super) fn stopping() -> Error {
    Error::new(Code::Unavailable, "the instance stops")
}

impl Job {
    /// Answers a call that was not begun.
    pub(super) fn refuse(self, error: Error) {
        if let Some(call) = self.call {
            call.0.answer(&self.link, Err(error));
        }
    }
}
