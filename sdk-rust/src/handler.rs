//! Typed handlers: which functions are handlers, and how they are called without their types.
//!
//! A handler takes the payload, and the context if it wants one. What it returns is an
//! [`Outcome`](crate::outcome::Outcome). Not here: when it runs, and what becomes of its outcome.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use trunkline_contract::error::Error;

use crate::context::Context;
use crate::event::Event;
use crate::instance::InstanceCore;
use crate::outbound::Cut;
use crate::outcome::{IntoOutcome, Outcome};
use crate::payload::Bytes;

/// Is what a handler's first parameter may be: any `DeserializeOwned` type, [`Bytes`] for the
/// undecoded payload, [`Event<T>`] for the whole envelope.
pub trait FromEvent: Sized {
    /// Reads it from the event being handled.
    ///
    /// # Errors
    /// `invalid_payload` where the payload does not fit; the event becomes a dead letter.
    fn from_event(ctx: &Context) -> Result<Self, Error>;
}

impl<T: DeserializeOwned> FromEvent for T {
    fn from_event(ctx: &Context) -> Result<Self, Error> {
        ctx.handling().incoming.payload_as()
    }
}

impl FromEvent for Bytes {
    fn from_event(ctx: &Context) -> Result<Self, Error> {
        ctx.handling().incoming.payload_bytes()
    }
}

impl<T: FromEvent> FromEvent for Event<T> {
    fn from_event(ctx: &Context) -> Result<Self, Error> {
        let payload = T::from_event(ctx)?;
        Ok(ctx.handling().incoming.event()?.map(|_| payload))
    }
}

/// Is implemented by `async fn(payload)` and `async fn(payload, Context)`.
///
/// `Args` only tells the two apart.
pub trait Handler<Args>: Send + Sync + 'static {
    /// Starts to handle an event.
    ///
    /// # Errors
    /// `invalid_payload` when the parameter's type does not fit.
    fn handle(&self, ctx: Context) -> Result<Handled, Error>;
}

/// Is a handler at work.
pub type Handled = Pin<Box<dyn Future<Output = Outcome> + Send>>;

impl<F, P, R, O> Handler<(P,)> for F
where
    F: Fn(P) -> R + Send + Sync + 'static,
    P: FromEvent + 'static,
    R: Future<Output = O> + Send + 'static,
    O: IntoOutcome,
{
    fn handle(&self, ctx: Context) -> Result<Handled, Error> {
        let handled = self(P::from_event(&ctx)?);
        Ok(Box::pin(async move { handled.await.into_outcome() }))
    }
}

impl<F, P, R, O> Handler<(P, Context)> for F
where
    F: Fn(P, Context) -> R + Send + Sync + 'static,
    P: FromEvent + 'static,
    R: Future<Output = O> + Send + 'static,
    O: IntoOutcome,
{
    fn handle(&self, ctx: Context) -> Result<Handled, Error> {
        let handled = self(P::from_event(&ctx)?, ctx);
        Ok(Box::pin(async move { handled.await.into_outcome() }))
    }
}

/// How the events of a route are handled.
#[derive(Clone)]
pub(crate) enum Work {
    /// By a function of this process: a future.
    Call(AnyHandler),
    /// By somebody who is told, and says later what it came to.
    #[cfg(feature = "host")]
    Ask(Arc<dyn Ask>),
    /// With an adapter around it, at least where the channel's features are declared.
    Cut(Arc<Cut>),
}

impl Work {
    /// How they are handled as things are now.
    pub(crate) fn now(&self, core: &InstanceCore) -> &Self {
        if let Self::Cut(cut) = self {
            return cut.now(core);
        }
        self
    }
}

/// Is told of events, and settles them when it is done.
#[cfg(feature = "host")]
pub(crate) trait Ask: Send + Sync {
    /// Takes an event over; `named` is called with the ticket that names it, before it is told.
    fn ask(&self, asked: crate::dispatch::Asked, named: &dyn Fn(u64));

    /// Says that the work is to end; a second later nobody waits for it.
    fn cancel(&self, ticket: u64);

    /// Says that nobody waits any more.
    fn give_up(&self, ticket: u64);
}

/// A handler whose types are forgotten.
pub(crate) type AnyHandler = Arc<dyn Fn(Context) -> Result<Handled, Error> + Send + Sync>;

pub(crate) fn forget<Args: 'static>(handler: impl Handler<Args>) -> AnyHandler {
    Arc::new(move |ctx| handler.handle(ctx))
}

/// Derives a subscription's name from that of the handler function; closures have none.
pub(crate) fn name_of<H>() -> Option<String> {
    let path = std::any::type_name::<H>();
    let name = path
        .rsplit("::")
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase();
    trunkline_contract::id::is_client_name(&name).then_some(name)
}
