//! What a process finds when it starts.

use trunkline_broker::supervisor::{Incident, State, Transport};

use crate::fake::{READY_PY, READY_SH, WAIT_SH, World, read};

/// Proves L3: a process starts in its plugin's directory, and a relative command is found there
/// whatever the daemon's directory is.
#[tokio::test(flavor = "multi_thread")]
async fn a_relative_command_runs_in_the_plugins_directory() {
    use std::os::unix::fs::PermissionsExt;
    let world = World::new();
    let mut spec = world.sh("echo", "");
    let bin = spec.dir.join("bin");
    std::fs::create_dir(&bin).unwrap();
    let text = format!("#!/bin/sh\npwd > \"$HOME/pwd\"\n{READY_SH}{WAIT_SH}");
    std::fs::write(bin.join("x"), text).unwrap();
    std::fs::set_permissions(bin.join("x"), std::fs::Permissions::from_mode(0o755)).unwrap();
    spec.command = vec!["./bin/x".to_owned()];
    let (dir, state_dir) = (spec.dir.clone(), spec.state_dir.clone());
    let key = world.start(spec).await;
    world.until(&key, State::Ready).await;
    assert_eq!(read(state_dir.join("pwd")).trim(), dir.to_str().unwrap());
}

/// Proves L4: the environment holds what is declared and nothing of the daemon's own.
#[tokio::test(flavor = "multi_thread")]
async fn the_environment_holds_only_what_is_granted() {
    let world = World::with(|setup| {
        setup.environment = std::sync::Arc::new(|name| match name {
            "PATH" => Some("/usr/bin:/bin".to_owned()),
            "BOT_TOKEN" => Some("mine".to_owned()),
            "OTHER_TOKEN" => Some("not mine".to_owned()),
            _ => None,
        });
    });
    let mut spec = world.sh("echo", &format!("{READY_SH}{WAIT_SH}"));
    spec.environment = vec!["BOT_TOKEN".to_owned()];
    let state_dir = spec.state_dir.clone();
    let key = world.start(spec).await;
    world.until(&key, State::Ready).await;
    let environ = read(format!("/proc/{}/environ", world.pid(&key).await));
    let mut variables: Vec<&str> = environ.split('\0').filter(|v| !v.is_empty()).collect();
    variables.sort_unstable();
    let run = variables.pop().unwrap();
    assert!(
        run.starts_with("TRUNKLINE_RUN="),
        "names the daemon's life: {run}"
    );
    assert_eq!(
        variables,
        [
            "BOT_TOKEN=mine",
            &format!("HOME={}", state_dir.display()),
            "PATH=/usr/bin:/bin",
            "TRUNKLINE_INSTANCE=default",
            "TRUNKLINE_LINK_FD=3",
            "TRUNKLINE_PLUGIN=echo",
        ]
    );
}

/// Proves W9 (the process's part): a process inherits its link and its logs, and no other
/// descriptor; it leads its own group, gets no new privileges and its limits are set.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_inherits_its_link_and_its_logs_only() {
    let world = World::new();
    let key = world
        .start(world.python("echo", &format!("{READY_PY}link.readline()\n")))
        .await;
    world.until(&key, State::Ready).await;
    let pid = world.pid(&key).await;
    let mut fds: Vec<(String, String)> = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| {
            let target = std::fs::read_link(entry.path())
                .unwrap()
                .display()
                .to_string();
            let kind = target.split(':').next().unwrap().to_owned();
            (entry.file_name().into_string().unwrap(), kind)
        })
        .collect();
    fds.sort();
    let expected = [
        ("0", "/dev/null"),
        ("1", "pipe"),
        ("2", "pipe"),
        ("3", "socket"),
    ];
    assert_eq!(
        fds,
        expected.map(|(fd, kind)| (fd.to_owned(), kind.to_owned()))
    );

    let stat = read(format!("/proc/{pid}/stat"));
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .unwrap()
        .1
        .split_whitespace()
        .collect();
    assert_eq!(
        (fields[2], fields[3]),
        (&*pid.to_string(), &*pid.to_string()),
        "group, session"
    );
    assert!(read(format!("/proc/{pid}/status")).contains("NoNewPrivs:\t1"));
    let limits = read(format!("/proc/{pid}/limits"));
    let limit = |name: &str| {
        let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
        line[name.len()..]
            .split_whitespace()
            .next()
            .unwrap()
            .to_owned()
    };
    assert_eq!(limit("Max open files"), "1024");
    assert_eq!(limit("Max file size"), (1_u64 << 30).to_string());
    assert_eq!(limit("Max core file size"), "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn standard_input_and_output_can_be_the_link() {
    let world = World::new();
    let text = "echo standby; read -r word; echo ready; echo log >&2; read -r word; exit 0";
    let mut spec = world.sh("echo", text);
    spec.transport = Transport::Stdio;
    let key = world.start(spec).await;
    world.until(&key, State::Ready).await;
    world.supervisor.disable(&key).await.unwrap();
    world.until(&key, State::Disabled).await;
    let lines = world.logs.last(&key, 10).await.unwrap();
    assert_eq!(lines[0].line, "log");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_cannot_run_is_reported_with_its_path_and_the_systems_words() {
    let world = World::new();
    let mut spec = world.sh("echo", "");
    spec.command = vec!["./bin/nothing".to_owned()];
    let path = spec.dir.join("./bin/nothing");
    let key = world.start(spec).await;
    let told = world
        .nth(1, |told| {
            told.key == key && told.report.incident == Some(Incident::NotStarted)
        })
        .await;
    let expected = format!(
        "cannot execute `{}`: No such file or directory (os error 2)",
        path.display()
    );
    assert_eq!(told.report.reason, Some(expected));
    let lines = world.logs.last(&key, 1).await.unwrap();
    assert!(lines[0].line.contains("bin/nothing"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_interpreter_is_explained() {
    use std::os::unix::fs::PermissionsExt;
    let world = World::new();
    let mut spec = world.sh("echo", "#!/no/such/interpreter\n");
    let script = spec.dir.join("script");
    std::fs::set_permissions(script, std::fs::Permissions::from_mode(0o755)).unwrap();
    spec.command = vec!["./script".to_owned()];
    let key = world.start(spec).await;
    let told = world.until(&key, State::BackingOff).await;
    assert!(
        told.report
            .reason
            .unwrap()
            .contains("interpreter in its first line")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_keeps_a_slow_start_alive() {
    let world = World::new();
    let slow =
        "import time\nfor n in range(8):\n  time.sleep(0.4)\n  say(\"progress\")\nsay(\"ready\")";
    let text = READY_PY.replace("say(\"ready\")", slow) + "link.readline()\n";
    let mut spec = world.python("login", &text);
    spec.timeouts.start_ms = 2_500;
    let key = world.start(spec).await;
    world.until(&key, State::Ready).await;
    assert!(
        world
            .told()
            .iter()
            .all(|told| told.report.incident.is_none())
    );
}
