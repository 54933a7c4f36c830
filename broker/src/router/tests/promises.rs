//! Promises, each proved by one test.
