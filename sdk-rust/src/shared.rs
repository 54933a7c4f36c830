//! A process that serves all instances of a plugin: the process link, and an instance for each
//! `instance.open`.
//!
//! Every instance is a task with a link, a context, a state and hooks of its own; there is no thread for
//! it. Invariants: what ends one instance leaves the others alone; `instance.close` is answered when
//! nothing of the instance runs any more; the process ends with its process link.

use std::collections::VecDeque;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use rustc_hash::FxHashMap;
use tokio::sync::{Notify, mpsc};
use tokio::task::{Id, JoinSet};
use trunkline_contract::error::{Code, Error};
use trunkline_contract::limits::FRAME_BYTES_MAX;
use trunkline_contract::rpc::{
    InstanceCloseParams, InstanceCloseResult, InstanceOpenParams, ShutdownParams, ShutdownResult,
    method,
};

use crate::hub::Stop;
use crate::instance::{DRAIN, Ended, Instance, params, queue};
use crate::link::{Inbound, Link, Request, Stream, drive};
use crate::plugin::Plugin;

/// Requests that may wait, one for each instance and more.
const REQUESTS_MAX: usize = 4096;
/// How much longer than its handlers an instance may take to end.
const GOODBYE: Duration = Duration::from_secs(2);

/// Waits for the first request of a link, which says what kind of link it is, and takes what came with it.
///
/// Instances are opened without waiting for one another: on a process link others may follow at once. On any other no
/// frame but pings follows before this one is answered.
pub(crate) async fn first_requests(link: &Arc<Link>) -> Result<VecDeque<Request>, Error> {
    let mut found: VecDeque<Request> = VecDeque::new();
    let arrived = Notify::new();
    tokio::select! {
        error = drive(link, |inbound| {
            if let Inbound::Request(request) = inbound {
                let may_come = found.front().is_none_or(|first| &*first.method == method::INSTANCE_OPEN);
                if may_come && found.len() < REQUESTS_MAX {
                    found.push_back(request);
                    arrived.notify_one();
                } else {
                    let error = Error::new(Code::ProtocolViolation, "the first request has no answer yet");
                    link.answer(&request, Err::<&(), _>(&error));
                }
            }
        }) => return Err(error),
        () = arrived.notified() => {}
    }
    Ok(found)
}

/// One instance of the process.
struct Guest {
    name: String,
    /// Ends it in order.
    stop: Arc<Stop>,
    /// Ends it at once.
    cut: Arc<Stop>,
    /// Who waits for its end.
    closing: Option<Request>,
}

/// How an instance ended; none: it is over in order.
type Fault = Option<String>;

struct Shared {
    link: Arc<Link>,
    plugin: Plugin,
    guests: FxHashMap<Id, Guest>,
    tasks: JoinSet<Fault>,
    shutdown: Option<Request>,
    is_ending: bool,
}

/// Serves a process link whose first requests are known, until the process is to end.
pub(crate) async fn serve(
    link: Arc<Link>,
    plugin: Plugin,
    first: VecDeque<Request>,
    stop: &Stop,
) -> Result<(), Error> {
    plugin.check()?;
    let (sender, mut requests) = mpsc::channel(REQUESTS_MAX);
    let driver = tokio::spawn({
        let link = link.clone();
        async move {
            drive(&link, |inbound| {
                if let Inbound::Request(request) = inbound {
                    queue(&link, &sender, request);
                }
            })
            .await;
        }
    });
    let mut shared = Shared {
        link: link.clone(),
        plugin,
        guests: FxHashMap::default(),
        tasks: JoinSet::new(),
        shutdown: None,
        is_ending: false,
    };
    for request in first {
        shared.take(request);
    }
    shared.run(&mut requests, stop).await;
    if let Some(request) = shared.shutdown.take() {
        link.answer(&request, Ok(&ShutdownResult { ok: true }));
    }
    link.quiesce(Duration::from_secs(1)).await;
    link.close(Error::new(Code::LinkLost, "the process ended"));
    if driver.await.is_err() {
        tracing::error!("The task of the process link panicked.");
    }
    Ok(())
}

impl Shared {
    async fn run(&mut self, requests: &mut mpsc::Receiver<Request>, stop: &Stop) {
        let mut is_linked = true;
        loop {
            tokio::select! {
                request = requests.recv(), if is_linked => match request {
                    Some(request) => self.take(request),
                    None => {
                        is_linked = false;
                        self.end();
                    }
                },
                () = stop.wait(), if !self.is_ending => self.end(),
                Some(ended) = self.tasks.join_next_with_id(), if !self.tasks.is_empty() => {
                    match ended {
                        Ok((id, fault)) => self.ended(id, fault),
                        Err(error) => {
                            tracing::error!(%error, "The task of an instance panicked.");
                            self.ended(error.id(), Some("its task panicked".to_owned()));
                        }
                    }
                }
            }
            if self.is_ending && self.tasks.is_empty() {
                return;
            }
        }
    }

    fn take(&mut self, request: Request) {
        match &*request.method {
            method::INSTANCE_OPEN => match params::<InstanceOpenParams>(&request) {
                Ok(params) => self.open(request, params),
                Err(error) => self.link.answer(&request, Err::<&(), _>(&error)),
            },
            method::INSTANCE_CLOSE => match params::<InstanceCloseParams>(&request) {
                Ok(params) => self.close(request, &params),
                Err(error) => self.link.answer(&request, Err::<&(), _>(&error)),
            },
            method::SHUTDOWN => match params::<ShutdownParams>(&request) {
                Ok(params) => {
                    let patience = Duration::from_millis(params.timeout_ms);
                    self.guests
                        .values()
                        .for_each(|guest| cut_after(guest, patience));
                    self.shutdown = Some(request);
                    self.end();
                }
                Err(error) => self.link.answer(&request, Err::<&(), _>(&error)),
            },
            other => {
                let text = format!("this process does not know the method {other:?}");
                let error = Error::new(Code::NotImplemented, text);
                self.link.answer(&request, Err::<&(), _>(&error));
            }
        }
    }

    fn open(&mut self, request: Request, params: InstanceOpenParams) {
        if self.is_ending {
            let error = Error::new(Code::Unavailable, "the process is ending");
            return self.link.answer(&request, Err::<&(), _>(&error));
        }
        // One of this name that has not ended yet must not outlive it.
        for guest in self
            .guests
            .values()
            .filter(|one| one.name == params.instance)
        {
            guest.cut.set();
        }
        let guest = Guest {
            name: params.instance.clone(),
            stop: Arc::default(),
            cut: Arc::default(),
            closing: None,
        };
        let visit = Visit {
            plugin: self.plugin.again(),
            process: self.link.clone(),
            request,
            params,
            stop: guest.stop.clone(),
            cut: guest.cut.clone(),
        };
        let task = self.tasks.spawn(visit.run());
        self.guests.insert(task.id(), guest);
    }

    fn close(&mut self, request: Request, params: &InstanceCloseParams) {
        let mut guests = self.guests.values_mut();
        let Some(guest) = guests.find(|one| one.name == params.instance && one.closing.is_none())
        else {
            self.link
                .answer(&request, Ok(&InstanceCloseResult::default()));
            return;
        };
        guest.stop.set();
        guest.closing = Some(request);
        cut_after(guest, Duration::from_millis(params.timeout_ms));
    }

    fn ended(&mut self, id: Id, error: Fault) {
        let Some(guest) = self.guests.remove(&id) else {
            return;
        };
        if let Some(error) = &error {
            tracing::warn!(instance = guest.name, error, "An instance ended.");
        }
        if let Some(request) = guest.closing {
            self.link
                .answer(&request, Ok(&InstanceCloseResult { error }));
        }
    }

    fn end(&mut self) {
        self.is_ending = true;
        self.guests.values().for_each(|guest| guest.stop.set());
    }
}

/// Ends an instance by force when its time is over.
fn cut_after(guest: &Guest, patience: Duration) {
    let cut = guest.cut.clone();
    tokio::spawn(async move {
        tokio::time::sleep(patience).await;
        cut.set();
    });
}

/// The life of one instance in the process.
struct Visit {
    plugin: Plugin,
    process: Arc<Link>,
    request: Request,
    params: InstanceOpenParams,
    stop: Arc<Stop>,
    cut: Arc<Stop>,
}

impl Visit {
    async fn run(self) -> Fault {
        let (link, instance) = match self.begin() {
            Ok(begun) => begun,
            Err(error) => {
                self.process.answer(&self.request, Err::<&(), _>(&error));
                return Some(error.to_string());
            }
        };
        let token = Some(self.params.token.clone());
        let opening = instance.introduction(token, Some(self.params.instance.clone()));
        let opened = |result: Result<(), &Error>| match result {
            Ok(()) => self.process.answer(&self.request, Ok(&crate::kv::NOTHING)),
            Err(error) => self.process.answer(&self.request, Err::<&(), _>(error)),
        };
        let ended = tokio::select! {
            biased;
            () = self.cut.wait() => Err(Error::new(Code::TimedOut, "it did not end in time")),
            ended = instance.serve_opened(&link, &opening, &opened, self.stop.wait()) => ended,
        };
        // Whatever it was cut off from, nothing it does counts from here on.
        link.close(Error::new(Code::LinkLost, "the instance was closed"));
        let rest = instance.give_up();
        if tokio::time::timeout(DRAIN.min(GOODBYE), rest)
            .await
            .is_err()
        {
            tracing::error!("Handlers of an instance that was closed run on.");
        }
        instance.over();
        match ended {
            Ok(Ended::Wanted) => None,
            Ok(Ended::Lost(error)) | Err(error) => Some(error.to_string()),
        }
    }

    fn begin(&self) -> Result<(Arc<Link>, Instance), Error> {
        let address = &self.params.address;
        let socket = UnixStream::connect(address).and_then(Stream::socket);
        let stream = socket.map_err(|error| {
            let text = format!("expected the broker at {address}: {error}");
            Error::new(Code::Unavailable, text)
        })?;
        let instance = Instance::new(self.plugin.again())?;
        Ok((Link::new(stream, FRAME_BYTES_MAX), instance))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[tokio::test]
    async fn instances_may_be_opened_before_the_first_one_is_answered() {
        let (mut broker, ours) = UnixStream::pair().expect("sockets");
        let requests: Vec<_> = (1..=3)
            .map(|id| {
                let method = method::INSTANCE_OPEN;
                format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{{}}}}"#)
            })
            .collect();
        let text = requests.join("\n") + "\n";
        broker.write_all(text.as_bytes()).expect("the link reads");
        let link = Link::new(Stream::socket(ours).expect("a socket"), FRAME_BYTES_MAX);
        let found = first_requests(&link).await.expect("requests");
        assert_eq!(found.len(), 3, "what came with the first is refused");
    }
}
