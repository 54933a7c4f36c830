// A plugin with an HTTP server of its own in JavaScript; the same in `own_server.py`.
import { createServer } from "node:http";
import { Plugin, run } from "trunkline";

const plugin = new Plugin("board", { version: "0.1.0" });

plugin.onStart((ctx) => {
  const answer = (_, response) => response.end('{"language":"node"}');
  try {
    createServer(answer).listen(ctx.listener());
  } catch (error) {
    ctx.status("degraded", `${error.code}: ${error.message}`);
  }
});

plugin.outbound("board", () => {});

await run(plugin);
