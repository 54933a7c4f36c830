//! `conformance [--only NAME[,NAME]] PROGRAM [ARGUMENT…]`: plays the conversations that our SDKs are held to with a program in
//! any language. It is started anew for each, with the name of the plugin to be as its last argument; what that plugin does
//! is in `contract/vectors/transcripts/sdk/README.md`, and the link is what the contract says. The status is 0 when all
//! was said as expected, 1 when not, and 2 for a wrong command.

use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use trunkline_tests::golden::{Subject, folder, play};

const USAGE: &str = "usage: conformance [--only NAME[,NAME]] PROGRAM [ARGUMENT...]";

fn main() -> io::Result<ExitCode> {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    let mut only = None;
    if words.first().is_some_and(|word| word == "--only") && words.len() > 1 {
        only = Some(words.remove(1));
        words.remove(0);
    }
    let transcripts = match transcripts(only.as_deref())? {
        Ok(transcripts) if !words.is_empty() => transcripts,
        Ok(_) => return refuse("expected a program, found nothing"),
        Err(unknown) => return refuse(&format!("there is no conversation {unknown:?}")),
    };
    let subject = Subject::Program(words);
    let (mut passed, mut failed) = (0_usize, 0_usize);
    let mut out = io::stdout();
    for path in &transcripts {
        let name = path.file_name().unwrap_or_default().display();
        let differences = differences(path, &subject)?;
        if differences.is_empty() {
            passed += 1;
            writeln!(out, "ok      {name}")?;
        } else {
            failed += 1;
            writeln!(out, "differs {name}")?;
        }
        for difference in differences {
            writeln!(out, "  {difference}")?;
        }
    }
    writeln!(out, "{passed} passed, {failed} failed")?;
    Ok(ExitCode::from(u8::from(failed > 0)))
}

fn refuse(why: &str) -> io::Result<ExitCode> {
    writeln!(io::stderr(), "error: {why}\n\n{USAGE}")?;
    Ok(ExitCode::from(2))
}

/// All conversations, or these; a name that is none of them.
fn transcripts(only: Option<&str>) -> io::Result<Result<Vec<PathBuf>, String>> {
    let Some(only) = only else {
        let entries = std::fs::read_dir(folder())?;
        let mut all = entries
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<io::Result<Vec<_>>>()?;
        all.retain(|path| path.extension().is_some_and(|end| end == "jsonl"));
        all.sort();
        return Ok(Ok(all));
    };
    let named = only.split(',').map(|name| {
        let path = folder().join(format!("{name}.jsonl"));
        path.is_file().then_some(path).ok_or_else(|| name.into())
    });
    Ok(named.collect())
}

/// What was said otherwise than expected.
fn differences(path: &Path, subject: &Subject) -> io::Result<Vec<String>> {
    let expected = std::fs::read_to_string(path)?;
    let name = path.file_name().unwrap_or_default().display();
    // A conversation that cannot go on ends by a panic that says where.
    let said = match catch_unwind(AssertUnwindSafe(|| play(path, subject))) {
        Ok(said) => said,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).into()));
            return Ok(vec![text.unwrap_or_else(|| format!("{name}: it stopped"))]);
        }
    };
    let pairs = expected.lines().zip(&said).enumerate();
    let other = pairs.filter(|(_, (expected, said))| expected != said);
    Ok(other
        .map(|(number, (expected, said))| {
            let line = number + 1;
            format!("{name}:{line}\n    expected {expected}\n    found    {said}")
        })
        .collect())
}
