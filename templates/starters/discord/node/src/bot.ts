// A Discord bot on the gateway: what people write comes in, what agents send goes out.
import { Batch, Event, Plugin, Retry, isMain, run, type InstanceContext } from "trunkline";

export const plugin = new Plugin("{{name}}");
const INTENTS = (1 << 9) | (1 << 12) | (1 << 15); // messages in guilds, in private, and their text
const FATAL = [4004, 4010, 4011, 4012, 4013, 4014]; // a bad token, intents that are not allowed, …
// A session goes on where Discord said that it does.
const url = ({ conn, config }: InstanceContext) => `${conn.cursor?.url ?? config.gateway}/?v=10&encoding=json`;

plugin.connect("discord", { url, fatal: FATAL }, async (frame, ctx) => {
  const { op, t, d, s } = frame;
  const session = ctx.conn.cursor?.session;
  if (op === 10) {
    const token = ctx.config.bot_token;
    ctx.conn.heartbeat(`${d.heartbeat_interval}ms`, { op: 1, d: "{cursor.seq}" }, { expect: { op: 11 } });
    const properties = { os: "linux", browser: "trunkline", device: "trunkline" };
    const resume = { op: 6, d: { token, session_id: session, seq: ctx.conn.cursor?.seq } };
    const identify = { op: 2, d: { token, intents: INTENTS, properties } };
    await ctx.conn.send(session ? resume : identify);
  }
  if (op === 7) return new Retry("0s", "Discord asked"); // the new socket is up before the old one closes
  if (op === 9) return new Batch([], d ? { again: "3s" } : { cursor: null, again: "3s" }); // the session is gone, or not
  if (op === 1) await ctx.conn.send({ op: 1, d: ctx.conn.cursor?.seq ?? null });
  if (op !== 0) return;
  const begun = t === "READY" ? { session: d.session_id, url: d.resume_gateway_url } : {};
  const cursor = { ...ctx.conn.cursor, ...begun, seq: s };
  if (t !== "MESSAGE_CREATE" || d.author.bot) return new Batch([], { cursor });
  const sender = { id: d.author.id, name: d.author.username };
  const payload = { id: d.id, text: d.content, sender, conversation: { id: d.channel_id } };
  return new Batch([Event.inbound(payload, { id: d.id })], { cursor });
});

plugin.outbound("discord", { rate: "40/s", ratePerTarget: "1/s" }, async (message, ctx) => {
  const headers = { authorization: `Bot ${ctx.config.bot_token}` };
  const json = { content: message.text, nonce: ctx.idempotencyKey.slice(-25), enforce_nonce: true };
  const path = `/channels/${message.conversation.id}/messages`;
  return String((await ctx.http.at("{config.api}").post(path, { json, headers })).json().id);
});

if (isMain(import.meta)) await run(plugin);
