//! Who may publish and receive what.
//!
//! Deny by default: an instance gets the topics of its own channels, and beyond them what its
//! manifest asks for **and** the operator grants; a client gets its scopes. Some topics are the
//! broker's own, whatever was granted.

use serde_json::json;

use crate::error::{Code, Error};
use crate::manifest::Manifest;
use crate::tool::{self, ToolFilter};
use crate::topic::{Class, Filter, classify, is_audit, is_private};

/// What the operator grants to the instances of one plugin.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Additions {
    /// Topics to publish.
    pub publish: Vec<Filter>,
    /// Topics to receive.
    pub subscribe: Vec<Filter>,
    /// Channel kinds to send to.
    pub send: Vec<String>,
    /// Tools to call.
    pub call: Vec<ToolFilter>,
    /// An HTTP server of its own.
    pub http_server: bool,
}

/// What one instance may publish and what it receives.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Grants {
    /// Topics it may publish.
    pub publish: Vec<Filter>,
    /// Topics it receives.
    pub receive: Vec<Filter>,
    /// Tools it may call.
    pub call: Vec<ToolFilter>,
}

impl Grants {
    /// Works out the grants of an instance.
    ///
    /// # Arguments
    /// * `manifest` - what the plugin declares; each of its channels brings its own topics.
    /// * `instance` - a valid instance name.
    /// * `additions` - what the operator grants. It counts where the manifest asks for it; a
    ///   foreign manifest cannot ask, there the operator's word is enough.
    pub fn of(manifest: &Manifest, instance: &str, additions: &Additions) -> Self {
        let mut grants = Self::default();
        for kind in manifest.kinds() {
            grants
                .receive
                .extend(filter(&format!("plugin.outbound.{kind}.{instance}")));
            grants
                .publish
                .extend(filter(&format!("plugin.inbound.{kind}.{instance}")));
            grants
                .publish
                .extend(filter(&format!("plugin.delivery.{kind}.{instance}")));
        }
        for webhook in &manifest.webhooks {
            grants.add_webhook(&webhook.kind, instance);
        }
        for declared in &manifest.tools {
            grants.add_tool(&manifest.id, &declared.declaration.name);
        }
        let asked = &manifest.capabilities;
        let is_foreign = manifest.is_foreign();
        grants
            .publish
            .extend(granted(&asked.publish, &additions.publish, is_foreign));
        grants
            .receive
            .extend(granted(&asked.subscribe, &additions.subscribe, is_foreign));
        for kind in &additions.send {
            if is_foreign || asked.send.contains(kind) {
                grants
                    .publish
                    .extend(filter(&format!("plugin.outbound.{kind}.>")));
            }
        }
        grants.call = granted_tools(&asked.call, &additions.call, is_foreign);
        dedup(&mut grants.publish);
        dedup(&mut grants.receive);
        grants
    }

    /// Adds what a webhook of its own brings: it receives the requests that are for it.
    pub fn add_webhook(&mut self, kind: &str, instance: &str) {
        let topic = filter(&format!("plugin.hook.{kind}.{instance}"));
        let filters = &mut self.receive;
        filters.extend(topic.filter(|topic| !filters.contains(topic)));
    }

    /// Adds what every instance has: it receives its own timers, and the parts that it makes.
    pub fn add_own(&mut self, plugin: &str, instance: &str) {
        let timers = filter(&format!("plugin.timer.{plugin}.{instance}"));
        let parts = filter(&format!("plugin.part.{plugin}.{instance}"));
        for topic in [timers, parts.clone()].into_iter().flatten() {
            if !self.receive.contains(&topic) {
                self.receive.push(topic);
            }
        }
        let filters = &mut self.publish;
        filters.extend(parts.filter(|topic| !filters.contains(topic)));
    }

    /// Adds what a tool of its own brings: it receives the tool's topic and publishes the answers.
    pub fn add_tool(&mut self, plugin: &str, name: &str) {
        for (filters, topic) in [
            (&mut self.receive, tool::topic(plugin, name)),
            (&mut self.publish, tool::reply_topic(plugin, name)),
        ] {
            filters.extend(filter(&topic).filter(|topic| !filters.contains(topic)));
        }
    }

    /// Checks the full name of a tool before it is called.
    ///
    /// # Errors
    /// [`Code::Unauthorized`]; the message and `detail.granted` name what is granted.
    pub fn may_call(&self, tool: &str) -> Result<(), Error> {
        check_call(&self.call, tool)
    }

    /// Checks a complete topic before it is published.
    ///
    /// # Errors
    /// [`Code::TopicNotGranted`]; the message and `detail.granted` name what is granted.
    pub fn may_publish(&self, topic: &str) -> Result<(), Error> {
        check_publish(&self.publish, topic)
    }

    /// Checks the filter of an instance's own subscription.
    ///
    /// # Errors
    /// [`Code::TopicNotGranted`]; the message and `detail.granted` name what is granted.
    pub fn may_receive(&self, asked: &Filter) -> Result<(), Error> {
        if self.receive.iter().any(|granted| gives(granted, asked)) {
            return Ok(());
        }
        Err(not_granted("receive", asked.as_str(), &self.receive))
    }
}

/// Says whether one filter grants another: it covers it, and what is private is granted by its name alone.
pub fn gives(given: &Filter, asked: &Filter) -> bool {
    given.covers(asked) && (is_private(given.as_str()) || !is_private(asked.as_str()))
}

/// What the operator granted of what was asked: the narrower of each pair where one holds the other.
fn granted(asked: &[Filter], given: &[Filter], is_foreign: bool) -> Vec<Filter> {
    if is_foreign {
        return given.to_vec();
    }
    let mut both = Vec::new();
    for asked in asked {
        for given in given {
            if gives(given, asked) {
                both.push(asked.clone());
            } else if asked.covers(given) {
                both.push(given.clone());
            }
        }
    }
    both
}

/// The same for tools.
fn granted_tools(asked: &[ToolFilter], given: &[ToolFilter], is_foreign: bool) -> Vec<ToolFilter> {
    if is_foreign {
        return given.to_vec();
    }
    let mut both: Vec<ToolFilter> = Vec::new();
    for asked in asked {
        for given in given {
            let narrower = if given.covers(asked) {
                asked
            } else if asked.covers(given) {
                given
            } else {
                continue;
            };
            if !both.contains(narrower) {
                both.push(narrower.clone());
            }
        }
    }
    both
}

fn check_call(granted: &[ToolFilter], tool: &str) -> Result<(), Error> {
    if granted.iter().any(|granted| granted.matches(tool)) {
        return Ok(());
    }
    let names: Vec<&str> = granted.iter().map(ToolFilter::as_str).collect();
    let list = if names.is_empty() {
        "nothing".to_owned()
    } else {
        names.join(", ")
    };
    let message = format!("may not call {tool:?}; granted: {list}");
    Err(Error::new(Code::Unauthorized, message).detail(json!({ "asked": tool, "granted": names })))
}

fn dedup(filters: &mut Vec<Filter>) {
    let mut seen: Vec<Filter> = Vec::with_capacity(filters.len());
    filters.retain(|filter| {
        let is_new = !seen.contains(filter);
        if is_new {
            seen.push(filter.clone());
        }
        is_new
    });
}

/// Kinds and instance names are valid here, so that the text always is a filter.
fn filter(text: &str) -> Option<Filter> {
    Filter::parse(text).ok()
}

fn check_publish(granted: &[Filter], topic: &str) -> Result<(), Error> {
    if matches!(
        classify(topic),
        Class::Hook { .. } | Class::Lifecycle { .. } | Class::Dead { .. } | Class::Timer { .. }
    ) || is_audit(topic)
    {
        let message = format!("{topic:?} is published by the broker only");
        return Err(Error::new(Code::TopicNotGranted, message));
    }
    if granted.iter().any(|granted| granted.matches(topic)) {
        return Ok(());
    }
    Err(not_granted("publish", topic, granted))
}

fn not_granted(verb: &str, asked: &str, granted: &[Filter]) -> Error {
    let names: Vec<&str> = granted.iter().map(Filter::as_str).collect();
    let list = if names.is_empty() {
        "nothing".to_owned()
    } else {
        names.join(", ")
    };
    let message = format!("may not {verb} {asked:?}; granted: {list}");
    Error::new(Code::TopicNotGranted, message).detail(json!({ "asked": asked, "granted": names }))
}

/// What a client may do, fixed by its token.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scopes {
    read: Vec<Filter>,
    publish: Vec<Filter>,
    call: Vec<ToolFilter>,
    kv: Vec<String>,
    lock: Vec<String>,
    blob: bool,
    admin: bool,
}

/// Names the forms of a scope, for messages.
pub const SCOPE_FORMS: &str =
    "read:<filter>, publish:<filter>, call:<tool filter>, kv:<prefix>, lock:<prefix>, blob, admin";

impl Scopes {
    /// Parses a list of scopes.
    ///
    /// # Errors
    /// [`Code::InvalidArguments`] with the index of the first that is none.
    pub fn parse<S: AsRef<str>>(scopes: &[S]) -> Result<Self, Error> {
        let mut parsed = Self::default();
        for (index, scope) in scopes.iter().enumerate() {
            parsed
                .add(scope.as_ref())
                .map_err(|error| error.at(index))?;
        }
        Ok(parsed)
    }

    /// Adds one scope.
    ///
    /// # Errors
    /// [`Code::InvalidArguments`] when it is none; the message says what was expected.
    pub fn add(&mut self, scope: &str) -> Result<(), Error> {
        let filter = |text: &str| {
            Filter::parse(text).map_err(|error| {
                let message = format!("scope {scope:?}: {}", error.message);
                Error::new(Code::InvalidArguments, message)
            })
        };
        match scope.split_once(':') {
            Some(("read", text)) => self.read.push(filter(text)?),
            Some(("publish", text)) => self.publish.push(filter(text)?),
            Some(("call", text)) => self.call.push(ToolFilter::parse(text).map_err(|error| {
                let message = format!("scope {scope:?}: {}", error.message);
                Error::new(Code::InvalidArguments, message)
            })?),
            Some(("kv", text)) => self.kv.push(prefix(scope, text)?),
            Some(("lock", text)) => self.lock.push(prefix(scope, text)?),
            None if scope == "blob" => self.blob = true,
            None if scope == "admin" => self.admin = true,
            _ => {
                let message = format!("expected a scope ({SCOPE_FORMS}), found {scope:?}");
                return Err(Error::new(Code::InvalidArguments, message));
            }
        }
        Ok(())
    }

    /// The scopes as text, as [`Scopes::parse`] reads them.
    pub fn texts(&self) -> Vec<String> {
        let filters = |verb: &str, filters: &[Filter]| -> Vec<String> {
            filters
                .iter()
                .map(|filter| format!("{verb}:{}", filter.as_str()))
                .collect()
        };
        let prefixes = |verb: &str, prefixes: &[String]| -> Vec<String> {
            prefixes
                .iter()
                .map(|prefix| format!("{verb}:{prefix}"))
                .collect()
        };
        let mut texts = filters("read", &self.read);
        texts.extend(filters("publish", &self.publish));
        texts.extend(self.call.iter().map(|filter| format!("call:{filter}")));
        texts.extend(prefixes("kv", &self.kv));
        texts.extend(prefixes("lock", &self.lock));
        texts.extend(self.blob.then(|| "blob".to_owned()));
        texts.extend(self.admin.then(|| "admin".to_owned()));
        texts
    }

    /// Checks the filter of a subscription: it has to lie inside one read scope.
    ///
    /// # Errors
    /// [`Code::TopicNotGranted`]; the message and `detail.granted` name what is granted.
    pub fn may_read(&self, asked: &Filter) -> Result<(), Error> {
        if is_private(asked.as_str()) && !self.admin {
            let message = format!("reading {:?} needs the scope admin", asked.as_str());
            return Err(Error::new(Code::TopicNotGranted, message));
        }
        if self.read.iter().any(|granted| granted.covers(asked)) {
            return Ok(());
        }
        Err(not_granted("read", asked.as_str(), &self.read))
    }

    /// Gives the filters of the read scopes.
    pub fn reads(&self) -> &[Filter] {
        &self.read
    }

    /// Tells whether an event on this topic may be handed over, whatever filter matched it.
    pub fn may_receive(&self, topic: &str) -> bool {
        (self.admin || !is_private(topic)) && self.read.iter().any(|read| read.matches(topic))
    }

    /// Checks a complete topic before it is published.
    ///
    /// # Errors
    /// [`Code::TopicNotGranted`]; the message and `detail.granted` name what is granted.
    pub fn may_publish(&self, topic: &str) -> Result<(), Error> {
        check_publish(&self.publish, topic)
    }

    /// Checks the full name of a tool before it is called.
    ///
    /// # Errors
    /// [`Code::Unauthorized`]; the message and `detail.granted` name what is granted.
    pub fn may_call(&self, tool: &str) -> Result<(), Error> {
        check_call(&self.call, tool)
    }

    /// Tells whether keyed state under this key may be read and written.
    pub fn may_kv(&self, key: &str) -> bool {
        self.kv
            .iter()
            .any(|prefix| key.starts_with(prefix.as_str()))
    }

    /// Tells whether a lock of this name may be taken.
    pub fn may_lock(&self, name: &str) -> bool {
        self.lock
            .iter()
            .any(|prefix| name.starts_with(prefix.as_str()))
    }

    /// Tells whether blobs may be put and read.
    pub fn may_blob(&self) -> bool {
        self.blob
    }

    /// Tells whether the operator's methods may be called.
    pub fn is_admin(&self) -> bool {
        self.admin
    }

    /// Lists the topics that may be read.
    pub fn readable(&self) -> &[Filter] {
        &self.read
    }
}

fn prefix(scope: &str, text: &str) -> Result<String, Error> {
    if text.contains(['*', '>']) {
        let message = format!("scope {scope:?}: expected a prefix, found a filter");
        return Err(Error::new(Code::InvalidArguments, message));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(more: &str) -> Manifest {
        let text = format!(
            "[plugin]\nid = \"telegram\"\nversion = \"1.0.0\"\ncommand = [\"x\"]\n\
             [[channels]]\nkind = \"telegram\"\n{more}"
        );
        Manifest::parse(&text).unwrap().value
    }

    fn names(filters: &[Filter]) -> Vec<&str> {
        filters.iter().map(Filter::as_str).collect()
    }

    fn filters(texts: &[&str]) -> Vec<Filter> {
        texts
            .iter()
            .map(|text| Filter::parse(text).unwrap())
            .collect()
    }

    #[test]
    fn a_channel_grants_its_own_topics_and_nothing_else() {
        let grants = Grants::of(&manifest(""), "support", &Additions::default());
        assert_eq!(names(&grants.receive), ["plugin.outbound.telegram.support"]);
        assert_eq!(
            names(&grants.publish),
            [
                "plugin.inbound.telegram.support",
                "plugin.delivery.telegram.support"
            ]
        );
        assert!(
            grants
                .may_publish("plugin.inbound.telegram.support")
                .is_ok()
        );
        for topic in [
            "plugin.inbound.telegram.sales",
            "plugin.outbound.telegram.support",
            "plugin.inbound.slack.support",
            "agent.x",
        ] {
            let error = grants.may_publish(topic).unwrap_err();
            assert_eq!(error.code, Code::TopicNotGranted, "{topic}");
            assert!(
                error.message.contains("plugin.inbound.telegram.support"),
                "{error}"
            );
        }
        assert!(
            grants
                .may_receive(&filters(&["plugin.outbound.telegram.support"])[0])
                .is_ok()
        );
        assert!(
            grants
                .may_receive(&filters(&["plugin.outbound.telegram.*"])[0])
                .is_err()
        );
    }

    #[test]
    fn a_capability_counts_only_where_the_operator_grants_it() {
        let asks = manifest(
            "[capabilities]\npublish = [\"agent.notes.>\"]\nsubscribe = [\"agent.tasks.*\"]\n\
             send = [\"slack\"]\n",
        );
        let none = Grants::of(&asks, "a", &Additions::default());
        assert!(none.may_publish("agent.notes.x").is_err());
        assert!(none.may_publish("plugin.outbound.slack.b").is_err());

        let wide = Additions {
            publish: filters(&["agent.>", "other.>"]),
            subscribe: filters(&["agent.tasks.one"]),
            send: vec!["slack".to_owned(), "email".to_owned()],
            call: Vec::new(),
            ..Additions::default()
        };
        let grants = Grants::of(&asks, "a", &wide);
        assert!(
            grants.may_publish("agent.notes.x").is_ok(),
            "asked and granted"
        );
        assert!(
            grants.may_publish("agent.other").is_err(),
            "granted wider than asked"
        );
        assert!(
            grants.may_publish("other.x").is_err(),
            "granted and not asked"
        );
        assert!(grants.may_publish("plugin.outbound.slack.b").is_ok());
        assert!(grants.may_publish("plugin.outbound.email.b").is_err());
        assert_eq!(
            names(&grants.receive),
            ["plugin.outbound.telegram.a", "agent.tasks.one"],
            "granted narrower than asked"
        );
    }

    #[test]
    fn a_tool_of_its_own_brings_its_topics_and_one_to_call_is_granted_twice() {
        let asks = manifest(
            "[[tools]]\nname = \"send\"\n[capabilities]\ncall = [\"stripe.*\", \"mail.send\"]\n",
        );
        let given = |texts: &[&str]| Additions {
            call: texts
                .iter()
                .map(|text| ToolFilter::parse(text).unwrap())
                .collect(),
            ..Additions::default()
        };
        let grants = Grants::of(&asks, "a", &given(&["stripe.refund", "mail.*", "x.*"]));
        assert!(names(&grants.receive).contains(&"plugin.tool.telegram.send"));
        assert!(
            grants
                .may_publish("plugin.tool.telegram.send.reply")
                .is_ok()
        );
        assert!(grants.may_publish("plugin.tool.telegram.send").is_err());
        assert!(grants.may_call("stripe.refund").is_ok() && grants.may_call("mail.send").is_ok());
        for tool in ["stripe.charge", "mail.read", "x.y", "telegram.send"] {
            assert!(grants.may_call(tool).is_err(), "{tool}");
        }
        assert!(Grants::of(&asks, "a", &given(&[])).call.is_empty());
    }

    #[test]
    fn the_topics_of_the_broker_cannot_be_granted() {
        let asks = manifest("[capabilities]\npublish = [\">\"]\n");
        let all = Additions {
            publish: filters(&[">"]),
            ..Additions::default()
        };
        let grants = Grants::of(&asks, "a", &all);
        let scopes = Scopes::parse(&["publish:>", "admin"]).unwrap();
        for topic in [
            "plugin.lifecycle.telegram.a",
            "plugin.dead.instance-telegram-a",
            "plugin.hook.telegram.a",
        ] {
            assert!(grants.may_publish(topic).is_err(), "{topic}");
            assert!(scopes.may_publish(topic).is_err(), "{topic}");
        }
        assert!(grants.may_publish("anything.else").is_ok());
    }

    #[test]
    fn what_is_private_to_operators_is_granted_to_a_plugin_by_its_name_alone() {
        let all = Additions {
            subscribe: filters(&[">"]),
            ..Additions::default()
        };
        let named = Additions {
            subscribe: filters(&["plugin.lifecycle.>"]),
            ..Additions::default()
        };
        let asks =
            |filter: &str| manifest(&format!("[capabilities]\nsubscribe = [\"{filter}\"]\n"));
        let lifecycle = &filters(&["plugin.lifecycle.mail.*"])[0];
        let own = "plugin.outbound.telegram.a";

        let grants = Grants::of(&asks("plugin.lifecycle.>"), "a", &all);
        assert_eq!(names(&grants.receive), [own], "a wildcard does not name it");
        let grants = Grants::of(&asks(">"), "a", &all);
        assert_eq!(names(&grants.receive), [own, ">"]);
        assert!(grants.may_receive(lifecycle).is_err());
        assert!(grants.may_receive(&filters(&["plugin.>"])[0]).is_ok());
        for asked in ["plugin.lifecycle.>", ">"] {
            let grants = Grants::of(&asks(asked), "a", &named);
            assert_eq!(names(&grants.receive), [own, "plugin.lifecycle.>"]);
            assert!(grants.may_receive(lifecycle).is_ok());
        }
    }

    #[test]
    fn a_refusal_names_what_is_granted() {
        let grants = Grants::of(&manifest(""), "support", &Additions::default());
        let error = grants.may_publish("agent.x").unwrap_err();
        expect_test::expect![[
            r#"may not publish "agent.x"; granted: plugin.inbound.telegram.support, plugin.delivery.telegram.support"#
        ]]
        .assert_eq(&error.message);
        let error = Scopes::default().may_publish("agent.x").unwrap_err();
        assert_eq!(
            error.message,
            r#"may not publish "agent.x"; granted: nothing"#
        );
    }

    #[test]
    fn a_client_reads_inside_its_scopes() {
        let scopes = Scopes::parse(&["read:plugin.inbound.>", "read:agent.*"]).unwrap();
        let may = |text: &str| scopes.may_read(&Filter::parse(text).unwrap()).is_ok();
        assert!(may("plugin.inbound.telegram.*") && may("agent.x") && may("agent.*"));
        assert!(!may("plugin.>") && !may("agent.x.y") && !may(">"));
        assert!(scopes.may_receive("agent.x") && !scopes.may_receive("agent.x.y"));
    }

    #[test]
    fn lifecycle_and_dead_letters_need_admin() {
        let plain = Scopes::parse(&["read:>"]).unwrap();
        let admin = Scopes::parse(&["read:>", "admin"]).unwrap();
        let filter = Filter::parse("plugin.lifecycle.>").unwrap();
        assert!(plain.may_read(&filter).is_err() && admin.may_read(&filter).is_ok());
        assert!(plain.may_read(&Filter::parse(">").unwrap()).is_ok());
        assert!(!plain.may_receive("plugin.dead.x") && admin.may_receive("plugin.dead.x"));
        assert!(
            plain.may_receive("plugin.deadline"),
            "a prefix of a word is another word"
        );
    }

    #[test]
    fn keys_and_locks_are_granted_by_prefix() {
        let scopes = Scopes::parse(&["kv:agent/", "lock:poll.", "blob", "call:stripe.*"]).unwrap();
        assert!(scopes.may_kv("agent/x") && !scopes.may_kv("other") && !scopes.may_kv("agent"));
        assert!(scopes.may_lock("poll.a") && !scopes.may_lock("other"));
        assert!(scopes.may_blob() && !scopes.is_admin());
        assert!(scopes.may_call("stripe.refund").is_ok());
        let error = scopes.may_call("mail.send").unwrap_err();
        assert_eq!(error.code, Code::Unauthorized);
        assert_eq!(
            error.message,
            r#"may not call "mail.send"; granted: stripe.*"#
        );
        assert!(Scopes::parse(&["kv:"]).unwrap().may_kv("anything"));
    }

    #[test]
    fn what_is_no_scope_is_refused_with_its_index() {
        for bad in [
            "",
            "read",
            "read:",
            "read:a..b",
            "write:>",
            "kv:*",
            "lock:a>",
            "call:",
            "call:stripe",
            "call:a*",
            "Admin",
        ] {
            let error = Scopes::parse(&["admin", bad]).unwrap_err();
            assert_eq!(
                (error.code, error.index),
                (Code::InvalidArguments, Some(1)),
                "{bad:?}"
            );
        }
    }
}
