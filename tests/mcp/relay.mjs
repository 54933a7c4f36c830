// Stands between a client that sends no token and the daemon: adds the header, changes nothing else.
//
//   node relay.mjs <data directory of the daemon>
//
// Its first line on stdout is its own port; the daemon may start later. A client that goes away is gone for the
// daemon too.
import { readFileSync } from "node:fs";
import http from "node:http";
import { join } from "node:path";

const [data] = process.argv.slice(2);
const read = (name) => readFileSync(join(data, name), "utf8").trim();
const agent = new http.Agent({ keepAlive: true });
let daemon;

const server = http.createServer((request, response) => {
  daemon ??= { address: new URL(read("http.addr")), authorization: `Bearer ${read("token")}` };
  const headers = { ...request.headers, authorization: daemon.authorization };
  const { hostname: host, port } = daemon.address;
  const options = { host, port, method: request.method, path: request.url, headers, agent };
  const onward = http.request(options, (answer) => {
    response.writeHead(answer.statusCode, answer.headers);
    response.flushHeaders();
    answer.pipe(response);
  });
  onward.on("error", () => response.destroy());
  response.on("close", () => onward.destroy());
  request.pipe(onward);
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
