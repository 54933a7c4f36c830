//! Tests of the core as a whole: frames in, frames out, over a memory store and a virtual clock.

mod admin;
mod blob;
mod by_hand;
mod dead_letters;
pub(crate) mod driver;
mod failures;
mod files;
mod hook;
mod kv;
mod lives;
mod lock;
mod metrics;
mod private;
mod process;
mod progress;
mod publish;
mod pulse;
mod retention;
mod spans;
mod switch;
mod switch_subscriptions;
mod tail;
mod timer;
mod tools;
mod tools_declare;
mod tools_event;
mod tools_stream;
