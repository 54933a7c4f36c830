//! One plugin instance as a process would be: a thread with a runtime of its own, which takes all
//! of its tasks with it when it is killed.

use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;
use trunkline_broker::core::InstanceSignal;
use trunkline_contract::error::{Code, Error};
use trunkline_contract::limits::FRAME_BYTES_MAX;

use super::outside::Fake;
use crate::faults::Faults;
use crate::hub::Stop;
use crate::instance::{Ended, Instance};
use crate::link::{Link, Stream};
use crate::plugin::Plugin;

/// How a life ended.
#[derive(Debug)]
pub(super) enum Death {
    /// The test killed it.
    Killed,
    /// It ended by itself, in order or because its link was lost.
    Ended(Result<Ended, Error>),
    /// The test is over.
    Stopped,
}

/// The running instance.
pub(super) struct Process {
    stop: Arc<Stop>,
    link: Arc<Link>,
    runtime: tokio::runtime::Handle,
    /// How many signals of instances there were before its first.
    signals_before: usize,
    has_begun: AtomicBool,
}

/// Turns after which tasks that wake one another have done so.
const TURNS: u32 = 16;

/// Where to find the current life of an instance.
pub(super) type Slot = Arc<Mutex<Option<Process>>>;

pub(super) fn in_slot<R>(slot: &Slot, look: impl FnOnce(Option<&Process>) -> R) -> R {
    look(slot.lock().unwrap_or_else(PoisonError::into_inner).as_ref())
}

impl Process {
    /// Ends it without a word.
    pub(super) fn stop(&self) {
        self.stop.set();
    }

    pub(super) fn link(&self) -> &Arc<Link> {
        &self.link
    }

    /// Counts what is under way in it. From its death to the next life, and until that has said how it is, something
    /// is: a clock that ran on meanwhile would leave no time for what the next life does.
    pub(super) fn busy(&self, signals: impl FnOnce() -> Vec<InstanceSignal>) -> u64 {
        if self.link.killed.is_set() || self.link.closed().is_some() {
            return 1;
        }
        if !self.has_begun.load(Ordering::Relaxed) {
            let signals = signals();
            let mut own = signals.iter().skip(self.signals_before);
            let has_begun = own.any(|signal| matches!(signal, InstanceSignal::Status { .. }));
            self.has_begun.store(has_begun, Ordering::Relaxed);
            if !has_begun {
                return self.link.busy().max(1);
            }
        }
        self.link.busy()
    }

    /// Lets its tasks do what they are ready for.
    pub(super) fn turn(&self) -> impl Future<Output = ()> + use<> {
        let turned = self.runtime.spawn(async {
            for _ in 0..TURNS {
                tokio::task::yield_now().await;
            }
        });
        // Tasks of a process that is gone do nothing.
        async move { drop(turned.await) }
    }

    /// Starts a life on a link; gives how it will end.
    ///
    /// # Arguments
    /// * `signals_before` - how many signals of this instance the broker had before it gave the link
    pub(super) fn start(
        plugin: Plugin,
        socket: UnixStream,
        signals_before: usize,
        faults: &Arc<Faults>,
        outside: &Arc<Fake>,
        slot: &Slot,
    ) -> oneshot::Receiver<Death> {
        let (sender, death) = oneshot::channel();
        let stop = Arc::new(Stop::default());
        let faults = faults.clone();
        plugin.core.hub().set_fake(outside);
        let stream = match Stream::socket(socket) {
            Ok(stream) => stream,
            Err(error) => {
                let error = Error::new(Code::LinkLost, error.to_string());
                drop(sender.send(Death::Ended(Err(error))));
                return death;
            }
        };
        let link = Link::new(stream, FRAME_BYTES_MAX);
        link.plant(faults.clone());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("the machine has room for a runtime");
        let process = Self {
            stop: stop.clone(),
            link: link.clone(),
            runtime: runtime.handle().clone(),
            signals_before,
            has_begun: AtomicBool::new(false),
        };
        *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(process);
        let run = move || {
            let death = runtime.block_on(async {
                let serve = async {
                    let instance = Instance::new(plugin)?;
                    let ended = instance
                        .serve(link.clone(), None, std::future::pending())
                        .await;
                    instance.over();
                    ended
                };
                tokio::select! {
                    biased;
                    () = link.killed.wait() => Death::Killed,
                    () = stop.wait() => Death::Stopped,
                    ended = serve => Death::Ended(ended),
                }
            });
            // All tasks of the plugin go here, as those of a process that is gone.
            runtime.shutdown_background();
            link.close(Error::new(Code::LinkLost, "the plugin is gone"));
            // The test may be over already.
            drop(sender.send(death));
        };
        std::thread::Builder::new()
            .name("test-plugin".into())
            .spawn(run)
            .expect("the machine has room for a thread");
        death
    }
}
