// A bot on a chat's gateway, over one WebSocket.
import { Batch, Event, Plugin, Retry, isMain, run } from "trunkline";

export const plugin = new Plugin<{ token: string }>("{{name}}");

// 4004: a bad token, which no other attempt changes.
plugin.connect("chat", { url: "{config.url}", idle: "60s", fatal: [4004] }, async (f, ctx) => {
  if (f.op === "message") {
    const event = Event.inbound({ text: f.text, conversation: { id: f.room } });
    return new Batch([event], { cursor: f.seq, ack: { op: "ack", seq: f.seq } });
  }
  if (f.op === "reconnect") return new Retry("0s", "the server asked"); // the new socket is up before the old one closes
  if (f.op !== "hello") return;
  const beat = { op: "beat", seq: "{cursor}" };
  ctx.conn.heartbeat(f.every, beat, { expect: { op: "beat_ack" } });
  await ctx.conn.send({ op: "login", token: ctx.config.token, resume: ctx.conn.cursor });
});

plugin.outbound("chat", { rate: "5/s" }, async (message, ctx) => {
  // While there is no connection, the message waits.
  await ctx.conn.send({ op: "say", room: message.conversation.id, text: message.text });
});

if (isMain(import.meta)) await run(plugin);
