//! Another config for a plugin that runs.

use serde_json::{Value, json};
use trunkline_contract::error::Code;

use crate::core::{ConfigAnswer, LinkKind};
use crate::instance::InstanceKey;
use crate::router::LinkId;

use super::driver::Broker;

const ECHO: &str = "echo/main";

/// Offers the instance this greeting, and a secret with it. True if its plugin is to answer.
fn offer(broker: &mut Broker, greeting: &str, revision: u64) -> bool {
    let mut setup = broker.setup(ECHO);
    setup.config.insert("greeting".into(), greeting.into());
    setup
        .secrets
        .insert("token".into(), format!("secret of {greeting}"));
    let is_offered = broker.core.change_config(setup, revision).unwrap();
    broker.run();
    is_offered
}

/// Starts another process in the place of the one that ended, and gives its link with what its handshake was given.
fn next_process(broker: &mut Broker) -> (LinkId, Value) {
    let link = broker.attach(LinkKind::Spawned(InstanceKey::parse(ECHO)));
    let hello = broker.take_frames(link, "initialize").remove(0);
    let given = hello["params"].clone();
    let result = json!({ "manifest": { "plugin": { "id": "echo", "version": "1.2.3" } }, "protocol": "trunkline/1.0" });
    let answer = json!({ "jsonrpc": "2.0", "id": hello["id"], "result": result });
    broker.feed(link, &answer);
    (link, given)
}

fn refuse(broker: &mut Broker, link: LinkId, message: &str) {
    let request = broker.take_frames(link, "config.update").remove(0);
    let error = json!({ "code": -32000, "message": message, "data": { "code": "config_invalid" } });
    broker.feed(
        link,
        &json!({ "jsonrpc": "2.0", "id": request["id"], "error": error }),
    );
}

fn answers(broker: &mut Broker) -> Vec<(u64, ConfigAnswer)> {
    let answers = std::mem::take(&mut broker.config_answers);
    answers
        .into_iter()
        .map(|(_, r, answer)| (r, answer))
        .collect()
}

fn given(greeting: &str) -> (Value, Value) {
    (
        json!({ "greeting": greeting }),
        json!({ "token": format!("secret of {greeting}") }),
    )
}

fn parts(params: &Value) -> (Value, Value) {
    (params["config"].clone(), params["secrets"].clone())
}

/// Proves LN13: a config that the plugin took is what the next handshake gives; one that it refused is not, and the doctor says
/// so until another is taken.
#[test]
fn a_handshake_gives_the_config_that_was_last_in_force() {
    let mut broker = Broker::new();
    let link = broker.plugin(ECHO);
    assert!(offer(&mut broker, "hi", 2));
    broker.reply_to(link, "config.update", &json!({}));
    assert_eq!(answers(&mut broker), [(2, ConfigAnswer::Taken)]);

    assert!(offer(&mut broker, "rude", 3));
    refuse(&mut broker, link, "no: secret of rude");
    let told = answers(&mut broker);
    let [(3, ConfigAnswer::Refused(error))] = told.as_slice() else {
        panic!("{told:?}");
    };
    assert_eq!(error.code, Code::ConfigInvalid);
    let admin = broker.admin();
    let findings = |broker: &mut Broker| -> Vec<Value> {
        let found = broker.call(admin, "admin.doctor", &json!({})).unwrap();
        let found = found["findings"].as_array().unwrap().clone();
        found
            .into_iter()
            .filter(|one| one["code"] == "config_refused")
            .collect()
    };
    let found = findings(&mut broker);
    assert_eq!(found.len(), 1, "{found:?}");
    let text = found[0]["text"].as_str().unwrap();
    assert!(
        text.starts_with("echo/main did not take") && text.ends_with("no: ***"),
        "{text}"
    );

    broker.detach(link);
    let (link, hello) = next_process(&mut broker);
    assert_eq!(parts(&hello), given("hi"));

    // It is offered again, and taken now.
    assert!(offer(&mut broker, "rude", 4));
    broker.reply_to(link, "config.update", &json!({}));
    assert_eq!(answers(&mut broker), [(4, ConfigAnswer::Taken)]);
    assert!(findings(&mut broker).is_empty());
    broker.detach(link);
    let (_, hello) = next_process(&mut broker);
    assert_eq!(parts(&hello), given("rude"));
}

/// Proves LN13: a process that dies of a config does not get it again; where none runs, or none has come up yet, the next one gets
/// what is configured.
#[test]
fn a_config_that_nobody_answered_for_is_decided_when_the_process_ends() {
    let mut broker = Broker::new();
    let link = broker.plugin(ECHO);
    offer(&mut broker, "hi", 2);
    broker.reply_to(link, "config.update", &json!({}));
    offer(&mut broker, "deadly", 3);
    broker.detach(link);
    assert_eq!(
        answers(&mut broker),
        [(2, ConfigAnswer::Taken), (3, ConfigAnswer::Gone)]
    );

    // Nobody runs.
    assert!(!offer(&mut broker, "good", 4));
    // One that has not said yet what it makes of the one before.
    let link = broker.attach(LinkKind::Spawned(InstanceKey::parse(ECHO)));
    let hello = broker.take_frames(link, "initialize").remove(0);
    assert_eq!(parts(&hello["params"]), given("good"));
    assert!(offer(&mut broker, "better", 5));
    broker.detach(link);
    assert_eq!(answers(&mut broker), [(5, ConfigAnswer::AtNextStart)]);
    let (_, hello) = next_process(&mut broker);
    assert_eq!(parts(&hello), given("better"));
}

/// Proves LN13: an answer that comes late counts, unless the instance was configured as a whole since.
#[test]
fn a_late_answer_counts_for_what_it_answers() {
    let mut broker = Broker::new();
    let link = broker.plugin(ECHO);
    offer(&mut broker, "one", 2);
    offer(&mut broker, "two", 3);
    broker.reply_to(link, "config.update", &json!({}));
    refuse(&mut broker, link, "no");
    broker.detach(link);
    let (link, hello) = next_process(&mut broker);
    assert_eq!(parts(&hello), given("one"));

    offer(&mut broker, "three", 4);
    let mut setup = broker.setup(ECHO);
    setup.config.insert("greeting".into(), "whole".into());
    broker.core.configure(setup).unwrap();
    broker.reply_to(link, "config.update", &json!({}));
    broker.detach(link);
    let (_, hello) = next_process(&mut broker);
    assert_eq!(hello["config"], json!({ "greeting": "whole" }));
}
