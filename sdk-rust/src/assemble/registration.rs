//! The author's function, and when it is called.

use std::sync::Arc;
use std::time::Duration;

use trunkline_contract::error::{Code, Error};
use trunkline_contract::limits::HANDLER_TIMEOUT_MS;
use trunkline_contract::topic::Filter;
use trunkline_patterns::assembler::{Options, WHOLES_MAX};

use super::engine::{Assembler, is_part_of};
use crate::dispatch::{Route, Takes};
use crate::duration::{IntoDuration, in_ms};
use crate::engine::{Engine, Registered};
use crate::handler::{AnyHandler, Handler, Work, forget};
use crate::incoming::Incoming;
use crate::outcome::Result;
use crate::settle::Mode;
use crate::timer;

/// Puts parts together: the function gets all of a whole, in order, once.
///
/// ```
/// use serde_json::json;
/// use trunkline::{Assemble, Context, Event, Part, Plugin, Result};
///
/// async fn whole(parts: Vec<Part<String>>, ctx: Context) -> Result<Event> {
///     let assembly = ctx.assembly().expect("an assembler is told");
///     let gap = if assembly.missing.is_empty() { "" } else { "…" };
///     let text = parts.iter().map(|part| part.data.as_str()).collect::<Vec<_>>().join(gap);
///     Ok(Event::inbound(json!({ "text": text, "conversation": { "id": parts[0].session } })))
/// }
///
/// let plugin = Plugin::new("sms").assemble(Assemble::new("sms", whole).silence("30s").max_parts(64));
/// # drop(plugin);
/// ```
#[derive(Clone)]
pub struct Assemble {
    kind: String,
    options: Options,
    wholes_max: usize,
    timeout: Result<Duration, Error>,
    fault: Option<Error>,
    handler: AnyHandler,
}

impl Assemble {
    /// Assembles the parts of a channel's kind.
    pub fn new<Args: 'static>(kind: impl Into<String>, handler: impl Handler<Args>) -> Self {
        Self {
            kind: kind.into(),
            options: Options::default(),
            wholes_max: WHOLES_MAX,
            timeout: Ok(Duration::from_millis(HANDLER_TIMEOUT_MS)),
            fault: None,
            handler: forget(handler),
        }
    }

    /// Makes the whole so long after the last part; 30 s unless said.
    pub fn silence(mut self, silence: impl IntoDuration) -> Self {
        match silence.into_duration() {
            Ok(silence) => self.options.silence_ms = in_ms(silence),
            Err(error) => self.fault = Some(error),
        }
        self
    }

    /// Makes the whole so long after the first part, whatever else comes; 10 min unless said.
    pub fn max_age(mut self, age: impl IntoDuration) -> Self {
        match age.into_duration() {
            Ok(age) => self.options.max_age_ms = in_ms(age),
            Err(error) => self.fault = Some(error),
        }
        self
    }

    /// Makes the whole at so many parts; 64 unless said, at most 200.
    pub fn max_parts(mut self, parts: u32) -> Self {
        self.options.max_parts = parts;
        self
    }

    /// Makes the whole at so many bytes of parts; 4 MiB unless said, which is also the most.
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.options.max_bytes = bytes;
        self
    }

    /// Collects at most so many wholes at a time, where a test has fewer conversations than the world: 10 000 otherwise.
    #[cfg(feature = "testing")]
    #[doc(hidden)]
    pub fn wholes_max(mut self, wholes: usize) -> Self {
        self.wholes_max = wholes;
        self
    }

    /// Says how long the function may take.
    pub fn timeout(mut self, timeout: impl IntoDuration) -> Self {
        self.timeout = timeout.into_duration();
        self
    }

    pub(crate) fn registered(self) -> Registered {
        if let Some(error) = self.fault {
            return Err(error);
        }
        self.options.check().map_err(|bad| {
            let text = format!("assembler of {:?}, {}: {}", self.kind, bad.option, bad.text);
            Error::new(Code::InvalidArguments, text)
        })?;
        let timeout = self.timeout?;
        let kind: Arc<str> = self.kind.as_str().into();
        let assembler = Arc::new(Assembler::new(
            kind.clone(),
            self.options,
            self.wholes_max,
            self.handler,
        ));
        let of_part = Arc::clone(&assembler);
        let takes: Takes = Arc::new(move |incoming: &Incoming| is_part_of(incoming, &kind));
        let parts = Route {
            name: None,
            filters: vec![Filter::parse("plugin.part.>")?],
            mode: Mode::On,
            timeout,
            is_manual: false,
            work: Work::Call(Arc::new(move |ctx| {
                let assembler = Arc::clone(&of_part);
                Ok(Box::pin(async move { assembler.part(ctx).await }))
            })),
            takes: Some(takes),
        };
        let prefix = assembler.timers();
        let takes: Takes = Arc::new(move |incoming: &Incoming| {
            timer::name_of(incoming).is_some_and(|name| name.starts_with(&prefix))
        });
        let due = Work::Call(Arc::new(move |ctx| {
            let assembler = Arc::clone(&assembler);
            Ok(Box::pin(async move { assembler.due(ctx).await }))
        }));
        Ok(Engine {
            name: format!("assembler {}", self.kind),
            kind: self.kind,
            routes: vec![parts, timer::route(due, timeout, takes)?],
            webhook: None,
            timers: Vec::new(),
            connect: None,
        })
    }
}
