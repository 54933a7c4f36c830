//! One event as it arrived; read when it is asked for.

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use trunkline::host::EventMsg;

use crate::read::{decode, payload};

/// An event that is to be handled.
#[pyclass(frozen, module = "trunkline._core")]
pub(crate) struct Incoming {
    pub(crate) message: EventMsg,
}

#[pymethods]
impl Incoming {
    /// Names this handling.
    #[getter]
    fn ticket(&self) -> u64 {
        self.message.ticket
    }

    /// Names the handler.
    #[getter]
    fn handler(&self) -> u32 {
        self.message.handler
    }

    /// Names the instance or client that it came to.
    #[getter]
    fn instance(&self) -> u64 {
        self.message.instance
    }

    /// The topic it came on.
    #[getter]
    fn topic(&self) -> &str {
        self.message.ctx.topic()
    }

    /// The event's id.
    #[getter]
    fn id(&self) -> &str {
        self.message.ctx.event_id()
    }

    /// The conversation's id as the event has it.
    #[getter]
    fn session_id(&self) -> Option<String> {
        self.message.ctx.session().id().map(str::to_owned)
    }

    /// The ordering key.
    #[getter]
    fn session_key(&self) -> Option<String> {
        self.message.ctx.event().ok()?.session_key()
    }

    /// The W3C trace context.
    #[getter]
    fn traceparent(&self) -> Option<String> {
        self.message.ctx.event().ok()?.traceparent
    }

    /// The channel's kind, where the topic belongs to one.
    #[getter]
    fn kind(&self) -> Option<&str> {
        self.message.ctx.kind()
    }

    /// The text of the payload.
    #[getter]
    fn raw<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.message.ctx.payload_text().as_bytes())
    }

    /// Which attempt it is, whether it was handed over before, the subscription; none for an
    /// ephemeral event.
    #[getter]
    fn delivery(&self) -> Option<(u32, bool, &str)> {
        let delivery = self.message.ctx.delivery()?;
        Some((
            delivery.attempt,
            delivery.redelivered,
            &delivery.subscription,
        ))
    }

    /// What is left of its time, in milliseconds.
    #[getter]
    fn remaining_ms(&self) -> u64 {
        self.message.ctx.remaining().as_millis() as u64
    }

    /// It is to end.
    #[getter]
    fn is_cancelled(&self) -> bool {
        self.message.ctx.is_cancelled()
    }

    /// The key to hand to a provider: the same at every attempt.
    #[getter]
    fn idempotency_key(&self) -> String {
        self.message.ctx.idempotency_key()
    }

    /// Which part of a split text it is, and of how many.
    #[getter]
    fn split(&self) -> (u32, u32) {
        let part = self.message.ctx.split();
        (part.n, part.of)
    }

    /// Who calls, where it is the call of a tool.
    #[getter]
    fn caller(&self) -> Option<&str> {
        self.message.ctx.caller()
    }

    /// Reads the payload.
    fn payload<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let text = self.message.ctx.payload_text().as_bytes();
        payload(py, text, self.message.is_wide)
    }

    /// Reads the whole envelope, with the payload.
    fn envelope<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        decode(py, self.message.ctx.raw().as_bytes())
    }
}
