"use strict";
// Parts of something that arrives in pieces.

/** Options of an assembler, and their names for the core. */
const ASSEMBLE = {
  silence: "silence",
  maxAge: "max_age",
  maxParts: "max_parts",
  maxBytes: "max_bytes",
  timeout: "timeout",
};

class Part {
  /**
   * @param {unknown} data
   * @param {{ session: string, group?: string, seq?: number, total?: number, final?: boolean, kind?: string }} of
   */
  constructor(data, { session, group, seq, total, final = false, kind }) {
    this.data = data;
    this.session = session;
    this.group = group;
    this.seq = seq;
    this.total = total;
    this.final = final;
    this.kind = kind;
  }
}

/** Reads what an assembler gets. @param {any[]} parts */
function partsOf(parts) {
  return parts.map(({ data, ...of }) => new Part(data, of));
}

/** @param {Part} part */
function partArgs({ data, ...of }) {
  return { ...of, data: data === undefined ? null : data };
}

module.exports = { ASSEMBLE, Part, partArgs, partsOf };
