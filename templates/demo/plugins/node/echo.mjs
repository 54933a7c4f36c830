// The echo channel in JavaScript: what is sent to it comes back in.
import { Plugin, Reply, isMain, run } from "trunkline";

export const plugin = new Plugin("echo-node", { version: "0.1.0" });

// `Date` is cut to milliseconds; the latest of many readings is the wall clock in microseconds.
let origin = -Infinity;
for (const end = Date.now() + 3; Date.now() < end;) origin = Math.max(origin, Date.now() - performance.now());

// Answers with what it got and when it got it; the receipt says `sent`, and both go with the ack.
plugin.outbound("node", async (payload) => {
  const received_us = Math.round((origin + performance.now()) * 1000);
  return new Reply({ ...payload, raw: { echo: { received_us } } });
});

if (isMain(import.meta)) await run(plugin);
