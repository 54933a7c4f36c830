// The test broker under vitest: the same as under node:test, with the runner's own clean-up.
import { AssertionError } from "node:assert";
import { expect, onTestFinished, test } from "vitest";
import { Plugin, Reply } from "trunkline";
import { TestBroker } from "trunkline/testing";

/** Starts a broker with a plugin that echoes; it ends with the test. */
async function start() {
  const plugin = new Plugin("p");
  plugin.outbound("p", (payload) => new Reply(payload));
  const broker = await TestBroker.start(plugin);
  onTestFinished(() => broker.stop());
  return broker;
}

// Proves LN52: kills and faults in vitest.
test.each(["before_commit", "after_commit", "in_handler"])("killed %s, an event is answered once", async (at) => {
  const broker = await start();
  broker.kill({ at });
  await broker.send("p", at, { to: at });
  await broker.expectPublished("plugin.inbound.p.*", { text: at }, { within: "5m" });
  await broker.expectNothing("plugin.inbound.p.*", undefined, { within: "5m" });
});

// Proves LN52: faults of the link and of the store in vitest.
test.each(["duplicate", "drop_ack", "link_lost", "storage_full"])("with %s, an event is answered once", async (fault) => {
  const broker = await start();
  broker.fault(fault);
  await broker.send("p", fault, { to: fault });
  await broker.expectPublished("plugin.inbound.p.*", { text: fault }, { within: "5m" });
  await broker.expectNothing("plugin.inbound.p.*", undefined, { within: "5m" });
  expect(await broker.deadLetters()).toEqual([]);
});

test("a failed expectation fails the test as one of vitest does", async () => {
  const broker = await start();
  await expect(broker.expectPublished("agent.a")).rejects.toThrow(AssertionError);
});
