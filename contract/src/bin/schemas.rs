//! Writes `contract/schemas/*.json` and the types of the payloads in the Python and the Node package;
//! with `--check`, only says whether they are stale.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use trunkline_contract::schema::files;
use trunkline_contract::typed::payload_files;

fn main() -> io::Result<ExitCode> {
    let is_check = match std::env::args().nth(1).as_deref() {
        None => false,
        Some("--check") => true,
        Some(other) => {
            writeln!(io::stderr(), "expected --check or nothing, found {other:?}")?;
            return Ok(ExitCode::from(2));
        }
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut wanted: Vec<(String, String)> = Vec::new();
    for file in files() {
        wanted.push((format!("contract/schemas/{}", file.name), file.text));
    }
    for file in payload_files() {
        wanted.push((file.path.to_owned(), file.text));
    }
    let mut is_stale = false;
    if !is_check {
        std::fs::create_dir_all(root.join("contract/schemas"))?;
    }
    for (name, text) in wanted {
        let path = root.join(&name);
        if std::fs::read_to_string(&path).is_ok_and(|found| found == text) {
            continue;
        }
        is_stale = true;
        if is_check {
            writeln!(io::stderr(), "{name} is stale")?;
        } else {
            std::fs::write(&path, &text)?;
            writeln!(io::stdout(), "wrote {name}")?;
        }
    }
    Ok(if is_check && is_stale {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}
