//! What a pattern adds to a plugin: routes of its own around the author's functions.

use std::sync::Arc;

use trunkline_contract::error::Error;
use trunkline_contract::rpc::TimerSetParams;
use trunkline_contract::webhook::Webhook as Declaration;

use crate::connect::Connect;
use crate::dispatch::Route;

/// Is one registration of a pattern.
#[derive(Clone)]
pub(crate) struct Engine {
    /// Tells it from others in messages: `webhook github`. Two of one name are refused.
    pub(crate) name: String,
    /// The channel's kind that it serves; empty for none.
    pub(crate) kind: String,
    /// What it handles.
    pub(crate) routes: Vec<Route>,
    /// What is declared for it when the instance begins.
    pub(crate) webhook: Option<Declaration>,
    /// Timers to set at each start, unless they are as they were.
    pub(crate) timers: Vec<TimerSetParams>,
    /// What is kept open while the instance runs.
    pub(crate) connect: Option<Arc<Connect>>,
}

/// Is a pattern with the author's options; they are looked at when the plugin is checked.
pub(crate) type Registered = Result<Engine, Error>;
