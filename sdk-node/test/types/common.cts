// CommonJS has the same types.
import trunkline = require("trunkline");
import testing = require("trunkline/testing");

const plugin = new trunkline.Plugin("p");
plugin.outbound("p", (payload) => new trunkline.Reply(payload.text));
if (trunkline.isMain(module)) void trunkline.run(plugin);
export const start: Promise<testing.TestBroker> = testing.TestBroker.start(plugin);
