// Takes the code blocks out of the README: `extract.mjs README.md <directory>` writes `readme_<n>.mts` for each
// ts block; blocks that begin with `// continues` belong to the one before.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

export function blocks(path, language) {
  const text = readFileSync(path, "utf8");
  const found = [...text.matchAll(new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\`$`, "gm"))].map((match) => match[1]);
  return found.reduce((all, block) => {
    if (block.startsWith("// continues")) all.push(`${all.pop()}\n${block}`);
    else all.push(block);
    return all;
  }, []);
}

if (process.argv[2]) {
  blocks(process.argv[2], "ts").forEach((block, i) => writeFileSync(join(process.argv[3], `readme_${i + 1}.mts`), block));
}
