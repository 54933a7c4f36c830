// Takes the code blocks out of pages: `extract.mjs <directory> README.md …` writes `<page>_<n>.mts` for each
// ts block; blocks that begin with `// continues` belong to the one before.
import { readFileSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";

export function blocks(path, language) {
  const text = readFileSync(path, "utf8");
  const found = [...text.matchAll(new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\`$`, "gm"))].map((match) => match[1]);
  return found.reduce((all, block) => {
    if (block.startsWith("// continues")) all.push(`${all.pop()}\n${block}`);
    else all.push(block);
    return all;
  }, []);
}

const [, , directory, ...pages] = process.argv;
for (const page of pages) {
  const name = basename(page, ".md").toLowerCase();
  blocks(page, "ts").forEach((block, i) => writeFileSync(join(directory, `${name}_${i + 1}.mts`), block));
}
