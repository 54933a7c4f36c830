//! A small disk in memory that can be filled up and emptied again.
//!
//! Needs root, for the mount.

use std::fs::File;
use std::io::{ErrorKind, Result, Write};
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use crate::powercut::run;

/// The usual size: enough for a store, small enough to be full at once.
pub const FULL_DISK_BYTES: u64 = 8 << 20;

/// A mounted tmpfs of a fixed size.
#[derive(Debug)]
pub struct FullDisk {
    dir: TempDir,
    is_mounted: bool,
}

impl FullDisk {
    /// Mounts one of `bytes`.
    ///
    /// # Errors
    /// Without root, or when the mount is refused.
    pub fn create(bytes: u64) -> Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("trunkline-full-")
            .tempdir()?;
        let mut disk = Self {
            dir,
            is_mounted: false,
        };
        run(Command::new("mount")
            .args([
                "-t",
                "tmpfs",
                "-o",
                &format!("size={bytes}"),
                "trunkline-full",
            ])
            .arg(disk.path()))?;
        disk.is_mounted = true;
        Ok(disk)
    }

    /// Where it is mounted.
    pub fn path(&self) -> PathBuf {
        self.dir.path().to_owned()
    }

    /// Takes every free byte with one file; returns how many there were.
    ///
    /// # Errors
    /// Anything but a full disk.
    pub fn fill(&self) -> Result<u64> {
        let mut filler = File::options()
            .create(true)
            .append(true)
            .open(self.filler())?;
        let mut taken = 0;
        let mut piece = 64 * 1024;
        let zeros = vec![0; piece];
        while piece > 0 {
            match filler.write(&zeros[..piece]) {
                Ok(written) => taken += written as u64,
                Err(error) if error.kind() == ErrorKind::StorageFull => piece /= 2,
                Err(error) => return Err(error),
            }
        }
        Ok(taken)
    }

    /// Gives the bytes of [`FullDisk::fill`] back.
    ///
    /// # Errors
    /// The file cannot be removed.
    pub fn free(&self) -> Result<()> {
        std::fs::remove_file(self.filler())
    }

    fn filler(&self) -> PathBuf {
        self.path().join("filler")
    }
}

impl Drop for FullDisk {
    fn drop(&mut self) {
        if self.is_mounted
            && let Err(error) = run(Command::new("umount").arg("-l").arg(self.path()))
        {
            eprintln!("the full disk stays mounted: {error}");
        }
    }
}
