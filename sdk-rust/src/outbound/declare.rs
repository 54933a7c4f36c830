//! The options of an outbound handler.

use std::sync::Arc;
use std::time::Duration;

use trunkline_contract::error::{Code, Error};
use trunkline_contract::limits::HANDLER_TIMEOUT_MS;
use trunkline_contract::topic::Filter;
use trunkline_patterns::outbound::Rules;
use trunkline_patterns::rate::Rate;

use super::adapter::{Adapter, Cut, WAIT_MAX};
use super::limits::Limits;
use crate::dispatch::Route;
use crate::duration::IntoDuration;
use crate::handler::{AnyHandler, Handler, Work, forget};
use crate::outcome::Result;
use crate::settle::Mode;

/// Sends outside what agents publish for a kind of channel; what it returns is the receipt.
///
/// With a rate, [`idempotent`](Self::idempotent) or [`reconcile`](Self::reconcile) it is an adapter
/// to a provider: no call is made twice unless that was allowed, and where nobody can say what
/// became of a call the receipt is `unknown`.
///
/// ```
/// use trunkline::{Context, Outbound, OutboundMessage, Plugin, Result};
///
/// async fn send(message: OutboundMessage, ctx: Context) -> Result<String> {
///     let text = message.text.unwrap_or_default();
///     Ok(format!("{}-{}", ctx.idempotency_key(), text.len()))   // what the provider calls it
/// }
///
/// fn plugin() -> Plugin {
///     Plugin::new("sms").outbound(Outbound::new("sms", send).rate("100/s").rate_per_target("1/s"))
/// }
/// # plugin();
/// ```
#[derive(Clone)]
pub struct Outbound {
    pub(crate) kind: String,
    timeout: Result<Duration, Error>,
    is_manual: bool,
    work: Work,
    handler: AnyHandler,
    rate: Option<Result<Rate, Error>>,
    rate_per_target: Option<Result<Rate, Error>>,
    is_idempotent: bool,
    reconcile: Option<AnyHandler>,
}

impl Outbound {
    /// Handles `plugin.outbound.<kind>.<this instance>`.
    pub fn new<Args: 'static>(kind: impl Into<String>, handler: impl Handler<Args>) -> Self {
        let handler = forget(handler);
        Self {
            kind: kind.into(),
            timeout: Ok(Duration::from_millis(HANDLER_TIMEOUT_MS)),
            is_manual: false,
            work: Work::Call(handler.clone()),
            handler,
            rate: None,
            rate_per_target: None,
            is_idempotent: false,
            reconcile: None,
        }
    }

    /// Handles by somebody else.
    #[cfg(feature = "host")]
    pub(crate) fn work(mut self, work: Work) -> Self {
        self.work = work;
        self
    }

    /// Says how long one event may take; of an adapter, how long one call may.
    pub fn timeout(mut self, timeout: impl IntoDuration) -> Self {
        self.timeout = timeout.into_duration();
        self
    }

    /// Lets the handler settle by `ctx.ack()`, `ctx.nak()`, `ctx.reject()`; no receipt is made.
    pub fn settle_manually(mut self) -> Self {
        self.is_manual = true;
        self
    }

    /// Says how often the provider may be called by this instance: `"30/s"`, `"20/m"`.
    pub fn rate(mut self, rate: &str) -> Self {
        self.rate = Some(parsed(rate));
        self
    }

    /// Says how often for one conversation.
    pub fn rate_per_target(mut self, rate: &str) -> Self {
        self.rate_per_target = Some(parsed(rate));
        self
    }

    /// Says that the same call may be made twice: the provider takes
    /// [`ctx.idempotency_key()`](crate::Context::idempotency_key) only once, or twice does no harm.
    pub fn idempotent(mut self) -> Self {
        self.is_idempotent = true;
        self
    }

    /// Asks the provider what became of a call that nobody knows about.
    ///
    /// It gets the message (or the part) and the context as the handler did, and returns the
    /// provider's id or a receipt where the provider has it, and nothing (`()`, `None`) where it
    /// never got it. A receipt `unknown` says that it cannot be known; a failure, that it is to be
    /// asked later.
    pub fn reconcile<Args: 'static>(mut self, ask: impl Handler<Args>) -> Self {
        self.reconcile = Some(forget(ask));
        self
    }

    /// It has what makes it an adapter.
    fn is_guarded(&self) -> bool {
        self.rate.is_some()
            || self.rate_per_target.is_some()
            || self.is_idempotent
            || self.reconcile.is_some()
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        self.timeout.clone()?;
        for rate in [&self.rate, &self.rate_per_target].into_iter().flatten() {
            rate.clone()?;
        }
        if !trunkline_contract::id::is_instance_name(&self.kind) {
            let text = format!("expected a kind like `telegram`, found {:?}", self.kind);
            return Err(Error::new(Code::InvalidArguments, text));
        }
        if self.is_manual && self.is_guarded() {
            let text = "a handler that settles by hand has no rate, `idempotent` or `reconcile`";
            return Err(Error::new(Code::InvalidArguments, text));
        }
        Ok(())
    }

    pub(crate) fn into_route(self) -> Result<Route, Error> {
        self.check()?;
        let timeout = self.timeout.clone()?;
        let is_guarded = self.is_guarded();
        let adapter = Arc::new(Adapter {
            kind: self.kind.clone(),
            handler: self.handler,
            rules: Rules {
                may_repeat: self.is_idempotent || !is_guarded,
                can_ask: self.reconcile.is_some(),
            },
            reconcile: self.reconcile,
            timeout,
            is_guarded,
            limits: Limits::new(self.rate.transpose()?, self.rate_per_target.transpose()?),
        });
        let around: AnyHandler = Arc::new(move |ctx| {
            let adapter = adapter.clone();
            Ok(Box::pin(async move { adapter.handle(ctx).await }))
        });
        let (work, timeout) = if self.is_manual {
            (self.work, timeout)
        } else {
            let cut = Cut {
                kind: self.kind.clone(),
                plain: (!is_guarded).then_some(self.work),
                around: Work::Call(around),
            };
            let wait = if is_guarded { WAIT_MAX } else { Duration::ZERO };
            (Work::Cut(Arc::new(cut)), timeout + wait)
        };
        Ok(Route {
            name: None,
            filters: vec![Filter::parse(&format!("plugin.outbound.{}.>", self.kind))?],
            mode: Mode::Outbound,
            timeout,
            is_manual: self.is_manual,
            work,
            takes: None,
        })
    }
}

fn parsed(rate: &str) -> Result<Rate, Error> {
    Rate::parse(rate).map_err(|error| Error::new(Code::InvalidArguments, error.to_string()))
}
