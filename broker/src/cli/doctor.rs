//! `trunkline doctor`: what is wrong, with or without a running daemon.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use trunkline_contract::rpc::admin::{DoctorResult, Finding, Severity};
use trunkline_contract::rpc::{Empty, method};

use super::client::{Client, ConnectArgs};
use super::failure::{EXIT_NO, Failure};
use super::output::{self, OutputArgs};
use crate::config::{Config, DiskFiles, load};

/// Which daemon, and how findings are shown.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    connect: ConnectArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Looks at everything; status 1 if something is an error.
pub(crate) fn run(args: &DoctorArgs) -> Result<ExitCode, Failure> {
    let mut findings = config_findings(args)?;
    if let Ok((socket, token)) = args.connect.find() {
        findings.extend(token_findings(&token));
        findings.extend(daemon_findings(args, &socket)?);
    }
    findings.sort_by(|a, b| b.severity.cmp(&a.severity).then(a.code.cmp(&b.code)));
    let result = DoctorResult { findings };
    if args.output.json {
        output::json(&result)?;
    } else if result.findings.is_empty() {
        output::data("all is well")?;
    } else {
        for finding in &result.findings {
            output::data(&render(finding))?;
        }
    }
    let is_bad = result
        .findings
        .iter()
        .any(|finding| finding.severity == Severity::Error);
    Ok(if is_bad {
        ExitCode::from(EXIT_NO)
    } else {
        ExitCode::SUCCESS
    })
}

fn finding(code: &str, severity: Severity, text: String, hint: &str) -> Finding {
    Finding {
        code: code.to_owned(),
        severity,
        text,
        hint: hint.to_owned(),
    }
}

fn config_findings(args: &DoctorArgs) -> Result<Vec<Finding>, Failure> {
    let config_args = &args.connect.config;
    if args.connect.socket.is_some() && !config_args.config.exists() {
        // The daemon was named without its config: there is nothing to check.
        return Ok(Vec::new());
    }
    let loaded = load(&config_args.sources()?, &DiskFiles);
    let mut findings: Vec<Finding> = loaded
        .diagnostics
        .iter()
        .map(|diagnostic| {
            let severity = if diagnostic.is_error() {
                Severity::Error
            } else {
                Severity::Warning
            };
            finding(
                diagnostic.code,
                severity,
                format!("{}: {}", diagnostic.place(), diagnostic.message),
                diagnostic.hint.as_deref().unwrap_or_default(),
            )
        })
        .collect();
    if let Some(config) = &loaded.config {
        findings.extend(disk_findings(config));
        findings.extend(command_findings(config));
    }
    Ok(findings)
}

/// Is the disk below the data directory full?
fn disk_findings(config: &Config) -> Option<Finding> {
    let data_dir = &config.broker.data_dir;
    let there = data_dir.ancestors().find(|dir| dir.is_dir())?;
    let facts = rustix::fs::statvfs(there).ok()?;
    let usable = facts.f_blocks - facts.f_bfree + facts.f_bavail;
    if usable == 0 {
        return None;
    }
    let used = 100 * (usable - facts.f_bavail) / usable;
    let store = &config.store;
    let text = format!("the disk of {} is {used} % full", data_dir.display());
    if used >= u64::from(store.disk_full_percent) {
        let hint = "publishes are refused with storage_full: free space, or raise \
                    store.disk_full_percent";
        return Some(finding("disk_full", Severity::Error, text, hint));
    }
    (used >= u64::from(store.disk_warn_percent)).then(|| {
        let hint = "free space before publishes are refused";
        finding("disk_nearly_full", Severity::Warning, text, hint)
    })
}

/// Are the plugins' programs there, as far as they are files of the plugin?
fn command_findings(config: &Config) -> Vec<Finding> {
    config
        .instances
        .iter()
        .filter_map(|spec| {
            let program = spec.manifest.command.first()?;
            let path = spec.dir.join(program);
            (program.contains('/') && !path.is_file()).then(|| {
                finding(
                    "command_missing",
                    Severity::Error,
                    format!("{}: there is no {}", spec.key(), path.display()),
                    "build the plugin, or correct command in its plugin.toml",
                )
            })
        })
        .collect()
}

/// May others read the token?
fn token_findings(token: &Path) -> Option<Finding> {
    let mode = std::fs::metadata(token).ok()?.mode() & 0o777;
    (mode & 0o077 != 0).then(|| {
        finding(
            "token_readable",
            Severity::Error,
            format!(
                "{} has mode {mode:03o}: others can use the broker",
                token.display()
            ),
            &format!("chmod 600 {}", token.display()),
        )
    })
}

fn daemon_findings(args: &DoctorArgs, socket: &Path) -> Result<Vec<Finding>, Failure> {
    let mut client = match Client::connect(&args.connect) {
        Ok(client) => client,
        Err(failure) => {
            let text = failure.text();
            return Ok(vec![if socket.exists() {
                let hint = "trunkline up replaces a socket that a killed daemon left";
                finding(
                    "daemon_unreachable",
                    Severity::Warning,
                    text.to_owned(),
                    hint,
                )
            } else {
                finding("no_daemon", Severity::Info, text.to_owned(), "trunkline up")
            }]);
        }
    };
    let result: DoctorResult = client.call(method::ADMIN_DOCTOR, &Empty {})?;
    Ok(result.findings)
}

fn render(finding: &Finding) -> String {
    let severity = match finding.severity {
        Severity::Info => "info",
        Severity::Warning => "warning",
        Severity::Error => "error",
    };
    let hint = if finding.hint.is_empty() {
        String::new()
    } else {
        format!("\n  hint: {}", finding.hint)
    };
    format!("{severity}: {}: {}{hint}", finding.code, finding.text)
}
