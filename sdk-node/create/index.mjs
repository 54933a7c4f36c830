#!/usr/bin/env node
// `npm create trunkline@latest my-bot -- --pattern echo` is `trunkline new my-bot --lang node --pattern echo`.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const launcher = createRequire(import.meta.url).resolve("trunkline/package.json").replace(/package\.json$/, "bin/trunkline.mjs");
const { launch } = await import(pathToFileURL(launcher).href);

const args = process.argv.slice(2);
const chosen = args.some((arg) => /^--(lang|channel|help)(=|$)|^-h$/.test(arg));
launch(["new", ...args, ...(chosen ? [] : ["--lang", "node"])]);
