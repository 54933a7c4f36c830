//! Slack: Socket Mode that is refreshed, and cut off, in the middle of a conversation.

use trunkline_tests::harness::slack::Slack;

use super::site::Site;

const ACME: &str = "xapp-acme";
const GLOBEX: &str = "xapp-globex";

fn start(slack: &Slack) -> Site {
    let account = |name: &str| {
        format!(
            "app_token_env = \"{name}_APP\"\nbot_token_env = \"{name}_BOT\"\napi = {:?}\n",
            slack.url()
        )
    };
    Site::start(
        "slack",
        &[("acme", account("ACME")), ("globex", account("GLOBEX"))],
        &[
            ("ACME_APP", ACME),
            ("ACME_BOT", "xoxb-acme"),
            ("GLOBEX_APP", GLOBEX),
            ("GLOBEX_BOT", "xoxb-globex"),
        ],
    )
}

/// Proves X1 (live, Slack): the scaffold's two workspaces receive and send under a real daemon, each what is its own,
/// and stop cleanly. A flood is waited out; when Slack asks for a refresh, another socket is there before the old one
/// goes, and neither that nor a cut loses or repeats a message.
#[test]
fn a_refresh_and_a_cut_lose_nothing_and_repeat_nothing() {
    let slack = Slack::start(&[(ACME, "xoxb-acme"), (GLOBEX, "xoxb-globex")]);
    let mut site = start(&slack);
    let hi = slack.write(ACME, "C1", "U1", "hi");
    let came = site.expect_inbound("acme", "hi");
    assert_eq!(came.payload["conversation"]["id"], "C1");
    assert_eq!(slack.acked(ACME, &hi), 1);
    slack.write(GLOBEX, "C1", "U2", "to globex");
    site.expect_inbound("globex", "to globex");

    slack.flood(ACME, 1);
    let ts = site.deliver("acme", "C1", "hello");
    assert_eq!(ts, slack.posted(ACME, 1)[0].ts.as_str());
    let session = came.session.as_deref();
    let id = site.send(Some("globex"), session, "C2", "from globex");
    site.expect_receipt("globex", &id, "sent");

    let mut expected = vec!["hi".to_owned()];
    let mut write = |text: &str| {
        expected.push(text.to_owned());
        slack.write(ACME, "C1", "U1", text)
    };
    for (round, reason) in ["warning", "refresh_requested"].iter().enumerate() {
        let before = write(&format!("before {reason}"));
        slack.disconnect(ACME, reason);
        let during = write(&format!("during {reason}"));
        slack.opened(ACME, 2 + round as u64);
        // The old one ends when its messages are acknowledged, and not before the new one is there.
        assert_eq!(slack.ended(ACME, round + 1).len(), round + 1);
        let after = write(&format!("after {reason}"));
        for envelope in [before, during, after] {
            slack.acked(ACME, &envelope);
        }
    }
    let lost = write("on a socket that is cut");
    slack.cut(ACME);
    slack.opened(ACME, 4);
    let last = write("after the cut");
    for envelope in [lost, last] {
        slack.acked(ACME, &envelope);
    }
    site.expect_inbound("acme", "after the cut");
    let mut found = site.inbound("acme");
    // Slack says nothing of the order across sockets.
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    assert_eq!(site.inbound("globex"), ["to globex"]);
    assert_eq!(slack.posted(GLOBEX, 1).len(), 1);
    assert_eq!(slack.posted(ACME, 1).len(), 1);
    slack.opened(GLOBEX, 1);
    site.stop();
}
