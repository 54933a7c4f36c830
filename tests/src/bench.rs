//! Benchmarks: each compares with a limit measured in the same round, so that a noisy machine moves
//! both sides.

pub mod store;
