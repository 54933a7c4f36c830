//! A disk whose power can be cut: a file behind a loop device, with ext4 on it.
//!
//! The cut is ext4's own shutdown request without flushing the journal. From that moment nothing reaches the
//! device any more and every write or sync fails; after unmounting and mounting again only what was synced is
//! there, as after a real power cut. It is not a torn sector: the device itself stays whole.
//!
//! Needs root. Processes that have files open on the disk must be ended before [`PowerCutDisk::remount`].

use std::fs::{File, OpenOptions};
use std::io::{Error, Result};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::ioctl::{Setter, ioctl, opcode};
use tempfile::TempDir;

/// ext4 takes the shutdown request under this number, with a `u32` of flags.
const SHUTDOWN: rustix::ioctl::Opcode = opcode::read::<u32>(b'X', 125);
/// Neither the journal nor any dirty page is flushed.
const WITHOUT_FLUSH: u32 = 2;

/// A mounted disk that can lose its power.
#[derive(Debug)]
pub struct PowerCutDisk {
    dir: TempDir,
    is_mounted: bool,
}

impl PowerCutDisk {
    /// Makes a disk of `bytes`, formats and mounts it.
    ///
    /// # Errors
    /// Without root, without loop devices, or when a tool refuses.
    pub fn create(bytes: u64) -> Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("trunkline-cut-")
            .tempdir()?;
        let mut disk = Self {
            dir,
            is_mounted: false,
        };
        File::create(disk.image())?.set_len(bytes)?;
        std::fs::create_dir(disk.path())?;
        run(Command::new("mkfs.ext4")
            .args(["-q", "-F", "-m", "0"])
            .arg(disk.image()))?;
        disk.mount()?;
        Ok(disk)
    }

    /// Where it is mounted.
    pub fn path(&self) -> PathBuf {
        self.dir.path().join("disk")
    }

    /// Cuts the power: nothing that is not yet on the device will ever be.
    ///
    /// # Errors
    /// The file system refuses the request.
    pub fn cut(&self) -> Result<()> {
        let root = OpenOptions::new().read(true).open(self.path())?;
        // SAFETY: the request reads one `u32` that the setter owns, and keeps nothing.
        #[expect(unsafe_code, reason = "no safe wrapper knows this request")]
        unsafe {
            ioctl(&root, Setter::<SHUTDOWN, u32>::new(WITHOUT_FLUSH))?;
        }
        Ok(())
    }

    /// Brings the power back: unmounts, lets ext4 replay its journal, mounts.
    ///
    /// # Errors
    /// A process still has a file open there, or the file system is beyond repair.
    pub fn remount(&mut self) -> Result<()> {
        run(Command::new("umount").arg(self.path()))?;
        self.is_mounted = false;
        self.mount()
    }

    fn image(&self) -> PathBuf {
        self.dir.path().join("image")
    }

    fn mount(&mut self) -> Result<()> {
        run(Command::new("mount")
            .args(["-o", "loop"])
            .arg(self.image())
            .arg(self.path()))?;
        self.is_mounted = true;
        Ok(())
    }
}

impl Drop for PowerCutDisk {
    fn drop(&mut self) {
        // Lazily: a process that outlived its test must not keep the mount for ever.
        if self.is_mounted
            && let Err(error) = run(Command::new("umount").arg("-l").arg(self.path()))
        {
            eprintln!("the power cut disk stays mounted: {error}");
        }
    }
}

/// Runs a tool and turns its failure into an error with its own words.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let output = command
        .output()
        .map_err(|error| Error::other(format!("{}: {error}", program(command).display())))?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    Err(Error::other(format!(
        "{}: {}",
        program(command).display(),
        words.trim()
    )))
}

fn program(command: &Command) -> &Path {
    Path::new(command.get_program())
}
