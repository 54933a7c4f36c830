//! What is read of feeds, good and hostile, and that another reader agrees.

use proptest::prelude::*;

use super::*;

const URL: &str = "https://example.com/blog/feed.xml";

fn read_text(body: &str) -> Result<Feed, FeedError> {
    read(body.as_bytes(), "", URL)
}

fn rss(items: &str) -> String {
    format!(
        r#"<?xml version="1.0"?><rss version="2.0"><channel><title>T</title>{items}</channel></rss>"#
    )
}

const RSS: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE rss [<!ENTITY x "expanded">]>
<rss version="2.0" xmlns:content="c" xmlns:dc="d" xmlns:atom="a"><channel>
  <title>Fish &amp; chips</title><link>https://example.com/</link><ttl>90</ttl>
  <atom:link href="https://example.com/feed" rel="self"/><managingEditor>Ed</managingEditor>
  <image><title>not the title</title><link>https://example.com/no</link></image>
  <item>
    <title>Two&nbsp;&#x1F41F; &x; AT&T</title><guid isPermaLink="false">tag:2</guid>
    <link>../two?a=1&amp;b=2</link><dc:creator>Ann</dc:creator><author>Ann</author>
    <description><![CDATA[<p>Short</p>]]></description>
    <content:encoded>&lt;p&gt;Long&lt;/p&gt;</content:encoded>
    <pubDate>Tue, 03 Jun 2025 09:39:21 GMT</pubDate><category>a</category><dc:subject>b</dc:subject>
    <enclosure url="/two.mp3" length="123" type="audio/mpeg"/>
  </item>
  <item><title>One</title><guid>https://example.com/one</guid><pubDate>2 Jun 2025 10:00 +0200</pubDate></item>
</channel></rss>"#;

#[test]
fn rss_is_read() {
    let feed = read_text(RSS).unwrap();
    assert_eq!(feed.title.as_deref(), Some("Fish & chips"));
    assert_eq!(feed.link.as_deref(), Some("https://example.com/"));
    assert_eq!(feed.ttl_ms, Some(90 * 60_000));
    let expected = serde_json::json!([
        {
            "id": "tag:2", "title": "Two\u{a0}🐟 &x; AT&T", "link": "https://example.com/two?a=1&b=2",
            "summary": "<p>Short</p>", "content": "<p>Long</p>", "authors": ["Ann"],
            "categories": ["a", "b"], "published": "2025-06-03T09:39:21Z",
            "enclosures": [{ "url": "https://example.com/two.mp3", "media_type": "audio/mpeg", "bytes": 123 }],
        },
        {
            "id": "https://example.com/one", "title": "One", "link": "https://example.com/one",
            "authors": ["Ed"], "published": "2025-06-02T08:00:00Z",
        },
    ]);
    assert_eq!(serde_json::to_value(&feed.items).unwrap(), expected);
    let back: Vec<FeedItem> = serde_json::from_value(expected).unwrap();
    assert_eq!(back, feed.items);
}

#[test]
fn atom_is_read_with_and_without_a_prefix() {
    let atom = r#"<feed xmlns="http://www.w3.org/2005/Atom" xml:base="https://example.org/a/">
      <title type="html">A &lt;b&gt;</title><id>urn:feed</id><author><name>Ann</name></author>
      <link rel="self" href="self"/><link href="home"/>
      <entry xml:base="b/"><id> urn:1 </id><title>One</title><updated>2025-06-03T09:39:21+02:00</updated>
        <published>2025-06-01</published><link rel="enclosure" href="f.mp3" length="5"/><link href="one"/>
        <category term="t" label="Label"/><summary>S</summary>
        <content type="xhtml"><div xmlns="http://www.w3.org/1999/xhtml"><p>Hi <b>you</b></p></div></content></entry>
      <entry><title>No id</title><author><name>Bob</name></author></entry></feed>"#;
    let feed = read_text(atom).unwrap();
    assert_eq!(feed.title.as_deref(), Some("A <b>"));
    assert_eq!(feed.link.as_deref(), Some("https://example.org/a/home"));
    let one = &feed.items[0];
    assert_eq!(one.id, "urn:1");
    assert_eq!(one.link.as_deref(), Some("https://example.org/a/b/one"));
    assert_eq!(one.enclosures[0].url, "https://example.org/a/b/f.mp3");
    assert_eq!(one.updated.as_deref(), Some("2025-06-03T07:39:21Z"));
    assert_eq!(one.published.as_deref(), Some("2025-06-01T00:00:00Z"));
    assert_eq!(one.authors, ["Ann"]);
    assert_eq!(one.categories, ["Label"]);
    assert!(
        one.content
            .as_ref()
            .unwrap()
            .contains("<p>Hi <b>you</b></p>")
    );
    assert_eq!(feed.items[1].id.len(), 32);
    assert_eq!(feed.items[1].authors, ["Bob"]);
    let prefixed = "<a:feed xmlns:a='http://www.w3.org/2005/Atom'><a:entry><a:id>1</a:id>\
        <a:title>One</a:title></a:entry></a:feed>";
    assert_eq!(
        read_text(prefixed).unwrap().items[0].title.as_deref(),
        Some("One")
    );
}

#[test]
fn rss_1_0_is_read() {
    let rdf = r#"<rdf:RDF xmlns:rdf="r" xmlns="http://purl.org/rss/1.0/"><channel><title>T</title></channel>
      <item rdf:about="https://example.com/1"><title>One</title><link>https://example.com/1</link></item></rdf:RDF>"#;
    let feed = read_text(rdf).unwrap();
    assert_eq!(feed.title.as_deref(), Some("T"));
    assert_eq!(feed.items[0].id, "https://example.com/1");
}

#[test]
fn a_json_feed_is_read_and_one_bad_item_costs_no_other() {
    let body = r#"{"version": "https://jsonfeed.org/version/1.1", "title": "T", "authors": [{"name": "Ann"}],
      "items": [{"id": 7, "url": "/7", "content_text": "seven", "tags": ["a"], "date_published": "2025-06-03T09:39:21Z",
                 "attachments": [{"url": "7.mp3", "mime_type": "audio/mpeg", "size_in_bytes": 9}]},
                "eight", {"title": 9}, {"external_url": "https://example.org/x"}]}"#;
    let feed = read_text(body).unwrap();
    assert_eq!(feed.items[0].id, "7");
    assert_eq!(feed.items[0].link.as_deref(), Some("https://example.com/7"));
    assert_eq!(
        feed.items[0].enclosures[0].url,
        "https://example.com/blog/7.mp3"
    );
    assert_eq!(feed.items[1].link.as_deref(), Some("https://example.org/x"));
    let reasons: Vec<&str> = feed
        .unreadable
        .iter()
        .map(|item| item.reason.as_str())
        .collect();
    assert_eq!(
        reasons,
        [
            "expected an item that is an object, found a string",
            "expected an id, a link, a title or a text, found none"
        ]
    );
    assert_eq!(feed.unreadable[0].index, 1);
}

#[test]
fn an_item_without_an_id_has_the_same_one_in_each_reading() {
    let id = |item: &str| read_text(&rss(item)).unwrap().items[0].id.clone();
    let one = id("<item><title>One</title><link>https://example.com/1</link></item>");
    assert_eq!(
        one,
        id(
            "<item><link>https://example.com/1</link><title>One</title><pubDate>now</pubDate></item>"
        )
    );
    assert_ne!(
        one,
        id("<item><title>Two</title><link>https://example.com/1</link></item>")
    );
    assert_eq!(id("<item><description>only</description></item>").len(), 32);
}

#[test]
fn what_is_no_feed_is_one_typed_error() {
    let error = |body: &str| read_text(body).unwrap_err().to_string();
    assert_eq!(
        error(""),
        "expected RSS, Atom or JSON Feed, found an empty body"
    );
    assert_eq!(
        error("<!doctype html><html><body>no</body></html>"),
        "expected RSS, Atom or JSON Feed, found the element <html>"
    );
    assert_eq!(
        error("{}"),
        "expected RSS, Atom or JSON Feed, found a JSON object without JSON Feed's \"version\""
    );
    assert!(
        error("error 500").starts_with("expected RSS, Atom or JSON Feed, found text that begins")
    );
    assert!(error("{\"version\": ").starts_with("expected a JSON Feed, found EOF"));
    let whole = rss("<item><title>One</title></item>");
    for end in 60..whole.len() - 1 {
        assert!(
            matches!(read_text(&whole[..end]), Err(FeedError::BadXml { .. })),
            "{end}"
        );
    }
    let large = vec![b' '; FEED_BYTES_MAX + 1];
    assert!(matches!(
        read(&large, "", URL),
        Err(FeedError::TooLarge { .. })
    ));
}

#[test]
fn bombs_are_refused_or_read_in_time() {
    let laughs = format!(
        "<!DOCTYPE lolz [<!ENTITY a \"lol\">{}]>{}",
        (0..20)
            .map(|n| format!("<!ENTITY b{n} \"&a;&a;&a;&a;&a;&a;&a;\">"))
            .collect::<String>(),
        "<rss version=\"2.0\"><channel><item><title>&b19;</title></item></channel></rss>",
    );
    assert_eq!(
        read_text(&laughs).unwrap().items[0].title.as_deref(),
        Some("&b19;")
    );
    let file = r#"<!DOCTYPE r [<!ENTITY f SYSTEM "file:///etc/passwd">]><rss><channel><item><title>&f;</title></item></channel></rss>"#;
    assert_eq!(
        read_text(file).unwrap().items[0].title.as_deref(),
        Some("&f;")
    );
    let deep = rss(&format!("<item>{}", "<a>".repeat(100_000)));
    assert!(matches!(read_text(&deep), Err(FeedError::BadXml { .. })));
    let attributes: String = (0..100_000).map(|n| format!(" a{n}='x'")).collect();
    let wide = rss(&format!("<item{attributes}><title>One</title></item>"));
    assert_eq!(read_text(&wide).unwrap().items.len(), 1);
    let prefixes: String = (0..50_000).map(|n| format!(" xmlns:a{n}='x'")).collect();
    let names = rss(&format!(
        "<item{prefixes}><title>One</title>{}</item>",
        "<z:a/>".repeat(50_000)
    ));
    assert_eq!(read_text(&names).unwrap().items.len(), 1);
    let many = rss(&"<item><guid>1</guid></item>".repeat(FEED_ITEMS_MAX + 5));
    let many = read_text(&many).unwrap();
    assert_eq!((many.items.len(), many.left_out), (FEED_ITEMS_MAX, 5));
    let long = rss(&format!(
        "<item><guid>{0}</guid><title>{0}</title><description>{0}</description></item>",
        "é".repeat(100_000)
    ));
    let long = &read_text(&long).unwrap().items[0];
    assert!(long.truncated && long.id.len() == 32);
    assert_eq!(long.title.as_ref().unwrap().len(), ITEM_TITLE_BYTES_MAX);
    assert_eq!(long.summary.as_ref().unwrap().len(), ITEM_TEXT_BYTES_MAX);
}

#[test]
fn a_link_that_a_browser_would_run_is_left_out() {
    let feed = read_text(&rss(
        "<item><title>One</title><link>javascript:alert(1)</link></item>",
    ))
    .unwrap();
    assert_eq!(feed.items[0].link, None);
}

#[test]
fn times_are_read_as_feeds_write_them() {
    for (text, expected) in [
        (
            "Tue, 03 Jun 2025 09:39:21 GMT",
            Some("2025-06-03T09:39:21Z"),
        ),
        (
            "Mon, 03 Jun 2025 09:39:21 +0200",
            Some("2025-06-03T07:39:21Z"),
        ),
        (
            "Tuesday, 3 Jun 2025 09:39:21 EST",
            Some("2025-06-03T14:39:21Z"),
        ),
        (
            "Tue, 03 Jun 2025 09:39:21 UTC",
            Some("2025-06-03T09:39:21Z"),
        ),
        ("Tue, 03 Jun 2025 09:39:21 Z", Some("2025-06-03T09:39:21Z")),
        ("2025-06-03T09:39:21.5Z", Some("2025-06-03T09:39:21.5Z")),
        ("2025-06-03", Some("2025-06-03T00:00:00Z")),
        ("yesterday", None),
        ("", None),
    ] {
        assert_eq!(clean::time(text).as_deref(), expected, "{text}");
    }
}

/// Another reader of feeds sees the same items.
#[test]
fn a_second_reader_sees_the_same_items() {
    let atom = r#"<feed xmlns="http://www.w3.org/2005/Atom"><title>T</title><id>f</id><updated>2025-06-03T09:39:21Z</updated>
      <entry><id>urn:1</id><title>One</title><link href="https://example.com/1"/><updated>2025-06-03T09:39:21Z</updated>
      <summary>Short</summary></entry></feed>"#;
    for body in [RSS, atom] {
        let ours = read_text(body).unwrap();
        let theirs = feed_rs::parser::Builder::new()
            .base_uri(Some(URL))
            .build()
            .parse(body.replace("AT&T", "AT&amp;T").as_bytes())
            .unwrap();
        assert_eq!(ours.items.len(), theirs.entries.len());
        for (our, their) in ours.items.iter().zip(&theirs.entries) {
            assert_eq!(our.id, their.id);
            let time = |text: &Option<String>| {
                text.as_ref()
                    .map(|text| text.parse::<jiff::Timestamp>().unwrap().as_millisecond())
            };
            assert_eq!(
                time(&our.published),
                their
                    .published
                    .or(their.updated.filter(|_| false))
                    .map(|time| time.timestamp_millis())
            );
            let their_summary = their.summary.as_ref().map(|text| text.content.as_str());
            assert_eq!(our.summary.as_deref(), their_summary);
        }
    }
}

/// A number that fits no integer breaks other readers; here it is text that nobody needs.
#[test]
fn an_extension_with_nonsense_in_it_costs_nothing() {
    let body = rss(
        "<item><title>One</title><itunes:duration>99999999999999999999999</itunes:duration></item>",
    );
    assert_eq!(read_text(&body).unwrap().items.len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_bytes_make_it_panic(
        at in any::<prop::sample::Index>(),
        bytes in prop::collection::vec(any::<u8>(), 0..8),
        cut in 0_usize..6,
        kind in 0_usize..2,
    ) {
        let mut body = [RSS, r#"{"version":"https://jsonfeed.org/version/1","items":[{"id":"1"}]}"#][kind]
            .as_bytes()
            .to_vec();
        let from = at.index(body.len());
        let to = (from + cut).min(body.len());
        body.splice(from..to, bytes);
        if let Ok(feed) = read(&body, "text/xml", URL) {
            for item in feed.items {
                prop_assert!(!item.id.is_empty());
            }
        }
    }
}
