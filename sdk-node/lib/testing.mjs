// The same objects for `import`.
import testing from "./testing.js";

export const { TestBroker, play } = testing;
