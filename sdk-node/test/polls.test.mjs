// Pollers: what the core fetches, and what a function asks for itself.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Batch, Event, Plugin, Reject } from "trunkline";
import { TestBroker } from "trunkline/testing";

const config = { url: "https://feeds.example/news", keyword: "rust", token: "tok-secret" };
const INBOUND = "plugin.inbound.rss.*";

function feed(...titles) {
  const items = titles.map(
    (title) =>
      `<item><guid>id-${title}</guid><title>${title}</title>` +
      `<enclosure url='https://feeds.example/${title}.mp3' length='7' type='audio/mpeg'/></item>`,
  );
  return `<rss version='2.0'><channel>${items.join("")}</channel></rss>`;
}

// Proves P4b, Node part: new items only, asked for conditionally, over a restart.
test("new items of a feed become events", async (t) => {
  const plugin = new Plugin("rss");
  plugin.poll("rss", { feed: "{config.url}", every: "2m", bearer: "{config.token}" }, async (item, ctx) => {
    if (!item.title.includes(ctx.config.keyword)) return undefined;
    const [{ bytes, mediaType }] = item.enclosures;
    assert.deepEqual([item.authors, item.truncated], [[], false]);
    return Event.inbound({ text: item.title, id: item.id, bytes, mediaType, conversation: { id: "news" } });
  });
  const broker = await TestBroker.start(t, plugin, { config });
  const route = broker.http("https://feeds.example").on("GET", "/news");
  route.reply(200, { headers: { etag: '"1"' }, body: feed("rust two", "cats", "rust one") });
  route.reply(304).reply(200, { body: feed("rust three", "rust two") });
  const first = { text: "rust one", id: "id-rust one", bytes: 7, mediaType: "audio/mpeg" };
  await broker.expectPublished(INBOUND, first, { within: "3m" });
  await broker.expectPublished(INBOUND, { text: "rust two" }, { within: "1s" });
  await broker.restart();
  await broker.expectPublished(INBOUND, { text: "rust three" }, { within: "10m" });
  await broker.expectNothing(INBOUND, {}, { within: "10m" });
  assert.deepEqual(route.requests.slice(0, 3).map(({ headers }) => headers["if-none-match"]), [undefined, '"1"', '"1"']);
  assert.equal(route.requests[0].headers.authorization, "Bearer tok-secret");
});

// Proves P4e, Node part: a list with items path, id field and pages.
test("a list of JSON is read page by page", async (t) => {
  const plugin = new Plugin("rss");
  const paginate = { by: "page", param: "page" };
  const json = { url: "https://feeds.example/list", itemsPath: "data.items", idField: "n", paginate };
  plugin.poll("rss", { json, cron: "*/5 * * * *", tz: "Europe/Berlin" }, ({ n }) => {
    if (n === 2) throw new Reject("not this one");
    return Event.inbound({ text: String(n), conversation: { id: "list" } });
  });
  const broker = await TestBroker.start(t, plugin, { config });
  const route = broker.http("https://feeds.example").on("GET", "/list");
  for (const items of [[{ n: 1 }, { n: 2 }], [{ n: 3 }], []]) route.reply(200, { json: { data: { items } } });
  for (const text of ["1", "3"]) await broker.expectPublished(INBOUND, { text }, { within: "6m" });
  assert.deepEqual(route.requests.slice(1, 3).map(({ query }) => query.page), ["2", "3"]);
  const [letter] = await broker.deadLetters();
  assert.match(JSON.stringify(letter), /not this one/);
});

// Proves P4b, Node part: the cursor moves in the commit that holds the events.
test("a function gets its cursor", async (t) => {
  const plugin = new Plugin("rss");
  const seen = [];
  plugin.poll("rss", { every: "0s", timeout: "45s" }, async (offset) => {
    seen.push(offset);
    const number = (offset ?? 0) + 1;
    if (number > 3) return new Batch([], { again: "1h" });
    return new Batch([Event.inbound({ text: String(number), conversation: { id: "c" } })], { cursor: number });
  });
  const broker = await TestBroker.start(t, plugin, { config });
  for (const text of ["1", "2", "3"]) await broker.expectPublished(INBOUND, { text }, { within: "1m" });
  await broker.settle();
  assert.deepEqual(seen.slice(0, 4), [null, 1, 2, 3]);
});

test("options that exclude each other, and options that are none, are refused", async (t) => {
  const plugin = new Plugin("rss");
  plugin.poll("rss", { at: new Date(0), every: "1m" }, () => {});
  await assert.rejects(TestBroker.start(t, plugin, { config }), /one of every, cron and at, found every and at/);
  const json = { url: "https://feeds.example", id_field: "n" };
  assert.throws(() => plugin.poll("rss", { json }, () => {}), /idField/);
});

const told = `
[plugin]
id = "rss"
version = "1.0.0"
command = ["rss"]
[[channels]]
kind = "rss"
[capabilities]
send = ["ops"]
${["url", "keyword", "token"].map((key) => `[config.${key}]\ntype = "string"`).join("\n")}
`;

// Proves P4e, Node part: one message to the channel that the poller names; the credential is locked.
test("who is named is told of a pause", async (t) => {
  const plugin = new Plugin("rss");
  const alert = { kind: "ops", to: "{config.keyword}", instance: "main" };
  plugin.poll("rss", { feed: "{config.url}", every: "1m", credential: "{config.token}", alert }, () => undefined);
  const broker = await TestBroker.start(t, plugin, { config, manifest: told });
  broker.http("https://feeds.example").on("GET", "/news").reply(410);
  const text = "rss/default rss: paused: expected an answer of 200 or 304, found 410";
  await broker.expectPublished("plugin.outbound.ops.main", { text, conversation: { id: "rust" } }, { within: "2m" });
  await broker.expectNothing("plugin.outbound.ops.*", {}, { within: "10m" });
});
