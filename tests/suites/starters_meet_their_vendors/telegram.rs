//! Telegram: polling that a second poller disturbs, floods, and a death in the middle.

use serde_json::json;
use trunkline_tests::harness::telegram::{Failure, Telegram};
use trunkline_tests::http;

use super::site::Site;

const SUPPORT: &str = "1:support";
const SALES: &str = "2:sales";
const CHAT: i64 = 42;

fn start(telegram: &Telegram) -> Site {
    let account =
        |secret: &str| format!("bot_token_env = {secret:?}\napi = {:?}\n", telegram.url());
    Site::start(
        "telegram",
        &[
            ("support", account("TG_SUPPORT")),
            ("sales", account("TG_SALES")),
        ],
        &[("TG_SUPPORT", SUPPORT), ("TG_SALES", SALES)],
    )
}

/// Proves X1 (live, Telegram): the scaffold's two bots receive and send under a real daemon, each what is its own, and
/// stop cleanly.
/// Proves P8c: a reply without an instance goes out by the bot that received the session last.
#[test]
fn a_reply_goes_out_by_the_bot_that_received() {
    let telegram = Telegram::start(&[SUPPORT, SALES]);
    let mut site = start(&telegram);
    telegram.write(SUPPORT, CHAT, "to support");
    let came = site.expect_inbound("support", "to support");
    assert_eq!(came.payload["conversation"]["id"], "42");
    let session = came.session;
    let id = site.send(None, session.as_deref(), "42", "from support");
    site.expect_receipt("support", &id, "sent");
    assert_eq!(telegram.sent(SUPPORT, 1)[0].text, "from support");

    // The same person writes to the other bot: the session is the same, and belongs there from now on.
    telegram.write(SALES, CHAT, "to sales");
    let came = site.expect_inbound("sales", "to sales");
    assert_eq!(came.session, session);
    let id = site.send(None, session.as_deref(), "42", "from sales");
    let receipt = site.expect_receipt("sales", &id, "sent");
    let sent = telegram.sent(SALES, 1);
    assert_eq!(
        (sent[0].text.as_str(), sent[0].chat.as_str()),
        ("from sales", "42")
    );
    assert_eq!(
        receipt.payload["provider_id"],
        sent[0].message_id.to_string()
    );

    site.deliver("support", "43", "by name");
    let texts = |token, count| {
        let sent = telegram.sent(token, count);
        sent.into_iter().map(|sent| sent.text).collect::<Vec<_>>()
    };
    assert_eq!(texts(SUPPORT, 2), ["from support", "by name"]);
    assert_eq!(texts(SALES, 1), ["from sales"]);
    assert_eq!(site.inbound("support"), ["to support"]);
    assert_eq!(site.inbound("sales"), ["to sales"]);
    site.stop();
}

/// A second poller of the token ends ours with 409, Telegram says 429 to both directions with the time in the body
/// alone: both are waited out. The daemon is killed between updates: each comes in once.
#[test]
fn a_conflict_a_flood_and_a_death_lose_nothing_and_repeat_nothing() {
    let telegram = Telegram::start(&[SUPPORT, SALES]);
    let mut site = start(&telegram);
    telegram.polled(SUPPORT);
    let address = telegram.url().replace("http://", "");
    let path = format!("/bot{SUPPORT}/getUpdates");
    let other = http::send(&address, "GET", &path, &[], "").unwrap();
    assert_eq!(other.status, 200);
    telegram.conflicts(SUPPORT, 1);
    telegram.write(SUPPORT, CHAT, "after the conflict");
    site.expect_inbound("support", "after the conflict");

    telegram.fail(SUPPORT, "getUpdates", Failure::flood(1));
    telegram.fail(SUPPORT, "sendMessage", Failure::flood(1));
    let begun = std::time::Instant::now();
    site.deliver("support", "42", "hello");
    let took = begun.elapsed();
    assert!((1..20).contains(&took.as_secs()), "{took:?}");
    assert_eq!(telegram.calls(SUPPORT, "sendMessage"), 2);
    assert_eq!(telegram.sent(SUPPORT, 1).len(), 1);

    let mut expected = vec!["after the conflict".to_owned()];
    for round in 0..2 {
        for number in 0..20 {
            let text = format!("{round}.{number}");
            telegram.write(SUPPORT, CHAT, &text);
            expected.push(text);
        }
        site.kill();
        let last = format!("while away {round}");
        telegram.write(SUPPORT, CHAT, &last);
        site.start_again();
        site.expect_inbound("support", &last);
        expected.push(last);
    }
    assert_eq!(site.inbound("support"), expected);
    assert!(site.inbound("sales").is_empty());
    site.stop();
}

/// A token that Telegram does not know stops that bot, and it alone.
#[test]
fn a_bad_token_stops_its_bot_alone() {
    let telegram = Telegram::start(&[SUPPORT]);
    let account =
        |secret: &str| format!("bot_token_env = {secret:?}\napi = {:?}\n", telegram.url());
    let mut site = Site::start(
        "telegram",
        &[("support", account("TG_SUPPORT"))],
        &[("TG_SUPPORT", "1:support"), ("TG_SALES", "9:wrong")],
    );
    let config = site.setup.home.join("trunkline.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    let wrong = format!(
        "[[plugins.my-telegram]]\ninstance = \"wrong\"\npath = \"plugin\"\n{}\n",
        account("TG_SALES")
    );
    site.kill();
    std::fs::write(&config, wrong + &text).unwrap();
    site.start_again();
    let failed = site.expect(
        "plugin.lifecycle.my-telegram.wrong",
        &json!({ "state": "needs_auth" }),
    );
    assert!(failed.payload.to_string().contains("401"), "{failed:?}");
    telegram.write(SUPPORT, CHAT, "hi");
    site.expect_inbound("support", "hi");
    site.stop();
}
