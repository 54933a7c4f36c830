//! The command that makes a compiled plugin.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};

use crate::line::HINT;
use crate::supervisor::cause::{cause, remedy};

/// What is kept of a build's output, in bytes: its beginning, since the first errors are what one wants to see.
const OUTPUT_BYTES_MAX: usize = 1 << 20;
/// What is kept of its end, in bytes: the exit status.
const END_BYTES: usize = 64;
/// How long a build may take.
const BUILD_TIME_MAX: Duration = Duration::from_mins(30);
/// Runs the words after it and says their exit status: the daemon reaps every child that the supervisor did not
/// start, so that it cannot be asked of the system.
const SCRIPT: &str = "\"$@\" 2>&1; printf '\\nexit %s' \"$?\"";

/// Builds a plugin. The error says what is wrong where.
pub(crate) async fn build(words: &[String], dir: &Path) -> Result<(), String> {
    let mut command = tokio::process::Command::new("sh");
    command
        .args(["-c", SCRIPT, "sh"])
        .args(words)
        .current_dir(dir);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    command.kill_on_drop(true);
    let name = words.join(" ");
    let mut child = command
        .spawn()
        .map_err(|error| format!("{name}: {error}"))?;
    let Some(stdout) = child.stdout.take() else {
        return Err(format!("{name}: its output cannot be read"));
    };
    let read = tokio::time::timeout(BUILD_TIME_MAX, output_of(stdout)).await;
    let read = read.map_err(|_| format!("{name} did not end within {BUILD_TIME_MAX:?}"))?;
    let (said, end) = read.map_err(|error| format!("{name}: {error}"))?;
    let (said, end) = (
        String::from_utf8_lossy(&said),
        String::from_utf8_lossy(&end),
    );
    let (_, status) = end.rsplit_once("\nexit ").unwrap_or(("", "unknown"));
    let output = said
        .rsplit_once("\nexit ")
        .map_or(&*said, |(output, _)| output);
    if status == "0" {
        return Ok(());
    }
    let hint = remedy(output, dir).map_or_else(String::new, |remedy| format!("{HINT}{remedy}"));
    let end = format!("{name} ended with status {status}{hint}");
    Err(match cause(output, dir) {
        Some(cause) => format!("{cause}; {end}"),
        None => end,
    })
}

/// The beginning and the end of what a build prints. All of it is read: a pipe that nobody reads would end the build.
async fn output_of(mut stdout: impl AsyncRead + Unpin) -> std::io::Result<(Vec<u8>, Vec<u8>)> {
    let (mut said, mut end, mut chunk) = (Vec::new(), Vec::new(), vec![0; 8192]);
    loop {
        let read = stdout.read(&mut chunk).await?;
        if read == 0 {
            return Ok((said, end));
        }
        let new = &chunk[..read];
        let room = OUTPUT_BYTES_MAX - said.len();
        said.extend_from_slice(&new[..read.min(room)]);
        end.extend_from_slice(new);
        end.drain(..end.len().saturating_sub(END_BYTES));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_build_that_prints_a_lot_is_judged_by_its_status() {
        let here = tempfile::tempdir().expect("a directory");
        let words = |script: &str| ["sh", "-c", script].map(str::to_owned);
        let long = "i=0; while [ $i -lt 40 ]; do printf '%65536s\\n' x; i=$((i+1)); done";
        build(&words(long), here.path())
            .await
            .expect("it ended well");
        let bad = format!("echo first; {long}; exit 7");
        let error = build(&words(&bad), here.path()).await.unwrap_err();
        assert!(error.ends_with("ended with status 7"), "{error}");
        let error = build(&words("exit 7"), here.path()).await.unwrap_err();
        assert_eq!(error, "sh -c exit 7 ended with status 7");
    }

    #[tokio::test]
    async fn a_build_without_its_packages_says_how_they_are_had() {
        let here = tempfile::tempdir().expect("a directory");
        std::fs::write(here.path().join("package.json"), "{}").expect("a file");
        let words = ["sh", "-c", "no-such-compiler"].map(str::to_owned);
        let error = build(&words, here.path()).await.unwrap_err();
        let (said, hint) = error.split_once("; hint: ").expect("there is one");
        assert!(said.ends_with("ended with status 127"), "{said}");
        assert_eq!(hint, format!("npm install in {}", here.path().display()));
    }
}
