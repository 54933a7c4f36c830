//! Names of the methods.
//!
//! Arrows: `→` broker to peer, `←` peer to broker, `↔` both.

macro_rules! methods {
    ($($name:ident $text:literal $doc:literal)*) => {
        $(#[doc = concat!("`", $text, "`: ", $doc)] pub const $name: &str = $text;)*

        /// Lists every method of the contract.
        pub const ALL: &[&str] = &[$($text),*];
    };
}

methods! {
    CONNECT "connect" "← begins an attached link."
    INITIALIZE "initialize" "→ gives a plugin its identity and configuration."
    PING "ping" "↔ asks for a sign of life."
    SHUTDOWN "shutdown" "→ asks a plugin to end."
    CONFIG_UPDATE "config.update" "→ gives a running instance another configuration."
    INSTANCE_ACTIVATE "instance.activate" "→ tells a standby instance to go to work."
    INSTANCE_DEACTIVATE "instance.deactivate" "→ tells it to go back to standby."
    INSTANCE_PAUSE "instance.pause" "→ stops new work, keeps connections."
    INSTANCE_RESUME "instance.resume" "→ ends a pause."
    INSTANCE_STATUS "instance.status" "← reports the instance's state."
    INSTANCE_PROGRESS "instance.progress" "← reports progress of a start."
    INSTANCE_OPEN "instance.open" "→ opens an instance in a shared process; on a process link."
    INSTANCE_CLOSE "instance.close" "→ ends an instance of a shared process; on a process link."
    BROKER_PUBLISH "broker.publish" "← publishes one event."
    BROKER_COMMIT "broker.commit" "← publishes, changes kv and settles, all or nothing."
    BROKER_SUBSCRIBE "broker.subscribe" "← creates or joins a subscription."
    BROKER_UNSUBSCRIBE "broker.unsubscribe" "← leaves or deletes a subscription."
    BROKER_CREDIT "broker.credit" "← sets how much may be in flight."
    BROKER_SEEK "broker.seek" "← moves a subscription's cursor."
    BROKER_EVENT "broker.event" "→ hands over an event."
    BROKER_ACK "broker.ack" "← settles deliveries: done."
    BROKER_NAK "broker.nak" "← settles deliveries: later please."
    BROKER_REJECT "broker.reject" "← settles deliveries: never."
    BROKER_EXTEND "broker.extend" "← keeps deliveries leased."
    BROKER_GAP "broker.gap" "→ says which events were skipped."
    BROKER_TAIL "broker.tail" "← follows events as they pass, without a subscription."
    BROKER_TAIL_END "broker.tail.end" "← ends a tail."
    BROKER_TAIL_EVENT "broker.tail.event" "→ one event of a tail."
    KV_GET "kv.get" "← reads a key."
    KV_PUT "kv.put" "← writes a key."
    KV_DELETE "kv.delete" "← deletes a key."
    KV_LIST "kv.list" "← lists keys by prefix."
    KV_WATCH "kv.watch" "← follows changes of keys by prefix."
    KV_UNWATCH "kv.unwatch" "← ends a watch."
    KV_CHANGE "kv.change" "→ tells a watcher of a change."
    LOCK_ACQUIRE "lock.acquire" "← takes a lock."
    LOCK_RENEW "lock.renew" "← keeps a lock."
    LOCK_RELEASE "lock.release" "← gives a lock back."
    LOCK_LOST "lock.lost" "→ tells a holder that its lock is gone."
    TIMER_SET "timer.set" "← sets a timer."
    TIMER_CANCEL "timer.cancel" "← cancels a timer."
    TIMER_LIST "timer.list" "← lists timers."
    LOG "log" "← writes a log record."
    SYSTEM_INFO "system.info" "← describes the broker."
    CONFIG_GET "config.get" "← reads the instance's configuration."
    DEAD_LETTER_PUT "dead_letter.put" "← files what never was an event."
    TOOL_CALL "tool.call" "↔ calls a tool."
    TOOL_LIST "tool.list" "← lists tools."
    TOOL_REGISTER "tool.register" "← declares a tool."
    TOOL_UNREGISTER "tool.unregister" "← withdraws a tool."
    TOOL_PROGRESS "tool.progress" "↔ reports progress of a call."
    TOOL_CHUNK "tool.chunk" "↔ carries a part of a result."
    TOOL_CREDIT "tool.credit" "↔ opens a call's window."
    TOOL_CANCEL "tool.cancel" "↔ cancels a call."
    BLOB_PUT "blob.put" "← begins an upload."
    BLOB_FINISH "blob.finish" "← ends an upload."
    BLOB_GET "blob.get" "← gives access to a blob."
    BLOB_STAT "blob.stat" "← describes a blob."
    INTERCEPT "intercept" "→ reserved: asks for a verdict on an event."
    LLM_COMPLETE "llm.complete" "← foreign contract: not implemented."
    MEMORY_RECALL "memory.recall" "← foreign contract: not implemented."
    ADMIN_STATUS "admin.status" "← describes store, instances, subscriptions and clients."
    ADMIN_METRICS "admin.metrics" "← gives every number that is counted."
    ADMIN_TAIL "admin.tail" "← follows events without a subscription."
    ADMIN_TAIL_END "admin.tail.end" "← ends a tail."
    ADMIN_EVENT "admin.event" "→ one event of a tail."
    ADMIN_DLQ_LIST "admin.dlq.list" "← lists dead letters."
    ADMIN_DLQ_SHOW "admin.dlq.show" "← shows a dead letter."
    ADMIN_DLQ_REPLAY "admin.dlq.replay" "← puts dead letters back."
    ADMIN_DLQ_DISCARD "admin.dlq.discard" "← deletes dead letters."
    ADMIN_POLLERS_LIST "admin.pollers.list" "← lists pollers and how they fare."
    ADMIN_POLLERS_ORDER "admin.pollers.order" "← tells a poller to run, pause, resume or reset."
    ADMIN_PLUGINS_LIST "admin.plugins.list" "← lists plugins and instances."
    ADMIN_PLUGINS_VERIFY "admin.plugins.verify" "← compares the files of installed packages with their hashes."
    ADMIN_PLUGINS_RESTART "admin.plugins.restart" "← restarts a plugin or instance."
    ADMIN_PLUGINS_UPGRADE "admin.plugins.upgrade" "← reads a manifest again and replaces the processes, with a way back."
    ADMIN_PLUGINS_ENABLE "admin.plugins.enable" "← starts a disabled plugin or instance."
    ADMIN_PLUGINS_DISABLE "admin.plugins.disable" "← stops a plugin or instance for good."
    ADMIN_LOGS "admin.logs" "← gives and follows log lines of a plugin."
    ADMIN_LOGS_END "admin.logs.end" "← ends following log lines."
    ADMIN_LOG "admin.log" "→ one log line."
    ADMIN_DOCTOR "admin.doctor" "← lists what looks wrong."
    ADMIN_CONFIG_RELOAD "admin.config.reload" "← reads the configuration again."
    ADMIN_SHUTDOWN "admin.shutdown" "← ends the broker."
}

/// Says whether a method belongs to the data lane: kept strictly in the order it was sent.
///
/// Every other method may be written ahead of waiting data. An answer has the lane of what it answers, as
/// far as that is `tool.call`; every other answer is control.
///
/// ```
/// use trunkline_contract::rpc::method::{BROKER_ACK, PING, is_data};
/// assert!(is_data(BROKER_ACK) && !is_data(PING));
/// ```
pub fn is_data(method: &str) -> bool {
    matches!(
        method,
        BROKER_PUBLISH
            | BROKER_COMMIT
            | BROKER_ACK
            | BROKER_NAK
            | BROKER_REJECT
            | BROKER_EVENT
            | BROKER_GAP
            | TOOL_CALL
            | TOOL_CHUNK
    )
}

/// Says whether a method is part of the contract but built in no broker of version 0.1.
pub fn is_reserved(method: &str) -> bool {
    matches!(method, INTERCEPT | LLM_COMPLETE | MEMORY_RECALL)
}
