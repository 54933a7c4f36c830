// What the scaffolds meet outside of the daemon, on one port of this machine: `node outside.mjs [PACKAGE.tgz …]`.
//
//   /<name>             an npm registry that has these packages, and leads to the ordinary one for every other name
//   /feed.xml           a feed that has one item more each time it is asked
//   /gateway            a chat over WebSocket: `hello`, a login, one message; what is said goes to the room's list, /said
//   /v1/invoices, /2010-04-01/…   the two calls of Stripe and Twilio that the scaffolds make
//
// Its first line says where it listens. It ends with its stdin.
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { basename } from "node:path";

const elsewhere = (process.env.npm_config_registry ?? "https://registry.npmjs.org/").replace(/\/*$/, "/");
const packages = new Map(process.argv.slice(2).map(packed));
let items = 0;
const said = [];

/** Gives a package's name and what a registry says of it. */
function packed(file) {
  const bytes = readFileSync(file);
  const manifest = JSON.parse(execFileSync("tar", ["-xzOf", file, "package/package.json"]));
  const integrity = `sha512-${createHash("sha512").update(bytes).digest("base64")}`;
  return [manifest.name, { bytes, file: basename(file), manifest, integrity }];
}

function send(response, status, type, body) {
  response.writeHead(status, { "content-type": type, "cache-control": "no-cache" }).end(body);
}

const json = (response, status, body) => send(response, status, "application/json", JSON.stringify(body));

function feed() {
  items += 1;
  const all = Array.from({ length: items }, (_, n) => `<item><guid>${n}</guid><title>Python 3 has item ${n}</title></item>`);
  return `<rss version="2.0"><channel><title>News</title>${all.reverse().join("")}</channel></rss>`;
}

const server = createServer((request, response) => {
  request.resume();
  const { pathname } = new URL(request.url, "http://outside");
  const [, name, dash, file] = pathname.split("/");
  const found = packages.get(name);
  if (request.method === "POST") {
    if (pathname === "/v1/invoices") return json(response, 200, { id: "in_1", status: "draft" });
    if (/^\/2010-04-01\/Accounts\/[^/]+\/Messages\.json$/.test(pathname)) return json(response, 201, { sid: "SM1" });
    return json(response, 404, {});
  }
  if (pathname === "/feed.xml") return send(response, 200, "application/rss+xml", feed());
  if (pathname === "/said") return json(response, 200, said);
  if (found === undefined) {
    return response.writeHead(302, { location: elsewhere + request.url.slice(1) }).end();
  }
  if (dash === "-" && file === found.file) return send(response, 200, "application/octet-stream", found.bytes);
  const { version } = found.manifest;
  const tarball = `http://${request.headers.host}/${name}/-/${found.file}`;
  const dist = { tarball, integrity: found.integrity };
  json(response, 200, { name, "dist-tags": { latest: version }, versions: { [version]: { ...found.manifest, dist } } });
});

/** Frames a text that is shorter than 126 bytes. */
function frame(value) {
  const text = Buffer.from(JSON.stringify(value));
  return Buffer.concat([Buffer.from([0x81, text.length]), text]);
}

/** Calls `take` with each whole frame of a client, opcode and content. */
function reader(take) {
  let rest = Buffer.alloc(0);
  return (bytes) => {
    rest = Buffer.concat([rest, bytes]);
    for (;;) {
      let length = rest[1] & 0x7f, at = 2;
      if (rest.length >= 4 && length === 126) (length = rest.readUInt16BE(2)), (at = 4);
      if (rest.length < at + 4 + length) return;
      const mask = rest.subarray(at, at + 4);
      const text = rest.subarray(at + 4, at + 4 + length).map((byte, n) => byte ^ mask[n % 4]);
      const opcode = rest[0] & 0x0f;
      rest = rest.subarray(at + 4 + length);
      take(opcode, text);
    }
  };
}

server.on("upgrade", (request, socket) => {
  const key = request.headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
  const accept = createHash("sha1").update(key).digest("base64");
  socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`);
  socket.write(frame({ op: "hello", every: "30s" }));
  socket.on("error", () => socket.destroy());
  const take = (opcode, text) => {
    if (opcode === 8) return socket.end(Buffer.from([0x88, 0]));
    if (opcode === 9) return socket.write(Buffer.concat([Buffer.from([0x8a, text.length]), text]));
    if (opcode !== 1) return undefined;
    const got = JSON.parse(text);
    if (got.op === "login" && got.token.startsWith("t0ken")) {
      return socket.write(frame({ op: "message", seq: 7, room: "lobby", text: "hi" }));
    }
    if (got.op === "beat") return socket.write(frame({ op: "beat_ack" }));
    return said.push(got);
  };
  socket.on("data", reader(take));
});

server.listen(0, "127.0.0.1", () => console.log(`http://127.0.0.1:${server.address().port}`));
process.stdin.on("end", () => process.exit(0)).resume();
