//! `/v1/instances`, `/v1/status`, `/v1/doctor`, `/v1/config`: what an operator sees and does.

use axum::Json;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trunkline_contract::error::{Code, Error};
use trunkline_contract::rpc::admin::{
    AdminStatusResult, ConfigReloadResult, DoctorResult, InstanceStatus, PluginSelectParams,
    PluginsListResult,
};
use trunkline_contract::rpc::{Empty, method};

use super::extract::{Caller, PathOf, RawJson};
use super::operation::{Operation, Place};
use crate::gateway::error::Failure;
use crate::instance::not_configured;

/// Lists what is asked here.
pub(super) fn operations() -> Vec<Operation> {
    let act = |operation: Operation| {
        operation
            .scope("admin")
            .params::<InstancePath>(Place::Path)
            .answer::<Empty>("It is done, or under way.")
            .errors(&[
                Code::InvalidArguments,
                Code::NotFound,
                Code::Draining,
                Code::Unavailable,
            ])
    };
    vec![
        Operation::new("GET", "/v1/status", status)
            .named(
                "operations",
                "status",
                "Describes store, instances, subscriptions and clients.",
            )
            .scope("admin")
            .answer::<AdminStatusResult>("How everything is."),
        Operation::new("GET", "/v1/doctor", doctor)
            .named(
                "operations",
                "doctor",
                "Lists what looks wrong, worst first.",
            )
            .scope("admin")
            .answer::<DoctorResult>("Empty: all is well."),
        Operation::new("POST", "/v1/config/reload", reload)
            .named(
                "operations",
                "reloadConfig",
                "Reads the configuration again.",
            )
            .scope("admin")
            .answer::<ConfigReloadResult>("What changed.")
            .errors(&[Code::ConfigInvalid, Code::Unavailable]),
        Operation::new("GET", "/v1/instances", list)
            .named(
                "instances",
                "listInstances",
                "Lists plugins and their instances.",
            )
            .scope("admin")
            .answer::<PluginsListResult>("By plugin."),
        Operation::new("GET", "/v1/instances/{plugin}/{instance}", show)
            .named("instances", "showInstance", "Describes one instance.")
            .scope("admin")
            .params::<InstancePath>(Place::Path)
            .answer::<InstanceStatus>("How it is.")
            .errors(&[Code::InvalidArguments, Code::NotFound]),
        act(
            Operation::new("POST", "/v1/instances/{plugin}/{instance}/restart", restart).named(
                "instances",
                "restartInstance",
                "Starts its process anew.",
            ),
        ),
        act(
            Operation::new("POST", "/v1/instances/{plugin}/{instance}/enable", enable).named(
                "instances",
                "enableInstance",
                "Lets it run again.",
            ),
        ),
        act(
            Operation::new("POST", "/v1/instances/{plugin}/{instance}/disable", disable).named(
                "instances",
                "disableInstance",
                "Stops it for good; what comes for it waits.",
            ),
        ),
    ]
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct InstancePath {
    /// The plugin.
    plugin: String,
    /// Its instance.
    instance: String,
}

impl From<InstancePath> for PluginSelectParams {
    fn from(path: InstancePath) -> Self {
        Self {
            plugin: path.plugin,
            instance: Some(path.instance),
        }
    }
}

async fn status(caller: Caller) -> Result<RawJson, Failure> {
    caller.call(method::ADMIN_STATUS, &Empty {}).await
}

async fn doctor(caller: Caller) -> Result<RawJson, Failure> {
    caller.call(method::ADMIN_DOCTOR, &Empty {}).await
}

async fn reload(caller: Caller) -> Result<RawJson, Failure> {
    caller.call(method::ADMIN_CONFIG_RELOAD, &Empty {}).await
}

async fn list(caller: Caller) -> Result<RawJson, Failure> {
    caller.call(method::ADMIN_PLUGINS_LIST, &Empty {}).await
}

async fn show(
    caller: Caller,
    PathOf(path): PathOf<InstancePath>,
) -> Result<Json<InstanceStatus>, Failure> {
    let RawJson(all) = caller.call(method::ADMIN_PLUGINS_LIST, &Empty {}).await?;
    let all: PluginsListResult = serde_json::from_str(all.get())
        .map_err(|error| Error::new(Code::Internal, error.to_string()))?;
    let mut instances: Vec<InstanceStatus> = all
        .plugins
        .into_iter()
        .flat_map(|plugin| plugin.instances)
        .collect();
    let found = instances
        .iter()
        .position(|found| found.plugin == path.plugin && found.instance == path.instance);
    match found {
        Some(at) => Ok(Json(instances.swap_remove(at))),
        None => {
            let name = |plugin: &str, instance: &str| format!("{plugin}/{instance}");
            let known = instances.iter().map(|one| name(&one.plugin, &one.instance));
            let known: Vec<String> = known.collect();
            Err(not_configured(&name(&path.plugin, &path.instance), &known).into())
        }
    }
}

async fn restart(caller: Caller, PathOf(path): PathOf<InstancePath>) -> Result<RawJson, Failure> {
    let params = PluginSelectParams::from(path);
    caller.call(method::ADMIN_PLUGINS_RESTART, &params).await
}

async fn enable(caller: Caller, PathOf(path): PathOf<InstancePath>) -> Result<RawJson, Failure> {
    let params = PluginSelectParams::from(path);
    caller.call(method::ADMIN_PLUGINS_ENABLE, &params).await
}

async fn disable(caller: Caller, PathOf(path): PathOf<InstancePath>) -> Result<RawJson, Failure> {
    let params = PluginSelectParams::from(path);
    caller.call(method::ADMIN_PLUGINS_DISABLE, &params).await
}
