//! How a test ends the processes of its plugin, and what it lets happen to their links.

use super::broker::{PATIENCE, TestBroker};
use crate::duration::in_ms;
use crate::faults::{Fault, KillAt};

impl TestBroker {
    /// Kills the plugin's process at the next event that it handles; it is started again.
    pub fn kill(&self, at: KillAt) {
        self.faults.plant_death(at);
    }

    /// Lets locks run out without their holders seeing it, as in processes that the system has stopped, until it is taken
    /// back.
    #[doc(hidden)]
    pub fn sleep_through_locks(&self, is_asleep: bool) {
        self.faults.sleep(is_asleep);
    }

    /// Lets a fault happen the next so many times.
    pub fn fault(&self, fault: Fault, times: u32) {
        self.faults.plant(fault, times);
    }

    /// Ends the plugin's processes in order, as an operator's restart does; they are started again.
    #[doc(hidden)]
    pub async fn stop_in_order(&self) {
        let core = self.core().read().await;
        let core = core.as_ref().expect("the broker runs");
        for setup in &self.setups {
            let key = setup.key.clone();
            let patience_ms = in_ms(PATIENCE);
            let told = core
                .broker()
                .with(move |core| core.shutdown(&key, patience_ms, "a test ends it"));
            told.await.expect("the broker runs");
        }
    }
}
