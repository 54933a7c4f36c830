// Puts together the parts of a long SMS.
import { Event, Part, Plugin, isMain, run } from "trunkline";

export const plugin = new Plugin("{{name}}");

const signed = { verify: "standard", secret: "{config.webhook_secret}", session: "/from" };
plugin.webhook("sms", signed, async (request) => {
  const { text, from, ref, part, parts } = request.json();
  return new Part(text, { session: from, group: ref, seq: part, total: parts });
});

plugin.assemble<string>("sms", { silence: "30s", maxAge: "10m", maxParts: 64 }, async (parts, ctx) => {
  const text = parts.map((part) => part.data).join(ctx.assembly?.missing.length ? "…" : "");
  return Event.inbound({ text, conversation: { id: parts[0]!.session, kind: "sms" } });
});

if (isMain(import.meta)) await run(plugin);
