//! Whether work can be done now, in a few words.

use trunkline_contract::rpc::InstanceState;

use crate::core::state::Core;
use crate::instance::InstanceKey;

/// What stands in the way of work, if anything.
#[derive(Debug, Clone, PartialEq)]
pub struct Readiness {
    /// What an acknowledged event survives: `fsync` or `none`.
    pub durability: &'static str,
    /// The daemon is shutting down.
    pub is_draining: bool,
    /// The disk is so full that publishes are refused.
    pub is_disk_full: bool,
    /// Every instance, by name, with its state.
    pub instances: Vec<(InstanceKey, InstanceState)>,
}

impl Core {
    /// Says whether work can be done now.
    pub fn readiness(&self) -> Readiness {
        let instances = self.instances.iter();
        let mut instances: Vec<_> = instances
            .map(|(key, instance)| (key.clone(), instance.report.state))
            .collect();
        instances.sort_by(|a, b| a.0.cmp(&b.0));
        Readiness {
            durability: self.durability(),
            is_draining: self.draining,
            is_disk_full: self.check_room().is_err(),
            instances,
        }
    }
}
