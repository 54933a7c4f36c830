//! `trunkline new`: writes a plugin to begin with, from the scaffolds of `trunkline-templates`.
//!
//! Offline, and complete by flags; questions are asked on a terminal alone. What it wrote is recorded in
//! `.trunkline-template.json`, and only that is ever written over.

mod ask;
mod command;
mod place;
mod record;
#[cfg(test)]
mod tests;

pub(crate) use command::{NewArgs, run};
