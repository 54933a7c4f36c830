//! Sending a message outside, and waiting for what becomes of it.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::time::Duration;

use serde::Serialize;
use serde_json::json;
use trunkline_contract::error::{Code, Error};
use trunkline_contract::rpc::Start;

use crate::duration::IntoDuration;
use crate::event::Event;
use crate::payload::{Bytes, Members};
use crate::publish::{Publish, Published, Scope};
use crate::receipt::{Receipt, State};
use crate::settle::message_of;
use crate::subscription::Subscribe;

/// How long to wait for a receipt, unless said otherwise.
const PATIENCE: Duration = Duration::from_mins(1);
/// A wait whose process vanished holds nothing longer than this.
const ABANDONED: Duration = Duration::from_hours(1);

/// Is a message on its way out: set options, then await it for a [`Sending`].
#[must_use = "nothing is sent until it is awaited"]
pub struct SendMessage {
    scope: Scope,
    kind: String,
    message: Result<Bytes, Error>,
    to: Option<String>,
    instance: Option<String>,
    id: Option<String>,
}

impl SendMessage {
    pub(crate) fn new(scope: Scope, kind: String, message: impl Serialize) -> Self {
        let message = Bytes::encode(&message);
        Self {
            scope,
            kind,
            message,
            to: None,
            instance: None,
            id: None,
        }
    }

    /// Says to which conversation; it is the session too.
    pub fn to(mut self, conversation: impl Into<String>) -> Self {
        self.to = Some(conversation.into());
        self
    }

    /// Says through which account; otherwise the one the conversation came in by, or the only one.
    pub fn instance(mut self, instance: impl Into<String>) -> Self {
        self.instance = Some(instance.into());
        self
    }

    /// Names the event; sending the same id again sends nothing.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }
}

impl IntoFuture for SendMessage {
    type Output = Result<Sending, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let (message, session) = addressed(&self.message?, self.to.as_deref())?;
            let mut topic = format!("plugin.outbound.{}", self.kind);
            if let Some(instance) = &self.instance {
                topic.push('.');
                topic.push_str(instance);
            }
            let id = self.id.unwrap_or_else(crate::clock::new_id);
            let mut event = Event::bare(topic.clone(), message).id(id.clone());
            event.session_id = session;
            let published = Publish::of(self.scope.clone(), topic, event).await?;
            Ok(Sending {
                scope: self.scope,
                kind: self.kind,
                id,
                published,
            })
        })
    }
}

/// Makes a message of what is sent: a text becomes its `text`, `to` its conversation.
fn addressed(message: &Bytes, to: Option<&str>) -> Result<(Bytes, Option<String>), Error> {
    let Some(mut message) = message_of(message) else {
        return Ok((message.clone(), to.map(str::to_owned)));
    };
    let mut conversation = match message.get("conversation") {
        Some(conversation) => Members::of(conversation.as_str()),
        None => to.map(|_| Members::default()),
    };
    if let (Some(conversation), Some(to)) = (&mut conversation, to) {
        conversation.set("id", Bytes::encode(to)?);
        message.set("conversation", Bytes::encode(conversation)?);
    }
    let session = conversation.and_then(|conversation| conversation.get("id")?.json().ok());
    Ok((Bytes::encode(&message)?, session))
}

/// Is a message that is durable with the broker, and will be sent.
pub struct Sending {
    scope: Scope,
    kind: String,
    id: String,
    published: Published,
}

impl Sending {
    /// Gives the id of the outbound event; receipts have it as their `correlation_id`.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Says how it was published.
    pub fn published(&self) -> Published {
        self.published
    }

    /// Waits for a state, or one beyond it: set the timeout, then await it for the receipt.
    ///
    /// # Errors
    /// [`Code::DeliveryFailed`] and [`Code::DeliveryUnknown`] for those states,
    /// [`Code::TimedOut`] when neither comes in time.
    pub fn until(&self, state: State) -> Until<'_> {
        Until {
            sending: self,
            state,
            timeout: Ok(PATIENCE),
        }
    }

    async fn wait(&self, state: State) -> Result<Receipt, Error> {
        let hub = self.scope.instance().hub().clone();
        let random = u64::from_le_bytes(crate::clock::random());
        // From the message on, so no receipt is missed that came before this wait.
        let start = self.published.seq.map_or(Start::New, Start::Seq);
        let mut receipts = Subscribe::new(hub, vec![format!("plugin.delivery.{}.>", self.kind)])
            .name(format!("receipt.{random:016x}"))
            .start(start)
            .expire(ABANDONED)
            .await?;
        let receipt = loop {
            let Some(delivery) = receipts.next().await else {
                return Err(Error::new(Code::LinkLost, "the client was closed"));
            };
            let is_ours = delivery.correlation_id() == Some(&self.id);
            let receipt = delivery.payload::<Receipt>();
            delivery.ack();
            match receipt {
                Ok(receipt) if is_ours && receipt.state.reaches(state) => break Ok(receipt),
                Ok(receipt) if is_ours && receipt.state == State::Failed => {
                    let error = receipt.error;
                    let text = match &error {
                        Some(error) => format!("the message was not sent: {}", error.code),
                        None => "the message was not sent".to_owned(),
                    };
                    break Err(Error::new(Code::DeliveryFailed, text).detail(json!(error)));
                }
                Ok(receipt) if is_ours && receipt.state == State::Unknown => {
                    let text = "nobody can say whether the message was sent";
                    break Err(Error::new(Code::DeliveryUnknown, text));
                }
                _ => {}
            }
        };
        receipts.delete().await?;
        receipt
    }
}

/// Is a wait for a receipt; await it.
#[must_use = "nothing is waited for until it is awaited"]
pub struct Until<'a> {
    sending: &'a Sending,
    state: State,
    timeout: Result<Duration, Error>,
}

impl Until<'_> {
    /// Says how long to wait; a minute otherwise.
    pub fn timeout(mut self, timeout: impl IntoDuration) -> Self {
        self.timeout = timeout.into_duration();
        self
    }
}

impl<'a> IntoFuture for Until<'a> {
    type Output = Result<Receipt, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let timeout = self.timeout?;
            let waited = tokio::time::timeout(timeout, self.sending.wait(self.state)).await;
            waited.unwrap_or_else(|_| {
                let text = format!("no receipt {:?} came within {timeout:?}", self.state);
                Err(Error::new(Code::TimedOut, text))
            })
        })
    }
}

impl std::fmt::Debug for Sending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sending")
            .field("kind", &self.kind)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
