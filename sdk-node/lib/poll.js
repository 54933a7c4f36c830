"use strict";
// Pollers: their options, and the items of a feed.

/** Options of a poller, and their names for the core. */
const POLL = {
  every: "every",
  cron: "cron",
  tz: "tz",
  at: "at",
  jitter: "jitter",
  misfire: "misfire",
  timeout: "timeout",
  feed: "feed",
  json: "json",
  bearer: "bearer",
  basic: "basic",
  headers: "headers",
  credential: "credential",
  alert: "alert",
};

/** Options of a list of JSON, and their names for the core. */
const LIST = {
  url: "url",
  itemsPath: "items_path",
  idField: "id_field",
  cursorField: "cursor_field",
  sinceParam: "since_param",
  paginate: "paginate",
  pagesMax: "pages_max",
};

/** Reads an item of a feed: what is absent as an empty list is one. @param {any} item */
function feedItem({ authors = [], categories = [], enclosures = [], truncated = false, ...item }) {
  const files = enclosures.map((/** @type {any} */ { url, media_type: mediaType, bytes }) => ({ url, mediaType, bytes }));
  return { ...item, authors, categories, enclosures: files, truncated };
}

module.exports = { LIST, POLL, feedItem };
