//! Benchmarks: each compares with a limit measured in the same round, so that a noisy machine moves
//! both sides.

pub mod echo;
pub mod fleet;
pub mod links;
#[cfg(feature = "nats")]
pub mod publish;
pub mod relay;
pub mod rig;
pub mod round_trip;
pub mod scale;
pub mod sdk;
pub mod store;
pub mod table;
pub mod tool_call;
pub mod webhook;
