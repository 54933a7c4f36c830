//! JSON-RPC 2.0 messages, the methods of the contract, their parameters and results.
//!
//! [`parse`] and the `write_*` functions are the envelope of every frame; one file per area holds
//! the typed parameters and results. Parameters that are hot (publish, commit, event) also have a
//! borrowed form that leaves the event as the text it came in. Nothing here uses serde's `flatten`
//! or `untagged`, which rewrite large integers.

pub mod admin;
mod blob;
pub mod connect;
mod dead_letter;
mod delivery;
mod kv;
mod lifecycle;
mod lock;
mod log;
mod message;
pub mod method;
pub mod metrics;
mod publish;
mod system;
#[cfg(test)]
mod tests;
mod timer;
mod tool;
mod wire;
mod write;

pub use blob::{
    BlobFinishParams, BlobFinishResult, BlobGetParams, BlobGetResult, BlobPutParams, BlobPutResult,
    BlobStatResult,
};
pub use connect::{
    ConnectParams, ConnectResult, Credit, Empty, Host, LinkLimits, ProtocolRange, Role,
};
pub use dead_letter::{DeadLetter, DeadLetterPutParams, DeadLetterPutResult, DeadReason, Exit};
pub use delivery::{
    AckParams, CreditParams, Delivery, DeliveryRef, EventParams, EventParamsRef, ExtendParams,
    GapDelivery, GapParams, HandlerError, Hold, NakItem, NakParams, OnExpired, RejectItem,
    RejectParams, RetryPolicy, SeekParams, SeekResult, SettleResult, Start, SubscribeParams,
    SubscribeResult, TailEventParams, TailParams, TailResult, UnsubscribeParams,
};
pub use kv::{
    KvChange, KvDeleteParams, KvDeleteResult, KvEntry, KvGetParams, KvGetResult, KvListParams,
    KvListResult, KvOp, KvOpKind, KvPutParams, KvPutResult, KvRevision, KvScope, KvUnwatchParams,
    KvWatchParams, KvWatchResult,
};
pub use lifecycle::{
    ActivateParams, ConfigUpdateParams, DeactivateParams, InitializeParams, InitializeResult,
    InstanceCloseParams, InstanceCloseResult, InstanceOpenParams, InstanceState, LifecyclePayload,
    PauseParams, PingParams, PingResult, PluginIdentity, PluginSection, ProgressParams, Rejected,
    ReportedState, Secrets, ShutdownParams, ShutdownResult, StatusParams, SubscriptionDeclaration,
};
pub use lock::{
    IfLock, LockAcquireParams, LockAcquireResult, LockReleaseParams, LockRenewParams,
    LockRenewResult,
};
pub use log::{LogLevel, LogParams};
pub use message::{
    ErrorData, Message, ParseFault, RpcError, notification_params, params, parse, parse_with_facts,
};
pub use publish::{
    CommitParams, CommitParamsRef, CommitResult, OnConflict, PublishParams, PublishParamsRef,
    PublishResult, Respond,
};
pub use system::SystemInfoResult;
pub use timer::{
    Misfire, TimerCancelParams, TimerCancelResult, TimerEntry, TimerFired, TimerListParams,
    TimerListResult, TimerOp, TimerOpKind, TimerSetParams, TimerSetResult,
};
pub use tool::{
    ContentKind, ContentPart, ToolCallParams, ToolCallParamsRef, ToolCallResult, ToolCancelParams,
    ToolChunkParams, ToolChunkParamsRef, ToolContext, ToolCreditParams, ToolEntry, ToolInstance,
    ToolListParams, ToolListResult, ToolProgressParams, ToolRegisterParams, ToolReply,
    ToolReplyError, ToolUnregisterParams,
};
pub use wire::raw;
pub(crate) use wire::{Keys, Text, null, or_default};
pub(crate) use write::keep_one_line;
pub use write::{write_error, write_notification, write_request, write_result, write_rpc_error};
