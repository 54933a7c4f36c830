//! The README from a checkout, but for what builds: the daemon is the one of the tests.

use trunkline_tests::pages;

/// What a whole run of the checks does itself, or takes minutes to build what it has built.
const BUILT_ELSEWHERE: [&str; 7] = [
    ".ci/run",
    "cargo demo",
    "cargo build",
    "python3 -m venv",
    "pip install ./sdk-python",
    // What `dev` runs needs the Python package: the quick start does the same with it.
    "cd hello",
    "trunkline dev",
];

/// Proves: the plugin without a package of the README answers, by the commands that stand there.
#[test]
fn the_commands_of_the_readme_do_what_it_says() {
    let home = tempfile::tempdir().expect("a directory");
    std::os::unix::fs::symlink(
        pages::root().join("templates"),
        home.path().join("templates"),
    )
    .expect("the directory can be written");
    pages::follow("README.md", home.path(), &BUILT_ELSEWHERE);
}
