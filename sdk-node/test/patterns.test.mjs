// The code of the pages about patterns runs, as it stands there.
import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { test } from "node:test";
import { TestBroker } from "trunkline/testing";
import { blocks } from "./readme/extract.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const PAGES = join(here, "..", "patterns");
const TOOLS = process.env.TRUNKLINE_NODE_TYPES;
const skip = !existsSync(PAGES) || !TOOLS ? "run by check.sh" : false;
/** What the pages' plugins are configured with. */
const CONFIG = { webhook_secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", keyword: "rust", url: "https://example.com/feed" };

// The page about connections has a test in its code, which connect.test.mjs runs.
const pages = () => readdirSync(PAGES).filter((page) => page !== "connection.md");

for (const page of skip ? ["pages"] : pages()) {
  test(`the code of ${page} runs`, { skip }, async (t) => {
    const directory = mkdtempSync(join(here, "..", "p-"));
    t.after(() => rmSync(directory, { recursive: true, force: true }));
    const { default: ts } = await import(pathToFileURL(join(TOOLS, "typescript", "lib", "typescript.js")));
    const options = { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext };
    let plugins = 0;
    const codes = ["ts", "js"].flatMap((language) => blocks(join(PAGES, page), language));
    for (const [i, code] of codes.entries()) {
      const file = join(directory, `block_${i}.mjs`);
      writeFileSync(file, ts.transpileModule(code, { compilerOptions: options }).outputText);
      const { plugin } = await import(pathToFileURL(file));
      if (!plugin) continue;
      plugins += 1;
      const broker = await TestBroker.start(t, plugin, { config: CONFIG });
      await broker.settle();
    }
    assert.ok(plugins > 0, "a page has a plugin");
  });
}
