//! JSON Schemas of everything on the wire, made from the Rust types.
//!
//! `contract/schemas/*.json` are these texts, committed; a test fails when they are stale, and
//! `cargo run -p trunkline-contract --bin schemas` writes them. One file per payload, and
//! `rpc.json` with every method: `methods.<name>.params` and `.result` refer into its `$defs`. A
//! method without a `result` is a notification.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator, schema_for};
use serde_json::{Map, Value, json};

use crate::envelope::Event;
use crate::message::{ChannelFeatures, InboundMessage, OutboundMessage, Receipt};
use crate::rpc::admin::{
    AdminEventParams, AdminLogParams, AdminStatusResult, AdminTailParams, ConfigReloadResult,
    DlqCountResult, DlqListParams, DlqListResult, DlqSelectParams, DlqShowParams, DoctorResult,
    LogsParams, PluginSelectParams, PluginsListResult, PluginsUpgradeParams, PluginsUpgradeResult,
    PluginsVerifyParams, PollerOrderParams, PollerOrderResult, PollersListParams,
    PollersListResult,
};
use crate::rpc::metrics::AdminMetricsResult;
use crate::rpc::{
    AckParams, ActivateParams, BlobFinishParams, BlobFinishResult, BlobGetParams, BlobGetResult,
    BlobPutParams, BlobPutResult, BlobStatResult, CommitParams, CommitResult, ConfigUpdateParams,
    ConnectParams, ConnectResult, CreditParams, DeactivateParams, DeadLetter, DeadLetterPutParams,
    DeadLetterPutResult, Empty, EventParams, ExtendParams, GapParams, InitializeParams,
    InitializeResult, InstanceCloseParams, InstanceCloseResult, InstanceOpenParams, KvChange,
    KvDeleteParams, KvDeleteResult, KvGetParams, KvGetResult, KvListParams, KvListResult,
    KvPutParams, KvPutResult, KvUnwatchParams, KvWatchParams, KvWatchResult, LifecyclePayload,
    LockAcquireParams, LockAcquireResult, LockReleaseParams, LockRenewParams, LockRenewResult,
    LogParams, NakParams, PauseParams, PingParams, PingResult, ProgressParams, PublishParams,
    PublishResult, RejectParams, RpcError, SeekParams, SeekResult, SettleResult, ShutdownParams,
    ShutdownResult, StatusParams, SubscribeParams, SubscribeResult, SystemInfoResult,
    TailEventParams, TailParams, TailResult, TimerCancelParams, TimerCancelResult, TimerFired,
    TimerListParams, TimerListResult, TimerSetParams, TimerSetResult, ToolCallParams,
    ToolCallResult, ToolCancelParams, ToolChunkParams, ToolCreditParams, ToolListParams,
    ToolListResult, ToolProgressParams, ToolRegisterParams, ToolReply, ToolUnregisterParams,
    UnsubscribeParams, method,
};

/// Names the file with every method.
pub(crate) const RPC_FILE: &str = "rpc.json";

/// Holds one generated file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaFile {
    /// Name inside `contract/schemas/`.
    pub name: &'static str,
    /// Its text, ending in a newline.
    pub text: String,
}

/// Makes every file.
pub fn files() -> Vec<SchemaFile> {
    let payload = |name, schema: schemars::Schema| SchemaFile {
        name,
        text: text(&schema.into()),
    };
    vec![
        payload("channel_features.json", schema_for!(ChannelFeatures)),
        payload("dead_letter.json", schema_for!(DeadLetter)),
        payload("delivery_receipt.json", schema_for!(Receipt)),
        payload("error.json", schema_for!(RpcError)),
        payload("event.json", schema_for!(Event)),
        payload("inbound_message.json", schema_for!(InboundMessage)),
        payload("lifecycle.json", schema_for!(LifecyclePayload)),
        payload("outbound_message.json", schema_for!(OutboundMessage)),
        SchemaFile {
            name: RPC_FILE,
            text: text(&methods()),
        },
        payload("timer_fired.json", schema_for!(TimerFired)),
        payload("tool_reply.json", schema_for!(ToolReply)),
    ]
}

fn text(value: &Value) -> String {
    let mut text = serde_json::to_string_pretty(value).expect("a value is JSON");
    text.push('\n');
    text
}

/// Collects methods over one set of definitions.
struct Methods {
    generator: SchemaGenerator,
    methods: Map<String, Value>,
}

impl Methods {
    fn call<P: JsonSchema, R: JsonSchema>(&mut self, name: &str) {
        let params = self.generator.subschema_for::<P>();
        let result = self.generator.subschema_for::<R>();
        self.methods.insert(
            name.to_owned(),
            json!({ "params": params, "result": result }),
        );
    }

    fn notification<P: JsonSchema>(&mut self, name: &str) {
        let params = self.generator.subschema_for::<P>();
        self.methods
            .insert(name.to_owned(), json!({ "params": params }));
    }
}

fn methods() -> Value {
    let generator = SchemaSettings::draft2020_12().into_generator();
    let mut all = Methods {
        generator,
        methods: Map::new(),
    };
    lifecycle_methods(&mut all);
    broker_methods(&mut all);
    service_methods(&mut all);
    admin_methods(&mut all);
    let mut definitions: Vec<(String, Value)> =
        all.generator.take_definitions(true).into_iter().collect();
    definitions.sort_by(|a, b| a.0.cmp(&b.0));
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Methods of the Trunkline contract",
        "methods": all.methods,
        "$defs": definitions.into_iter().collect::<Map<String, Value>>(),
    })
}

fn lifecycle_methods(all: &mut Methods) {
    all.call::<ConnectParams, ConnectResult>(method::CONNECT);
    all.call::<InitializeParams, InitializeResult>(method::INITIALIZE);
    all.call::<PingParams, PingResult>(method::PING);
    all.call::<ShutdownParams, ShutdownResult>(method::SHUTDOWN);
    all.call::<ConfigUpdateParams, Empty>(method::CONFIG_UPDATE);
    all.call::<ActivateParams, Empty>(method::INSTANCE_ACTIVATE);
    all.call::<DeactivateParams, Empty>(method::INSTANCE_DEACTIVATE);
    all.call::<PauseParams, Empty>(method::INSTANCE_PAUSE);
    all.call::<PauseParams, Empty>(method::INSTANCE_RESUME);
    all.call::<InstanceOpenParams, Empty>(method::INSTANCE_OPEN);
    all.call::<InstanceCloseParams, InstanceCloseResult>(method::INSTANCE_CLOSE);
    all.notification::<StatusParams>(method::INSTANCE_STATUS);
    all.notification::<ProgressParams>(method::INSTANCE_PROGRESS);
}

fn broker_methods(all: &mut Methods) {
    all.call::<PublishParams, PublishResult>(method::BROKER_PUBLISH);
    all.call::<CommitParams, CommitResult>(method::BROKER_COMMIT);
    all.call::<SubscribeParams, SubscribeResult>(method::BROKER_SUBSCRIBE);
    all.call::<UnsubscribeParams, Empty>(method::BROKER_UNSUBSCRIBE);
    all.call::<CreditParams, Empty>(method::BROKER_CREDIT);
    all.call::<SeekParams, SeekResult>(method::BROKER_SEEK);
    all.notification::<EventParams>(method::BROKER_EVENT);
    all.call::<AckParams, SettleResult>(method::BROKER_ACK);
    all.call::<NakParams, SettleResult>(method::BROKER_NAK);
    all.call::<RejectParams, SettleResult>(method::BROKER_REJECT);
    all.call::<ExtendParams, SettleResult>(method::BROKER_EXTEND);
    all.notification::<GapParams>(method::BROKER_GAP);
    all.call::<TailParams, TailResult>(method::BROKER_TAIL);
    all.call::<Empty, Empty>(method::BROKER_TAIL_END);
    all.notification::<TailEventParams>(method::BROKER_TAIL_EVENT);
}

fn service_methods(all: &mut Methods) {
    all.call::<KvGetParams, KvGetResult>(method::KV_GET);
    all.call::<KvPutParams, KvPutResult>(method::KV_PUT);
    all.call::<KvDeleteParams, KvDeleteResult>(method::KV_DELETE);
    all.call::<KvListParams, KvListResult>(method::KV_LIST);
    all.call::<KvWatchParams, KvWatchResult>(method::KV_WATCH);
    all.call::<KvUnwatchParams, Empty>(method::KV_UNWATCH);
    all.notification::<KvChange>(method::KV_CHANGE);
    all.call::<BlobPutParams, BlobPutResult>(method::BLOB_PUT);
    all.call::<BlobFinishParams, BlobFinishResult>(method::BLOB_FINISH);
    all.call::<BlobGetParams, BlobGetResult>(method::BLOB_GET);
    all.call::<BlobGetParams, BlobStatResult>(method::BLOB_STAT);
    all.call::<LockAcquireParams, LockAcquireResult>(method::LOCK_ACQUIRE);
    all.call::<LockRenewParams, LockRenewResult>(method::LOCK_RENEW);
    all.call::<LockReleaseParams, Empty>(method::LOCK_RELEASE);
    all.notification::<LockReleaseParams>(method::LOCK_LOST);
    all.notification::<LogParams>(method::LOG);
    all.call::<Empty, SystemInfoResult>(method::SYSTEM_INFO);
    all.call::<Empty, ConfigUpdateParams>(method::CONFIG_GET);
    all.call::<DeadLetterPutParams, DeadLetterPutResult>(method::DEAD_LETTER_PUT);
    all.call::<TimerSetParams, TimerSetResult>(method::TIMER_SET);
    all.call::<TimerCancelParams, TimerCancelResult>(method::TIMER_CANCEL);
    all.call::<TimerListParams, TimerListResult>(method::TIMER_LIST);
    tool_methods(all);
}

fn tool_methods(all: &mut Methods) {
    all.call::<ToolCallParams, ToolCallResult>(method::TOOL_CALL);
    all.call::<ToolListParams, ToolListResult>(method::TOOL_LIST);
    all.call::<ToolRegisterParams, Empty>(method::TOOL_REGISTER);
    all.call::<ToolUnregisterParams, Empty>(method::TOOL_UNREGISTER);
    all.notification::<ToolProgressParams>(method::TOOL_PROGRESS);
    all.notification::<ToolChunkParams>(method::TOOL_CHUNK);
    all.notification::<ToolCreditParams>(method::TOOL_CREDIT);
    all.notification::<ToolCancelParams>(method::TOOL_CANCEL);
}

fn admin_methods(all: &mut Methods) {
    all.call::<Empty, AdminStatusResult>(method::ADMIN_STATUS);
    all.call::<Empty, AdminMetricsResult>(method::ADMIN_METRICS);
    all.call::<AdminTailParams, Empty>(method::ADMIN_TAIL);
    all.call::<Empty, Empty>(method::ADMIN_TAIL_END);
    all.notification::<AdminEventParams>(method::ADMIN_EVENT);
    all.call::<DlqListParams, DlqListResult>(method::ADMIN_DLQ_LIST);
    all.call::<DlqShowParams, DeadLetter>(method::ADMIN_DLQ_SHOW);
    all.call::<DlqSelectParams, DlqCountResult>(method::ADMIN_DLQ_REPLAY);
    all.call::<DlqSelectParams, DlqCountResult>(method::ADMIN_DLQ_DISCARD);
    all.call::<PollersListParams, PollersListResult>(method::ADMIN_POLLERS_LIST);
    all.call::<PollerOrderParams, PollerOrderResult>(method::ADMIN_POLLERS_ORDER);
    all.call::<Empty, PluginsListResult>(method::ADMIN_PLUGINS_LIST);
    all.call::<PluginsVerifyParams, PluginsListResult>(method::ADMIN_PLUGINS_VERIFY);
    all.call::<PluginSelectParams, Empty>(method::ADMIN_PLUGINS_RESTART);
    all.call::<PluginsUpgradeParams, PluginsUpgradeResult>(method::ADMIN_PLUGINS_UPGRADE);
    all.call::<PluginSelectParams, Empty>(method::ADMIN_PLUGINS_ENABLE);
    all.call::<PluginSelectParams, Empty>(method::ADMIN_PLUGINS_DISABLE);
    all.call::<LogsParams, Empty>(method::ADMIN_LOGS);
    all.call::<Empty, Empty>(method::ADMIN_LOGS_END);
    all.notification::<AdminLogParams>(method::ADMIN_LOG);
    all.call::<Empty, DoctorResult>(method::ADMIN_DOCTOR);
    all.call::<Empty, ConfigReloadResult>(method::ADMIN_CONFIG_RELOAD);
    all.call::<Empty, Empty>(method::ADMIN_SHUTDOWN);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_that_is_built_has_a_schema_and_no_other() {
        let schema = methods();
        let described = schema["methods"].as_object().unwrap();
        for name in method::ALL.iter().filter(|name| !method::is_reserved(name)) {
            assert!(described.contains_key(*name), "{name} has no schema");
        }
        for name in described.keys() {
            assert!(method::ALL.contains(&name.as_str()), "{name} is no method");
        }
    }

    #[test]
    fn every_reference_leads_to_a_definition() {
        fn check(value: &Value, root: &Value, name: &str) {
            if let Some(reference) = value.get("$ref").and_then(Value::as_str) {
                let pointer = reference.strip_prefix('#').unwrap();
                assert!(root.pointer(pointer).is_some(), "{name}: {reference}");
            }
            match value {
                Value::Object(map) => map.values().for_each(|value| check(value, root, name)),
                Value::Array(items) => items.iter().for_each(|value| check(value, root, name)),
                _ => {}
            }
        }
        for file in files() {
            let value: Value = serde_json::from_str(&file.text).unwrap();
            check(&value, &value, file.name);
        }
    }

    #[test]
    fn the_committed_schemas_are_the_generated_ones() {
        let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas");
        for file in files() {
            let committed = std::fs::read_to_string(directory.join(file.name)).unwrap_or_default();
            assert!(
                committed == file.text,
                "schemas/{} is stale: cargo run -p trunkline-contract --bin schemas",
                file.name
            );
        }
        let names: Vec<&str> = files().iter().map(|file| file.name).collect();
        for entry in std::fs::read_dir(&directory).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(
                names.contains(&name.as_str()),
                "schemas/{name} is made by nothing"
            );
        }
    }
}
