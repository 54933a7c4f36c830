//! The SDKs for Python and Node against loops written by hand and against nexo's SDKs, over the plugin's link and
//! through the daemon.
//!
//! The plugins are in `tests/bench/python` and `tests/bench/node`; `tests/bench/setup` makes the interpreter and
//! the project that have the SDKs.

pub mod contestant;
pub mod cost;
pub mod daemon;
pub mod drive;
pub mod frame;
pub mod link;
pub mod memory;
pub mod plugin;
pub mod speed;
pub mod starts;

use anyhow::bail;

use super::table;
use contestant::Options;

const PARTS: [&str; 4] = ["sdk-link", "sdk-starts", "sdk-memory", "sdk-daemon"];

/// Runs a part, or all of them for `sdk`, and prints its table.
///
/// # Errors
/// When a plugin ends or misbehaves, or there is no such part.
pub fn run(part: &str, options: &Options) -> anyhow::Result<()> {
    let contestants = contestant::all(options)?;
    let parts: &[&str] = match part {
        "sdk" => &PARTS,
        part if PARTS.contains(&part) => &[part],
        other => bail!(
            "expected sdk or one of {}, found {other:?}",
            PARTS.join(", ")
        ),
    };
    for part in parts {
        eprintln!("\n{part}");
        let figures = match *part {
            "sdk-link" => speed::run(options, &contestants)?,
            "sdk-starts" => starts::run(options, &contestants)?,
            "sdk-memory" => memory::run(options, &contestants)?,
            _ => daemon::run(options, &contestants)?,
        };
        table::print(&figures)?;
    }
    Ok(())
}
