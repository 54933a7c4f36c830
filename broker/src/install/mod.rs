//! Packages: plugins that are packed, taken in, remembered with the hash of their tree, and checked at each start.
//!
//! | module | what it is |
//! |---|---|
//! | [`collect`] | which files of a directory belong to a package |
//! | [`pack`] | a package as one archive: always the same bytes for the same files |
//! | [`unpack`] | an archive as files, within [`limits`] |
//! | [`tree`] | the hash of a tree, and what differs from it |
//! | [`check`] | who has a tree compared with its hash, and when |
//! | [`declared`] | the manifest and its schemas, beside the tree |
//! | [`inspect`] | what a package is, without taking it in |
//! | [`lock`] | `packages.lock`: what is installed |
//! | [`packages`] | the directory of packages: staged, placed, removed |
//!
//! On the disk, below the data directory:
//!
//! | path | holds |
//! |---|---|
//! | `packages.lock` | one entry per installed package, as JSON |
//! | `packages/<id>/<version>-<hash>/tree/` | the files, read-only |
//! | `packages/<id>/<version>-<hash>/files.sha256` | hash, mode and path of each file; its own hash is the tree's |
//! | `packages/<id>/<version>-<hash>/declared/`, `files.sha256.copy` | the manifest, the schemas it names, and the list, once more |
//! | `packages/<id>/<version>-<hash>/package.json` | the entry that goes into the lock |
//! | `packages/.staging/`, `packages/.busy/` | what is being taken in, and by whom |
//!
//! Invariants: nothing of a package is ever run here; nothing outside the staging directory is written until all of
//! a package was read and found good; a lock names only directories that are whole. No signature is checked.

pub mod check;
pub mod collect;
pub mod declared;
mod error;
pub mod inspect;
pub mod limits;
pub mod lock;
pub mod pack;
pub mod packages;
mod path;
mod place;
pub mod tree;
pub mod unpack;

pub use check::Checker;
pub use declared::Declared;
pub use error::InstallError;
pub use limits::PackageLimits;
pub use lock::{Installed, Lock};
pub use packages::{Busy, Packages, Staged};
pub use tree::PackageRef;
