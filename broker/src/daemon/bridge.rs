//! Between the supervisor and the core: links one way, signals and log lines the other.

use std::sync::Arc;

use serde_json::{Map, Value};
use tokio::sync::{broadcast, mpsc};
use trunkline_contract::rpc::{Exit, InstanceState, ReportedState};

use super::exporter::Exporter;
use super::reload::Offers;
use crate::core::{
    AuditRecord, ControlRequest, ExitSummary, InstanceReport, InstanceSignal, LinkKind,
};
use crate::instance::InstanceKey;
use crate::runtime::{Broker, BrokerEvents, Connection};
use crate::store::Failed;
use crate::supervisor::{self, ExitReport, Links, Logs, Signal, State, StateReport, Status};

/// Calls of the supervisor waiting for the core; they are few: a handful per start of a process.
const CALLS_MAX: usize = 16_384;

enum Call {
    Attach(InstanceKey, supervisor::Connection),
    Open(InstanceKey),
    Close(InstanceKey, u64, String),
    Activate(InstanceKey),
    Deactivate(InstanceKey, u64, String),
    Pause(InstanceKey),
    Resume(InstanceKey),
    Shutdown(InstanceKey, u64, String),
    Exited(InstanceKey, Box<ExitReport>),
    State(InstanceKey, Box<StateReport>),
}

/// The links as the supervisor sees them. Calls are passed on in order by one task.
pub(super) struct CoreLinks {
    calls: mpsc::Sender<Call>,
    states: broadcast::Sender<(InstanceKey, StateReport)>,
}

impl CoreLinks {
    /// Starts the task that passes calls on.
    pub(super) fn start(
        broker: Broker,
        states: broadcast::Sender<(InstanceKey, StateReport)>,
    ) -> Arc<Self> {
        let (calls, mut queue) = mpsc::channel(CALLS_MAX);
        tokio::spawn(async move {
            while let Some(call) = queue.recv().await {
                if pass(&broker, call).await.is_err() {
                    return;
                }
            }
        });
        Arc::new(Self { calls, states })
    }

    fn call(&self, call: Call) {
        if self.calls.try_send(call).is_err() {
            tracing::error!("A call of the supervisor was lost: the core is gone or far behind.");
        }
    }
}

async fn pass(broker: &Broker, call: Call) -> Result<(), trunkline_contract::error::Error> {
    match call {
        Call::Attach(key, connection) => {
            let connection = match connection {
                supervisor::Connection::Socket(stream) => Connection::Socket(stream),
                supervisor::Connection::Stdio { stdin, stdout } => {
                    Connection::Stdio { stdin, stdout }
                }
            };
            let kind = if key.is_process() {
                LinkKind::Process(key)
            } else {
                LinkKind::Spawned(key)
            };
            broker.attach(connection, kind).await
        }
        Call::Open(key) => broker.with(move |core| core.open_instance(&key)).await,
        Call::Close(key, timeout_ms, reason) => {
            broker
                .with(move |core| core.close_instance(&key, timeout_ms, &reason))
                .await
        }
        Call::Activate(key) => broker.with(move |core| core.activate(&key)).await,
        Call::Deactivate(key, timeout_ms, reason) => {
            broker
                .with(move |core| core.deactivate(&key, timeout_ms, &reason))
                .await
        }
        Call::Pause(key) => {
            broker
                .with(move |core| core.pause(&key, "paused by the operator"))
                .await
        }
        Call::Resume(key) => broker.with(move |core| core.resume(&key)).await,
        Call::Shutdown(key, timeout_ms, reason) => {
            broker
                .with(move |core| core.shutdown(&key, timeout_ms, &reason))
                .await
        }
        Call::Exited(key, exit) => {
            let summary = ExitSummary {
                clean: exit.is_clean(),
                exit: wire_exit(&exit),
            };
            broker.with(move |core| core.exited(&key, &summary)).await
        }
        Call::State(key, report) => {
            let report = InstanceReport {
                state: wire_state(report.state),
                reason: report.reason.clone().unwrap_or_default(),
                pid: report.pid,
                restarts: report.exits,
                exit: report.incident.and(report.exit.as_deref()).map(wire_exit),
                next_start_ms: report
                    .retry_in_ms
                    .map(|wait_ms| report.since_ms.saturating_add_unsigned(wait_ms)),
            };
            broker.with(move |core| core.report(&key, report)).await
        }
    }
}

fn wire_exit(exit: &ExitReport) -> Exit {
    Exit {
        code: exit.code,
        signal: exit.signal,
        limit: exit.limit.map(|limit| limit.as_str().to_owned()),
        stderr_tail: (!exit.stderr_tail.is_empty()).then(|| exit.stderr_tail.clone()),
    }
}

fn wire_state(state: State) -> InstanceState {
    match state {
        State::Starting => InstanceState::Starting,
        State::Standby => InstanceState::Standby,
        State::Ready => InstanceState::Ready,
        State::Degraded => InstanceState::Degraded,
        State::NeedsAuth => InstanceState::NeedsAuth,
        State::Paused => InstanceState::Paused,
        State::Draining => InstanceState::Draining,
        State::BackingOff => InstanceState::BackingOff,
        State::Stopped => InstanceState::Stopped,
        State::Failed => InstanceState::Failed,
        State::Disabled => InstanceState::Disabled,
    }
}

impl Links for CoreLinks {
    fn attach(&self, key: &InstanceKey, connection: supervisor::Connection) {
        self.call(Call::Attach(key.clone(), connection));
    }

    fn open(&self, key: &InstanceKey) {
        self.call(Call::Open(key.clone()));
    }

    fn close(&self, key: &InstanceKey, timeout_ms: u64, reason: &str) {
        self.call(Call::Close(key.clone(), timeout_ms, reason.to_owned()));
    }

    fn activate(&self, key: &InstanceKey) {
        self.call(Call::Activate(key.clone()));
    }

    fn deactivate(&self, key: &InstanceKey, timeout_ms: u64, reason: &str) {
        self.call(Call::Deactivate(key.clone(), timeout_ms, reason.to_owned()));
    }

    fn pause(&self, key: &InstanceKey) {
        self.call(Call::Pause(key.clone()));
    }

    fn resume(&self, key: &InstanceKey) {
        self.call(Call::Resume(key.clone()));
    }

    fn shutdown(&self, key: &InstanceKey, timeout_ms: u64, reason: &str) {
        self.call(Call::Shutdown(key.clone(), timeout_ms, reason.to_owned()));
    }

    fn exited(&self, key: &InstanceKey, exit: &ExitReport) {
        self.call(Call::Exited(key.clone(), Box::new(exit.clone())));
    }

    fn state(&self, key: &InstanceKey, report: &StateReport) {
        // Without a watcher nobody misses it.
        let _best_effort = self.states.send((key.clone(), report.clone()));
        self.call(Call::State(key.clone(), Box::new(report.clone())));
    }
}

/// Takes the core's events to where they belong, until the core ends. Answers with the store's failure,
/// if that is why.
pub(super) async fn pass_events(
    mut events: mpsc::Receiver<BrokerEvents>,
    signals: mpsc::Sender<(InstanceKey, Signal)>,
    control: mpsc::Sender<ControlRequest>,
    logs: Logs,
    spans: Option<Exporter>,
    offers: Arc<Offers>,
) -> Option<Failed> {
    while let Some(event) = events.recv().await {
        match event {
            BrokerEvents::Signal(key, signal) => {
                if signals.send((key, wire_signal(signal))).await.is_err() {
                    tracing::debug!("The supervisor has ended.");
                }
            }
            BrokerEvents::ConfigAnswered(key, revision, answer) => {
                offers.answered(key, revision, answer);
            }
            BrokerEvents::Control(request) => {
                if control.send(request).await.is_err() {
                    tracing::debug!("The control plane has ended.");
                }
            }
            BrokerEvents::Log(line) => {
                let fields: Map<String, Value> = line
                    .fields
                    .as_ref()
                    .and_then(|fields| serde_json::from_str(fields.get()).ok())
                    .unwrap_or_default();
                if line.is_brokers {
                    logs.remark(&line.key, &line.level, &line.message, fields);
                } else {
                    logs.record(&line.key, &line.level, &line.message, fields);
                }
            }
            BrokerEvents::Span(span) => {
                if let Some(exporter) = &spans {
                    exporter.take(*span);
                }
            }
            BrokerEvents::Audit(AuditRecord {
                who,
                act,
                what,
                result,
            }) => tracing::info!(target: "audit", who, act, %what, result, "Operator."),
            BrokerEvents::Failed(failed) => return Some(failed),
        }
    }
    None
}

fn wire_signal(signal: InstanceSignal) -> Signal {
    match signal {
        InstanceSignal::Standby => Signal::Standby,
        InstanceSignal::Status {
            state,
            reason,
            retry_after_ms,
        } => Signal::Status {
            state: match state {
                ReportedState::Ready => Status::Ready,
                ReportedState::Degraded => Status::Degraded,
                ReportedState::RetryLater => Status::RetryLater,
                ReportedState::NeedsAuth => Status::NeedsAuth,
                ReportedState::Fatal => Status::Fatal,
            },
            reason,
            retry_after_ms,
        },
        InstanceSignal::Progress => Signal::Progress,
        InstanceSignal::Refused(error) => Signal::Refused(error),
        InstanceSignal::LinkClosed => Signal::LinkClosed,
        InstanceSignal::PingLost => Signal::PingLost,
        InstanceSignal::Drained => Signal::Drained,
        InstanceSignal::Closed(error) => Signal::Closed { error },
        InstanceSignal::Deactivated(error) => Signal::Deactivated { error },
        InstanceSignal::Blamed(suspect) => Signal::Blamed { suspect },
    }
}
