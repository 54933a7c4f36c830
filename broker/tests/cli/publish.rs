//! Promise: whoever publishes to nobody is told so.

use expect_test::expect;

use crate::operator::Home;

/// Proves Q4: what nobody subscribed to is stored, and said on stderr; what is for an instance that nobody has is refused
/// with those there are. A doctor finds nothing wrong in a conversation that went well.
#[test]
fn a_publish_to_nobody_is_told_with_who_there_is() {
    let home = Home::with_echo(&["one", "two"]);
    let up = home.up();
    up.wait_for("echo/one   ready");
    up.wait_for("echo/two   ready");
    let text = "{\"text\":\"hi\"}";
    let ran = home.run(&["publish", "plugin.outbound.echo.one", text]);
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{ran:?}");
    home.follow_until(
        &["tail", "plugin.inbound.>", "--start", "earliest"],
        &["hi"],
    );
    let found = home.run(&["doctor", "--json"]).json()["findings"].clone();
    let unmatched = found.as_array().unwrap().iter();
    let unmatched: Vec<_> = unmatched
        .filter(|finding| finding["code"] == "events_unmatched")
        .collect();
    assert!(unmatched.is_empty(), "{unmatched:?}");

    let ran = home.run(&["publish", "plugin.outbound.echo.tow", text]);
    assert_eq!((ran.status, ran.stdout.as_str()), (65, ""), "{ran:?}");
    expect![[r#"
        error: unrouted: expected a configured instance of kind "echo", found "tow"; nothing is published

        hint: did you mean echo.two? there are echo.one, echo.two
    "#]]
    .assert_eq(&ran.stderr);
    let ran = home.run(&["publish", "plugin.outbound.ecko", text]);
    assert_eq!(ran.status, 65, "{ran:?}");
    expect![[r#"
        error: unrouted: expected a configured instance of kind "ecko", found none

        hint: did you mean echo?
    "#]]
    .assert_eq(&ran.stderr);
    let ran = home.run(&["publish", "plugin.outbond.echo.one", text]);
    assert_eq!(ran.status, 0, "{ran:?}");
    expect![[r#"
        warning: events_unmatched: nobody subscribes to plugin.outbond.echo.one, the event is stored

        hint: did you mean plugin.outbound.echo.one? who subscribes with start "earliest" still gets it
    "#]]
    .assert_eq(&ran.stderr);
    home.write("said.json", text);
    let ran = home.run(&["trigger", "inbound", "echo", "said.json"]);
    assert_eq!(ran.status, 65, "{ran:?}");
    assert!(ran.stderr.contains("hint: there are echo.one"), "{ran:?}");
}
