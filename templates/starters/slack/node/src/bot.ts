// A Slack app in Socket Mode: what people write comes in, what agents send goes out.
import { Batch, Event, NeedsAuth, Plugin, Reject, Retry, isMain, run, type InstanceContext } from "trunkline";

export const plugin = new Plugin("{{name}}");

const socket = {
  url: async (ctx: InstanceContext) => {
    const app = ctx.http.at("{config.api}", { bearer: "{config.app_token}" });
    const { ok, url, error } = (await app.post("/apps.connections.open")).json();
    if (!ok) throw new NeedsAuth(`Slack said ${error}`);
    return url as string;
  },
};

plugin.connect("slack", socket, async (frame) => {
  if (frame.type === "disconnect") return new Retry("0s", frame.reason); // the new socket is up before the old one closes
  if (!frame.envelope_id) return;
  const ack = { envelope_id: frame.envelope_id };
  const said = frame.payload?.event;
  if (said?.type !== "message" || said.subtype || said.bot_id) return new Batch([], { ack });
  const event = Event.inbound(
    {
      id: said.ts,
      text: said.text,
      sender: { id: said.user },
      conversation: { id: said.channel, kind: said.channel_type },
    },
    { id: frame.payload.event_id },
  );
  return new Batch([event], { ack });
});

plugin.outbound("slack", { ratePerTarget: "1/s" }, async (message, ctx) => {
  const bot = ctx.http.at("{config.api}", { bearer: "{config.bot_token}" });
  const json = { channel: message.conversation.id, text: message.text };
  const { ok, ts, error } = (await bot.post("/chat.postMessage", { json })).json();
  return ok ? String(ts) : new Reject(`Slack said ${error}`, "delivery_failed");
});

if (isMain(import.meta)) await run(plugin);
