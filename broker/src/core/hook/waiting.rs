//! Requests that wait for their plugin's own answer: `respond` of the commit that settles the delivery.

use trunkline_contract::error::{Code, Error};
use trunkline_contract::rpc::{CommitParamsRef, Respond};

use crate::core::limits::HOOKS_WAITING_MAX;
use crate::core::state::{Core, Timer};
use crate::instance::InstanceKey;
use crate::router::{DeliveryId, LinkId};
use crate::store::Seq;

use super::take::{HookAnswer, HookReply, HookTicket};

/// A request that waits.
#[derive(Debug)]
pub(crate) struct Waiting {
    key: InstanceKey,
    id: String,
    reply: HookReply,
}

/// The events that a commit settles, and the answer it has.
#[derive(Debug)]
pub(crate) struct Settled {
    seqs: Vec<Seq>,
    respond: Option<Respond>,
}

impl Core {
    pub(super) fn wait_for_respond(&mut self, seq: Seq, ticket: HookTicket) {
        let HookTicket {
            key,
            id,
            respond_ms,
            reply,
        } = ticket;
        let waiting = Waiting { key, id, reply };
        if self.hooks.waiting.len() >= HOOKS_WAITING_MAX {
            self.counters.add("hooks_not_awaited", 1);
            return waiting
                .reply
                .answer(HookAnswer::Accepted { id: waiting.id });
        }
        self.hooks.waiting.insert(seq, waiting);
        let at_ms = self.now.mono_ms + respond_ms.unwrap_or_default();
        self.arm(at_ms, Timer::Hook(seq));
    }

    /// Its plugin took too long.
    pub(crate) fn hook_timed_out(&mut self, seq: Seq) {
        if let Some(Waiting { id, reply, .. }) = self.hooks.waiting.remove(&seq) {
            self.counters.add("hooks_respond_timed_out", 1);
            reply.answer(HookAnswer::Accepted { id });
        }
    }

    /// Nobody waits any more: the broker ends, and what is stored is delivered in its next life.
    pub(crate) fn end_hook_waits(&mut self) {
        for (_, Waiting { id, reply, .. }) in self.hooks.waiting.drain() {
            reply.answer(HookAnswer::Accepted { id });
        }
    }

    /// What a commit says to webhooks, if it may say anything.
    pub(crate) fn settled_hooks(
        &self,
        params: &CommitParamsRef<'_>,
    ) -> Result<Option<Settled>, Error> {
        if let Some(respond) = &params.respond {
            check(respond)?;
        } else if self.hooks.waiting.is_empty() {
            return Ok(None);
        }
        let acked = params.ack.iter().map(AsRef::as_ref);
        let rejected = params.reject.iter().map(|item| item.delivery.as_str());
        let ids = acked.chain(rejected).filter_map(DeliveryId::parse);
        Ok(Some(Settled {
            seqs: ids.map(|id| id.seq).collect(),
            respond: params.respond.clone(),
        }))
    }

    /// A commit is durable: answers the webhook that it settles. Gives whether its `respond` was one's answer;
    /// none when it had none.
    pub(crate) fn answer_hooks(&mut self, link: LinkId, settled: Settled) -> Option<bool> {
        let Settled { seqs, mut respond } = settled;
        let asked = respond.is_some();
        let key = self
            .peers
            .get(&link)
            .and_then(|peer| peer.instance().cloned());
        for seq in seqs {
            self.answer_hook(
                seq,
                key.as_ref(),
                respond.take_if(|_| {
                    self.hooks
                        .waiting
                        .get(&seq)
                        .is_some_and(|waiting| Some(&waiting.key) == key.as_ref())
                }),
            );
        }
        asked.then_some(respond.is_none())
    }

    /// A delivery was settled without a commit: there will be no `respond`.
    pub(crate) fn hook_settled(&mut self, link: LinkId, seq: Seq) {
        if self.hooks.waiting.is_empty() {
            return;
        }
        let key = self
            .peers
            .get(&link)
            .and_then(|peer| peer.instance().cloned());
        self.answer_hook(seq, key.as_ref(), None);
    }

    fn answer_hook(&mut self, seq: Seq, key: Option<&InstanceKey>, respond: Option<Respond>) {
        let is_its = |waiting: &Waiting| Some(&waiting.key) == key;
        if !self.hooks.waiting.get(&seq).is_some_and(is_its) {
            return;
        }
        let Some(Waiting { id, reply, .. }) = self.hooks.waiting.remove(&seq) else {
            return;
        };
        reply.answer(match respond {
            Some(respond) => {
                self.counters.add("hooks_responded", 1);
                HookAnswer::Respond(respond)
            }
            None => HookAnswer::Stored {
                id,
                is_duplicate: false,
            },
        });
    }
}

fn check(respond: &Respond) -> Result<(), Error> {
    let wrong = |text: String| Err(Error::new(Code::InvalidArguments, text));
    if !(200..=599).contains(&respond.status) {
        let text = format!(
            "expected respond.status between 200 and 599, found {}",
            respond.status
        );
        return wrong(text);
    }
    if respond.body.is_some() && respond.body_base64.is_some() {
        return wrong("expected respond.body or respond.body_base64, found both".to_owned());
    }
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    for (name, value) in &respond.headers {
        let is_value = value
            .bytes()
            .all(|byte| byte == b'\t' || (b' '..=b'~').contains(&byte));
        if name.is_empty() || !name.bytes().all(is_name) || !is_value {
            return wrong(format!("expected a header of HTTP, found {name:?}"));
        }
    }
    Ok(())
}
