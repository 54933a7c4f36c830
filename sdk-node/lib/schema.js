"use strict";
// Schemas of libraries: values are checked by them, and tools declare what they say as JSON Schema.

const { TrunklineError } = require("./errors.js");
const native = require("./native.js");

/**
 * Checks a value against a Standard Schema.
 * @param {any} schema @param {any} value
 * @returns {Promise<{ value?: any, issues?: string }>}
 */
async function validated(schema, value) {
  const found = await schema["~standard"].validate(value);
  if (!found.issues) return { value: found.value };
  const issues = found.issues.slice(0, 8).map((/** @type {any} */ issue) => `${pointer(issue.path)}: ${issue.message}`);
  return { issues: issues.join("; ") };
}

/** Writes a path as a JSON pointer. @param {any[] | undefined} path */
function pointer(path) {
  const parts = (path ?? []).map((part) => String(typeof part === "object" ? part.key : part));
  return parts.map((part) => `/${part.replaceAll("~", "~0").replaceAll("/", "~1")}`).join("") || "/";
}

/** @param {any} given */
function isStandard(given) {
  return (typeof given === "object" || typeof given === "function") && given !== null && given["~standard"] !== undefined;
}

/** @param {any} given */
function isPlain(given) {
  if (typeof given === "boolean") return true;
  if (typeof given !== "object" || given === null || Array.isArray(given)) return false;
  const prototype = Object.getPrototypeOf(given);
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}

/**
 * Gives the JSON Schema that one side of a tool declares, and what the schema says of itself.
 * @param {string} tool @param {"input" | "output"} side @param {any} given
 * @returns {{ schema: any, description: string }}
 */
function toolSchema(tool, side, given) {
  const refuse = (/** @type {string} */ text) =>
    new TrunklineError("invalid_arguments", `tool ${JSON.stringify(tool)}: ${text}`);
  if (given === undefined || (!isStandard(given) && isPlain(given))) return { schema: given, description: "" };
  if (!isStandard(given)) {
    const found = typeof given === "object" && given !== null ? given.constructor?.name ?? "an object" : typeof given;
    throw refuse(`expected ${side} to be a JSON Schema or a Standard Schema, found ${found}`);
  }
  const { vendor, jsonSchema } = given["~standard"];
  if (typeof jsonSchema?.[side] !== "function") {
    throw refuse(
      `expected ${side} to be a Standard Schema that offers its JSON Schema, found one of ${vendor} that offers none; ` +
        "hint: zod 4.2 or newer, ArkType 2.1.28 or newer, toStandardJsonSchema of @valibot/to-json-schema, or a JSON Schema",
    );
  }
  let made;
  try {
    made = JSON.stringify(jsonSchema[side]({ target: "draft-2020-12" }));
  } catch (error) {
    throw refuse(`${side}: the schema of ${vendor} has no JSON Schema: ${/** @type {any} */ (error).message}`);
  }
  try {
    const { schema, description } = JSON.parse(native.toolSchema(tool, side === "output", made));
    // Of what says nothing there is nothing to check: for the core that is `true`.
    return { schema: schema ?? (side === "input" ? true : undefined), description };
  } catch (error) {
    throw TrunklineError.fromNative(error);
  }
}

module.exports = { isStandard, toolSchema, validated };
