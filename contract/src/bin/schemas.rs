//! Writes `contract/schemas/*.json`; with `--check`, only says whether they are stale.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use trunkline_contract::schema::files;

fn main() -> io::Result<ExitCode> {
    let is_check = match std::env::args().nth(1).as_deref() {
        None => false,
        Some("--check") => true,
        Some(other) => {
            writeln!(io::stderr(), "expected --check or nothing, found {other:?}")?;
            return Ok(ExitCode::from(2));
        }
    };
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas");
    let mut is_stale = false;
    if !is_check {
        std::fs::create_dir_all(&directory)?;
    }
    for file in files() {
        let path = directory.join(file.name);
        if std::fs::read_to_string(&path).is_ok_and(|text| text == file.text) {
            continue;
        }
        is_stale = true;
        if is_check {
            writeln!(io::stderr(), "schemas/{} is stale", file.name)?;
        } else {
            std::fs::write(&path, &file.text)?;
            writeln!(io::stdout(), "wrote schemas/{}", file.name)?;
        }
    }
    Ok(if is_check && is_stale {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}
