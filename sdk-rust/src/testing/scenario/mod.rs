//! Scenarios: one file of JSON that is played against the same plugin in every language.
//!
//! Not a language of tests: what needs a condition or a loop is a test in code.

mod file;
mod lines;
mod player;
