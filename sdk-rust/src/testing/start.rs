//! What a test broker is started with: the plugin, its config, what it may do.

use std::collections::BTreeMap;

use serde::Serialize;
use trunkline_broker::core::InstanceSetup;
use trunkline_broker::instance::InstanceKey;
use trunkline_broker::router::RetryPolicy;
use trunkline_contract::grant::{Additions, Grants};
use trunkline_contract::manifest::Manifest;
use trunkline_contract::message::ChannelFeatures;
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
    /// What channels can do, where no manifest says it.
    pub(super) features: BTreeMap<String, ChannelFeatures>,
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

    /// Takes the grants of this `plugin.toml` and the defaults of its config, as the daemon would where the operator
    /// lets the plugin send what it asks to send. Without one, the plugin may do
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
        let manifest = self.parsed();
        let manifest = manifest.as_ref();
        InstanceSetup {
            key: InstanceKey::new(self.plugin.id(), instance),
            version: "0.0.0".to_owned(),
            kinds: self.plugin.kinds(),
            features: manifest.map_or_else(|| self.features.clone(), Manifest::features),
            grants: self.grants(instance, manifest),
            tools: manifest
                .map(Manifest::tool_declarations)
                .unwrap_or_default(),
            webhooks: manifest.map(|one| one.webhooks.clone()).unwrap_or_default(),
            config: self.completed(manifest),
            secrets: self.secrets.clone(),
            state_dir: None,
            retry: RetryPolicy::default(),
            legacy: false,
            ping_interval_ms: 0,
        }
    }

    fn parsed(&self) -> Option<Manifest> {
        let parsed = Manifest::parse(self.manifest.as_deref()?);
        let parsed = parsed.unwrap_or_else(|diagnostics| {
            let lines: Vec<_> = diagnostics.iter().map(ToString::to_string).collect();
            panic!("the manifest is not valid:\n{}", lines.join("\n"))
        });
        Some(parsed.value)
    }

    /// The config, with the defaults of the manifest, as the daemon completes it.
    fn completed(&self, manifest: Option<&Manifest>) -> serde_json::Map<String, Json> {
        let Json::Object(mut config) = self.config.clone() else {
            panic!("expected a config with keys, found {}", self.config);
        };
        if let Some(manifest) = manifest {
            let given = config.iter();
            let given = given.map(|(key, value)| (key.clone(), value.clone().into()));
            let as_written = |path: &str, _: Option<u64>| Ok(path.to_owned());
            let (checked, _) = manifest.config.check_all(&given.collect(), &as_written);
            fill(&mut config, checked.config);
        }
        config
    }

    fn grants(&self, instance: &str, manifest: Option<&Manifest>) -> Grants {
        if let Some(manifest) = manifest {
            let additions = Additions {
                send: manifest.capabilities.send.clone(),
                ..Additions::default()
            };
            return Grants::of(manifest, instance, &additions);
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

/// Takes what is not there, at any depth.
fn fill(config: &mut serde_json::Map<String, Json>, whole: serde_json::Map<String, Json>) {
    for (key, value) in whole {
        match (config.get_mut(&key), value) {
            (Some(Json::Object(table)), Json::Object(whole)) => fill(table, whole),
            (Some(_), _) => {}
            (None, value) => {
                config.insert(key, value);
            }
        }
    }
}
