//! Tests of what each part of the daemon is started with.

use trunkline_contract::manifest::Supervisor;

use super::*;
use crate::store::DedupeWindow;
use crate::supervisor::{Limits, LogLimits, Timeouts, Transport};

/// Proves Q3: the defaults of the file are the defaults of the parts that it configures.
#[test]
fn the_parts_have_the_defaults_of_the_file() {
    let config = config("");
    let retention = format!("{:?}", crate::core::Retention::default());
    assert_eq!(format!("{:?}", config.retention()), retention);
    assert_eq!(config.dedupe_window(), DedupeWindow::default());
    assert_eq!(config.log_limits(), LogLimits::default());
    let (manifest, timeouts) = (Supervisor::default(), Timeouts::default());
    assert_eq!(
        manifest.start_timeout,
        Duration::from_millis(timeouts.start_ms)
    );
    assert_eq!(
        manifest.stop_timeout,
        Duration::from_millis(timeouts.stop_ms)
    );
}

#[test]
fn an_instance_reaches_the_core_and_the_supervisor_whole() {
    let config = config(&format!("{TWO}\n[[plugins.old]]\n"));
    let support = config.instance("telegram", "support-bot").unwrap();
    let setup = config.instance_setup(support);
    assert_eq!(setup.key.to_string(), "telegram/support-bot");
    assert_eq!(setup.kinds, ["telegram"]);
    assert_eq!(setup.secrets["bot_token"], "s3cret-support");
    assert_eq!((setup.ping_interval_ms, setup.legacy), (10_000, false));
    let state_dir = "/etc/tl/.trunkline/state/telegram/support-bot";
    assert_eq!(setup.state_dir.as_deref(), Some(state_dir));

    let launch = config.launch_spec(support);
    assert_eq!(launch.state_dir, Path::new(state_dir));
    assert_eq!(launch.command, ["./telegram"]);
    assert_eq!(launch.transport, Transport::Fd);
    let expected = Limits {
        memory_bytes: Some(512 << 20),
        open_files: 64,
        ..Limits::default()
    };
    assert_eq!(launch.limits, expected);
    let sales = config.launch_spec(config.instance("telegram", "sales-bot").unwrap());
    assert!(!sales.is_enabled && sales.restart.after == RestartPolicy::Never);

    let old = config.instance("old", "default").unwrap();
    assert!(config.instance_setup(old).legacy);
    let launch = config.launch_spec(old);
    assert_eq!(launch.transport, Transport::Stdio);
    assert_eq!(launch.variables["RUST_LOG"], "info");
}

#[test]
fn a_client_is_let_in_by_its_token_alone() {
    let tokens = config(TWO).tokens();
    let grant = tokens.find("0123456789abcdef", 0).unwrap();
    assert_eq!(grant.name.as_deref(), Some("agent"));
    assert!(grant.scopes.may_publish("plugin.outbound.x.y").is_ok());
    assert!(tokens.find("0123456789abcdeF", 0).is_none());
}
