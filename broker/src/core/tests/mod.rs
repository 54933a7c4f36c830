//! Tests of the core as a whole: frames in, frames out, over a memory store and a virtual clock.

pub(crate) mod driver;
mod kv;
mod lock;
mod publish;
