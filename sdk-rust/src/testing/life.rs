//! An instance through all its lives: the test broker's supervisor.

use std::sync::Arc;

use tokio::sync::RwLock;
use trunkline_broker::core::{ExitSummary, InstanceSignal};
use trunkline_broker::instance::InstanceKey;
use trunkline_broker::testing::TestBroker as Core;
use trunkline_contract::rpc::Exit;

use super::outside::Fake;
use super::process::{Death, Process, Slot};
use crate::faults::Faults;
use crate::hub::Stop;
use crate::plugin::Plugin;

/// What happened to the links of one instance, in this life of the broker.
pub(super) fn signals_of(core: &Core, key: &InstanceKey) -> Vec<InstanceSignal> {
    let signals = core.signals().into_iter();
    signals
        .filter_map(|(of, signal)| (of == *key).then_some(signal))
        .collect()
}

/// Starts an instance again each time it dies.
pub(super) struct Life {
    pub(super) core: Arc<RwLock<Option<Core>>>,
    pub(super) key: InstanceKey,
    pub(super) slot: Slot,
    pub(super) plugin: Plugin,
    pub(super) faults: Arc<Faults>,
    pub(super) outside: Arc<Fake>,
    pub(super) over: Arc<Stop>,
}

impl Life {
    /// Runs it again and again, until the test is over.
    pub(super) async fn go_on(self) {
        while !self.over.is_set() {
            let (socket, signals_before) = {
                let core = self.core.read().await;
                let Some(core) = core.as_ref() else { return };
                let signals_before = signals_of(core, &self.key).len();
                match core.spawn(&self.key).await {
                    Ok(socket) => (socket, signals_before),
                    Err(error) => {
                        tracing::debug!(%error, "The broker is gone.");
                        return;
                    }
                }
            };
            let death = Process::start(
                self.plugin.again(),
                socket,
                signals_before,
                &self.faults,
                &self.outside,
                &self.slot,
            );
            // Dropped without a word only when the thread panicked.
            let death = death.await.unwrap_or(Death::Killed);
            if matches!(death, Death::Stopped) {
                return;
            }
            let is_killed = matches!(death, Death::Killed);
            let exit = if is_killed {
                Exit {
                    signal: Some(9),
                    ..Exit::default()
                }
            } else {
                Exit {
                    code: Some(0),
                    ..Exit::default()
                }
            };
            match &death {
                Death::Ended(Err(error)) => tracing::warn!(%error, "The plugin failed."),
                Death::Ended(Ok(ended)) => tracing::info!(?ended, "The plugin ended."),
                Death::Killed | Death::Stopped => {}
            }
            let core = self.core.read().await;
            let Some(core) = core.as_ref() else { return };
            let summary = ExitSummary {
                exit,
                clean: !is_killed,
            };
            if core.exited(&self.key, summary).await.is_err() {
                return;
            }
        }
    }
}
