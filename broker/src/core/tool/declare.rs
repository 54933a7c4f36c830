//! What an instance declares: its manifest when it is configured, `declares.tools` in the handshake, and
//! `tool.register` and `tool.unregister` at run time.
//!
//! A declaration stays while its plugin is down: the tool is listed, and answers `unavailable`. The next
//! handshake says again what goes beyond the manifest.

use serde_json::value::RawValue;
use trunkline_contract::error::{Code, Error};
use trunkline_contract::rpc::{self, Empty, ToolRegisterParams, ToolUnregisterParams};
use trunkline_contract::tool::{ToolDeclaration, full_name, topic};
use trunkline_contract::topic::Filter;

use crate::instance::InstanceKey;

use super::super::peer::{Phase, ReplyTo};
use super::super::state::Core;

impl Core {
    /// Takes the tools of a manifest. What the instance declared beyond it stays, unless the manifest now
    /// says something else of it.
    pub(crate) fn declare_manifest(
        &mut self,
        key: &InstanceKey,
        tools: &[ToolDeclaration],
    ) -> Result<(), Error> {
        let registry = &mut self.tools.registry;
        let compiled = registry.compile(key, tools.to_vec(), true)?;
        registry.remove(key, |tool| {
            tool.in_manifest || compiled.iter().any(|other| other.name == tool.name)
        });
        registry.put(key, compiled);
        Ok(())
    }

    /// `declares.tools` of a handshake: replaces what an earlier one said.
    pub(crate) fn declared_tools(
        &mut self,
        key: &InstanceKey,
        value: Option<&serde_json::Value>,
    ) -> Result<(), Error> {
        let tools: Vec<ToolDeclaration> = match value {
            None => Vec::new(),
            Some(value) => serde_json::from_value(value.clone()).map_err(|error| {
                Error::new(
                    Code::InvalidArguments,
                    format!("expected declares.tools as in tool.register, found: {error}"),
                )
            })?,
        };
        let compiled = self.compile_declared(key, tools)?;
        let before = self.tool_topics(key);
        let registry = &mut self.tools.registry;
        registry.remove(key, |tool| !tool.in_manifest);
        registry.check_room(key, &compiled)?;
        registry.put(key, compiled);
        if before == self.tool_topics(key) {
            return Ok(());
        }
        self.tools_changed(key)
    }

    /// The topics whose events are calls of an instance.
    pub(crate) fn tool_topics(&self, key: &InstanceKey) -> Vec<Filter> {
        let tools = self.tools.registry.of(key);
        tools
            .iter()
            .filter_map(|tool| Filter::parse(&topic(&key.plugin, &tool.declaration.name)).ok())
            .collect()
    }

    /// Checks declarations against the manifest and compiles those that say more.
    fn compile_declared(
        &self,
        key: &InstanceKey,
        tools: Vec<ToolDeclaration>,
    ) -> Result<Vec<std::sync::Arc<super::registry::Tool>>, Error> {
        let manifest = self
            .instances
            .get(key)
            .map(|instance| &instance.setup.tools);
        let mut all = Vec::with_capacity(tools.len());
        for (index, tool) in tools.into_iter().enumerate() {
            let same = manifest
                .into_iter()
                .flatten()
                .find(|other| other.name == tool.name);
            let tool = match same {
                Some(manifest) => tool.under(manifest).map_err(|error| error.at(index))?,
                None => tool,
            };
            all.push((tool, same.is_some()));
        }
        let (mut known, mut new) = (Vec::new(), Vec::new());
        for (tool, in_manifest) in all {
            if in_manifest {
                known.push(tool);
            } else {
                new.push(tool);
            }
        }
        let mut compiled = self.tools.registry.compile(key, known, true)?;
        compiled.extend(self.tools.registry.compile(key, new, false)?);
        Ok(compiled)
    }

    /// What an instance can be asked changed: events on its tools' topics are its own.
    fn tools_changed(&mut self, key: &InstanceKey) -> Result<(), Error> {
        let Some(instance) = self.instances.get(key) else {
            return Ok(());
        };
        let setup = instance.setup.clone();
        self.subscribe_main(&setup).map(|_| ())
    }

    pub(crate) fn tool_register(&mut self, to: &ReplyTo, params: Option<&RawValue>) {
        let result = rpc::params::<ToolRegisterParams>(params).and_then(|params| {
            let key = self.declaring(to)?;
            let compiled = self.compile_declared(&key, params.tools)?;
            self.tools.registry.check_room(&key, &compiled)?;
            self.tools.registry.put(&key, compiled);
            self.tools_changed(&key)
        });
        self.reply(to, result.map(|()| Empty {}));
    }

    pub(crate) fn tool_unregister(&mut self, to: &ReplyTo, params: Option<&RawValue>) {
        let result = rpc::params::<ToolUnregisterParams>(params).and_then(|params| {
            let key = self.declaring(to)?;
            for (index, name) in params.names.iter().enumerate() {
                let full = full_name(&key.plugin, name);
                let tool = self.tools.registry.of_instance(&full, &key.instance);
                if tool.is_some_and(|tool| tool.in_manifest) {
                    return Err(Error::new(
                        Code::DeclarationConflict,
                        format!("expected a tool that was registered, {name:?} is the manifest's"),
                    )
                    .at(index));
                }
            }
            self.tools.registry.remove(&key, |tool| {
                !tool.in_manifest && params.names.contains(&tool.declaration.name)
            });
            self.tools_changed(&key)
        });
        self.reply(to, result.map(|()| Empty {}));
    }

    /// The instance that asks, past its handshake.
    fn declaring(&self, to: &ReplyTo) -> Result<InstanceKey, Error> {
        let peer = self
            .peers
            .get(&to.link)
            .expect("frames come from known links");
        let Some(key) = peer.instance() else {
            return Err(Error::new(
                Code::Unauthorized,
                "expected an instance of a plugin, found a client: only a plugin has tools",
            ));
        };
        if peer.phase == Phase::Opening {
            return Err(Error::new(
                Code::NotActive,
                "expected the answer to initialize first; use declares.tools there",
            ));
        }
        self.check_current(to.link, key)?;
        Ok(key.clone())
    }
}
