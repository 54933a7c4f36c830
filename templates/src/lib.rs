//! What `trunkline new` writes: the scaffolds of plugins, embedded, listed and filled in.
//!
//! A scaffold is a [`Template`] in one [`Lang`]: eight patterns in every language, and starters for channels in the
//! one that suits each. [`render`] gives its files as paths and bytes. Not here: where they are written, and what
//! stands in the way; nothing in this crate does I/O.
//!
//! The files lie beside this crate, as they are written, in three layers of which a later one wins: `common/<lang>`,
//! `<group>/<template>`, `<group>/<template>/<lang>`. `{{key}}` is filled in; `{config.key}` is the SDK's and stays. A name
//! loses `.tmpl`, which keeps Cargo from taking a `Cargo.toml` for one of ours, and begins with a dot for `dot_`.

mod catalogue;
mod lang;
mod render;

pub use catalogue::{Group, Template, all, find};
pub use lang::Lang;
pub use render::{File, RenderError, VERSION, render};
