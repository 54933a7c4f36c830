// An echo plugin as one writes it by hand: readline, JSON.parse, a promise per event, a write per frame.
//
// `ordinary_loop.mjs reply` returns what it answers, which goes out as one commit with the ack;
// `ordinary_loop.mjs publish` publishes, awaits the answer, looks at its number, then acks.

import { Socket } from "node:net";
import { createInterface } from "node:readline";

const form = process.argv[2];
const link = new Socket({ fd: Number(process.env.TRUNKLINE_LINK_FD), readable: true, writable: true });
const calls = new Map();
let lastId = 0;
let running = 0;

async function echo(payload) {
  return payload;
}

async function echoPublished(payload, publish) {
  const seq = await publish(payload);
  if (!(seq >= 1)) throw new Error(`expected a number from 1, found ${seq}`);
}

function send(frame) {
  link.write(JSON.stringify(frame) + "\n");
}

function request(method, params, then) {
  const id = ++lastId;
  calls.set(id, then);
  send({ jsonrpc: "2.0", id, method, params });
}

function replyTo({ topic, event }, payload) {
  const { id, session_id, source } = event;
  const causation_id = `${source}|${id}`;
  return { topic: `${topic}.reply`, event: { id: `r:${id}`, session_id, payload, correlation_id: id, causation_id } };
}

function nak(delivery, reason) {
  send({ jsonrpc: "2.0", method: "broker.nak", params: { deliveries: [delivery], reason } });
}

async function handleReply(params) {
  const delivery = params.delivery.id;
  try {
    const payload = await echo(params.event.payload);
    const check = (error) => error && nak(delivery, error.message);
    request("broker.commit", { events: [replyTo(params, payload)], ack: [delivery] }, check);
  } catch (error) {
    nak(delivery, String(error));
  }
}

async function handlePublish(params) {
  const delivery = params.delivery.id;
  const publish = (payload) =>
    new Promise((resolve, reject) => {
      request("broker.publish", replyTo(params, payload), (error, result) =>
        error ? reject(new Error(error.message)) : resolve(result.seq));
    });
  try {
    await echoPublished(params.event.payload, publish);
    send({ jsonrpc: "2.0", method: "broker.ack", params: { deliveries: [delivery] } });
  } catch (error) {
    nak(delivery, String(error));
  }
}

const handle = form === "reply" ? handleReply : handlePublish;

function control(method, id) {
  const answer = (result) => send({ jsonrpc: "2.0", id, result });
  switch (method) {
    case "initialize":
      return answer({
        manifest: { plugin: { id: "echo", version: "0.1.0" } },
        protocol: "trunkline/1.0",
        accepts: { events: 256, bytes: 8 << 20 },
        subscriptions: [{ name: "work", filters: ["plugin.tool.echo.>"] }],
      });
    case "instance.activate":
      answer({});
      return send({ jsonrpc: "2.0", method: "instance.status", params: { state: "ready" } });
    case "ping":
      return answer({ loop_lag_ms: 0, in_flight: running });
    case "shutdown":
      answer({ ok: true });
      return link.destroySoon();
    default:
      if (id !== undefined) answer({});
  }
}

createInterface({ input: link, crlfDelay: Infinity }).on("line", (line) => {
  const message = JSON.parse(line);
  if (message.method === "broker.event") {
    running++;
    handle(message.params).finally(() => running--);
  } else if (message.method === undefined) {
    const call = calls.get(message.id);
    calls.delete(message.id);
    call?.(message.error, message.result);
  } else {
    control(message.method, message.id);
  }
});
