//! Webhooks that the manifest says everything about: their requests are parts or receipts, without a
//! handler.
//!
//! The broker tells of them when the instance begins, so one route is there for all of them. What it
//! makes of a request is what a handler would have returned: from there on both are the same.

use std::sync::Arc;
use std::time::Duration;

use trunkline_contract::error::{Code, Error};
use trunkline_contract::limits::HANDLER_TIMEOUT_MS;
use trunkline_contract::topic::Filter;
use trunkline_contract::webhook::WebhookSource;
use trunkline_patterns::hook_source::{self, Misfit};
use trunkline_patterns::signature::Request;

use super::{WebhookRequest, is_named};
use crate::assemble::Part;
use crate::context::Context;
use crate::dispatch::Route;
use crate::handler::Work;
use crate::incoming::Incoming;
use crate::instance::InstanceCore;
use crate::outcome::{IntoOutcome, Outcome, Reject};
use crate::payload::Bytes;
use crate::publish::channel;
use crate::receipt::{Receipt, State};
use crate::settle::Mode;

/// Makes the route of all of them.
pub(crate) fn route(core: &Arc<InstanceCore>) -> Route {
    let known = core.clone();
    Route {
        name: None,
        filters: vec![Filter::parse("plugin.hook.>").expect("a valid filter")],
        mode: Mode::On,
        timeout: Duration::from_millis(HANDLER_TIMEOUT_MS),
        is_manual: false,
        work: Work::Call(Arc::new(|ctx| {
            Ok(Box::pin(std::future::ready(handled(&ctx))))
        })),
        takes: Some(Arc::new(move |incoming| {
            find(&known.sources(), incoming).is_some()
        })),
    }
}

/// Checks that what the manifest declares and what the plugin handles fit together.
///
/// # Errors
/// `declaration_conflict`: a webhook that has a handler too, or parts that nobody puts together.
pub(crate) fn check(sources: &[WebhookSource], engines: &[String]) -> Result<(), Error> {
    let has = |name: String| engines.contains(&name);
    let conflict = |text| Err(Error::new(Code::DeclarationConflict, text));
    for source in sources {
        let label = source.label();
        let what = if source.part.is_some() {
            "part"
        } else {
            "receipt"
        };
        if has(format!("webhook {label}")) {
            return conflict(format!(
                "expected no handler of webhook {label:?}: its manifest declares {what}; drop one of the two"
            ));
        }
        if source.part.is_some() && !has(format!("assembler {}", source.kind)) {
            return conflict(format!(
                "expected an assembler of kind {:?}: webhook {label:?} declares part",
                source.kind
            ));
        }
    }
    Ok(())
}

/// The declaration that a request is for.
fn find<'a>(sources: &'a [WebhookSource], incoming: &Incoming) -> Option<&'a WebhookSource> {
    if sources.is_empty() {
        return None;
    }
    let (kind, _) = channel(incoming.topic())?;
    let mut of_kind = sources.iter().filter(|source| source.kind == kind);
    of_kind.find(|source| is_named(incoming, source.name.as_deref()))
}

fn handled(ctx: &Context) -> Outcome {
    let incoming = &ctx.handling().incoming;
    let sources = ctx.instance_core().sources();
    let request = incoming.payload_as::<WebhookRequest>();
    let (source, request) = match (find(&sources, incoming), request) {
        (Some(source), Ok(request)) => (source, request),
        (_, Err(error)) => return Outcome::Failed(error.into()),
        // It was declared when the event was given to this route.
        (None, Ok(_)) => return Outcome::Nothing,
    };
    outcome(source, &request).unwrap_or_else(|reject| Outcome::Failed(reject.into()))
}

/// Makes of a request what a handler would return.
fn outcome(source: &WebhookSource, request: &WebhookRequest) -> Result<Outcome, Reject> {
    let label = source.label();
    let bytes = request.bytes()?;
    let headers = request.headers.iter();
    let headers: Vec<_> = headers.map(|(name, value)| (&**name, &**value)).collect();
    let seen = Request {
        method: &request.method,
        url: &request.path,
        headers: &headers,
        body: &bytes,
    };
    let refused = |text: &str| {
        let text = format!("a request of webhook {label:?}: {text}");
        Reject::new(text).code(Code::InvalidPayload.as_str())
    };
    let misfit = |misfit: Misfit| refused(&misfit.to_string());
    let Some(body) = seen.fields() else {
        return Err(refused("expected a body of JSON, or a form"));
    };
    if let Some(fields) = &source.part {
        let found = hook_source::part(fields, &body).map_err(misfit)?;
        let data = Bytes::encode(&found.data).map_err(|error| refused(&error.message))?;
        let mut part = Part::new(found.session, data);
        (part.group, part.seq, part.total) = (found.group, found.seq, found.total);
        part.is_final = found.is_final;
        return Ok(part.into_outcome());
    }
    let Some(fields) = &source.receipt else {
        return Ok(Outcome::Nothing);
    };
    let found = hook_source::receipt(fields, &body).map_err(misfit)?;
    let state = found.state.as_ref().and_then(state_of);
    let Some(state) = state else {
        tracing::debug!(
            webhook = label,
            state = found.word,
            "A state that is not known was left out."
        );
        return Ok(Outcome::Nothing);
    };
    Ok(Outcome::Receipt(
        Receipt::new(state).provider_id(found.provider_id),
    ))
}

fn state_of(state: &trunkline_contract::message::ReceiptState) -> Option<State> {
    serde_json::from_value(serde_json::json!(state)).ok()
}
