//! What goes into the state machine of an instance, and what comes out.

use std::sync::Arc;

use crate::supervisor::exit::ExitReport;
use crate::supervisor::links::Signal;
use crate::supervisor::state::{Incident, State};

/// What the operator wants of an instance.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wanted {
    /// A process that serves.
    Running,
    /// No process.
    Stopped,
    /// No process, also after a restart of the daemon.
    Disabled,
}

/// What happens to an instance.
#[derive(Clone, PartialEq, Debug)]
pub enum Input {
    /// The operator decided; an end is complete within the budget.
    Want {
        /// What is wanted from now on.
        wanted: Wanted,
        /// How long an end may take, in milliseconds.
        budget_ms: u64,
    },
    /// End the process, if there is one, and start a new one at once.
    Restart,
    /// The policy or the timeouts changed.
    Configured,
    /// Stay in standby, or go back there.
    Hold,
    /// Undo the hold.
    Release,
    /// It proved itself: from now on it is started again when it ends.
    Trust,
    /// Take nothing new.
    Pause,
    /// Undo the pause.
    Resume,
    /// What is started was found good; its process is being made.
    Checked,
    /// The program runs.
    Spawned,
    /// The program could not be run; there is no process.
    SpawnFailed(String),
    /// The program may not be run: it is not what was installed.
    SpawnRefused(String),
    /// The owner of the links said something.
    Signal(Signal),
    /// The process is gone.
    Exited(Arc<ExitReport>),
    /// The process that it shared with others is gone.
    HostEnded(Arc<ExitReport>),
    /// The armed time is over.
    Timer,
}

/// A signal to the whole process group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GroupSignal {
    /// Asks to end.
    Term,
    /// Ends a hanging process, with a trace where the language writes one.
    Abort,
    /// Ends it without asking.
    Kill,
}

/// What is to be done.
#[derive(Clone, PartialEq, Debug)]
pub enum Output {
    /// Start a process.
    Spawn,
    /// Hand the new process's link over.
    Attach,
    /// Let the instance connect to the outside.
    Activate,
    /// Put the instance back into standby.
    Deactivate {
        /// How long that may take.
        timeout_ms: u64,
    },
    /// Stop new deliveries.
    Pause,
    /// Let deliveries go on.
    Resume,
    /// Ask the instance to finish and end.
    Shutdown {
        /// How long it may take.
        timeout_ms: u64,
        /// Why, for the plugin.
        reason: String,
    },
    /// Send a signal to the process group.
    Kill(GroupSignal),
    /// Wake the machine after this many milliseconds, instead of at any earlier armed time.
    Arm(u64),
    /// Do not wake it.
    Disarm,
    /// Tell everyone.
    Report(Change),
}

/// A change of state, as the machine knows it.
#[derive(Clone, PartialEq, Debug)]
pub struct Change {
    /// The state from now on.
    pub state: State,
    /// Why.
    pub reason: Option<String>,
    /// What just happened.
    pub incident: Option<Incident>,
    /// How long until the next start.
    pub retry_in_ms: Option<u64>,
}
