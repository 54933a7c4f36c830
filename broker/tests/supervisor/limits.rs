//! Limits that the operating system enforces, in several languages.
//!
//! Proves L6: a breached limit ends the process with a typed reason.

use trunkline_broker::supervisor::{ExitReport, Incident, LaunchSpec, Limit};

use crate::fake::{READY_PY, World};

async fn exit_of(world: &World, spec: LaunchSpec) -> ExitReport {
    world.start(spec).await;
    let told = world
        .nth(1, |told| told.report.incident == Some(Incident::Crashed))
        .await;
    (*told.report.exit.unwrap()).clone()
}

async fn python(limit: impl FnOnce(&mut LaunchSpec), text: &str) -> ExitReport {
    let world = World::new();
    let mut spec = world.python("greedy", &format!("{READY_PY}{text}"));
    limit(&mut spec);
    exit_of(&world, spec).await
}

async fn node(limit: impl FnOnce(&mut LaunchSpec), text: &str) -> ExitReport {
    let world = World::new();
    let mut spec = world.plugin("greedy", "node", text);
    limit(&mut spec);
    exit_of(&world, spec).await
}

#[tokio::test(flavor = "multi_thread")]
async fn python_that_takes_too_much_memory_ends_with_limit_memory() {
    let exit = python(
        |spec| spec.limits.memory_bytes = Some(128 << 20),
        "blocks = []\nwhile True: blocks.append(bytearray(8 << 20))\n",
    )
    .await;
    assert_eq!(exit.limit, Some(Limit::Memory), "{exit:?}");
    assert!(exit.stderr_tail.ends_with("MemoryError"));
}

#[tokio::test(flavor = "multi_thread")]
async fn python_that_opens_too_many_files_ends_with_limit_open_files() {
    let exit = python(
        |spec| spec.limits.open_files = 64,
        "files = []\nwhile True: files.append(open('/dev/null'))\n",
    )
    .await;
    assert_eq!(exit.limit, Some(Limit::OpenFiles), "{exit:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn python_that_writes_too_large_a_file_ends_with_limit_file_size() {
    let exit = python(
        |spec| spec.limits.file_bytes = 1 << 20,
        "file = open(os.environ['HOME'] + '/large', 'wb', 0)\n\
         while True: file.write(bytes(1 << 16))\n",
    )
    .await;
    assert_eq!(exit.limit, Some(Limit::FileSize), "{exit:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shell_command_that_writes_too_large_a_file_ends_by_the_systems_signal() {
    let world = World::new();
    let mut spec = world.sh(
        "greedy",
        "exec head -c 10000000 /dev/zero > \"$HOME/large\"",
    );
    spec.limits.file_bytes = 1 << 20;
    let exit = exit_of(&world, spec).await;
    assert_eq!((exit.signal, exit.limit), (Some(25), Some(Limit::FileSize)));
}

#[tokio::test(flavor = "multi_thread")]
async fn node_that_takes_too_much_memory_ends_with_limit_memory() {
    let exit = node(
        |spec| spec.limits.memory_bytes = Some(512 << 20),
        "const blocks = []; for (;;) blocks.push(Buffer.alloc(8 << 20, 1));",
    )
    .await;
    assert_eq!(exit.limit, Some(Limit::Memory), "{exit:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn node_that_opens_too_many_files_ends_with_limit_open_files() {
    let exit = node(
        |spec| spec.limits.open_files = 64,
        "const fs = require('fs'); for (;;) fs.openSync('/dev/null');",
    )
    .await;
    assert_eq!(exit.limit, Some(Limit::OpenFiles), "{exit:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn node_that_writes_too_large_a_file_ends_with_limit_file_size() {
    let exit = node(
        |spec| spec.limits.file_bytes = 1 << 20,
        "const fs = require('fs'); const file = fs.openSync(process.env.HOME + '/large', 'w');\n\
         for (;;) fs.writeSync(file, Buffer.alloc(1 << 16));",
    )
    .await;
    assert_eq!(exit.limit, Some(Limit::FileSize), "{exit:?}");
}
