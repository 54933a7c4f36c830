//! How every instance is, for operators.

use trunkline_contract::envelope::rfc3339;
use trunkline_contract::rpc;

use crate::instance::InstanceKey;
use crate::router::Owner;

use super::state::Core;

impl Core {
    /// How every instance is, by name.
    pub fn instance_statuses(&self) -> Vec<rpc::admin::InstanceStatus> {
        let mut statuses: Vec<_> = self
            .instances
            .iter()
            .map(|(key, instance)| {
                let pending = instance.subs.iter().filter_map(|sub| self.router.get(*sub));
                let (attempt, next_try) = instance.tries.of(&instance.report);
                rpc::admin::InstanceStatus {
                    plugin: key.plugin.to_string(),
                    instance: key.instance.to_string(),
                    state: instance.report.state,
                    desired: None,
                    path: None,
                    reason: instance.reason(),
                    since: rfc3339(instance.since_ms),
                    attempt,
                    next_try,
                    progress: instance.progress.shown().cloned(),
                    pid: instance.report.pid,
                    restarts: instance.report.restarts,
                    generation: instance.generation,
                    link: instance.link.map(|link| {
                        let spawned = self.peers.get(&link).is_some_and(|peer| peer.spawned);
                        if spawned { "spawned" } else { "attached" }.to_owned()
                    }),
                    settles: if instance.settles_on_write {
                        "on_write"
                    } else {
                        "explicit"
                    }
                    .into(),
                    in_flight: instance.link.map_or(0, |link| self.router.in_flight(link)) as u64,
                    pending: pending.map(|sub| sub.view().pending as u64).sum(),
                    lag: instance
                        .link
                        .and_then(|link| self.peers.get(&link)?.pulse.lag_ms()),
                    oldest_ms: None,
                    last_inbound_at: self.last_inbound_ms(key).map(rfc3339),
                    last_error: instance.last_error.as_ref().map(|(_, text)| text.clone()),
                    last_error_at: instance.last_error.as_ref().map(|(at, _)| rfc3339(*at)),
                }
            })
            .collect();
        statuses.sort_by(|a, b| (&a.plugin, &a.instance).cmp(&(&b.plugin, &b.instance)));
        statuses
    }

    /// When an instance last brought something in, wall-clock ms.
    pub(crate) fn last_inbound_ms(&self, key: &InstanceKey) -> Option<i64> {
        let owner = Owner::Instance(key.clone());
        self.router.meters().of(&owner)?.last_inbound_at_ms
    }
}
