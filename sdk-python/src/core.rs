//! The host for one event loop.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};
use rustix::event::{EventfdFlags, eventfd};
use trunkline::host::{Completion, Decision, Host, HostMsg, Invoked};
use trunkline::{Error, Outcome};

use crate::error::{Refusal, exception, raised};
use crate::incoming::Incoming;
use crate::read::decode;
use crate::write::{encode, into_text, plain, write};

/// Messages of one turn of the loop, which is to breathe in between.
const DRAIN_MAX: usize = 256;

const INVOKE: u8 = 1;
const CANCEL: u8 = 2;
const REPLY: u8 = 3;
const ERROR: u8 = 4;
const LOG: u8 = 5;

/// Runs the core on a thread of its own, for one event loop.
#[pyclass(frozen, module = "trunkline._core")]
pub(crate) struct Core {
    host: Host,
    /// Kept by the wake-up too, so that its number cannot come to mean something else.
    wake: Arc<OwnedFd>,
}

fn message(py: Python<'_>, message: HostMsg) -> PyResult<Option<Bound<'_, PyTuple>>> {
    let made = match message {
        HostMsg::Reply { op, result } => match result {
            Ok(value) => (REPLY, op, decode(py, &value)?).into_pyobject(py)?,
            Err(error) => (ERROR, op, exception(py, &error)?).into_pyobject(py)?,
        },
        HostMsg::Invoke {
            ticket,
            function,
            target,
            plugin,
            arg,
        } => {
            let function = match function {
                Invoked::Hook(name) => name.into_pyobject(py)?.into_any(),
                Invoked::Function(number) => number.into_pyobject(py)?.into_any(),
            };
            let arg = decode(py, &arg)?;
            (INVOKE, ticket, function, target, plugin, arg).into_pyobject(py)?
        }
        HostMsg::Cancel { ticket } => (CANCEL, ticket).into_pyobject(py)?,
        HostMsg::Log {
            level,
            target,
            message,
            fields,
        } => (LOG, level, target, message, decode(py, &fields)?).into_pyobject(py)?,
        HostMsg::Event(_) | HostMsg::Beat => return Ok(None),
    };
    Ok(Some(made))
}

#[pymethods]
impl Core {
    /// Starts the core.
    #[new]
    fn new(py: Python<'_>) -> PyResult<Self> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let wake =
            Arc::new(eventfd(0, flags).map_err(|error| PyOSError::new_err(error.to_string()))?);
        let woken = wake.clone();
        // A full counter is a wake-up that is still to be taken.
        let ring = move || _ = rustix::io::write(&*woken, &1u64.to_ne_bytes()).ok();
        let host = py.detach(|| Host::start(Box::new(ring)));
        let host = host.map_err(|error| raised(py, &error))?;
        Ok(Self { host, wake })
    }

    /// The descriptor that becomes readable when there is something to drain.
    fn fileno(&self) -> i32 {
        self.wake.as_fd().as_raw_fd()
    }

    /// Takes what has arrived: events, and the rest as tuples that begin with their kind.
    fn drain<'py>(
        &self,
        py: Python<'py>,
    ) -> PyResult<(Vec<Bound<'py, Incoming>>, Bound<'py, PyList>)> {
        // Read before the queue: what comes in between rings again.
        rustix::io::read(&*self.wake, &mut [0u8; 8]).ok();
        let taken = self.host.take(DRAIN_MAX);
        let mut events = Vec::with_capacity(taken.len());
        let rest = PyList::empty(py);
        for item in taken {
            if let HostMsg::Event(message) = item {
                events.push(Bound::new(py, Incoming { message })?);
            } else if let Some(item) = message(py, item)? {
                rest.append(item)?;
            }
        }
        Ok((events, rest))
    }

    /// Takes what was decided: pairs of a ticket and an outcome.
    fn complete(&self, done: &Bound<'_, PyList>) -> PyResult<()> {
        let mut completions = Vec::with_capacity(done.len());
        for pair in done.iter() {
            let (ticket, outcome) = pair.extract::<(u64, Bound<'_, PyAny>)>()?;
            let decision = decision(&outcome)?;
            completions.push(Completion { ticket, decision });
        }
        self.host.complete(completions);
        Ok(())
    }

    /// Asks for something by name, with the next flush; the answer is drained as `op`.
    fn call(&self, op: u64, target: u64, name: &str, args: &Bound<'_, PyAny>) -> PyResult<()> {
        let mut text = Vec::with_capacity(512);
        write(&mut text, args).map_err(|refusal| refusal.into_exception(args.py()))?;
        self.host.call_text_later(op, target, name, into_text(text));
        Ok(())
    }

    /// Sends what was asked for.
    fn flush(&self) {
        self.host.flush();
    }

    /// Asks for something by name, and waits for the answer. Not on the loop's thread.
    fn call_blocking<'py>(
        &self,
        py: Python<'py>,
        target: u64,
        name: &str,
        args: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let args = encode(args)?;
        let answer = py.detach(|| self.host.call_blocking(target, name, args));
        decode(py, &answer.map_err(|error| raised(py, &error))?)
    }

    /// Tells something by name; it never waits.
    fn tell<'py>(
        &self,
        py: Python<'py>,
        target: u64,
        name: &str,
        args: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let answer = self.host.tell(target, name, encode(args)?);
        decode(py, &answer.map_err(|error| raised(py, &error))?)
    }

    /// Drops a call; no answer follows.
    fn cancel(&self, op: u64) {
        self.host.cancel(op);
    }

    /// Waits for an event of a handler that blocks; none when the core is closed.
    fn take_blocking<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, Incoming>>> {
        loop {
            let Some(first) = py.detach(|| self.host.take_blocking(1)).pop() else {
                return Ok(None);
            };
            if let HostMsg::Event(message) = first {
                return Bound::new(py, Incoming { message }).map(Some);
            }
        }
    }

    /// Ends the core's thread; within `grace_ms` it says its last words.
    fn close(&self, py: Python<'_>, grace_ms: u64) {
        py.detach(|| self.host.close(Duration::from_millis(grace_ms)));
    }
}

/// Writes an outcome; the core's thread reads it. An answer, the usual one, is its payload alone.
fn decision(outcome: &Bound<'_, PyAny>) -> PyResult<Decision> {
    if outcome.is_none() {
        return Ok(Outcome::Nothing.into());
    }
    let mut text = Vec::with_capacity(512);
    if let Ok(members) = outcome.cast_exact::<PyDict>()
        && members.len() == 1
        && let Some(payload) = members.get_item("reply")?
    {
        if write(&mut text, &payload).is_ok() {
            return Ok(Decision::ReplyText(into_text(text)));
        }
        text.clear();
    }
    if let Err(refusal) = write(&mut text, outcome) {
        text.clear();
        refused(&mut text, refusal, outcome.py())?;
    }
    Ok(Decision::Text(into_text(text)))
}

/// Writes the outcome of a handler whose own has no JSON form.
fn refused(text: &mut Vec<u8>, refusal: Refusal, py: Python<'_>) -> PyResult<()> {
    let error: Error = match refusal {
        Refusal::Core(error) => error,
        Refusal::Python(error) if error.is_instance_of::<pyo3::exceptions::PyException>(py) => {
            trunkline::host::payload_error(&error.to_string())
        }
        Refusal::Python(error) => return Err(error),
    };
    let (code, message) = (error.code.as_str(), error.message);
    plain(
        text,
        &serde_json::json!({ "error": { "code": code, "message": message } }),
    );
    Ok(())
}
