// The same objects for `import`: there is one implementation, so a class is one class.
import trunkline from "./index.js";

export const {
  Plugin,
  Client,
  PluginAdapter,
  BrokerSender,
  Event,
  Context,
  InstanceContext,
  Reply,
  Retry,
  Reject,
  Receipt,
  Batch,
  RetryLater,
  NeedsAuth,
  Fatal,
  ToolError,
  ToolCall,
  Sending,
  Delivery,
  Subscription,
  TrunklineError,
  run,
  serve,
  isMain,
} = trunkline;
