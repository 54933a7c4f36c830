//! The low-level form that the plugin world knows: one callback for all events, one sender.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use trunkline_contract::error::Error;

use crate::context::{Context, InstanceContext};
use crate::event::Event;
use crate::handler::{Handled, Work};
use crate::instance::InstanceCore;
use crate::outcome::{IntoOutcome, Outcome, Result};
use crate::plugin::Plugin;
use crate::publish::{Publish, Published, Scope};
use crate::run::serve;

/// Serves a manifest with one function for all events. Calls of declared tools are no events: a manifest with
/// `[[tools]]` is refused at the start; [`Plugin`] serves those.
///
/// ```
/// use std::sync::Arc;
/// use trunkline::{BrokerSender, Event, PluginAdapter, Result};
///
/// async fn on_event(topic: String, event: Event, broker: Arc<BrokerSender>) -> Result<()> {
///     let back = topic.replace("plugin.outbound.", "plugin.inbound.");
///     broker.publish(&back, Event::new(&back, "my_plugin", event.payload)).await?;
///     Ok(())
/// }
///
/// let adapter = PluginAdapter::new("[plugin]\nid = \"my_plugin\"\nversion = \"0.1.0\"\n")
///     .on_event(on_event);
/// let broker = adapter.broker();
/// # let _ = broker;
/// ```
pub struct PluginAdapter {
    pub(crate) plugin: Plugin,
}

impl PluginAdapter {
    /// Takes the text of a `plugin.toml` or `nexo-plugin.toml`; a bad one is [`Self::run`]'s error.
    pub fn new(manifest: &str) -> Self {
        Self {
            plugin: Plugin::from_manifest(manifest),
        }
    }

    /// Gets every event: its topic, itself, and the sender. What it returns settles the event.
    pub fn on_event<F, R, O>(mut self, on_event: F) -> Self
    where
        F: Fn(String, Event, Arc<BrokerSender>) -> R + Send + Sync + 'static,
        R: Future<Output = O> + Send + 'static,
        O: IntoOutcome,
    {
        let work = Work::Call(Arc::new(move |ctx: Context| {
            let event = ctx.event()?;
            let broker = BrokerSender {
                core: ctx.instance_core().clone(),
                handling: Some(ctx.clone()),
            };
            let handled = on_event(ctx.topic().to_owned(), event, Arc::new(broker));
            let handled: Pin<Box<dyn Future<Output = Outcome> + Send>> =
                Box::pin(async move { handled.await.into_outcome() });
            Ok::<Handled, Error>(handled)
        }));
        self.plugin = self.plugin.rest(work);
        self
    }

    /// Runs at each activation.
    pub fn on_start<F, R, S>(mut self, hook: F) -> Self
    where
        F: Fn(InstanceContext) -> R + Send + Sync + 'static,
        R: Future<Output = Result<S>> + Send + 'static,
        S: Serialize,
    {
        self.plugin = self.plugin.on_start(hook);
        self
    }

    /// Runs once at the end.
    pub fn on_shutdown<F, R>(mut self, hook: F) -> Self
    where
        F: Fn(InstanceContext, String) -> R + Send + Sync + 'static,
        R: Future<Output = Result<()>> + Send + 'static,
    {
        self.plugin = self.plugin.on_stop(hook);
        self
    }

    /// Gives the sender; a publish before the instance is active waits until it is.
    pub fn broker(&self) -> Arc<BrokerSender> {
        Arc::new(BrokerSender {
            core: self.plugin.core.clone(),
            handling: None,
        })
    }

    /// Serves until the broker, a signal, or the end of the link says to stop.
    ///
    /// # Errors
    /// A bad manifest, no link, what `on_shutdown` failed with.
    pub async fn run(self) -> Result<(), Error> {
        serve(self.plugin).await
    }
}

/// Publishes, and speaks any method of the contract.
#[derive(Clone)]
pub struct BrokerSender {
    core: Arc<InstanceCore>,
    handling: Option<Context>,
}

impl BrokerSender {
    fn scope(&self) -> Scope {
        match &self.handling {
            Some(ctx) => Scope::Handling(ctx.clone()),
            None => Scope::Instance(InstanceContext::new(self.core.clone())),
        }
    }

    /// Publishes an event; the topic given here wins over the event's.
    pub async fn publish(
        &self,
        topic: impl Into<String>,
        event: Event,
    ) -> Result<Published, Error> {
        Publish::of(self.scope(), topic, event).await
    }

    /// Speaks any method of the contract.
    pub async fn request<R: DeserializeOwned>(
        &self,
        method: &str,
        params: &impl Serialize,
    ) -> Result<R, Error> {
        self.core.hub().call(method, params).await
    }

    /// Gives the account's label; empty before the handshake.
    pub fn instance(&self) -> &str {
        self.core.instance()
    }
}
