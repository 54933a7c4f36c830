//! Promise: what does not start, or is not there, is told with what to do about it.

use expect_test::expect;

use crate::operator::Home;

/// Proves L13: a process that ends tells its reason where it is started, with what is missing and how that is had.
#[test]
fn a_module_that_is_missing_is_told_with_how_it_is_had() {
    let home = Home::new("[[plugins.bare]]\n");
    home.plugin("bare", "import no_such_module_of_anybody\n");
    let up = home.up();
    up.wait_for(
        "bare/default   failed   main.py:1: ModuleNotFoundError: No module named 'no_such_module_of_anybody'; hint: pip install -e ",
    );
}

#[test]
fn a_store_that_is_held_is_told_with_what_to_do() {
    let home = Home::with_echo(&["default"]);
    let up = home.up();
    up.wait_for("echo/default   ready");
    let ran = home.run(&["up", "--set", "http.listen=127.0.0.1:0"]);
    assert_eq!(ran.status, 75, "{ran:?}");
    let pid = home.run(&["status", "--json"]).json()["pid"].to_string();
    expect![[r"
        error: not_started: the store at <home>/.trunkline is held by process <pid>

        hint: end the daemon that has it (Ctrl-C where it runs, or kill <pid>), or give this one a broker.data_dir of its own
    "]]
    .assert_eq(&ran.stderr.replace(&pid, "<pid>"));
}

#[test]
fn a_name_that_nobody_has_is_told_with_those_there_are() {
    let home = Home::with_echo(&["one", "two"]);
    let up = home.up();
    up.wait_for("echo/one   ready");
    for (verb, name) in [
        (&["plugins", "restart"][..], "eco"),
        (&["plugins", "upgrade"][..], "eco"),
        (&["logs"][..], "eco"),
    ] {
        let ran = home.run(&[verb, &[name]].concat());
        assert_eq!(ran.status, 1, "{ran:?}");
        expect![[r"
            error: not_found: no instance eco is configured

            hint: did you mean echo? there are echo/one, echo/two
        "]]
        .assert_eq(&ran.stderr);
    }
    let ran = home.run(&["plugins", "disable", "echo/tow"]);
    expect![[r"
        error: not_found: no instance echo/tow is configured

        hint: did you mean echo/two? there are echo/one, echo/two
    "]]
    .assert_eq(&ran.stderr);
}
