//! One process of an instance is replaced with another while it lives.
//!
//! An instance has two seats, and one of them serves. The other, the spare, may have a process too: one that
//! is in standby and will take over, or one that was replaced and is about to end. Who says which seat is
//! activated is the supervisor; here the change itself is made.
//!
//! Invariants: one seat serves at any moment; whatever the other one holds or sends counts for nothing, from
//! the moment of the change on; what it held is handed to its successor, in order.

use serde_json::value::RawValue;
use trunkline_contract::error::{Code, Error};
use trunkline_contract::rpc::{self, method};
use trunkline_contract::topic::Filter;

use crate::instance::InstanceKey;
use crate::router::{LinkId, Window};

use super::instance::{InstanceSetup, InstanceSignal};
use super::peer::{Call, Phase};
use super::state::{Core, Output};

/// The seat that does not serve.
#[derive(Debug)]
pub(crate) struct Spare {
    seat: InstanceKey,
    /// The seat that was prepared for a successor, whichever serves now.
    prepared: InstanceKey,
    /// What its process is given, and is allowed.
    setup: InstanceSetup,
    pub(super) link: Option<LinkId>,
    said: Option<Box<rpc::InitializeResult>>,
}

impl Core {
    /// Prepares the other seat of an instance for a process with this setup. The one in force stays so until
    /// that process is activated.
    ///
    /// # Errors
    /// `not_found` when there is no such instance; `instance_busy` while another replaces it.
    pub fn prepare_switch(&mut self, mut setup: InstanceSetup) -> Result<(), Error> {
        let key = setup.key.clone();
        let Some(instance) = self.instances.get_mut(&key) else {
            return Err(Error::new(Code::NotFound, format!("{key} was removed")));
        };
        if instance.spare.is_some() {
            let text = format!("{key} is being replaced already; try again when that has ended");
            return Err(Error::new(Code::InstanceBusy, text));
        }
        setup.grants.add_own(&key.plugin, &key.instance);
        let prepared = instance.seat.other_seat();
        instance.spare = Some(Box::new(Spare {
            seat: prepared.clone(),
            prepared,
            setup,
            link: None,
            said: None,
        }));
        Ok(())
    }

    /// A replacement has ended: its successor serves, or what served before does. The other seat is
    /// forgotten, with its link.
    ///
    /// # Errors
    /// What served before cannot be configured again.
    pub fn end_switch(&mut self, key: &InstanceKey, is_replaced: bool) -> Result<(), Error> {
        let instance = self.instances.get(key);
        let prepared = instance.and_then(|one| one.spare.as_ref().map(|spare| &spare.prepared));
        let (Some(instance), Some(prepared)) = (instance, prepared) else {
            return Ok(());
        };
        let result = if (instance.seat == *prepared) == is_replaced {
            Ok(())
        } else {
            self.change_seats(key)
        };
        self.forget_spare(key);
        result?;
        let setup = self.instances.get(key).map(|one| one.setup.clone());
        setup.map_or(Ok(()), |setup| self.subscribe_main(&setup).map(|_| ()))
    }

    fn forget_spare(&mut self, key: &InstanceKey) {
        let Some(instance) = self.instances.get_mut(key) else {
            return;
        };
        if let Some(link) = instance.spare.take().and_then(|spare| spare.link) {
            self.close(link);
        }
    }

    /// Says whether this seat of the instance is prepared and does not serve.
    pub(crate) fn is_spare(&self, key: &InstanceKey, seat: &InstanceKey) -> bool {
        let spare = self.instances.get(key).and_then(|one| one.spare.as_ref());
        spare.is_some_and(|spare| spare.seat == *seat)
    }

    /// The spare seat, if this is its link.
    pub(crate) fn spare_of(&self, key: &InstanceKey, link: LinkId) -> Option<&InstanceKey> {
        let spare = self.instances.get(key)?.spare.as_ref()?;
        (spare.link == Some(link)).then_some(&spare.seat)
    }

    /// Tells the supervisor what happened to one link of an instance.
    pub(crate) fn signal_of(&mut self, link: LinkId, key: &InstanceKey, signal: InstanceSignal) {
        match self.spare_of(key, link).cloned() {
            Some(seat) => self.outputs.push(Output::Signal(seat, signal)),
            None => self.signal(key, signal),
        }
    }

    /// Refuses what a link asks for that does not serve its instance.
    pub(crate) fn check_current(&self, link: LinkId, key: &InstanceKey) -> Result<(), Error> {
        if self.link_of(key) == Some(link) {
            return Ok(());
        }
        let peer = self.peers.get(&link);
        if peer.is_some_and(|peer| peer.phase == Phase::Standby) {
            let text = format!("{key} is in standby on this link");
            return Err(Error::new(Code::NotActive, text));
        }
        Err(Error::new(
            Code::StaleGeneration,
            format!("{key} was activated again on another link"),
        ))
    }

    /// What the process behind a link is given.
    pub(crate) fn setup_of(&self, key: &InstanceKey, link: LinkId) -> Option<&InstanceSetup> {
        let instance = self.instances.get(key)?;
        let spare = instance.spare.as_ref();
        Some(match spare.filter(|spare| spare.link == Some(link)) {
            Some(spare) => &spare.setup,
            None => &instance.setup,
        })
    }

    /// A process was started in the spare seat.
    pub(crate) fn take_spare(&mut self, link: LinkId, key: &InstanceKey) {
        self.router.link_up(link, Window::default());
        if let Some(instance) = self.instances.get_mut(key)
            && let Some(spare) = instance.spare.as_mut()
        {
            spare.link = Some(link);
            spare.said = None;
        }
    }

    /// Keeps what a handshake declared. True when it counts only once that process is activated.
    pub(crate) fn keep_said(
        &mut self,
        link: LinkId,
        key: &InstanceKey,
        said: &rpc::InitializeResult,
    ) -> bool {
        let Some(instance) = self.instances.get_mut(key) else {
            return false;
        };
        let said = Some(Box::new(said.clone()));
        match instance.spare.as_mut() {
            Some(spare) if spare.link == Some(link) => {
                spare.said = said;
                true
            }
            _ => {
                instance.said = said;
                false
            }
        }
    }

    /// The spare seat becomes the one that serves, with its setup and what its handshake declared.
    pub(crate) fn change_seats(&mut self, key: &InstanceKey) -> Result<(), Error> {
        self.serve(key, false);
        let Some(instance) = self.instances.get_mut(key) else {
            return Ok(());
        };
        let Some(spare) = instance.spare.as_mut() else {
            return Ok(());
        };
        std::mem::swap(&mut instance.seat, &mut spare.seat);
        std::mem::swap(&mut instance.setup, &mut spare.setup);
        std::mem::swap(&mut instance.link, &mut spare.link);
        std::mem::swap(&mut instance.said, &mut spare.said);
        instance.progress.end();
        let (new, old) = (instance.link, spare.link);
        let (setup, said) = (instance.setup.clone(), instance.said.clone());
        if let Some(old) = old {
            self.router.leave_all(old, self.now);
            if let Some(peer) = self.peers.get_mut(&old)
                && peer.phase == Phase::Standby
            {
                // So that what it still sends is told that another generation is at work.
                peer.phase = Phase::Active;
            }
        }
        self.configure(setup)?;
        let Some(link) = new else { return Ok(()) };
        let instance = self.instances.get_mut(key).expect("configured above");
        instance.is_serving = false;
        for sub in instance.subs.clone() {
            self.router.join(sub, link, Window::UNLIMITED, self.now);
        }
        let Some(said) = said else { return Ok(()) };
        if let Some(instance) = self.instances.get_mut(key) {
            instance.settles_on_write = said.protocol.is_none();
        }
        self.take_declared(link, key, &said)
    }

    /// What the version that served before may receive, as long as it may have to serve again: nothing of it is passed
    /// over meanwhile.
    pub(super) fn kept_for_the_way_back(&self, key: &InstanceKey) -> Vec<Filter> {
        let instance = self.instances.get(key);
        let spare = instance.and_then(|one| one.spare.as_ref());
        let spare = spare.filter(|_| self.has_way_back(key));
        spare.map_or_else(Vec::new, |spare| spare.setup.grants.receive.clone())
    }

    /// Says whether a version that is not ready yet took over, so that the one before may have to serve again.
    pub(super) fn has_way_back(&self, key: &InstanceKey) -> bool {
        let instance = self.instances.get(key);
        instance.is_some_and(|one| {
            let mut spare = one.spare.iter();
            spare.any(|spare| one.seat == spare.prepared && !one.is_serving)
        })
    }

    /// The new version is about to serve, and stays: what only the old one may receive is kept no longer.
    pub(super) fn no_way_back(&mut self, key: &InstanceKey) {
        let Some(instance) = self.instances.get_mut(key) else {
            return;
        };
        if instance.spare.is_none() || instance.is_serving {
            return;
        }
        instance.is_serving = true;
        let setup = instance.setup.clone();
        let link = instance.link;
        let said = instance.said.as_ref();
        let wanted = said.map_or_else(Vec::new, |said| said.subscriptions.clone());
        self.narrow_declared(key);
        if let Some(link) = link {
            // What it was left with while there was a way back, and that its own go on with, ends here.
            let left = self.declared_no_longer(key, &wanted);
            self.settle_left(link, key, &left, &wanted);
        }
        if let Err(error) = self.subscribe_main(&setup) {
            tracing::warn!(instance = %key, %error, "Its main subscription stays as it was.");
        }
    }

    /// Tells an instance to go back to standby: it finishes or gives back what it has, and closes everything
    /// outside. [`InstanceSignal::Deactivated`] follows.
    pub fn deactivate(&mut self, seat: &InstanceKey, timeout_ms: u64, reason: &str) {
        let key = &seat.of_seat();
        let link = self.link_of(key).filter(|_| !self.is_spare(key, seat));
        let Some(link) = link else { return };
        self.serve(key, false);
        let params = rpc::DeactivateParams {
            timeout_ms,
            reason: reason.to_owned(),
        };
        self.call(link, Call::Deactivate, method::INSTANCE_DEACTIVATE, &params);
    }

    /// The answer to `instance.deactivate`: from here on nothing of it counts.
    pub(crate) fn deactivated(&mut self, link: LinkId, answer: Result<&RawValue, Error>) {
        let key = self.peers.get(&link).and_then(|peer| peer.instance());
        let Some(key) = key.cloned() else { return };
        if self.link_of(&key) != Some(link) {
            return;
        }
        if let Some(peer) = self.peers.get_mut(&link)
            && peer.phase == Phase::Active
        {
            peer.phase = Phase::Standby;
        }
        if let Some(instance) = self.instances.get_mut(&key) {
            instance.progress.end();
        }
        self.serve(&key, false);
        self.router.give_back(link, self.now);
        let error = answer.err().map(|error| error.to_string());
        self.signal(&key, InstanceSignal::Deactivated(error));
    }

    /// Asks the process in the spare seat to end; it holds nothing.
    pub(crate) fn shut_spare(&mut self, key: &InstanceKey, timeout_ms: u64, reason: &str) {
        let spare = self.instances.get(key).and_then(|one| one.spare.as_ref());
        let Some(spare) = spare else { return };
        let (seat, link) = (spare.seat.clone(), spare.link);
        let Some(link) = link else {
            let drained = InstanceSignal::Drained;
            return self.outputs.push(Output::Signal(seat, drained));
        };
        if let Some(peer) = self.peers.get_mut(&link) {
            peer.phase = Phase::Closing;
        }
        let params = rpc::ShutdownParams {
            reason: reason.to_owned(),
            timeout_ms,
        };
        self.call(link, Call::Shutdown, method::SHUTDOWN, &params);
    }

    /// The link of the spare seat ended.
    pub(crate) fn spare_detached(&mut self, key: &InstanceKey, link: LinkId) {
        let Some(seat) = self.spare_of(key, link).cloned() else {
            return;
        };
        if let Some(spare) = self.instances.get_mut(key).and_then(|i| i.spare.as_mut()) {
            spare.link = None;
        }
        let closed = InstanceSignal::LinkClosed;
        self.outputs.push(Output::Signal(seat, closed));
    }

    /// The process in a seat that does not serve ended: it held nothing that it could be blamed for.
    pub(crate) fn spare_exited(&mut self, seat: &InstanceKey) {
        let key = seat.of_seat();
        let spare = self.instances.get(&key).and_then(|one| one.spare.as_ref());
        if let Some(link) = spare.filter(|s| s.seat == *seat).and_then(|s| s.link) {
            self.detach(link);
            self.outputs.push(Output::Close(link));
        }
        let blamed = InstanceSignal::Blamed(false);
        self.outputs.push(Output::Signal(seat.clone(), blamed));
    }
}
