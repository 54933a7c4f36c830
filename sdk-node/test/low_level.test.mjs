// Plugins on the low-level form alone, under a real daemon: a bridge of calls, and an adapter that only sends.
import assert from "node:assert/strict";
import { test } from "node:test";
import { PluginAdapter } from "trunkline";
import { Daemon, manifest } from "./support/daemon.mjs";

const HEAD = `
import { readFileSync } from "node:fs";
import { Event, PluginAdapter } from "trunkline";
const MANIFEST = readFileSync("plugin.toml", "utf8");
`;

// Proves P3d, Node part: an event on a tool's topic is answered on its reply topic by who declares no tool.
// Proves H3, Node part: the calls of a bridge and of an outbound adapter, in their order.
test("a bridge and an outbound adapter run on the low-level form", async (t) => {
  const till = manifest("till", '[capabilities]\nsubscribe = ["plugin.tool.till.charge"]\npublish = ["plugin.tool.till.charge.reply"]\n');
  const config = '[grants.till]\nsubscribe = ["plugin.tool.till.charge"]\npublish = ["plugin.tool.till.charge.reply"]\n';
  const plugins = {
    till: {
      manifest: till,
      code: `${HEAD}
        const bank = { charges: { create: async ({ cents }) => ({ id: "ch_1", cents }) } };
        const adapter = new PluginAdapter({
          manifestToml: MANIFEST,
          onEvent: async (topic, event, broker) => {
            if (topic === "plugin.tool.till.charge") {
              const charge = await bank.charges.create(event.payload);
              await broker.publish("plugin.tool.till.charge.reply", Event.new("plugin.tool.reply", "till", { result: charge }));
            }
          },
        });
        await adapter.run();
      `,
    },
    pager: `${HEAD}
      const provider = { page: async ({ to }) => ({ ref: "pg_" + to, state: "queued" }) };
      const adapter = new PluginAdapter({
        manifestToml: MANIFEST,
        onEvent: async (topic, event, broker) => {
          if (topic.startsWith("plugin.outbound.pager")) {
            const { ref, state } = await provider.page({ to: event.payload.to, body: event.payload.text });
            await broker.publish("plugin.delivery.pager", Event.new("plugin.delivery.pager", "pager", { ref, status: state }));
          }
        },
      });
      await adapter.run();
    `,
  };
  const daemon = await Daemon.start(t, plugins, { config });
  const client = await daemon.client(t);
  const told = client.subscribe(["plugin.tool.till.charge.reply", "plugin.delivery.pager.>"], { name: "told", start: "earliest" });
  const asked = await client.publish("plugin.tool.till.charge", { cents: 250n });
  assert.ok(asked.seq > 0);
  const { value: reply } = await told.next();
  assert.equal(reply.topic, "plugin.tool.till.charge.reply");
  assert.deepEqual(reply.payload, { result: { id: "ch_1", cents: 250 } });
  reply.ack();
  await client.send("pager", { to: "7", text: "up" }, { to: "7" });
  const { value: delivery } = await told.next();
  assert.equal(delivery.topic, "plugin.delivery.pager.default");
  assert.deepEqual(delivery.payload, { ref: "pg_7", status: "queued" });
  delivery.ack();
});

// Proves: an adapter that could not answer what its manifest declares does not start, and says what to do.
test("an adapter with a declared tool is refused at the start", async () => {
  const tool = '[[tools]]\nname = "charge"\ndescription = "Charges."\n';
  const manifestToml = `[plugin]\nid = "till"\nversion = "0.1.0"\ncommand = ["./till"]\n${tool}`;
  const adapter = new PluginAdapter({ manifestToml, onEvent: async () => {} });
  await assert.rejects(adapter.run(), { code: "config_invalid", message: /publish answers on plugin\.tool\.till\.charge\.reply/ });
});
