"use strict";
// Loads the prebuilt native half, or says which platform has none.

/** @returns {string} The platform in the words of the file names. */
function platform() {
  const { platform, arch } = process;
  if (platform !== "linux") return `${platform}-${arch}`;
  const report = /** @type {any} */ (process.report);
  const excluded = report.excludeNetwork;
  report.excludeNetwork = true;
  const isGlibc = report.getReport().header.glibcVersionRuntime !== undefined;
  report.excludeNetwork = excluded;
  return `linux-${arch}-${isGlibc ? "gnu" : "musl"}`;
}

function load() {
  if (process.platform === "linux" && process.arch === "x64") {
    try {
      // @ts-ignore: it has no types of its own.
      return require("../trunkline.linux-x64-gnu.node");
    } catch (error) {
      throw refusal(error);
    }
  }
  throw refusal(undefined);
}

/** @param {any} cause */
function refusal(cause) {
  const name = platform();
  const found =
    name === "linux-x64-gnu"
      ? `its file trunkline.${name}.node cannot be loaded: ${cause?.message}`
      : `this is ${name}`;
  const error = new Error(
    `trunkline has a prebuilt library for linux-x64-gnu; ${found}\n` +
      "hint: install the package again, or build it from a checkout: node sdk-node/build.mjs",
    { cause },
  );
  return Object.assign(error, { code: "ERR_TRUNKLINE_PLATFORM", platform: name });
}

module.exports = load();
