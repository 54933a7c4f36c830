//! `tool.list`: what the caller may call.

use serde_json::value::RawValue;
use trunkline_contract::error::{Code, Error};
use trunkline_contract::limits::EVENT_BYTES_MARGIN;
use trunkline_contract::rpc::{self, ToolEntry, ToolInstance, ToolListParams, ToolListResult};

use crate::instance::InstanceKey;
use crate::router::LinkId;

use super::super::peer::{ReplyTo, Role};
use super::super::state::Core;
use super::registry::Holders;

impl Core {
    pub(crate) fn tool_list(&mut self, to: &ReplyTo, params: Option<&RawValue>) {
        let result =
            rpc::params::<ToolListParams>(params).map(|params| self.list(to.link, &params));
        self.reply(to, result);
    }

    fn list(&self, link: LinkId, params: &ToolListParams) -> ToolListResult {
        let prefix = params.prefix.as_deref().unwrap_or_default();
        let bytes_max = self.options.frame_bytes_max - EVENT_BYTES_MARGIN;
        let mut result = ToolListResult::default();
        let mut bytes = 0;
        let after = params.after.as_deref().unwrap_or_default();
        for (name, holders) in self.tools.registry.after(after) {
            if !name.starts_with(prefix) || self.may_call(link, name).is_err() {
                continue;
            }
            let Some(entry) = self.entry(name, holders) else {
                continue;
            };
            let size = serde_json::to_vec(&entry).map_or(0, |text| text.len() + 1);
            if bytes + size > bytes_max && !result.tools.is_empty() {
                result.next = result.tools.last().map(|entry| entry.name.clone());
                break;
            }
            bytes += size;
            result.tools.push(entry);
        }
        result
    }

    fn entry(&self, name: &str, holders: &Holders) -> Option<ToolEntry> {
        let (plugin, _) = name.split_once('.')?;
        let first = holders.values().next()?;
        let declaration = &first.declaration;
        let mut available = false;
        let instances = holders
            .keys()
            .filter_map(|name| {
                let key = InstanceKey::new(plugin, name);
                let instance = self.instances.get(&key)?;
                available |= self.serves_calls(&key).is_some();
                Some(ToolInstance {
                    instance: name.to_string(),
                    state: instance.report.state,
                })
            })
            .collect();
        Some(ToolEntry {
            name: name.to_owned(),
            plugin: plugin.to_owned(),
            instances,
            description: declaration.description.clone(),
            kind: declaration.kind,
            input_schema: declaration.input_schema(),
            output_schema: declaration.output_schema.clone(),
            timeout_ms: declaration.timeout_ms(),
            concurrency: declaration.concurrency(),
            idempotent: declaration.idempotent,
            streaming: declaration.streaming,
            available,
        })
    }

    /// Says whether whoever is on this link may call the tool.
    pub(crate) fn may_call(&self, link: LinkId, tool: &str) -> Result<(), Error> {
        let peer = self.peers.get(&link).expect("frames come from known links");
        match &peer.role {
            Role::Client { scopes, .. } => scopes.may_call(tool),
            Role::Instance(key) => match self.instances.get(key) {
                Some(instance) => instance.setup.grants.may_call(tool),
                None => Err(Error::new(Code::Unauthorized, format!("{key} was removed"))),
            },
            Role::Unknown => Err(Error::new(Code::Unauthorized, "expected connect first")),
        }
    }
}
