//! Handlers, hooks and functions of the host: futures that wait for a completion.

use std::sync::Arc;

use trunkline_contract::error::{Code, Error};

use super::outcome::Decision;
use super::queue::{EventMsg, HostMsg, Invoked};
use super::service::Host;
use crate::context::{Context, InstanceContext};
use crate::dispatch::Asked;
use crate::handler::{Ask, Handled, Handler, Work, forget};
use crate::outcome::{Failure, Outcome};
use crate::payload::Bytes;

/// Is a handler in the host language; [`On`](crate::On) and [`Outbound`](crate::Outbound) take it.
#[derive(Clone, Debug)]
pub struct HostHandler {
    pub(super) host: Host,
    pub(super) handler: u32,
    /// It blocks: its events go to the threads that wait for them.
    pub(super) is_blocking: bool,
}

/// Tells host handlers from functions.
#[derive(Debug)]
pub struct ByHost;

impl Handler<ByHost> for HostHandler {
    fn handle(&self, ctx: Context) -> Result<Handled, Error> {
        Ok(self.begin(ctx))
    }
}

impl Ask for HostHandler {
    fn ask(&self, asked: Asked, named: &dyn Fn(u64)) {
        let ctx = asked.ctx().clone();
        let ticket = self.host.handles().begin_asked(asked);
        named(ticket);
        self.tell(ticket, ctx);
    }

    fn cancel(&self, ticket: u64) {
        // A thread that blocks asks by itself whether it is to end.
        if !self.is_blocking {
            self.host.push(HostMsg::Cancel { ticket });
        }
    }

    fn give_up(&self, ticket: u64) {
        self.host.handles().end(ticket);
    }
}

/// One ticket; forgotten when nobody waits for its completion any more.
struct Ticket {
    host: Host,
    ticket: u64,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.host.handles().end(self.ticket);
    }
}

impl HostHandler {
    /// How its events are handled. One that settles by hand is a future, which waits for that.
    pub(super) fn work(self, is_manual: bool) -> Work {
        if is_manual {
            Work::Call(forget(self))
        } else {
            Work::Ask(Arc::new(self))
        }
    }

    fn tell(&self, ticket: u64, ctx: Context) {
        let message = HostMsg::Event(EventMsg {
            ticket,
            handler: self.handler,
            instance: self.host.handles().instance(&ctx),
            is_wide: ctx.is_wide(),
            ctx,
        });
        if self.is_blocking {
            self.host.push_blocking(message);
        } else {
            self.host.push(message);
        }
    }

    fn begin(&self, ctx: Context) -> Handled {
        let host = self.host.clone();
        let (ticket, decided) = host.handles().begin(Some(ctx.clone()));
        self.tell(ticket, ctx.clone());
        let is_blocking = self.is_blocking;
        let asked = Ticket { host, ticket };
        Box::pin(async move {
            tokio::pin!(decided);
            let decision = tokio::select! {
                biased;
                decision = &mut decided => decision,
                () = ctx.cancelled() => {
                    // A thread that blocks asks by itself whether it is to end.
                    if !is_blocking {
                        asked.host.push(HostMsg::Cancel { ticket: asked.ticket });
                    }
                    decided.await
                }
            };
            match decision {
                Ok(decision) => decision.outcome(),
                Err(_) => Outcome::Failed(gone()),
            }
        })
    }
}

fn gone() -> Failure {
    Failure::located(
        Error::new(Code::LinkLost, "the host language is gone"),
        None,
    )
}

impl Host {
    /// Calls a hook or a function of the host, and waits for what it returns.
    pub(super) fn invoke(
        &self,
        function: Invoked,
        target: u64,
        plugin: u64,
        arg: Bytes,
    ) -> impl Future<Output = Result<Bytes, Failure>> + Send + use<> {
        let host = self.clone();
        async move {
            let (ticket, decided) = host.handles().begin(None);
            host.push(HostMsg::Invoke {
                ticket,
                function,
                target,
                plugin,
                arg,
            });
            let mut asked = Invocation {
                asked: Ticket { host, ticket },
                is_over: false,
            };
            let decision = decided.await;
            asked.is_over = true;
            match decision {
                Ok(Decision::Value(value)) => Ok(value),
                Ok(Decision::Outcome(Outcome::Nothing)) => Ok(Bytes::default()),
                Ok(Decision::Outcome(Outcome::Failed(failure))) => Err(failure),
                Ok(_) => {
                    let text = "a hook returns its value, found a handler's outcome";
                    Err(Failure::located(
                        Error::new(Code::InvalidReturn, text),
                        None,
                    ))
                }
                Err(_) => Err(gone()),
            }
        }
    }

    pub(super) fn invoke_hook(
        &self,
        hook: &'static str,
        plugin: u64,
        ctx: &InstanceContext,
        arg: Bytes,
    ) -> impl Future<Output = Result<Bytes, Failure>> + Send + use<> {
        let target = self.handles().instance(ctx);
        self.invoke(Invoked::Hook(hook), target, plugin, arg)
    }
}

/// A call that nobody waits for any more is cancelled in the host too.
struct Invocation {
    asked: Ticket,
    is_over: bool,
}

impl Drop for Invocation {
    fn drop(&mut self) {
        if !self.is_over {
            let ticket = self.asked.ticket;
            self.asked.host.push(HostMsg::Cancel { ticket });
        }
    }
}
