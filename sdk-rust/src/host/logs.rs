//! What the core has to say, on its way to the logging of the host language.
//!
//! The core speaks through `tracing`; the process has one subscriber, set by whoever is first.

use std::fmt::{self, Write};
use std::sync::{Mutex, PoisonError, Weak};

use serde_json::Map;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Metadata, Subscriber, span};

use super::queue::HostMsg;
use super::service::{Host, Inner};
use crate::payload::{Bytes, Json};

/// The host that was started last hears everything.
static LISTENER: Mutex<Weak<Inner>> = Mutex::new(Weak::new());

/// Makes the process's `tracing` events log lines, unless the process has another use for them.
pub(super) fn install() {
    // Refused when there is a subscriber already, which then hears them instead.
    drop(tracing::subscriber::set_global_default(ToHost));
}

pub(super) fn follow(host: &Host) {
    *LISTENER.lock().unwrap_or_else(PoisonError::into_inner) = host.weak();
}

struct ToHost;

impl Subscriber for ToHost {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() <= Level::INFO
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::INFO)
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let inner = LISTENER
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .upgrade();
        let Some(host) = inner.map(Host::of) else {
            return;
        };
        let mut line = Line::default();
        event.record(&mut line);
        let level = match *event.metadata().level() {
            Level::ERROR => "error",
            Level::WARN => "warning",
            Level::INFO => "info",
            _ => "debug",
        };
        host.push(HostMsg::Log {
            level,
            target: event.metadata().target().to_owned(),
            message: line.message,
            fields: Bytes::encode(&line.fields).unwrap_or_else(|_| Bytes::empty_object()),
        });
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[derive(Default)]
struct Line {
    message: String,
    fields: Map<String, Json>,
}

impl Line {
    fn add(&mut self, field: &Field, value: Json) {
        self.fields.insert(field.name().to_owned(), value);
    }
}

impl Visit for Line {
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            let written = write!(self.message, "{value:?}");
            debug_assert!(written.is_ok(), "a text takes everything");
        } else {
            self.add(field, format!("{value:?}").into());
        }
    }
}
