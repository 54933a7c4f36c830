//! `trunkline tools client`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use trunkline_contract::error::Code;
use trunkline_contract::typed::{Language, client};

use super::place::{Found, look, put};
use super::source::{from_daemon, from_path, of_plugins};
use crate::cli::client::ConnectArgs;
use crate::cli::failure::{EXIT_NO, Failure};
use crate::cli::output::{data, say};

/// A language as it is named on the command line.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Lang {
    /// A module for Python 3.10 and newer.
    Python,
    /// A module in TypeScript.
    Node,
    /// A module in Rust.
    Rust,
}

/// Of what, in which language, and where to.
#[derive(Debug, Args)]
pub(crate) struct ClientArgs {
    #[command(flatten)]
    connect: ConnectArgs,
    /// The language.
    #[arg(long, value_enum)]
    lang: Lang,
    /// Take the tools from what `tools list --json` wrote (- for stdin), or from a plugin's
    /// directory, and not from a running daemon.
    #[arg(long, value_name = "FILE|DIRECTORY|-")]
    from: Option<PathBuf>,
    /// The file that is written, and not stdout; one that was not generated is left as it is.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Only say whether the file is what would be written: status 1 if it is not.
    #[arg(long, requires = "output")]
    check: bool,
    /// Only the tools of these plugins.
    #[arg(value_name = "PLUGIN")]
    plugins: Vec<String>,
}

/// Writes it.
pub(super) fn run(args: &ClientArgs) -> Result<ExitCode, Failure> {
    let tools = match &args.from {
        Some(path) => from_path(path)?,
        None => from_daemon(&args.connect, &args.plugins)?,
    };
    let tools = of_plugins(tools, &args.plugins)?;
    if tools.is_empty() {
        return Err(Failure::new("not_found", EXIT_NO, "there are no tools")
            .hint("trunkline tools list shows what the daemon has"));
    }
    let language = match args.lang {
        Lang::Python => Language::Python,
        Lang::Node => Language::Node,
        Lang::Rust => Language::Rust,
    };
    let text = client(&tools, language).map_err(|error| {
        let hint = match error.code {
            Code::QuotaExceeded => "name the plugins whose tools are wanted",
            _ => "give what `trunkline tools list --json` writes",
        };
        Failure::from(error).hint(hint)
    })?;
    let Some(path) = &args.output else {
        data(text.trim_end_matches('\n'))?;
        return Ok(ExitCode::SUCCESS);
    };
    let found = look(path, &text)?;
    let name = path.display();
    match (found, args.check) {
        (Found::Same, _) => say(&format!("{name} is up to date")),
        (_, false) => {
            put(path, &text)?;
            say(&format!("wrote {name}"));
        }
        (Found::Nothing | Found::Other, true) => {
            return Err(Failure::new("stale", EXIT_NO, format!("{name} is stale"))
                .hint("run the same command without --check"));
        }
    }
    Ok(ExitCode::SUCCESS)
}
