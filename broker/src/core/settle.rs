//! `broker.ack`, `nak`, `reject`, `extend`: the end (or not yet) of deliveries.

use serde_json::value::RawValue;
use trunkline_contract::rpc::{self, SettleResult};

use crate::router::limits::LEASE_MS;
use crate::router::{DeliveryId, Nak, Reject, Settle};

use super::commit::failure;
use super::peer::ReplyTo;
use super::state::Core;

impl Core {
    pub(crate) fn ack(&mut self, to: &ReplyTo, params: Option<&RawValue>) {
        match rpc::params::<rpc::AckParams>(params) {
            Ok(params) => self.settle_all(to, &params.deliveries, &Settle::Ack),
            Err(error) => self.refuse(to, &error),
        }
    }

    pub(crate) fn nak(&mut self, to: &ReplyTo, params: Option<&RawValue>) {
        match rpc::params::<rpc::NakParams>(params) {
            Ok(params) => {
                let nak = Nak {
                    delay_ms: params.delay_ms,
                    failure: failure(params.error.as_ref(), params.reason.as_deref()),
                    counted: params.counted,
                };
                self.settle_all(to, &params.deliveries, &Settle::Nak(nak));
            }
            Err(error) => self.refuse(to, &error),
        }
    }

    pub(crate) fn reject(&mut self, to: &ReplyTo, params: Option<&RawValue>) {
        match rpc::params::<rpc::RejectParams>(params) {
            Ok(params) => {
                let reject = Reject {
                    code: params.code,
                    failure: failure(params.error.as_ref(), params.reason.as_deref()),
                    reason: params.reason,
                };
                self.settle_all(to, &params.deliveries, &Settle::Reject(reject));
            }
            Err(error) => self.refuse(to, &error),
        }
    }

    pub(crate) fn extend(&mut self, to: &ReplyTo, params: Option<&RawValue>) {
        match rpc::params::<rpc::ExtendParams>(params) {
            Ok(params) => {
                let lease_ms = params.lease_ms.unwrap_or(LEASE_MS);
                self.settle_all(to, &params.deliveries, &Settle::Extend { lease_ms });
            }
            Err(error) => self.refuse(to, &error),
        }
    }

    fn settle_all(&mut self, to: &ReplyTo, deliveries: &[String], what: &Settle) {
        let mut stale = Vec::new();
        for text in deliveries {
            let id = DeliveryId::parse(text)
                .filter(|id| self.router.settle(to.link, *id, what.clone(), self.now));
            let Some(id) = id else {
                stale.push(text.clone());
                continue;
            };
            let end = match what {
                Settle::Ack => "acked",
                Settle::Nak(_) => "naked",
                Settle::Reject(_) => "rejected",
                Settle::Extend { .. } => continue,
            };
            self.span_settled(id.sub, id.seq, end);
            if !matches!(what, Settle::Nak(_)) {
                self.hook_settled(to.link, id.seq);
            }
        }
        self.counters
            .add("settled", (deliveries.len() - stale.len()) as u64);
        if !stale.is_empty() {
            self.counters.add("settled_stale", stale.len() as u64);
        }
        self.answer(to, &SettleResult { stale });
    }
}
