//! What is taken in and what is refused, with nothing left of it.

use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use tar::{EntryType, Header};

use super::*;
use crate::install::collect::collect;
use crate::install::pack::pack;

const MANIFEST: &str =
    "[plugin]\nid = \"echo\"\nversion = \"1.2.3\"\ncommand = [\"python3\", \"echo.py\"]\n";

struct Rig {
    home: tempfile::TempDir,
    packages: Packages,
}

impl Rig {
    fn new(limits: PackageLimits) -> Self {
        let home = tempfile::tempdir().unwrap();
        let packages = Packages::with_limits(home.path().join("data"), limits);
        Self { home, packages }
    }

    fn source(&self, name: &str, code: &str) -> PathBuf {
        let dir = self.home.path().join(name);
        std::fs::create_dir_all(dir.join("lib")).unwrap();
        std::fs::write(dir.join("plugin.toml"), MANIFEST).unwrap();
        std::fs::write(dir.join("echo.py"), code).unwrap();
        std::fs::write(dir.join("lib/more.py"), "M = 1").unwrap();
        dir
    }

    fn archive(&self, dir: &Path, name: &str) -> PathBuf {
        let found = collect(dir, &[], None, PackageLimits::default()).unwrap();
        let path = self.home.path().join(name);
        pack(&found.files, std::fs::File::create(&path).unwrap()).unwrap();
        path
    }

    /// An archive with a good manifest and one entry that is made by hand.
    fn evil(&self, kind: EntryType, path: &[u8], content: &[u8]) -> PathBuf {
        self.archive_of(&[
            (EntryType::Regular, b"plugin.toml", MANIFEST.as_bytes()),
            (kind, path, content),
        ])
    }

    fn archive_of(&self, entries: &[(EntryType, &[u8], &[u8])]) -> PathBuf {
        let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::best()));
        for (kind, path, content) in entries {
            let mut header = Header::new_gnu();
            // The builder itself refuses such paths.
            header.as_old_mut().name[..path.len()].copy_from_slice(path);
            header.set_entry_type(*kind);
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            if matches!(kind, EntryType::Symlink | EntryType::Link) {
                header.set_link_name("/etc/passwd").unwrap();
            }
            header.set_cksum();
            tar.append(&header, *content).unwrap();
        }
        let path = self.home.path().join("evil.tgz");
        let bytes = tar.into_inner().unwrap().finish().unwrap();
        std::fs::File::create(&path)
            .unwrap()
            .write_all(&bytes)
            .unwrap();
        path
    }

    fn refused(&self, source: &Path, word: &str) {
        let error = self.packages.stage(source, 0).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(word), "expected {word:?}, found: {text}");
        assert!(self.left().is_empty(), "{:?} is left", self.left());
        assert!(self.packages.lock().unwrap().packages.is_empty());
    }

    /// What is in the data directory beside guards.
    fn left(&self) -> Vec<PathBuf> {
        let staging = self.home.path().join("data/packages/.staging");
        let entries = std::fs::read_dir(staging).into_iter().flatten();
        let paths = entries.map(|entry| entry.unwrap().path());
        paths.filter(|path| !path.ends_with(STAGING_LOCK)).collect()
    }

    fn add(&self, source: &Path) -> PackageRef {
        let staged = self.packages.stage(source, 0).unwrap();
        let busy = self.packages.busy(&staged.id).unwrap();
        self.packages.place(&staged, &busy).unwrap();
        self.packages.record(&staged.id, &staged.installed).unwrap();
        let lock = self.packages.lock().unwrap();
        lock.package(&self.home.path().join("data"), &staged.id)
            .unwrap()
    }
}

/// Proves LN46 (layout only): a package is a tar within gzip with `plugin.toml` at its root; the same files are always
/// the same bytes, and a directory and its archive are the same tree.
#[test]
fn a_directory_and_its_archive_are_one_package() {
    let rig = Rig::new(PackageLimits::default());
    let dir = rig.source("echo", "print(1)");
    let (one, two) = (rig.archive(&dir, "one.tgz"), rig.archive(&dir, "two.tgz"));
    assert_eq!(std::fs::read(&one).unwrap(), std::fs::read(two).unwrap());
    let from_dir = rig.packages.stage(&dir, 0).unwrap();
    let from_archive = rig.packages.stage(&one, 0).unwrap();
    assert_eq!(from_dir.installed.sha256, from_archive.installed.sha256);
    assert_eq!(
        (from_dir.id.as_str(), from_dir.installed.version.as_str()),
        ("echo", "1.2.3")
    );
    drop((from_dir, from_archive));
    assert!(rig.left().is_empty());
    let package = rig.add(&one);
    package.check().unwrap();
    assert_eq!(
        std::fs::read_to_string(package.tree().join("lib/more.py")).unwrap(),
        "M = 1"
    );
    assert!(rig.left().is_empty());
}

/// Proves T4: a path out of the package, an absolute one, links, devices, pipes and a path that is there twice refuse
/// the whole archive, and nothing of it is left.
#[test]
fn an_archive_that_reaches_outside_is_refused_whole() {
    let rig = Rig::new(PackageLimits::default());
    let regular = EntryType::Regular;
    for (kind, path, word) in [
        (regular, &b"../evil.py"[..], "with .."),
        (regular, b"lib/../../evil.py", "with .."),
        (regular, b"/tmp/evil.py", "absolute"),
        (regular, b"a\\b", "backslashes"),
        (regular, b"\xff\xfe", "UTF-8"),
        (regular, b"plugin.toml", "twice"),
        (regular, b"./plugin.toml", "twice"),
        (regular, b"plugin.toml/x", "a file and a directory"),
        (EntryType::Symlink, b"link", "a link"),
        (EntryType::Link, b"hard", "a link"),
        (EntryType::Char, b"tty", "a device"),
        (EntryType::Block, b"disk", "a device"),
        (EntryType::Fifo, b"pipe", "a device"),
        (EntryType::GNUSparse, b"holes", ""),
    ] {
        rig.refused(&rig.evil(kind, path, b""), word);
    }
    assert!(!rig.home.path().join("evil.py").exists());
    assert!(!Path::new("/tmp/evil.py").exists());
}

/// Proves T4: limits of one file, of all files, of their number and of what a byte may become are watched while the
/// archive is read.
#[test]
fn an_archive_over_a_limit_is_refused_whole() {
    let rig = Rig::new(PackageLimits {
        entries_max: 5,
        file_bytes_max: 200_000,
        total_bytes_max: 300_000,
        ratio_max: 200,
        ratio_free_bytes: 1 << 30,
    });
    let regular = EntryType::Regular;
    rig.refused(
        &rig.evil(regular, b"big", &vec![1; 200_001]),
        "200000 bytes in a file",
    );
    let manifest = (regular, &b"plugin.toml"[..], MANIFEST.as_bytes());
    let half = vec![1; 150_000];
    let all = rig.archive_of(&[manifest, (regular, b"a", &half), (regular, b"b", &half)]);
    rig.refused(&all, "300000 bytes in a package");
    let names: [&[u8]; 5] = [b"a", b"b", b"c", b"d", b"e"];
    let mut many = vec![manifest];
    many.extend(names.map(|name| (regular, name, &b""[..])));
    rig.refused(&rig.archive_of(&many), "5 files and directories");
    let deep = rig.evil(regular, b"a/b/c/d/e", b"");
    rig.refused(&deep, "5 files and directories");

    let rig = Rig::new(PackageLimits {
        ratio_free_bytes: 1 << 20,
        ..PackageLimits::default()
    });
    let bomb = rig.evil(regular, b"zeros", &vec![0; 8 << 20]);
    rig.refused(&bomb, "200 bytes of each byte of the archive");
    // A long name is a file of its own in the archive, and counts.
    let long = rig.evil(
        EntryType::GNULongName,
        b"././@LongLink",
        &vec![b'a'; 8 << 20],
    );
    rig.refused(&long, "200 bytes of each byte of the archive");
}

#[test]
fn what_is_no_package_is_refused_with_what_is_wrong() {
    let rig = Rig::new(PackageLimits::default());
    let path = rig.home.path().join("x.tgz");
    std::fs::write(&path, "no gzip at all").unwrap();
    rig.refused(&path, "expected a tar archive within gzip");
    let whole = rig.archive(&rig.source("echo", &"x = 1\n".repeat(9_000)), "whole.tgz");
    let bytes = std::fs::read(whole).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    rig.refused(&path, "is no package");
    let inner = rig.archive_of(&[(EntryType::Regular, b"echo/plugin.toml", MANIFEST.as_bytes())]);
    rig.refused(&inner, "no plugin.toml at its root");
    let bad = b"[plugin]\nid = \"Echo\"\nversion = \"one\"\ncommand = []\n";
    let bad = rig.archive_of(&[(EntryType::Regular, b"plugin.toml", bad)]);
    let error = rig.packages.stage(&bad, 0).unwrap_err();
    let InstallError::Manifest { found } = &error else {
        panic!("{error}");
    };
    assert!(found.len() >= 3, "every error at once: {error}");
}

/// Proves T3: concurrent changes of the lock lose nothing; of one plugin there is one at a time, and the other is told.
#[test]
fn concurrent_additions_lose_nothing() {
    let rig = Rig::new(PackageLimits::default());
    let sources: Vec<PathBuf> = (0..8)
        .map(|number| {
            let dir = rig.source(&format!("p{number}"), "print(1)");
            let manifest = MANIFEST.replace("echo\"", &format!("echo{number}\""));
            std::fs::write(dir.join("plugin.toml"), manifest).unwrap();
            dir
        })
        .collect();
    std::thread::scope(|scope| {
        for source in &sources {
            scope.spawn(|| rig.add(source));
        }
    });
    let lock = rig.packages.lock().unwrap();
    assert_eq!(lock.packages.len(), 8, "{lock:?}");
    for id in lock.packages.keys() {
        lock.package(&rig.home.path().join("data"), id)
            .unwrap()
            .check()
            .unwrap();
    }
    let held = rig.packages.busy("echo").unwrap();
    assert_eq!(
        rig.packages.busy("echo").unwrap_err().code(),
        "instance_busy"
    );
    rig.packages.busy("other").unwrap();
    drop(held);
    rig.packages.busy("echo").unwrap();
}

#[test]
fn a_package_is_replaced_forgotten_and_swept_away() {
    let rig = Rig::new(PackageLimits::default());
    let first = rig.add(&rig.source("one", "print(1)"));
    let second = rig.add(&rig.source("two", "print(2)"));
    assert_ne!(first.root, second.root);
    first.check().unwrap();
    let busy = rig.packages.busy("echo").unwrap();
    rig.packages.tidy("echo", &busy).unwrap();
    assert!(!first.root.exists());
    second.check().unwrap();
    rig.packages.forget("echo", &busy).unwrap();
    rig.packages.tidy("echo", &busy).unwrap();
    assert!(!second.root.exists());
    let error = rig.packages.forget("echo", &busy).unwrap_err();
    assert_eq!(error.code(), "not_found");
    // Of a command that was killed.
    let staging = rig.home.path().join("data/packages/.staging");
    std::fs::create_dir_all(staging.join("dead/tree")).unwrap();
    std::fs::write(staging.join("dead.held"), "").unwrap();
    std::fs::create_dir_all(staging.join("orphan/tree")).unwrap();
    std::fs::write(staging.join("alone.held"), "").unwrap();
    drop(
        rig.packages
            .stage(&rig.source("one", "print(1)"), 0)
            .unwrap(),
    );
    assert!(rig.left().is_empty(), "{:?}", rig.left());
}

/// Proves LN46: a daemon's data within the plugin's directory, its token and store, go into no package.
#[test]
fn the_data_of_a_daemon_is_left_out() {
    let rig = Rig::new(PackageLimits::default());
    let dir = rig.source("echo", "E = 1");
    for (data, file) in [("data", "store.db"), ("more/data", "packages.lock")] {
        let data = dir.join(data);
        std::fs::create_dir_all(&data).unwrap();
        std::fs::write(data.join(file), "x").unwrap();
        std::fs::write(data.join("token"), "secret").unwrap();
    }
    let found = collect(&dir, &[], None, PackageLimits::default()).unwrap();
    let paths: Vec<String> = found.files.iter().map(|file| format!("{file:?}")).collect();
    assert!(!paths.concat().contains("token"), "{paths:?}");
    assert_eq!(found.left_out.len(), 2, "{:?}", found.left_out);
}

/// Proves T3: what a command that was killed left of an installed plugin is removed, but not what something is to run from,
/// what another command is at work on, or what no lock names.
#[test]
fn leftovers_are_removed_but_nothing_that_is_used() {
    let rig = Rig::new(PackageLimits::default());
    let first = rig.add(&rig.source("one", "print(1)"));
    let second = rig.add(&rig.source("two", "print(2)"));
    let used = [first.tree()];
    assert!(rig.packages.tidy_leftovers(&used).unwrap().is_empty());
    let busy = rig.packages.busy("echo").unwrap();
    assert!(rig.packages.tidy_leftovers(&[]).unwrap().is_empty());
    drop(busy);
    let lock = rig.home.path().join("data").join(LOCK);
    let text = std::fs::read_to_string(&lock).unwrap();
    std::fs::remove_file(&lock).unwrap();
    assert!(rig.packages.tidy_leftovers(&[]).unwrap().is_empty());
    std::fs::write(&lock, text).unwrap();
    let removed = rig.packages.tidy_leftovers(&[second.tree()]).unwrap();
    assert_eq!(removed, [first.root]);
    second.check().unwrap();
}

/// Proves T3: whoever stages has a holder's file as long as it lives, however many begin and end at the same time, so
/// that what it leaves when it is killed is found.
#[test]
fn what_is_staged_is_held_while_others_sweep() {
    let rig = Rig::new(PackageLimits::default());
    let source = rig.source("echo", "print(1)");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..25 {
                    let staged = rig.packages.stage(&source, 0).unwrap();
                    let holder = staged.dir.with_extension(HELD);
                    assert!(holder.exists() && staged.dir.join(TREE).exists());
                    assert!(Held::take(&holder).unwrap().is_none(), "it is held");
                }
            });
        }
    });
    assert!(rig.left().is_empty(), "{:?}", rig.left());
}

/// Proves T3: what a package declares is what was added, whatever became of its manifest since; nobody grants himself
/// more by editing the manifest, its copy or the list of hashes.
#[test]
fn a_damaged_manifest_is_read_as_it_was_added_or_not_at_all() {
    let rig = Rig::new(PackageLimits::default());
    let source = rig.source("echo", "print(1)");
    let tools = "[[tools]]\nname = \"add\"\ninput_schema_file = \"./schemas/add.json\"\n";
    std::fs::write(source.join("plugin.toml"), format!("{MANIFEST}{tools}")).unwrap();
    std::fs::create_dir(source.join("schemas")).unwrap();
    std::fs::write(source.join("schemas/add.json"), "{\"type\": \"object\"}").unwrap();
    let package = rig.add(&source);
    let added = manifest_of(&package).unwrap();
    assert!(added.tools[0].declaration.input_schema.is_some());

    let put = |path: PathBuf, text: &str| {
        remove_any(&path);
        std::fs::write(&path, text).unwrap();
    };
    let more = format!("{MANIFEST}[capabilities]\npublish = [\"plugin.>\"]\n");
    let of_tree = package.tree().join("plugin.toml");
    let of_copy = package.root.join(DECLARED).join("plugin.toml");
    put(of_tree.clone(), &more);
    assert_eq!(manifest_of(&package).unwrap(), added);
    assert_eq!(package.check().unwrap_err().code(), "package_changed");
    remove_any(&of_tree);
    remove_any(&package.tree().join("schemas/add.json"));
    assert_eq!(manifest_of(&package).unwrap(), added);

    // The other way round: packages that are older than the copies have none.
    put(of_tree.clone(), &format!("{MANIFEST}{tools}"));
    put(of_copy.clone(), &more);
    assert_eq!(manifest_of(&package).unwrap(), added);
    remove_any(&of_copy);
    assert_eq!(manifest_of(&package).unwrap(), added);

    // Adding the same again makes them anew.
    put(
        package.tree().join("schemas/add.json"),
        "{\"type\": \"object\"}",
    );
    package.check().unwrap();
    rig.add(&source);
    assert!(of_copy.exists());
    remove_any(&of_copy);

    put(of_tree, &more);
    let error = manifest_of(&package).unwrap_err().to_string();
    assert!(error.contains("package_changed: plugin.toml"), "{error}");
    put(of_copy, &more);
    let error = manifest_of(&package).unwrap_err().to_string();
    assert!(error.contains("package_changed: plugin.toml"), "{error}");

    // The operator is told what to do about it.
    let config = rig.home.path().join("trunkline.toml");
    std::fs::write(&config, "[broker]\ndata_dir = \"data\"\n[[plugins.echo]]\n").unwrap();
    let sources = crate::config::Sources {
        file: config,
        ..Default::default()
    };
    let found = crate::config::load(&sources, &crate::config::DiskFiles).diagnostics;
    let hint = found.first().and_then(|one| one.hint.clone());
    let hint = hint.unwrap_or_default();
    assert!(hint.contains("puts it right"), "{found:?}");

    // Nor by editing the list: the lock has its hash.
    let list = package.root.join(LIST);
    let mine = std::fs::read_to_string(&list).unwrap();
    let hash = |text: &str| hash_of(text);
    let manifest = std::fs::read_to_string(source.join("plugin.toml")).unwrap();
    put(list, &mine.replace(&hash(&manifest), &hash(&more)));
    let error = manifest_of(&package).unwrap_err().to_string();
    assert!(error.contains("package_changed: plugin.toml"), "{error}");
    remove_any(&package.root.join(LIST_COPY));
    let error = manifest_of(&package).unwrap_err().to_string();
    assert!(error.contains("package_changed: files.sha256"), "{error}");
}

/// Proves T3: a damaged package that is put right is replaced as a whole, and its old files go only when the new ones are
/// in their place: whoever is killed between leaves no less than there was.
#[test]
fn what_is_put_right_is_there_at_every_moment() {
    let rig = Rig::new(PackageLimits::default());
    let source = rig.source("echo", "print(1)");
    let package = rig.add(&source);
    remove_any(&package.tree().join("echo.py"));
    std::fs::write(package.tree().join("echo.py"), "damaged").unwrap();
    let staged = rig.packages.stage(&source, 0).unwrap();
    let busy = rig.packages.busy("echo").unwrap();
    rig.packages.place(&staged, &busy).unwrap();
    package.check().unwrap();
    let old = std::fs::read_to_string(staged.dir.join(TREE).join("echo.py"));
    assert_eq!(old.unwrap(), "damaged", "it is still there");
    drop(staged);
    assert!(rig.left().is_empty(), "{:?}", rig.left());
}

/// Proves T3: where two names cannot be exchanged, whoever is killed between two steps leaves the old package beside its
/// place, and the next one has it back.
#[test]
fn what_was_moved_away_is_put_back() {
    let rig = Rig::new(PackageLimits::default());
    let source = rig.source("echo", "print(1)");
    let package = rig.add(&source);
    let away = beside(&package.root);
    std::fs::rename(&package.root, &away).unwrap();
    assert!(rig.packages.leftovers("echo", &[]).unwrap().is_empty());
    assert!(rig.packages.tidy_leftovers(&[]).unwrap().is_empty());
    package.check().unwrap();

    std::fs::rename(&package.root, &away).unwrap();
    let staged = rig.packages.stage(&source, 0).unwrap();
    let busy = rig.packages.busy("echo").unwrap();
    rig.packages.place(&staged, &busy).unwrap();
    package.check().unwrap();
    assert!(!away.exists());

    // The one that was replaced, if nobody came to remove it.
    std::fs::create_dir(&away).unwrap();
    put_in_two(&staged.dir, &package.root).unwrap();
    package.check().unwrap();
    assert!(!away.exists() && !staged.dir.exists());
    std::fs::create_dir(&away).unwrap();
    rig.packages.tidy("echo", &busy).unwrap();
    assert!(!away.exists());
}

/// Removes what may not be written.
fn remove_any(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let dir = path.parent().unwrap();
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755)).unwrap();
    if path.exists() {
        std::fs::remove_file(path).unwrap();
    }
}
