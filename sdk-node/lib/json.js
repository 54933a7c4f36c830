"use strict";
// JSON on its way to the core and back, with integers beyond 2^53 as BigInt.
//
// The usual text is plain JSON. Only where that would lie (a BigInt, a NaN that JSON turns into
// null, a string that looks like a mark) the *tagged* form is used: an integer is the string
// "\0n<digits>", what has no JSON form "\0x <name>", a string that begins with U+0000 has one more.

const { TrunklineError } = require("./errors.js");

/** @param {string} _key @param {unknown} value */
function mark(_key, value) {
  switch (typeof value) {
    case "bigint":
      return `\0n${value}`;
    case "number":
      return Number.isFinite(value) ? value : `\0x ${value}`;
    case "string":
      return value.charCodeAt(0) === 0 ? `\0${value}` : value;
    default:
      return value;
  }
}

/** @param {string} _key @param {unknown} value */
function unmark(_key, value) {
  if (typeof value !== "string" || value.charCodeAt(0) !== 0) return value;
  if (value[1] !== "n") return value.slice(1);
  const digits = value.slice(2);
  const number = Number(digits);
  return Number.isSafeInteger(number) ? number : BigInt(digits);
}

/**
 * Says whether a number stands behind one of the `null`s of a text, though JSON has none for it.
 * @param {any} value What was written.
 * @param {string} text
 */
function hidesNumber(value, text) {
  let at = text.indexOf("null");
  if (at < 0) return false;
  let nulls = 0;
  for (; at >= 0; at = text.indexOf("null", at + 4)) nulls++;
  // Once as many are found in the value as the text has, no other can hide there.
  return behind(value, nulls) < 0;
}

/**
 * Counts down for every `null`; a negative number says that one is none.
 * @param {any} value
 * @param {number} nulls
 * @returns {number}
 */
function behind(value, nulls) {
  if (value === null) return nulls - 1;
  if (typeof value === "number") return Number.isFinite(value) ? nulls : -1;
  if (typeof value !== "object") return nulls;
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length && nulls > 0; i++) nulls = behind(value[i], nulls);
    return nulls;
  }
  if (typeof value.toJSON === "function") return value instanceof Date ? nulls : -1;
  for (const key in value) {
    nulls = behind(value[key], nulls);
    if (nulls <= 0) break;
  }
  return nulls;
}

/** @param {any} error */
function noJson(error) {
  const message = `a payload must be valid JSON: ${String(error?.message ?? error).split("\n")[0]}`;
  return new TrunklineError("invalid_payload", message, { cause: error });
}

/**
 * Writes a value for the core.
 * @param {unknown} value
 * @returns {{ text: string, tagged: boolean }}
 */
function encode(value) {
  let text;
  try {
    text = JSON.stringify(value);
  } catch {
    return tagged(value);
  }
  if (text === undefined) return { text: "null", tagged: false };
  if (text.includes("\\u0000") || hidesNumber(value, text)) return tagged(value);
  return { text, tagged: false };
}

/** @param {unknown} value */
function tagged(value) {
  try {
    return { text: JSON.stringify(value, mark), tagged: true };
  } catch (error) {
    throw noJson(error);
  }
}

/**
 * Reads a tagged text.
 * @param {string} text
 */
function decodeTagged(text) {
  return JSON.parse(text, unmark);
}

module.exports = { encode, decodeTagged };
