// Signs and checks webhooks with the packages of the providers: a list of cases on stdin, a list of answers on
// stdout, as in oracle.py. Linear's and Shopify's packages only check; what they check is signed with node's own
// hmac. Discord's only checks as well; it is signed with node's own Ed25519.
import { createHmac, createPrivateKey, createPublicKey, sign as signBytes } from "node:crypto";
import { createRequire } from "node:module";
import { join } from "node:path";

// The packages are installed beside the build, not beside this file.
const require = createRequire(join(process.argv[2], "index.js"));
const { sign: octokitSign, verify: octokitVerify } = await import(
  join(process.argv[2], "node_modules/@octokit/webhooks-methods/dist-node/index.js")
);
const { LinearWebhookClient } = await import(
  join(process.argv[2], "node_modules/@linear/sdk/dist/webhooks/index.mjs")
);
const { verifyKey } = require("discord-interactions");
require("@shopify/shopify-api/adapters/node");
const { shopifyApi, ApiVersion, LogSeverity } = require("@shopify/shopify-api");

const hmac = (secret, body, encoding) => createHmac("sha256", secret).update(body).digest(encoding);

function keys(seed) {
  const prefix = Buffer.from("302e020100300506032b657004220420", "hex");
  const key = createPrivateKey({ key: Buffer.concat([prefix, Buffer.from(seed, "hex")]), format: "der", type: "pkcs8" });
  const spki = createPublicKey(key).export({ format: "der", type: "spki" });
  return { key, publicHex: spki.subarray(-32).toString("hex") };
}

async function shopify(secret, headers, body) {
  const api = shopifyApi({
    apiKey: "key", apiSecretKey: secret, apiVersion: ApiVersion.Latest ?? Object.values(ApiVersion).at(-1),
    hostName: "example.com", isEmbeddedApp: false, logger: { level: LogSeverity.Error, log: () => {} },
  });
  // What the package wants besides the signature.
  const others = Object.keys(headers).some((name) => name.startsWith("x-"))
    ? { "x-shopify-topic": "orders/create", "x-shopify-api-version": "2026-01", "x-shopify-shop-domain": "a.myshopify.com" }
    : { "shopify-topic": "orders/create", "shopify-api-version": "2026-01", "shopify-shop-domain": "a.myshopify.com",
        "shopify-event-id": "1" };
  const rawRequest = { method: "POST", url: "/", headers: { ...others, ...headers } };
  const answer = await api.webhooks.validate({ rawBody: body, rawRequest, rawResponse: {} });
  return answer.valid;
}

const signers = {
  github: async ({ secret, body, id }) => ({
    "x-hub-signature-256": await octokitSign(secret, body), "x-github-delivery": id,
  }),
  linear: ({ secret, body, id }) => ({ "linear-signature": hmac(secret, body, "hex"), "linear-delivery": id }),
  shopify: ({ secret, body, id }) => ({
    "x-shopify-hmac-sha256": hmac(secret, body, "base64"), "x-shopify-webhook-id": id,
  }),
  shopify_events: ({ secret, body, id }) => ({
    "shopify-hmac-sha256": hmac(secret, body, "base64"), "shopify-webhook-id": id,
  }),
  discord: ({ secret, body, timestamp }) => ({
    "x-signature-ed25519": signBytes(null, Buffer.from(`${timestamp}${body}`), keys(secret).key).toString("hex"),
    "x-signature-timestamp": String(timestamp),
  }),
};

const verifiers = {
  github: ({ secret, body, headers }) => octokitVerify(secret, body, headers["x-hub-signature-256"]),
  linear: ({ secret, body, headers }) => {
    try {
      return new LinearWebhookClient(secret).verify(Buffer.from(body), headers["linear-signature"]);
    } catch {
      return false;
    }
  },
  shopify: ({ secret, body, headers }) => shopify(secret, headers, body),
  shopify_events: ({ secret, body, headers }) => shopify(secret, headers, body),
  discord: ({ secret, body, headers }) =>
    verifyKey(body, headers["x-signature-ed25519"], headers["x-signature-timestamp"], keys(secret).publicHex),
};

const chunks = [];
for await (const chunk of process.stdin) chunks.push(chunk);
const answers = [];
for (const asked of JSON.parse(Buffer.concat(chunks).toString("utf8"))) {
  answers.push(await (asked.do === "sign" ? signers : verifiers)[asked.by](asked));
}
process.stdout.write(JSON.stringify(answers));
