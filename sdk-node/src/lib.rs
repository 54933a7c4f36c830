//! The native half of the npm package `trunkline`: [`trunkline::host`] as one class.
//!
//! It calls no function of the user and builds no object: one threadsafe function wakes the loop,
//! a whole batch crosses as one text for one `JSON.parse`, what a turn of the loop decides and asks
//! for comes back as one text, and everything else is a name with a JSON text. What is built on
//! this is in `lib/`.
//!
//! Invariants: one core per environment (the program, or a worker thread), ended with it at the
//! latest; the wake-up does not keep the loop alive, so that a program ends by itself.

use std::time::Duration;

use napi::Status;
use napi::bindgen_prelude::{Buffer, Env, Error, Function, Result};
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi_derive::napi;
use serde_json::value::RawValue;
use trunkline::Bytes;
use trunkline::host::{Host, untag, write_batch};

/// How many messages cross at once: the loop breathes between two batches.
const BATCH_MAX: usize = 256;
/// How much JSON crosses at once, about: what the loop reads and makes of it should still be near.
const BATCH_BYTES: usize = 32 * 1024;

/// A wake-up: no argument, no answer, and no hold on the loop.
type Wake = ThreadsafeFunction<(), (), (), Status, false, true, 1>;

/// Is the core of one environment.
#[napi]
pub struct Core {
    host: Host,
}

#[napi]
impl Core {
    /// Starts the core. `wake` is called on the loop when there is something to drain; it must not
    /// throw.
    #[napi(factory)]
    pub fn start(env: Env, wake: Function<'_, (), ()>) -> Result<Self> {
        let wake: Wake = wake
            .build_threadsafe_function()
            .weak::<true>()
            .max_queue_size::<1>()
            .build()?;
        let host = Host::start(Box::new(move || {
            // A wake-up that is refused is one too many, or the environment is going.
            wake.call((), ThreadsafeFunctionCallMode::NonBlocking);
        }))
        .map_err(refusal)?;
        // The thread must be gone before the environment is, however it ends.
        env.add_env_cleanup_hook(host.clone(), |host| host.close(Duration::ZERO))?;
        Ok(Self { host })
    }

    /// Takes what waits, as one JSON array of messages.
    #[napi]
    pub fn drain(&self) -> String {
        write_batch(&self.host.take_within(BATCH_MAX, BATCH_BYTES))
    }

    /// Gives all that a turn of the loop has to say: a line for each decision and call.
    #[napi]
    pub fn turn(&self, text: String) {
        self.host.turn(text);
    }

    /// Asks for something that the core knows at once.
    #[napi]
    pub fn tell(&self, target: f64, name: String, args: String, is_tagged: bool) -> Result<String> {
        let args = bytes(args, is_tagged)?;
        let told = self.host.tell(target as u64, &name, args);
        told.map(|told| told.as_str().to_owned()).map_err(refusal)
    }

    /// Gives the payload of the event behind a ticket, as the bytes that came.
    #[napi]
    pub fn raw(&self, ticket: f64) -> Result<Buffer> {
        let event = self.host.tell(ticket as u64, "event", Bytes::default());
        let event = event.map_err(refusal)?;
        let envelope: Envelope<'_> = serde_json::from_str(event.as_str())
            .map_err(|error| Error::from_reason(error.to_string()))?;
        let payload = envelope.payload.map_or("null", RawValue::get);
        Ok(payload.as_bytes().to_vec().into())
    }

    /// Gives a call up: no answer comes.
    #[napi]
    pub fn cancel(&self, op: f64) {
        self.host.cancel(op as u64);
    }

    /// Ends the core's thread; waits for what is served at most so long.
    #[napi]
    pub fn close(&self, grace_ms: f64) {
        self.host.close(Duration::from_millis(grace_ms as u64));
    }
}

/// Checks what is known of a tool when it is registered.
#[napi]
pub fn check_tool(name: String, has_input: bool) -> Result<()> {
    trunkline::host::check_tool(&name, has_input).map_err(refusal)
}

/// Gives the form of a schema that a library made of its types.
#[napi]
pub fn tool_schema(name: String, of_output: bool, schema: String) -> Result<String> {
    trunkline::host::tool_schema(&name, of_output, &schema).map_err(refusal)
}

#[derive(serde::Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
}

fn bytes(text: String, is_tagged: bool) -> Result<Bytes> {
    let text = if is_tagged {
        untag(&text).map_err(refusal)?
    } else {
        text
    };
    Bytes::from_json(text).map_err(refusal)
}

/// An error of the core as a JSON text, of which `lib/` makes the error that users see.
fn refusal(error: trunkline::Error) -> Error {
    let text = serde_json::json!({
        "code": error.code.as_str(),
        "message": error.message,
        "retryable": error.retryable(),
        "retry_after_ms": error.retry_after_ms,
        "detail": error.detail,
    });
    Error::from_reason(text.to_string())
}
