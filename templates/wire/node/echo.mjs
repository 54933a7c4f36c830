// An echo channel on the bare wire: what is sent to it comes back in. Standard library only.
import { createHash } from "node:crypto";
import { Socket } from "node:net";

const link = new Socket({ fd: Number(process.env.TRUNKLINE_LINK_FD) });
const commits = new Set(); // deliveries whose commit is not answered yet; its request has the delivery's id
let rest = "";
let origin = performance.now() - Infinity; // `timeOrigin` is off by milliseconds and `Date` is cut to them: the
for (const end = Date.now() + 3; Date.now() < end;) // latest of many readings is the wall clock, in microseconds
  origin = Math.max(origin, Date.now() - performance.now());

const send = (message) => link.write(JSON.stringify({ jsonrpc: "2.0", ...message }) + "\n");
const refuse = (id, number, code, message) =>
  send({ id, error: { code: number, message, data: { code, retryable: false } } });
const nak = (delivery, type, message) =>
  send({ method: "broker.nak", params: { deliveries: [delivery], error: { type, message } } });

// Commits answer, receipt and ack together: all of them happen, or none.
function echo(topic, event, delivery) {
  const place = topic.slice("plugin.outbound.".length), cause = `${event.source}|${event.id}`;
  // An id that comes out the same if the handling is repeated: a repeat is no second event.
  const made = (name, payload) => ({ topic: `plugin.${name}.${place}`, on_conflict: "keep_first", event: {
    id: createHash("sha256").update(`${name}|${cause}`).digest("hex"), payload,
    session_id: event.session_id, correlation_id: event.id, causation_id: cause } });
  const received_us = Math.round((origin + performance.now()) * 1000);
  const events = [made("inbound", { ...event.payload, raw: { echo: { received_us } } }),
                  made("delivery", { state: "sent" })];
  commits.add(delivery);
  send({ id: delivery, method: "broker.commit", params: { events, ack: [delivery] } });
}

function take(line) {
  if (line.length > 1 << 20) return refuse(null, -32003, "frame_too_large", "expected at most 1 MiB");
  let message;
  try { message = JSON.parse(line); } catch (error) { return refuse(null, -32700, "invalid_frame", error.message); }
  const { method, id, params, error } = message ?? {};
  if (method === "broker.event" && params.delivery) {
    try { echo(params.topic, params.event, params.delivery.id); }
    catch (thrown) { nak(params.delivery.id, thrown.name, thrown.message); }
  } else if (method === undefined) {
    if (commits.delete(id) && error) nak(id, "refused", error.message);
  } else if (method === "initialize") {
    send({ id, result: { manifest: { plugin: { id: params.plugin, version: "0.1.0" } },
                         protocol: "trunkline/1.0", accepts: { events: 64, bytes: 1 << 20 } } });
  } else if (method === "broker.gap") {
    send({ method: "broker.ack", params: { deliveries: [params.delivery.id] } });
  } else if (method === "ping") {
    send({ id, result: { loop_lag_ms: 0, in_flight: commits.size } });
  } else if (/^(instance\.(activate|deactivate|pause|resume)|shutdown)$/.test(method)) {
    send({ id, result: { ok: true } });
    if (method === "instance.activate") send({ method: "instance.status", params: { state: "ready" } });
    if (method === "shutdown") link.end(() => link.destroy()); // all is written; the process ends with its link
  } else if (id !== undefined && id !== null) refuse(id, -32601, "not_implemented", `not built here: ${method}`);
}

link.setEncoding("utf8").on("data", (chunk) => {
  const lines = (rest + chunk).split("\n"); // not `readline`: it also breaks lines at U+2028
  rest = lines.pop();
  for (const line of lines) if (line.trim()) take(line);
});
