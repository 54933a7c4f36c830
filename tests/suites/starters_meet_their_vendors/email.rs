//! Mail: a server that is busy, one that refuses, and one that wants a login.

use trunkline_tests::harness::mail::MailServer;

use super::site::Site;

/// Proves X1 (live, mail): the scaffold's two senders send under a real daemon, each with its own login and address,
/// and stop cleanly. A mail that is refused for now is taken later, once; one that is refused for good is said to be.
#[test]
fn a_busy_server_gets_the_mail_later_and_a_refusal_is_final() {
    let users = [
        ("support@example.com", "s3cret"),
        ("news@example.com", "pa55"),
        ("ada@example.org", ""),
    ];
    let server = MailServer::start(&users);
    let account = |name: &str| {
        format!(
            "host = \"127.0.0.1\"\nport = {}\nfrom = \"{name}@example.com\"\n\
             user = \"{name}@example.com\"\npassword_env = {name:?}\nagain = \"1s\"\n",
            server.smtp_port()
        )
    };
    let mut site = Site::start(
        "email",
        &[("support", account("support")), ("news", account("news"))],
        &[("support", "s3cret"), ("news", "pa55")],
    );
    let message_id = site.deliver("support", "ada@example.org", "hello\n.\nAda");
    let first = server.taken(1).remove(0);
    assert_eq!(first.user.as_deref(), Some("support@example.com"));
    assert_eq!(
        (first.from.as_str(), &first.to[..]),
        ("support@example.com", &["ada@example.org".to_owned()][..])
    );
    assert_eq!(first.header("Message-ID"), message_id.as_str());
    assert!(first.text.contains("hello\r\n.\r\nAda"), "{first:?}");

    server.refuse("DATA", "451 4.3.2 try later");
    server.refuse("RCPT", "450 4.2.1 the mailbox is busy");
    server.refuse("MAIL", "421 4.3.2 closing");
    let id = site.send(Some("news"), None, "ada@example.org", "news");
    site.expect_receipt("news", &id, "sent");
    let second = server.taken(2).remove(1);
    assert_eq!(second.user.as_deref(), Some("news@example.com"));
    assert_eq!(second.header("From"), Some("news@example.com"));

    server.refuse("RCPT", "550 5.1.1 no such user");
    let id = site.send(Some("support"), None, "nobody@example.org", "hello");
    let failed = site.expect_receipt("support", &id, "failed");
    assert!(
        failed.payload.to_string().contains("no such user"),
        "{failed:?}"
    );
    server.refuse("DATA", "554 5.7.1 no spam, please");
    let id = site.send(Some("support"), None, "ada@example.org", "spam");
    site.expect_receipt("support", &id, "failed");
    site.stop();
    assert_eq!(server.taken(2).len(), 2);
}
