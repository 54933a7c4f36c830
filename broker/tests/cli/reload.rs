//! Promise: another config reaches a plugin while it runs, and one that it refuses is not in force.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use expect_test::expect;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::http::post;
use crate::operator::{Home, plugin};

/// Answers each event with its greeting, which it changes while it runs: not to `rude`, and `deadly` kills it.
fn polite(home: &Home) {
    let event = "            inbound = {'topic': 'plugin.inbound.polite.main', 'event': {'payload': {'text': greeting}}}
            send(id=params['event']['id'], method='broker.commit', params={
                'events': [inbound], 'ack': [params['delivery']['id']]})
";
    let update = "    elif method == 'config.update':
        wanted = params['config']['greeting']
        if wanted == 'deadly':
            os._exit(7)
        if wanted == 'rude':
            send(id=frame['id'], error={'code': -32000, 'message': 'the greeting is rude',
                'data': {'code': 'config_invalid'}})
        else:
            greeting = wanted
            send(id=frame['id'], result={})
";
    let open = "    if method == 'initialize':\n";
    let program = plugin("polite", "", event)
        .replace(
            open,
            &format!("{open}        greeting = params['config']['greeting']\n"),
        )
        .replace(
            "    elif method in (",
            &format!("{update}    elif method in ("),
        );
    home.plugin("polite", &program);
    let manifest = "[plugin]\nid = \"polite\"\nversion = \"0.1.0\"\ncommand = [\"python3\", \"main.py\"]\n\n\
                    [[channels]]\nkind = \"polite\"\n\n[config.greeting]\ntype = \"string\"\nhot = true\n";
    home.write("plugins/polite/plugin.toml", manifest);
}

fn greeting(home: &Home, text: &str) {
    let config = format!("[[plugins.polite]]\ninstance = \"main\"\ngreeting = \"{text}\"\n");
    home.write("trunkline.toml", &config);
}

fn pid(home: &Home) -> i32 {
    let status = home.run(&["status", "--json"]).json();
    status["instances"][0]["pid"].as_i64().unwrap() as i32
}

/// What the plugin greets with now; this is the `n`th time that it is asked.
fn said(home: &Home, n: usize) -> String {
    let published = ["publish", "plugin.outbound.polite.main", "{}"];
    let ran = home.run(&published);
    assert_eq!(ran.status, 0, "{ran:?}");
    let all = [
        "tail",
        "plugin.inbound.>",
        "--start",
        "earliest",
        "--no-follow",
        "--json",
    ];
    let ran = home.until(&all, |ran| ran.stdout.lines().count() == n);
    let last: Value = serde_json::from_str(ran.stdout.lines().last().unwrap()).unwrap();
    last["event"]["payload"]["text"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// Proves LN13: a plugin takes another config while its process goes on; one that it refuses is told of with its reason by the
/// command and over HTTP, and the old one stays in force, also for the next process, until one is taken.
#[test]
fn a_config_that_the_plugin_refuses_is_not_in_force() {
    let home = Home::new("");
    greeting(&home, "hello");
    polite(&home);
    let up = home.up();
    up.wait_for("polite/main   ready");
    let first = pid(&home);
    assert_eq!(said(&home, 1), "hello");

    greeting(&home, "hi");
    let ran = home.run(&["config", "reload"]);
    assert_eq!(ran.status, 0, "{ran:?}");
    assert_eq!(ran.stdout, "polite/main changed: config, while it runs\n");
    assert_eq!((said(&home, 2), pid(&home)), ("hi".to_owned(), first));

    greeting(&home, "rude");
    for _ in 0..2 {
        let ran = home.run(&["config", "reload"]);
        assert_eq!(ran.status, 78, "{ran:?}");
        assert_eq!(ran.stdout, "");
        expect![[r"
            error: config_invalid: polite/main refused its new config, the old one stays in force: config_invalid: the greeting is rude

            hint: trunkline config reload offers it again
        "]]
        .assert_eq(&ran.stderr);
    }
    let (status, problem) = post(&home, "/v1/config/reload", "");
    assert_eq!(
        (status, &problem["error"]["code"]),
        (422, &"config_invalid".into()),
        "{problem}"
    );
    assert!(
        problem.to_string().contains("the greeting is rude"),
        "{problem}"
    );
    let doctor = home.run(&["doctor"]).stdout;
    assert!(
        doctor.contains("warning: config_refused: polite/main "),
        "{doctor}"
    );
    assert_eq!((said(&home, 3), pid(&home)), ("hi".to_owned(), first));

    kill_process(Pid::from_raw(first).unwrap(), Signal::KILL).unwrap();
    up.wait_for_again("polite/main   ready");
    assert_ne!(pid(&home), first);
    assert_eq!(said(&home, 4), "hi");

    greeting(&home, "good day");
    let (status, done) = post(&home, "/v1/config/reload", "");
    assert_eq!(
        (status, done["changes"].as_array().unwrap().len()),
        (200, 1)
    );
    assert_eq!(said(&home, 5), "good day");
    assert!(!home.run(&["doctor"]).stdout.contains("config_refused"));
}

/// Proves LN13: a config that kills the process is not given to the next one, and the reload says so.
#[test]
fn a_config_that_the_plugin_dies_of_is_not_in_force() {
    let home = Home::new("");
    greeting(&home, "hello");
    polite(&home);
    let up = home.up();
    up.wait_for("polite/main   ready");
    greeting(&home, "deadly");
    let ran = home.run(&["config", "reload"]);
    assert_eq!(ran.status, 69, "{ran:?}");
    let text = "error: unavailable: polite/main ended before it took its new config, the old one stays in force";
    assert!(ran.stderr.starts_with(text), "{ran:?}");
    up.wait_for_again("polite/main   ready");
    assert_eq!(said(&home, 1), "hello");
}
