// The echo plugin on nexo's TypeScript SDK, given by NEXO_TYPESCRIPT: what its template does, without its wrapping of
// the payload. Its publish is a notification: it never learns what became of it, and there is nothing to ack. So
// both forms are this one.

import { pathToFileURL } from "node:url";

const { Event, PluginAdapter } = await import(pathToFileURL(`${process.env.NEXO_TYPESCRIPT}/dist/index.js`).href);

const adapter = new PluginAdapter({
  manifestToml: '[plugin]\nid = "echo"\nversion = "0.1.0"\nname = "Echo"\ndescription = "What comes goes back."\nmin_nexo_version = ">=0.1.0"\n',
  onEvent: async (topic, event, broker) => {
    const outTopic = topic.replace("plugin.outbound.", "plugin.inbound.");
    await broker.publish(outTopic, Event.new(outTopic, event.source, event.payload));
  },
});

await adapter.run();
