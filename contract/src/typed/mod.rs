//! Types in Python, TypeScript and Rust, written from JSON Schemas.
//!
//! | module | concept |
//! |---|---|
//! | `shape` | what a schema admits, and how shapes are joined |
//! | `read` | a JSON Schema to a shape |
//! | `budget` | how much may be made of a schema |
//! | `model` | named types, as they are written |
//! | `document` | what references of one schema lead to |
//! | `circles` | what leads back to itself |
//! | `collect` | shapes to named types |
//! | `clients` | tools to classes with a method for each |
//! | `payloads` | the standard payloads, in one set of types |
//! | `told` | which alternatives a value tells apart |
//! | `python`, `typescript`, `rust` | the text in each language |
//!
//! Invariants: a type admits every value that its schema admits. What a language cannot say becomes
//! a wider type, at last the one of any JSON value; never one that refuses a value that may come. One
//! exception: a whole number in Rust has 64 bits, and is not written with a fraction (`3.0`).
//! Keywords that only narrow (`pattern`, `not`, `if`) are left to the broker, which checks every
//! call. The same input gives the same text. Depth, schemas read, parts copied to join them and types
//! written are bounded; beyond is any JSON value.

mod budget;
mod circles;
mod clients;
mod collect;
mod document;
mod model;
mod names;
mod payloads;
mod python;
mod read;
mod rust;
mod shape;
#[cfg(test)]
mod tests;
mod text;
mod told;
mod typescript;

pub use clients::{CLIENT_MARK, Language, TOOLS_OF_A_CLIENT_MAX, client};
pub use payloads::{PayloadFile, payload_files};
