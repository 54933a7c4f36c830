//! What a test broker is started with: the plugin, its config, what it may do.

use std::collections::BTreeMap;

use serde::Serialize;
use trunkline_broker::core::InstanceSetup;
use trunkline_broker::instance::InstanceKey;
use trunkline_broker::router::RetryPolicy;
use trunkline_contract::grant::{Additions, Grants};
use trunkline_contract::manifest::Manifest;
use trunkline_contract::tool::ToolFilter;
use trunkline_contract::topic::Filter;

use crate::payload::Json;
use crate::plugin::Plugin;

/// Is a test broker being started: set options, then await it.
#[must_use = "nothing starts until it is awaited"]
pub struct Start {
    pub(super) plugin: Plugin,
    pub(super) manifest: Option<String>,
    pub(super) config: Json,
    pub(super) secrets: BTreeMap<String, String>,
    pub(super) instances: Vec<String>,
}

impl Start {
    /// Gives the instances their config.
    pub fn config(mut self, config: impl Serialize) -> Self {
        self.config = serde_json::to_value(config).expect("a config has a JSON form");
        self
    }

    /// Gives the value of a secret that the config names as `{"$secret": name}`.
    pub fn secret(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.secrets.insert(name.into(), value.into());
        self
    }

    /// Runs these instances instead of `default` alone.
    pub fn instances<I: Into<String>>(mut self, names: impl IntoIterator<Item = I>) -> Self {
        self.instances = names.into_iter().map(Into::into).collect();
        self
    }

    /// Takes the grants of this `plugin.toml`, as the daemon would. Without one, the plugin may do
    /// what its handlers need, publish `agent.>`, and call every tool.
    pub fn manifest(mut self, text: impl Into<String>) -> Self {
        self.manifest = Some(text.into());
        self
    }

    /// Gives what the source of everything begins with that the plugin's instances publish.
    pub(super) fn source_prefix(&self) -> String {
        format!("{}/", self.plugin.id())
    }

    pub(super) fn setup(&self, instance: &str) -> InstanceSetup {
        let Json::Object(config) = self.config.clone() else {
            panic!("expected a config with keys, found {}", self.config);
        };
        InstanceSetup {
            key: InstanceKey::new(self.plugin.id(), instance),
            version: "0.0.0".to_owned(),
            kinds: self.plugin.kinds(),
            features: self.features(),
            grants: self.grants(instance),
            tools: self.tools(),
            webhooks: self.webhooks(),
            config,
            secrets: self.secrets.clone(),
            state_dir: None,
            retry: RetryPolicy::default(),
            legacy: false,
            ping_interval_ms: 0,
        }
    }

    /// What the manifest says of the channels.
    fn features(&self) -> BTreeMap<String, trunkline_contract::message::ChannelFeatures> {
        let parsed = self.manifest.as_deref().map(Manifest::parse);
        parsed
            .and_then(Result::ok)
            .map(|parsed| parsed.value.features())
            .unwrap_or_default()
    }

    /// What the manifest declares as webhooks.
    fn webhooks(&self) -> Vec<trunkline_contract::webhook::Webhook> {
        let parsed = self.manifest.as_deref().map(Manifest::parse);
        parsed
            .and_then(Result::ok)
            .map(|parsed| parsed.value.webhooks)
            .unwrap_or_default()
    }

    /// What the manifest declares as callable.
    fn tools(&self) -> Vec<trunkline_contract::tool::ToolDeclaration> {
        let parsed = self.manifest.as_deref().map(Manifest::parse);
        parsed
            .and_then(Result::ok)
            .map(|parsed| parsed.value.tool_declarations())
            .unwrap_or_default()
    }

    fn grants(&self, instance: &str) -> Grants {
        if let Some(text) = &self.manifest {
            let parsed = Manifest::parse(text).unwrap_or_else(|diagnostics| {
                let lines: Vec<_> = diagnostics.iter().map(ToString::to_string).collect();
                panic!("the manifest is not valid:\n{}", lines.join("\n"))
            });
            return Grants::of(&parsed.value, instance, &Additions::default());
        }
        let filter = |text: String| Filter::parse(&text).expect("options were checked");
        let mut grants = Grants::default();
        for kind in self.plugin.kinds() {
            grants
                .receive
                .push(filter(format!("plugin.outbound.{kind}.{instance}")));
            grants
                .publish
                .push(filter(format!("plugin.inbound.{kind}.{instance}")));
            grants
                .publish
                .push(filter(format!("plugin.delivery.{kind}.{instance}")));
        }
        for kind in self.plugin.hook_kinds() {
            let hook = filter(format!("plugin.hook.{kind}.{instance}"));
            grants.receive.push(hook);
        }
        grants
            .receive
            .extend(self.plugin.filters().map(|text| filter(text.to_owned())));
        grants.publish.push(filter("agent.>".to_owned()));
        for tool in self.plugin.tool_names() {
            grants.add_tool(self.plugin.id(), tool);
        }
        grants
            .call
            .push(ToolFilter::parse("*").expect("a valid filter"));
        grants
    }
}
