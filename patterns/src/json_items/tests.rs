//! What a declared list gives, and what it refuses.

use serde_json::{Value, json};

use super::*;

fn options(value: Value) -> JsonOptions {
    serde_json::from_value(value).unwrap()
}

fn github() -> JsonOptions {
    options(json!({
        "url": "https://api.example.com/issues?state=all", "id_field": "id",
        "cursor_field": "updated_at", "since_param": "since", "paginate": { "by": "link" },
    }))
}

#[test]
fn items_are_found_by_pointer_and_by_dots() {
    for items_path in ["/data/0/items", "data.0.items"] {
        let options = options(json!({
            "url": "https://a.example/", "items_path": items_path, "id_field": "meta.id"
        }));
        options.check().unwrap();
        let body =
            json!({ "data": [{ "items": [{ "meta": { "id": 7 } }, { "meta": { "id": "x" } }] }] });
        let page = options
            .read(
                body.to_string().as_bytes(),
                None,
                "https://a.example/",
                None,
            )
            .unwrap();
        let ids: Vec<&str> = page.items.iter().map(|item| item.id.as_str()).collect();
        assert_eq!(ids, ["7", "x"]);
        assert_eq!(page.next, None);
    }
}

#[test]
fn an_item_that_does_not_fit_costs_no_other() {
    let body = json!([{ "id": 1 }, { "name": "none" }, { "id": [] }, 4, { "id": "" }, { "id": 2 }]);
    let page = github()
        .read(
            body.to_string().as_bytes(),
            None,
            "https://a.example/",
            None,
        )
        .unwrap();
    assert_eq!(page.items.len(), 2);
    assert_eq!(page.bad.len(), 4);
    assert_eq!(
        page.bad[1].reason,
        r#"expected an id at "id": text or a number, found a list"#
    );
}

#[test]
fn errors_say_what_was_expected_and_found() {
    let read = |body: &str| {
        let options =
            options(json!({ "url": "https://a.example/", "items_path": "data", "id_field": "id" }));
        options
            .read(body.as_bytes(), None, "https://a.example/", None)
            .unwrap_err()
            .to_string()
    };
    assert_eq!(read("[]"), r#"expected a list at "data", found nothing"#);
    assert_eq!(
        read(r#"{"data": {}}"#),
        r#"expected a list at "data", found an object"#
    );
    assert!(read("<html>").starts_with("expected JSON, found expected value"));
    assert!(read(&"[".repeat(100_000)).starts_with("expected JSON, found recursion limit"));
    let check = |value: Value| options(value).check().unwrap_err().to_string();
    assert_eq!(
        check(json!({ "url": "u", "id_field": "id", "since_param": "since" })),
        r#"expected a field whose value since_param sends as json.cursor_field, found """#
    );
    assert_eq!(
        check(json!({ "url": "u", "id_field": "id", "pages_max": 0 })),
        r#"expected 1 to 100 as json.pages_max, found "0""#
    );
    assert!(check(json!({ "url": "u", "id_field": "a..b" })).contains("names with dots"));
    let unknown =
        serde_json::from_value::<JsonOptions>(json!({ "url": "u", "id_field": "id", "itmes": "" }));
    assert!(
        unknown
            .unwrap_err()
            .to_string()
            .contains("unknown field `itmes`")
    );
}

#[test]
fn the_link_header_names_the_next_page() {
    let url = "https://api.example.com/issues?page=1";
    let next = |header: &str| github().read(b"[]", Some(header), url, None).unwrap().next;
    let to = |url: &str| Some(PageRef::Url(url.to_owned()));
    assert_eq!(
        next(r#"<?page=2>; rel="next""#),
        to("https://api.example.com/issues?page=2")
    );
    assert_eq!(
        next(r#"</a>; rel="prev"; title="x, <y>; rel=next", </b>; rel="last next""#),
        to("https://api.example.com/b")
    );
    assert_eq!(next("</b>; rel=next"), to("https://api.example.com/b"));
    for none in [
        "",
        "<",
        "</b>",
        r#"</b>; rel="nextish""#,
        "<javascript:1>; rel=next",
    ] {
        assert_eq!(next(none), None, "{none}");
    }
    assert_eq!(
        next(&format!("<{url}>; rel=next")),
        None,
        "a page that names itself is the last"
    );
}

#[test]
fn pages_are_named_by_number_by_token_and_by_address() {
    let of = |paginate: Value| {
        options(
            json!({ "url": "https://a.example/l?x=1&page=9", "id_field": "id",
            "items_path": "items", "paginate": paginate }),
        )
    };
    let numbered = of(json!({ "by": "page", "param": "page" }));
    let first = numbered.request(&numbered.url, None, None).unwrap();
    assert_eq!(first, "https://a.example/l?x=1&page=1");
    let full = br#"{"items": [{"id": 1}]}"#;
    let next = numbered
        .read(full, None, &first, None)
        .unwrap()
        .next
        .unwrap();
    assert_eq!(next, PageRef::Number(2));
    let second = numbered.request(&numbered.url, None, Some(&next)).unwrap();
    assert_eq!(second, "https://a.example/l?x=1&page=2");
    assert_eq!(
        numbered
            .read(br#"{"items": []}"#, None, &second, Some(&next))
            .unwrap()
            .next,
        None
    );

    let token = of(json!({ "by": "token", "path": "/meta/next", "param": "page" }));
    let body = br#"{"items": [], "meta": {"next": "a b&c"}}"#;
    let next = token
        .read(body, None, "https://a.example/l", None)
        .unwrap()
        .next
        .unwrap();
    assert_eq!(
        token.request(&token.url, None, Some(&next)).unwrap(),
        "https://a.example/l?x=1&page=a+b%26c"
    );
    assert_eq!(
        token
            .read(body, None, "https://a.example/l", Some(&next))
            .unwrap()
            .next,
        None
    );

    let named = of(json!({ "by": "url", "path": "next" }));
    let body = br#"{"items": [], "next": "/l?p=2"}"#;
    let next = named
        .read(body, None, "https://a.example/l", None)
        .unwrap()
        .next;
    assert_eq!(
        next,
        Some(PageRef::Url("https://a.example/l?p=2".to_owned()))
    );
    let bad = named.read(
        br#"{"items": [], "next": 2}"#,
        None,
        "https://a.example/l",
        None,
    );
    assert_eq!(
        bad.unwrap_err().to_string(),
        r#"expected the next page's address at "next", found a number"#
    );
}

#[test]
fn the_cursor_is_the_greatest_and_is_sent_as_asked() {
    let body = json!([
        { "id": 1, "updated_at": "2026-01-02T00:00:00Z" },
        { "id": 2, "updated_at": "2026-01-03T00:00:00Z" },
        { "id": 3 }, { "id": 4, "updated_at": { "not": "a cursor" } },
    ]);
    let page = github()
        .read(
            body.to_string().as_bytes(),
            None,
            "https://a.example/",
            None,
        )
        .unwrap();
    assert_eq!(page.cursor, Some(json!("2026-01-03T00:00:00Z")));
    assert_eq!(
        github()
            .request(&github().url, page.cursor.as_ref(), None)
            .unwrap(),
        "https://api.example.com/issues?state=all&since=2026-01-03T00%3A00%3A00Z"
    );
    let numbers = [json!(9), json!(10), json!(2.5)];
    let greatest = numbers
        .into_iter()
        .fold(None, |one, other| page::greater(one, Some(other)));
    assert_eq!(greatest, Some(json!(10)));
}
