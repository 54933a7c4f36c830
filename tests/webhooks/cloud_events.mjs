// Writes and reads CloudEvents with the package `cloudevents`: a list of asks on stdin, a list of answers on stdout, as
// in cloud_events.py. The package reads batches and writes none: their array is made here, each event is its own.
import { createRequire } from "node:module";
import { join } from "node:path";

// The package is installed beside the build, not beside this file.
const require = createRequire(join(process.argv[2], "index.js"));
const { CloudEvent, HTTP } = require("cloudevents");

function made({ attributes, data, data_base64 }) {
  const bytes = data_base64 === undefined ? undefined : Uint8Array.from(Buffer.from(data_base64, "base64"));
  return new CloudEvent({ ...attributes, data: bytes ?? data });
}

function shown(event) {
  const attributes = {};
  let data;
  for (const [name, value] of Object.entries(event)) {
    if (name === "data") data = value;
    else if (name !== "data_base64" && value !== undefined) attributes[name] = String(value);
  }
  // Bytes come as an array with a number for each.
  return ArrayBuffer.isView(data)
    ? { attributes, data_base64: Buffer.from(Uint8Array.from(data)).toString("base64") }
    : { attributes, data };
}

function write({ mode, events }) {
  const all = events.map(made);
  const message =
    mode === "batch"
      ? {
          headers: { "content-type": "application/cloudevents-batch+json" },
          body: `[${all.map((event) => HTTP.structured(event).body).join(",")}]`,
        }
      : HTTP[mode](all[0]);
  const headers = Object.fromEntries(Object.entries(message.headers).map(([name, value]) => [name, String(value)]));
  return { headers, body: Buffer.from(message.body ?? "").toString("base64") };
}

function read({ headers, body }) {
  const bytes = Buffer.from(body, "base64");
  const isText = /json|^text/.test(headers["content-type"]);
  const read = HTTP.toEvent({ headers, body: isText ? bytes.toString("utf8") : bytes });
  return (Array.isArray(read) ? read : [read]).map(shown);
}

const chunks = [];
for await (const chunk of process.stdin) chunks.push(chunk);
const asks = JSON.parse(Buffer.concat(chunks).toString("utf8"));
process.stdout.write(JSON.stringify(asks.map((ask) => (ask.do === "write" ? write : read)(ask))));
