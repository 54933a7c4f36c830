//! Syscalls that fail or are late on purpose: a child runs under strace, which gives chosen calls an error, or holds
//! them up.

use std::io::Result;
use std::process::Command;
use std::time::Duration;

use crate::tool::{Tool, debian_tool};

/// Which calls fail, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Injection {
    /// Name of the syscall, for example `fdatasync`.
    pub call: &'static str,
    /// What happens to it, as strace says it, for example `error=EIO`.
    pub effect: String,
    /// Which calls of each thread: `3` is the third, `3+` the third and all later ones.
    pub when: String,
}

impl Injection {
    /// The `nth` call of `call` fails with `EIO`.
    pub fn eio(call: &'static str, nth: u32) -> Self {
        Self {
            call,
            effect: "error=EIO".to_owned(),
            when: nth.to_string(),
        }
    }

    /// The `nth` call of `call` begins later.
    pub fn late(call: &'static str, by: Duration, nth: u32) -> Self {
        Self {
            call,
            effect: format!("delay_enter={}", by.as_micros()),
            when: nth.to_string(),
        }
    }
}

/// Words to put before a command so that it runs with `injections`.
///
/// strace runs beside its child, not above it: the process that is started is the program itself, with its
/// own exit status and signals.
///
/// # Errors
/// strace is not here and cannot be fetched.
pub fn prefix(injections: &[Injection]) -> Result<(Tool, Vec<String>)> {
    let strace = debian_tool("strace")?;
    let calls: Vec<_> = injections.iter().map(|injection| injection.call).collect();
    let mut words: Vec<String> = ["-D", "-f", "-qq", "--seccomp-bpf", "-o", "/dev/null", "-e"]
        .map(str::to_owned)
        .to_vec();
    words.push(format!("trace={}", calls.join(",")));
    for Injection { call, effect, when } in injections {
        words.extend(["-e".into(), format!("inject={call}:{effect}:when={when}")]);
    }
    words.push("--".into());
    Ok((strace, words))
}

/// Makes a command of `program` that runs with `injections`.
///
/// # Errors
/// strace is not here and cannot be fetched.
pub fn command(program: &str, injections: &[Injection]) -> Result<Command> {
    let (strace, words) = prefix(injections)?;
    let mut command = strace.command();
    command.args(words).arg(program);
    Ok(command)
}
