//! `[[pollers]]` of a `plugin.toml`: what is polled without code.

use serde_json::{Map, Value, json};

use super::{Channel, fields::check_kind};
use crate::config_schema::ConfigSchema;
use crate::limits::POLLERS_MAX;
use crate::toml::{Kind, Place, Sink, TableReader};

/// Declares a poller that needs no code.
#[derive(Debug, Clone, PartialEq)]
pub struct Poller {
    /// The channel's kind.
    pub kind: String,
    /// When, and what: the options of the engine, by its names.
    pub options: Map<String, Value>,
    /// As whom the server is asked.
    pub auth: PollerAuth,
    /// What a message says: a text with `{title}`, `{a.b}` and other fields of the item.
    pub text: Option<String>,
    /// Which conversation a message belongs to, a text as `text` is; else the kind.
    pub conversation: Option<String>,
    /// Whether the server may be in a private network.
    pub private_network: bool,
    /// Where it is declared.
    pub place: Place,
}

/// Says as whom a server is asked; texts may hold `{config.<key>}`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PollerAuth {
    /// `Authorization: Bearer`.
    pub bearer: Option<String>,
    /// User and password.
    pub basic: Option<(String, String)>,
    /// Further headers.
    pub headers: Vec<(String, String)>,
    /// A token that is asked for first.
    pub oauth: Option<PollerOauth>,
}

/// Says where a token comes from: OAuth 2, client credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PollerOauth {
    /// Who gives it.
    pub token_url: String,
    /// Who asks.
    pub client_id: String,
    /// And the proof.
    pub client_secret: String,
    /// What it is asked for.
    pub scope: Option<String>,
}

/// Reads every `[[pollers]]`.
pub(super) fn read(
    root: &TableReader<'_>,
    channels: &[Channel],
    config: &ConfigSchema,
    send: &[String],
) -> Vec<Poller> {
    let mut pollers: Vec<Poller> = Vec::new();
    for table in root.tables("pollers") {
        let sink = table.sink();
        if pollers.len() == POLLERS_MAX {
            let message = format!("a plugin has at most {POLLERS_MAX} pollers");
            sink.error("quota_exceeded", table.place(), message);
            break;
        }
        let place = table.place().clone();
        let Some(poller) = read_poller(table) else {
            continue;
        };
        check_names(&poller, channels, config, sink);
        check_alert(&poller, send, sink);
        if pollers.iter().any(|other| other.kind == poller.kind) {
            let message = format!("poller {:?} is declared twice", poller.kind);
            let hint = "one poller for each kind: give the other a [[channels]] of its own";
            sink.error_hint("duplicate", &place, message, hint);
        } else {
            pollers.push(poller);
        }
    }
    pollers
}

/// Checks what a declaration names beside itself.
fn check_names(poller: &Poller, channels: &[Channel], config: &ConfigSchema, sink: &Sink) {
    let place = &poller.place;
    if !channels.iter().any(|channel| channel.kind == poller.kind) {
        let message = format!(
            "pollers.kind {:?} is no channel of this plugin",
            poller.kind
        );
        let hint = format!("add [[channels]] with kind = {:?}", poller.kind);
        sink.error_hint("invalid_value", place, message, hint);
    }
    let auth = &poller.auth;
    let oauth = auth.oauth.as_ref();
    let sources = [poller.options.get("feed"), poller.options.get("json")];
    let sources = sources
        .into_iter()
        .flatten()
        .filter_map(|source| source.as_str().or_else(|| source["url"].as_str()));
    let pair = auth
        .basic
        .iter()
        .flat_map(|(user, password)| [user, password]);
    let token = oauth.into_iter().flat_map(|oauth| {
        [&oauth.token_url, &oauth.client_id, &oauth.client_secret]
            .into_iter()
            .chain(&oauth.scope)
    });
    let texts = auth.bearer.iter().chain(pair).chain(token);
    let texts = texts.chain(auth.headers.iter().map(|(_, value)| value));
    let alert = poller.options.get("alert");
    let told = ["to", "instance"]
        .into_iter()
        .filter_map(|key| alert.and_then(|alert| alert[key].as_str()));
    let credential = poller.options.get("credential").and_then(Value::as_str);
    let others = told.chain(credential);
    let mut missing: Vec<&str> = Vec::new();
    for text in sources.chain(texts.map(String::as_str)).chain(others) {
        for key in config_keys(text) {
            if !config.keys.contains_key(key) && !missing.contains(&key) {
                missing.push(key);
                let message = format!("{{config.{key}}} names no key of this plugin's config");
                let hint = format!("add [config.{key}] with type = \"string\"");
                sink.error_hint("invalid_value", place, message, hint);
            }
        }
    }
}

/// Checks that whom a poller is to tell may be sent to.
fn check_alert(poller: &Poller, send: &[String], sink: &Sink) {
    let Some(alert) = poller.options.get("alert") else {
        return;
    };
    let kind = alert["kind"].as_str().unwrap_or_default();
    if !kind.is_empty() && !send.iter().any(|granted| granted == kind) {
        let message = format!("pollers.alert.kind {kind:?} is not asked for in [capabilities]");
        let hint = format!("add [capabilities] with send = [{kind:?}], which the operator grants");
        sink.error_hint("invalid_value", &poller.place, message, hint);
    }
}

/// Finds the keys of `{config.<key>}` in a text.
fn config_keys(text: &str) -> impl Iterator<Item = &str> {
    text.split("{config.")
        .skip(1)
        .filter_map(|rest| rest.split_once('}').map(|(key, _)| key))
}

fn read_poller(table: TableReader<'_>) -> Option<Poller> {
    if table.entry("kind").is_none() {
        table.missing("kind", r#"add kind = "news", the kind of a channel"#);
    }
    let kind = table.text_at("kind");
    if let Some((kind, place)) = kind {
        check_kind(table.sink(), "pollers.kind", kind, place);
    }
    let mut options = Map::new();
    if let Some((kind, _)) = kind {
        options.insert("kind".to_owned(), json!(kind));
    }
    for key in ["every", "jitter", "timeout"] {
        // What the text stands for is the engine's to say; that it is a duration, this table's.
        if table.duration(key).is_some() {
            options.insert(key.to_owned(), json!(table.text(key)));
        }
    }
    for key in ["cron", "tz", "at", "misfire"] {
        if let Some(node) = table.get(key) {
            match node.kind {
                Kind::String(_) | Kind::Datetime(_) => {
                    options.insert(key.to_owned(), node.to_json());
                }
                _ => table.wrong_type(key, "a string", node),
            }
        }
    }
    if let Some(credential) = table.text("credential") {
        options.insert("credential".to_owned(), json!(credential));
    }
    if let Some(alert) = table.table("alert") {
        let [kind, to] = needed(&alert, ["kind", "to"]);
        let mut read = Map::from_iter([
            ("kind".to_owned(), json!(kind)),
            ("to".to_owned(), json!(to)),
        ]);
        if let Some(instance) = alert.text("instance") {
            read.insert("instance".to_owned(), json!(instance));
        }
        alert.finish();
        options.insert("alert".to_owned(), Value::Object(read));
    }
    match (table.entry("feed"), table.entry("json")) {
        (None, None) => {
            let hint =
                "add feed = \"https://…\", or json = { url = \"https://…\", id_field = \"id\" }";
            table.missing("feed", hint);
        }
        (Some(_), Some(json)) => {
            let message = "a poller has one source, found feed and json";
            table.sink().error("invalid_value", &json.place, message);
        }
        (Some(_), None) => {
            if let Some(feed) = table.text("feed") {
                options.insert("feed".to_owned(), json!(feed));
            }
        }
        (None, Some(_)) => {
            if let Some(list) = table.table("json").map(read_list) {
                options.insert("json".to_owned(), Value::Object(list));
            }
        }
    }
    let poller = Poller {
        kind: kind.map(|(kind, _)| kind.to_owned()).unwrap_or_default(),
        options,
        auth: table.table("auth").map(read_auth).unwrap_or_default(),
        text: table.text("text").map(str::to_owned),
        conversation: table.text("conversation").map(str::to_owned),
        private_network: table.boolean("private_network").unwrap_or(false),
        place: table.place().clone(),
    };
    table.finish();
    kind.map(|_| poller)
}

fn read_list(list: TableReader<'_>) -> Map<String, Value> {
    let mut read = Map::new();
    for (key, hint) in [
        ("url", r#"add url = "https://…""#),
        ("id_field", r#"add id_field = "id""#),
    ] {
        if list.entry(key).is_none() {
            list.missing(key, hint);
        }
    }
    for key in [
        "url",
        "items_path",
        "id_field",
        "cursor_field",
        "since_param",
    ] {
        if let Some(text) = list.text(key) {
            read.insert(key.to_owned(), json!(text));
        }
    }
    if let Some(most) = list.integer("pages_max", 1..=100) {
        read.insert("pages_max".to_owned(), json!(most));
    }
    if let Some(paginate) = list.table("paginate") {
        read.insert("paginate".to_owned(), read_pages(paginate));
    }
    list.finish();
    read
}

fn read_pages(pages: TableReader<'_>) -> Value {
    type Way = (&'static str, &'static [&'static str]);
    const WAYS: &[(&str, Way)] = &[
        ("link", ("link", &[])),
        ("url", ("url", &["path"])),
        ("token", ("token", &["path", "param"])),
        ("page", ("page", &["param", "start"])),
    ];
    let mut read = Map::new();
    if pages.entry("by").is_none() {
        pages.missing("by", "add by = \"link\", \"url\", \"token\" or \"page\"");
    }
    let by = pages.choice("by", WAYS);
    for key in ["path", "param", "start"] {
        let is_known = by.is_some_and(|(_, keys)| keys.contains(&key));
        match (pages.entry(key), is_known) {
            (None, true) if key != "start" => {
                pages.missing(
                    key,
                    &format!("add {key} = \"…\", which this way of paging needs"),
                );
            }
            (Some(entry), false) if by.is_some() => {
                let message = format!("{} means nothing beside this way of paging", entry.key);
                pages.sink().error("unknown_key", &entry.place, message);
            }
            _ => {}
        }
    }
    for key in ["path", "param"] {
        if let Some(text) = pages.text(key) {
            read.insert(key.to_owned(), json!(text));
        }
    }
    if let Some(start) = pages.integer("start", 0..=u64::from(u32::MAX)) {
        read.insert("start".to_owned(), json!(start));
    }
    if let Some((by, _)) = by {
        read.insert("by".to_owned(), json!(by));
    }
    pages.finish();
    Value::Object(read)
}

fn read_auth(auth: TableReader<'_>) -> PollerAuth {
    let mut read = PollerAuth {
        bearer: auth.text("bearer").map(str::to_owned),
        ..PollerAuth::default()
    };
    if let Some(basic) = auth.table("basic") {
        let [user, password] = needed(&basic, ["user", "password"]);
        basic.finish();
        read.basic = Some((user, password));
    }
    if let Some(headers) = auth.table("headers") {
        for entry in headers.entries() {
            match entry.node.as_str() {
                Some(value) => read.headers.push((entry.key.clone(), value.to_owned())),
                None => headers.wrong_type(&entry.key, "a string", &entry.node),
            }
        }
    }
    if let Some(oauth) = auth.table("oauth") {
        let [token_url, client_id, client_secret] =
            needed(&oauth, ["token_url", "client_id", "client_secret"]);
        read.oauth = Some(PollerOauth {
            token_url,
            client_id,
            client_secret,
            scope: oauth.text("scope").map(str::to_owned),
        });
        oauth.finish();
    }
    let ways = ["bearer", "basic", "oauth"];
    let found: Vec<&str> = ways
        .into_iter()
        .filter(|key| auth.entry(key).is_some())
        .collect();
    if found.len() > 1 {
        let message = format!(
            "{} has to be one of bearer, basic and oauth, found {}",
            auth.path(),
            found.join(" and ")
        );
        auth.sink().error("invalid_value", auth.place(), message);
    }
    auth.finish();
    read
}

fn needed<const N: usize>(table: &TableReader<'_>, keys: [&'static str; N]) -> [String; N] {
    keys.map(|key| {
        if table.entry(key).is_none() {
            table.missing(key, &format!("add {key} = \"…\""));
        }
        table.text(key).unwrap_or_default().to_owned()
    })
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use crate::manifest::Manifest;

    fn problems(text: &str) -> String {
        let found = Manifest::parse(text).unwrap_err();
        let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
        lines.join("\n")
    }

    const POLLED: &str = r#"
    [plugin]
    id = "news"
    version = "0.1.0"
    [[channels]]
    kind = "rust"
    [[channels]]
    kind = "issues"
    [config.token]
    type = "string"
    secret = true
    "#;

    #[test]
    fn pollers_need_no_command_and_say_what_they_ask() {
        let text = format!(
            "{POLLED}[[pollers]]\nkind = \"rust\"\nfeed = \"https://a.example/feed\"\nevery = \"30m\"\njitter = \"5m\"\n\
             [[pollers]]\nkind = \"issues\"\ncron = \"0 * * * *\"\nprivate_network = true\ntext = \"{{title}}\"\n\
             [pollers.json]\nurl = \"https://a.example\"\nid_field = \"id\"\npaginate = {{ by = \"link\" }}\n\
             [pollers.auth]\nbearer = \"{{config.token}}\"\nheaders = {{ accept = \"application/json\" }}\n"
        );
        let manifest = Manifest::parse(&text).unwrap().value;
        assert!(manifest.command.is_empty());
        let [rust, issues] = &manifest.pollers[..] else {
            panic!("two pollers");
        };
        let options = serde_json::json!({
            "kind": "rust", "feed": "https://a.example/feed", "every": "30m", "jitter": "5m"
        });
        assert_eq!(serde_json::Value::Object(rust.options.clone()), options);
        assert_eq!(issues.options["json"]["paginate"]["by"], "link");
        assert!(issues.private_network && !rust.private_network);
        assert_eq!(issues.auth.bearer.as_deref(), Some("{config.token}"));
        assert_eq!(issues.auth.headers.len(), 1);
    }

    /// Proves P4e: what is wrong in a declaration without code is said at once, each with its place.
    #[test]
    fn all_that_is_wrong_with_pollers_is_said_at_once() {
        let text = format!(
            "{POLLED}[[pollers]]\nkind = \"rust\"\nfeed = \"{{config.url}}\"\nevery = \"soon\"\nwhat = 1\n\
             [[pollers]]\nkind = \"other\"\n\
             [pollers.json]\nurl = \"https://a.example\"\npaginate = {{ by = \"token\", path = \"next\", start = 2 }}\n\
             [pollers.auth]\nbearer = \"a\"\n[pollers.auth.oauth]\ntoken_url = \"https://a.example\"\n"
        );
        expect![[r#"
            plugin.toml:12:5: {config.url} names no key of this plugin's config
            hint: add [config.url] with type = "string"
            plugin.toml:15:9: pollers.every: expected a whole number and a unit (ms, s, m, h, d), found "soon"
            hint: write "250ms", "30s", "5m", "2h" or "7d"
            plugin.toml:16:1: unknown key "what" in [pollers]
            hint: known keys: kind, every, jitter, timeout, cron, tz, at, misfire, credential, alert, feed, json, auth, text, conversation, private_network
            plugin.toml:17:1: pollers.kind "other" is no channel of this plugin
            hint: add [[channels]] with kind = "other"
            plugin.toml:19:1: "id_field" is missing in [pollers.json]
            hint: add id_field = "id"
            plugin.toml:21:12: "param" is missing in [pollers.json.paginate]
            hint: add param = "…", which this way of paging needs
            plugin.toml:21:43: start means nothing beside this way of paging
            plugin.toml:22:1: pollers.auth has to be one of bearer, basic and oauth, found bearer and oauth
            plugin.toml:24:1: "client_id" is missing in [pollers.auth.oauth]
            hint: add client_id = "…"
            plugin.toml:24:1: "client_secret" is missing in [pollers.auth.oauth]
            hint: add client_secret = "…""#]].assert_eq(&problems(&text));
        let told = format!(
            "{POLLED}[[pollers]]\nkind = \"rust\"\nfeed = \"https://a.example\"\ncredential = \"{{config.key}}\"\n\
             alert = {{ kind = \"ops\", room = \"r\" }}\n"
        );
        expect![[r#"
            plugin.toml:12:5: {config.key} names no key of this plugin's config
            hint: add [config.key] with type = "string"
            plugin.toml:12:5: pollers.alert.kind "ops" is not asked for in [capabilities]
            hint: add [capabilities] with send = ["ops"], which the operator grants
            plugin.toml:16:9: "to" is missing in [pollers.alert]
            hint: add to = "…"
            plugin.toml:16:25: unknown key "room" in [pollers.alert]
            hint: known keys: kind, to, instance"#]]
        .assert_eq(&problems(&told));
        let beside = text.replace("version =", "command = [\"x\"]\nversion =");
        let found = problems(&beside);
        assert!(found.contains("pollers are run without code"), "{found}");
    }
}
