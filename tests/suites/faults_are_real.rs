//! A fault that does not happen proves nothing: here each fault of the harness is shown to be one.

use std::fs::{File, read};
use std::io::{ErrorKind, Write};

use trunkline_tests::full_disk::{FULL_DISK_BYTES, FullDisk};
use trunkline_tests::powercut::PowerCutDisk;
use trunkline_tests::skip::has_root;
use trunkline_tests::strace::{self, Injection};
use trunkline_tests::tool::fetched_tool;

const DISK_BYTES: u64 = 32 << 20;

/// Proves that a power cut loses what was not synced and keeps what was.
#[test]
fn a_power_cut_loses_unsynced_appends_and_keeps_synced_ones() {
    if !has_root("powercut") {
        return;
    }
    let mut disk = PowerCutDisk::create(DISK_BYTES).unwrap();
    let path = disk.path().join("log");
    let mut log = File::create(&path).unwrap();
    File::open(disk.path()).unwrap().sync_all().unwrap();
    let mut kept = Vec::new();
    for cut in 0..5 {
        let synced = format!("synced before cut {cut}\n").into_bytes();
        log.write_all(&synced).unwrap();
        log.sync_data().unwrap();
        kept.extend_from_slice(&synced);
        log.write_all(b"never synced\n").unwrap();
        let mut whole = File::create(disk.path().join("never-synced")).unwrap();
        whole.write_all(b"x").unwrap();
        disk.cut().unwrap();
        assert!(log.sync_data().is_err(), "a sync after the cut must fail");
        drop((log, whole));
        disk.remount().unwrap();
        assert_eq!(
            String::from_utf8(read(&path).unwrap()),
            String::from_utf8(kept.clone())
        );
        assert!(!disk.path().join("never-synced").exists());
        log = File::options().append(true).open(&path).unwrap();
    }
}

#[test]
fn a_power_cut_disk_leaves_no_mount_behind() {
    if !has_root("powercut") {
        return;
    }
    let disk = PowerCutDisk::create(DISK_BYTES).unwrap();
    let path = disk.path().display().to_string();
    let mounts = || std::fs::read_to_string("/proc/mounts").unwrap();
    assert!(mounts().contains(&path));
    let open = File::create(disk.path().join("open")).unwrap();
    drop(disk);
    assert!(!mounts().contains(&path));
    drop(open);
}

#[test]
fn a_full_disk_refuses_one_more_byte_until_it_is_freed() {
    if !has_root("full_disk") {
        return;
    }
    let disk = FullDisk::create(FULL_DISK_BYTES).unwrap();
    let mut file = File::create(disk.path().join("file")).unwrap();
    let taken = disk.fill().unwrap();
    assert!(taken > FULL_DISK_BYTES / 2, "{taken}");
    let refused = file.write_all(b"x").unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::StorageFull);
    disk.free().unwrap();
    file.write_all(b"x").unwrap();
}

/// Python stands in for the daemon: it syncs until a sync fails and ends with the number of the one that did.
const SYNCER: &str = "
import os, sys
f = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY)
sync = getattr(os, sys.argv[2])
for n in range(1, 9):
    os.write(f, b'x')
    try:
        sync(f)
    except OSError as error:
        sys.exit(n * 10 + error.errno)
";

#[test]
fn a_chosen_sync_fails_with_eio_and_the_status_is_the_childs_own() {
    let dir = tempfile::tempdir().unwrap();
    for (call, nth) in [("fsync", 3), ("fdatasync", 5)] {
        let mut command = strace::command("python3", &[Injection::eio(call, nth)]).unwrap();
        let file = dir.path().join(call);
        let status = command
            .args(["-c", SYNCER])
            .arg(file)
            .arg(call)
            .status()
            .unwrap();
        assert_eq!(status.code(), Some(nth as i32 * 10 + 5), "{call}");
    }
}

#[test]
fn a_tool_can_be_fetched_without_being_installed() {
    let strace = fetched_tool("strace", "strace").unwrap();
    assert!(strace.program.to_string_lossy().contains("tools"));
    let output = strace.command().arg("--version").output().unwrap();
    assert!(
        String::from_utf8_lossy(&output.stdout).starts_with("strace --"),
        "{output:?}"
    );
}
