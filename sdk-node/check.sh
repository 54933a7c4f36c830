#!/usr/bin/env bash
# Builds the package, packs it, installs it into a fresh project outside the repository, and tests it there.
# TRUNKLINE_SOAK=1 adds the long tests. Tools are installed under target/, nothing into the package.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
export PATH="$PATH:$HOME/.cargo/bin"
target=$(cargo metadata --format-version 1 --no-deps --locked | node -p 'JSON.parse(require("fs").readFileSync(0)).target_directory')
failed=0

if [ -z "${TRUNKLINE_BIN:-}" ]; then
  cargo -q daemon
  export TRUNKLINE_BIN=$target/debug/trunkline
fi
[ -n "${TRUNKLINE_NODE_BUILT:-}" ] || node sdk-node/build.mjs

tools=$target/node-tools
mkdir -p "$tools"
cp sdk-node/test/tools/package.json sdk-node/test/tools/package-lock.json "$tools/"
[ -x "$tools/node_modules/.bin/tsc" ] && cmp -s "$tools/package-lock.json" "$tools/installed-lock.json" || {
  (cd "$tools" && npm ci --silent --no-audit --no-fund --ignore-scripts)
  cp "$tools/package-lock.json" "$tools/installed-lock.json"
}

project=$(mktemp -d /tmp/tl-node-XXXXXX)
trap 'rm -rf "$project"' EXIT
tarball=$(cd sdk-node && npm pack --silent --pack-destination "$project")
echo '{ "private": true, "name": "outside" }' >"$project/package.json"
(cd "$project" && npm install --silent --offline --no-audit --no-fund "./$tarball")
cp -r sdk-node/test "$project/test"
cp sdk-node/README.md "$project/README.md"
cp docs/http-client.md "$project/http-client.md"
cp -r docs/patterns "$project/patterns"
# What the tests hold the package to.
cp contract/vectors/session_keys.json contract/src/error.rs "$project/test/support/"
export TRUNKLINE_NODE_TYPES=$tools/node_modules TRUNKLINE_ROOT=$root
# Pages, types and tests use them; the package does not.
ln -s "$tools/node_modules/zod" "$tools/node_modules/vitest" "$project/node_modules/"

echo "--- node --test"
(cd "$project" && node --test --test-reporter=spec --test-concurrency=2 'test/'*.test.mjs 'test/'*.test.cjs) || failed=1

echo "--- vitest"
(cd "$project" && "$tools/node_modules/.bin/vitest" run --root . --dir test/vitest --reporter=dot --testTimeout=60000 --hookTimeout=60000) || failed=1

echo "--- tsc"
sed "s|@TOOLS@|$tools|" sdk-node/test/types/tsconfig.json >"$project/test/types/tsconfig.json"
node "$project/test/readme/extract.mjs" "$project/test/types" "$project/README.md" "$project"/patterns/*.md "$project/test/api_patterns.md"
if "$tools/node_modules/.bin/tsc" -p "$project/test/types/tsconfig.json"; then echo "tsc: types hold"; else failed=1; fi
sed "s|@TOOLS@|$tools|; s|@ROOT@|$root/sdk-node|" sdk-node/test/types/implementation.json >"$project/implementation.json"
if "$tools/node_modules/.bin/tsc" -p "$project/implementation.json"; then echo "tsc: the implementation holds"; else failed=1; fi

echo "--- attw"
"$tools/node_modules/.bin/attw" --no-emoji --format table-flipped "$project/$tarball" || failed=1
echo "--- publint"
"$tools/node_modules/.bin/publint" run "$project/$tarball" --strict || failed=1
[ "$failed" = 0 ] && echo "sdk-node: ok" || echo "sdk-node: FAILED"
exit "$failed"
