//! What was sent is remembered for a while, under the provider's id, so that what comes in later
//! finds it: receipts (`delivered`, `read`) and echoes of the instance's own messages.
//!
//! The keys are `engine/outbound/<kind>/sent/<provider id>`. They are written beside the commit and
//! not in it: a store without room must not make a sent message look unsent.

use serde::{Deserialize, Serialize};
use trunkline_contract::envelope::parse_rfc3339;
use trunkline_contract::error::{Code, Error};
use trunkline_contract::limits::KV_LIST_MAX;
use trunkline_contract::rpc::{KvListParams, KvListResult, KvPutParams, KvScope, method};

use super::adapter::name;
use super::fitted::{is_later, tells_nothing, untold};
use crate::batch::Batch;
use crate::context::Context;
use crate::event::{Event, Target};
use crate::instance::InstanceCore;
use crate::outcome::{Outcome, Retry};
use crate::payload::Bytes;
use crate::receipt::{PartOf, Receipt};

/// How often a receipt is looked up before nobody waits for its message any more: a provider may
/// tell of a message before it answers the call that sent it.
const LOOKS_MAX: u32 = 5;

/// What a provider id leads to.
#[derive(Debug, Serialize, Deserialize)]
struct Sent {
    /// The outbound event.
    event: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    session: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    part: Option<PartOf>,
}

/// The key of what a provider calls a message.
fn key(kind: &str, provider_id: &str) -> String {
    format!("engine/outbound/{kind}/sent/{}", name(provider_id))
}

/// Remembers under which id the provider knows a message, if anything here could come back to it.
pub(crate) fn remember(ctx: &Context, provider_id: &str, part: Option<PartOf>) {
    let core = ctx.instance_core();
    if provider_id.is_empty() || !core.is_listening() {
        return;
    }
    let Some(kind) = ctx.kind() else { return };
    let kept_ms = {
        let mut memory = core.memory();
        memory.sent(name(provider_id));
        memory.keep(crate::clock::now_ms())
    };
    let Some(kept_ms) = kept_ms else { return };
    let sent = Sent {
        event: ctx.event_id().to_owned(),
        session: ctx.session().id().map(str::to_owned),
        part,
    };
    let Ok(value) = Bytes::encode(&sent) else {
        return;
    };
    let params = KvPutParams {
        scope: KvScope::Instance,
        session: None,
        key: key(kind, provider_id),
        value: value.raw().to_owned(),
        if_revision: None,
        ttl_ms: Some(kept_ms),
    };
    ctx.handling().link.notify_data(method::KV_PUT, &params);
}

/// Says whether events may be echoes of what an earlier life of the process sent, and nobody has asked the
/// store yet what that was.
pub(crate) fn may_be_old_echoes(core: &InstanceCore, events: &[Event]) -> bool {
    core.is_recall_due() && events.iter().any(|event| inbound_id(event).is_some())
}

/// Asks the store once in a life what earlier lives sent, so that their echoes are known too.
///
/// # Errors
/// The store cannot be asked now.
pub(crate) async fn recall(core: &InstanceCore) -> Result<(), Error> {
    let kept = match kept(core).await {
        Ok(kept) => kept,
        // A broker without this service has kept nothing.
        Err(error) if error.code == Code::NotImplemented => Vec::new(),
        Err(error) => return Err(error),
    };
    core.recalled(kept);
    Ok(())
}

async fn kept(core: &InstanceCore) -> Result<Vec<(String, u64)>, Error> {
    let mut kept = Vec::new();
    for kind in core.kinds() {
        let prefix = key(kind, "");
        let mut params = KvListParams {
            scope: KvScope::Instance,
            session: None,
            prefix: prefix.clone(),
            after: None,
            limit: Some(KV_LIST_MAX),
            values: false,
        };
        loop {
            let page: KvListResult = core.hub().call(method::KV_LIST, &params).await?;
            kept.extend(page.entries.into_iter().filter_map(|entry| {
                let id = entry.key.strip_prefix(&prefix)?.to_owned();
                let ends = entry.expires_at.as_deref().and_then(parse_rfc3339)?;
                Some((id, u64::try_from(ends).ok()?))
            }));
            match page.next {
                Some(after) => params.after = Some(after),
                None => break,
            }
        }
    }
    Ok(kept)
}

/// Makes an event of a receipt that comes from another handler than the one that sent the message.
pub(crate) async fn later(ctx: &Context, receipt: Receipt) -> Outcome {
    match found(ctx, receipt).await {
        Ok(outcome) => outcome,
        Err(error) => {
            let retry = Retry::after("2s").because(error.to_string());
            Outcome::Failed(retry.uncounted().into())
        }
    }
}

async fn found(ctx: &Context, receipt: Receipt) -> Result<Outcome, Error> {
    let Some(provider_id) = receipt.provider_id.clone() else {
        let text = "a receipt without a provider id, which only an outbound handler can say";
        return Ok(Outcome::Invalid(text.to_owned()));
    };
    let kind = match ctx.kind() {
        Some(kind) => kind.to_owned(),
        None => ctx.only_kind()?.to_owned(),
    };
    if is_later(receipt.state) && tells_nothing(ctx.instance_core().features().get(&kind)) {
        return Ok(Outcome::Invalid(untold(receipt.state, &kind)));
    }
    let key = key(&kind, &provider_id);
    let Some(sent) = ctx.kv().get::<Sent>(&key).await? else {
        let attempt = ctx
            .delivery()
            .map_or(LOOKS_MAX, |delivery| delivery.attempt);
        if attempt < LOOKS_MAX {
            let retry = Retry::after("2s").because("no message with this provider id is known yet");
            return Ok(Outcome::Failed(retry.uncounted().into()));
        }
        tracing::warn!(kind, state = ?receipt.state, "A receipt came for a message that is not known.");
        return Ok(Outcome::Nothing);
    };
    let part = receipt.part.or(sent.part);
    let mut event = Event::to(String::new(), &Receipt { part, ..receipt });
    event.draft.target = Target::Delivery { kind: Some(kind) };
    event.session_id = sent.session;
    event.correlation_id = Some(sent.event);
    Ok(Outcome::Batch(Batch::new([event])))
}

/// Says whether an event only tells of a message that this instance sent itself.
pub(crate) fn is_echo(core: &InstanceCore, event: &Event) -> bool {
    if core.memory().is_empty() {
        return false;
    }
    inbound_id(event).is_some_and(|id| core.memory().is_sent(&name(&id)))
}

/// The provider's id of a message that comes in, where it has one.
fn inbound_id(event: &Event) -> Option<String> {
    #[derive(Deserialize)]
    struct Message {
        #[serde(default)]
        id: Option<String>,
    }
    let is_inbound = matches!(event.draft.target, Target::Inbound { .. })
        || event.topic.starts_with("plugin.inbound.");
    let message = is_inbound.then(|| event.payload.json::<Message>())?;
    message.ok()?.id
}
