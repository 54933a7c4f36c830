//! Promise: whatever a request is, it is answered as documented: nothing panics, no answer is an internal error,
//! nobody is let in without a token, and no answer holds a secret.
//!
//! Requests nobody thought of, to the real tree of paths on the core in memory, made by chance from those in
//! `tests/fuzz/corpus/http`. `TRUNKLINE_SEED` has a run again, `TRUNKLINE_INPUT=FILE` one request. The long form
//! is led by coverage: `tests/fuzz/run SECONDS http`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(
    clippy::disallowed_methods,
    reason = "the suite measures time; it is no part of the daemon"
)]

#[path = "any_request_is_answered/mutate.rs"]
mod mutate;
#[path = "any_request_is_answered/request.rs"]
mod request;
#[path = "any_request_is_answered/world.rs"]
mod world;

use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mutate::Mutator;
use trunkline_tests::random::Random;
use world::World;

/// Requests of a run.
const REQUESTS: u32 = 20_000;
/// A run ends here even so.
const TIME: Duration = Duration::from_secs(20);

fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap().to_owned()
}

/// The requests that somebody thought of, in the order of their names.
fn corpus() -> Vec<Vec<u8>> {
    let dir = root().join("tests/fuzz/corpus/http");
    let files = std::fs::read_dir(dir).unwrap();
    let mut paths: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    paths.sort();
    paths
        .iter()
        .map(|path| std::fs::read(path).unwrap())
        .collect()
}

/// Counts panics, those of other threads and tasks too.
fn count_panics() -> &'static AtomicUsize {
    static PANICS: AtomicUsize = AtomicUsize::new(0);
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        PANICS.fetch_add(1, Ordering::SeqCst);
        before(panic);
    }));
    &PANICS
}

/// Keeps an input that something is wrong with, and fails.
fn fail(input: &[u8]) -> ! {
    let path = root()
        .join("target/requests")
        .join(format!("{}", std::process::id()));
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, input).unwrap();
    panic!(
        "{}\n\nhint: TRUNKLINE_INPUT={} tries it alone; what it needs of those before it, TRUNKLINE_SEED has",
        input.escape_ascii(),
        path.display()
    );
}

/// Proves: whatever a request is, it is answered as documented, and no secret is told.
#[test]
fn any_request_is_answered_as_documented() {
    let panics = count_panics();
    let mut world = World::default();
    let mut check = |input: &[u8]| {
        let checked = panic::catch_unwind(AssertUnwindSafe(|| world.check(input)));
        match checked {
            Ok(is_request) if panics.load(Ordering::SeqCst) == 0 => is_request,
            _ => fail(input),
        }
    };
    if let Some(path) = std::env::var_os("TRUNKLINE_INPUT") {
        let is_request = check(&std::fs::read(path).unwrap());
        eprintln!(
            "it is {}",
            if is_request { "answered" } else { "no request" }
        );
        return;
    }
    let corpus = corpus();
    for input in &corpus {
        assert!(check(input), "{} is no request", input.escape_ascii());
    }
    let (_, random) = Random::from_environment("any_request_is_answered");
    let mut mutator = Mutator::new(random, corpus);
    let (begin, mut answered, mut made) = (Instant::now(), 0, 0);
    while answered < REQUESTS && begin.elapsed() < TIME {
        answered += u32::from(check(&mutator.next()));
        made += 1;
    }
    eprintln!(
        "{answered} of {made} inputs were requests, in {:?}",
        begin.elapsed()
    );
    assert!(answered > made / 4, "too few inputs are requests");
}

#[test]
fn one_seed_makes_one_row_of_requests() {
    let row = |seed| {
        let mut mutator = Mutator::new(Random::new(seed), corpus());
        (0..500).map(|_| mutator.next()).collect::<Vec<_>>()
    };
    assert_eq!(row(1), row(1));
    assert_ne!(row(1), row(2));
}
