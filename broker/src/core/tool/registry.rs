//! Which instance has which tool.

use std::collections::BTreeMap;
use std::sync::Arc;

use trunkline_contract::error::{Code, Error};
use trunkline_contract::limits::TOOLS_MAX;
use trunkline_contract::tool::{ToolDeclaration, full_name};

use crate::instance::InstanceKey;

use super::schema::{Schema, compile_both};

/// One tool of one instance, ready to be called.
#[derive(Debug)]
pub(crate) struct Tool {
    /// `<plugin>.<tool>`.
    pub(crate) name: Arc<str>,
    pub(crate) declaration: ToolDeclaration,
    pub(crate) input: Schema,
    pub(crate) output: Option<Schema>,
    /// The manifest has it: it stays whatever the instance says.
    pub(crate) in_manifest: bool,
}

/// The instances that have one tool, by name.
pub(crate) type Holders = BTreeMap<Box<str>, Arc<Tool>>;

/// Every tool of every configured instance, by full name.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    by_name: BTreeMap<Arc<str>, Holders>,
}

impl Registry {
    pub(crate) fn find(&self, name: &str) -> Option<&Holders> {
        self.by_name.get(name)
    }

    pub(crate) fn of_instance(&self, name: &str, instance: &str) -> Option<&Arc<Tool>> {
        self.by_name.get(name)?.get(instance)
    }

    /// Tools by name, beginning after `after`.
    pub(crate) fn after(&self, after: &str) -> impl Iterator<Item = (&Arc<str>, &Holders)> {
        use std::ops::Bound::{Excluded, Unbounded};
        self.by_name.range::<str, _>((Excluded(after), Unbounded))
    }

    /// What an instance has.
    pub(crate) fn of(&self, key: &InstanceKey) -> Vec<Arc<Tool>> {
        use std::ops::Bound::{Included, Unbounded};
        let prefix = format!("{}.", key.plugin);
        self.by_name
            .range::<str, _>((Included(prefix.as_str()), Unbounded))
            .take_while(|(name, _)| name.starts_with(&prefix))
            .filter_map(|(_, holders)| holders.get(&*key.instance).cloned())
            .collect()
    }

    /// Makes declarations into tools, all or none; what is the same as before is not compiled again.
    pub(crate) fn compile(
        &self,
        key: &InstanceKey,
        declarations: Vec<ToolDeclaration>,
        in_manifest: bool,
    ) -> Result<Vec<Arc<Tool>>, Error> {
        let mut tools: Vec<Arc<Tool>> = Vec::with_capacity(declarations.len());
        for (index, declaration) in declarations.into_iter().enumerate() {
            let name: Arc<str> = full_name(&key.plugin, &declaration.name).into();
            if tools.iter().any(|tool| tool.name == name) {
                return Err(Error::new(
                    Code::DeclarationConflict,
                    format!(
                        "expected each tool once, found {:?} twice",
                        declaration.name
                    ),
                )
                .at(index));
            }
            tools.push(
                self.compile_one(name, declaration, in_manifest)
                    .map_err(|error| error.at(index))?,
            );
        }
        Ok(tools)
    }

    fn compile_one(
        &self,
        name: Arc<str>,
        declaration: ToolDeclaration,
        in_manifest: bool,
    ) -> Result<Arc<Tool>, Error> {
        let known = self
            .by_name
            .get(&name)
            .into_iter()
            .flat_map(Holders::values);
        for tool in known {
            if tool.in_manifest == in_manifest && tool.declaration == declaration {
                return Ok(tool.clone());
            }
        }
        declaration.check()?;
        let (input, output) = compile_both(&declaration)?;
        Ok(Arc::new(Tool {
            name,
            declaration,
            input,
            output,
            in_manifest,
        }))
    }

    /// Says whether an instance may have these beside what it has already.
    pub(crate) fn check_room(&self, key: &InstanceKey, tools: &[Arc<Tool>]) -> Result<(), Error> {
        let has = self.of(key);
        let is_new = |tool: &&Arc<Tool>| !has.iter().any(|other| other.name == tool.name);
        let count = has.len() + tools.iter().filter(is_new).count();
        if count > TOOLS_MAX {
            return Err(Error::new(
                Code::QuotaExceeded,
                format!("expected at most {TOOLS_MAX} tools of one instance, found {count}"),
            ));
        }
        Ok(())
    }

    pub(crate) fn put(&mut self, key: &InstanceKey, tools: Vec<Arc<Tool>>) {
        for tool in tools {
            self.by_name
                .entry(tool.name.clone())
                .or_default()
                .insert(key.instance.as_ref().into(), tool);
        }
    }

    /// Takes away those tools of an instance that `is_gone` names.
    pub(crate) fn remove(&mut self, key: &InstanceKey, is_gone: impl Fn(&Tool) -> bool) {
        for tool in self.of(key) {
            if !is_gone(&tool) {
                continue;
            }
            if let Some(holders) = self.by_name.get_mut(&tool.name) {
                holders.remove(&*key.instance);
                if holders.is_empty() {
                    self.by_name.remove(&tool.name);
                }
            }
        }
    }
}
