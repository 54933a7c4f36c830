//! Promise: a plugin to begin with is one command away.

use expect_test::expect;

use crate::operator::Home;

/// Proves LN50: a plugin to begin with is there offline and in less than two seconds, and what comes next is said.
#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the promise is about the clock on the wall"
)]
fn new_writes_a_plugin_and_says_what_comes_next() {
    let home = Home::new("");
    let began = std::time::Instant::now();
    let ran = home.run(&["new", "hello", "--lang", "python", "--pattern", "echo"]);
    let took = began.elapsed();
    assert_eq!(ran.status, 0, "{ran:?}");
    expect![[r"
        created hello/: .gitignore README.md check echo.py plugin.toml pyproject.toml test_echo.py trunkline.toml
        next:
          cd hello
          pip install -e '.[dev]' && ./check
          trunkline dev
    "]]
    .assert_eq(&ran.stdout);
    assert!(took < std::time::Duration::from_secs(2), "{took:?}");
    let ran = home.run(&["new", "--list"]);
    assert!(
        ran.stdout
            .starts_with("pattern echo           python node rust\n"),
        "{ran:?}"
    );
    let ran = home.run(&["new", "hello", "--yes", "--dir", "a b", "--json"]);
    assert_eq!(ran.json()["next"][0], "cd 'a b'");
    let ran = home.run(&["new", "hello"]);
    assert_eq!(ran.status, 2, "there is nobody to ask: {ran:?}");
    assert!(ran.stderr.starts_with("error: missing: "), "{ran:?}");
    std::fs::write(home.path().join("hello/echo.py"), "mine").unwrap();
    let ran = home.run(&["new", "hello", "--yes"]);
    assert_eq!(ran.status, 1, "{ran:?}");
    assert!(ran.stderr.contains("found echo.py"), "{ran:?}");
}
