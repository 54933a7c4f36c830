//! The connections of an instance, from its start to its stop.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;

use super::conn::Connection;
use super::declare::Connect;
use super::driver::{Keeper, keep};
use crate::context::InstanceContext;
use crate::hub::Stop;
use crate::link::Link;

/// What an instance keeps open.
pub(crate) struct Connections {
    declared: Vec<(Arc<Connect>, Arc<Connection>)>,
    running: Mutex<Vec<Running>>,
}

struct Running {
    kind: String,
    stop: Arc<Stop>,
    task: JoinHandle<()>,
}

impl Connections {
    /// Prepares them.
    pub(crate) fn new(declared: Vec<Arc<Connect>>) -> Self {
        let declared = declared.into_iter();
        Self {
            declared: declared.map(|connect| (connect, Arc::default())).collect(),
            running: Mutex::default(),
        }
    }

    /// Gives each by its kind.
    pub(crate) fn by_kind(&self) -> Vec<(String, Arc<Connection>)> {
        let all = self.declared.iter();
        all.map(|(connect, connection)| (connect.kind.clone(), connection.clone()))
            .collect()
    }

    fn running(&self) -> std::sync::MutexGuard<'_, Vec<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to keep them.
    pub(crate) fn start(&self, ctx: &InstanceContext, link: &Arc<Link>) {
        let mut running = self.running();
        if !running.is_empty() {
            return;
        }
        for (connect, connection) in &self.declared {
            let stop = Arc::new(Stop::default());
            let keeper = Keeper {
                connect: connect.clone(),
                connection: connection.clone(),
                ctx: ctx.clone(),
                link: link.clone(),
                stop: stop.clone(),
            };
            let kind = connect.kind.clone();
            let task = tokio::spawn(keep(keeper));
            running.push(Running { kind, stop, task });
        }
    }

    /// Ends them: what came is handled, then goodbye is said; what takes longer is cut off.
    pub(crate) async fn stop(&self, patience: Duration) {
        let running = std::mem::take(&mut *self.running());
        for one in &running {
            one.stop.set();
        }
        let until = tokio::time::Instant::now() + patience;
        for mut one in running {
            match tokio::time::timeout_at(until, &mut one.task).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::error!(kind = one.kind, %error, "The task of a connection failed.");
                }
                Err(_) => {
                    tracing::warn!(kind = one.kind, "A connection is cut off at the stop.");
                    one.task.abort();
                }
            }
        }
    }
}
