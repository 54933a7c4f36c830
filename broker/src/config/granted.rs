//! Compares what manifests ask for with what the operator grants.

use trunkline_contract::grant::{Additions, gives};
use trunkline_contract::manifest::Manifest;
use trunkline_contract::toml::{Place, Sink};

/// What the operator grants, and where.
pub(super) struct Given<'a> {
    /// As it stands in the file: `grants.telegram`.
    path: String,
    additions: &'a Additions,
    place: &'a Place,
    /// Where it is said that more is asked for.
    pub(super) asked_at: &'a Place,
    /// Whether nobody misses what is not granted here.
    pub(super) is_enough: bool,
}

impl<'a> Given<'a> {
    pub(super) fn of(path: &str, additions: &'a Additions, place: &'a Place) -> Self {
        Self {
            path: path.to_owned(),
            additions,
            place,
            asked_at: place,
            is_enough: false,
        }
    }
}

/// Refuses what is granted and not asked for, and warns of what is asked for and not granted.
pub(super) fn check(plugin: &str, given: Given<'_>, manifests: &[&Manifest], sink: &Sink) {
    let is_foreign = manifests.iter().any(|manifest| manifest.is_foreign());
    let found = Comparison {
        plugin,
        given,
        sink,
    };
    let additions = found.given.additions;
    if additions.http_server && is_foreign {
        let message = format!("{}.http_server has no effect here", found.given.path);
        let hint = "a plugin of the foreign contract knows no such socket; leave it out";
        sink.error_hint("not_asked", found.given.place, message, hint);
    }
    if manifests.is_empty() || is_foreign {
        return;
    }
    for (word, given, asked) in [
        (
            "publish",
            &additions.publish,
            all_of(manifests, |m| &m.capabilities.publish),
        ),
        (
            "subscribe",
            &additions.subscribe,
            all_of(manifests, |m| &m.capabilities.subscribe),
        ),
    ] {
        for filter in given {
            let meets = asked
                .iter()
                .any(|ask| ask.covers(filter) || filter.covers(ask));
            found.not_asked_unless(meets, word, filter.as_str());
        }
        for ask in asked {
            let meets = given
                .iter()
                .any(|filter| gives(filter, ask) || ask.covers(filter));
            found.not_granted_unless(meets, word, ask.as_str());
        }
    }
    let asked = all_of(manifests, |m| &m.capabilities.call);
    for filter in &additions.call {
        let meets = asked
            .iter()
            .any(|ask| ask.covers(filter) || filter.covers(ask));
        found.not_asked_unless(meets, "call", filter.as_str());
    }
    for ask in asked {
        let mut given = additions.call.iter();
        let meets = given.any(|filter| filter.covers(ask) || ask.covers(filter));
        found.not_granted_unless(meets, "call", ask.as_str());
    }
    let asked = all_of(manifests, |m| &m.capabilities.send);
    for kind in &additions.send {
        found.not_asked_unless(asked.contains(&kind), "send", kind);
    }
    for kind in asked {
        found.not_granted_unless(additions.send.contains(kind), "send", kind);
    }
    found.check_server(manifests.iter().any(|m| m.capabilities.http_server));
}

struct Comparison<'a> {
    plugin: &'a str,
    given: Given<'a>,
    sink: &'a Sink,
}

impl Comparison<'_> {
    fn check_server(&self, is_asked: bool) {
        let is_given = self.given.additions.http_server;
        if is_given && !is_asked {
            let message = format!(
                "{}.http_server is true, which its manifest does not ask for",
                self.given.path
            );
            let hint = "a grant counts where the plugin's [capabilities] ask for it; leave it out";
            let place = self.given.place;
            self.sink.error_hint("not_asked", place, message, hint);
        }
        if is_asked && !is_given && !self.given.is_enough {
            let message = format!(
                "plugin {} asks for an HTTP server of its own and is not granted it",
                self.plugin
            );
            let hint = format!(
                "add [grants.{}] http_server = true to grant it",
                self.plugin
            );
            let place = self.given.asked_at;
            self.sink.warning_hint("not_granted", place, message, hint);
        }
    }

    fn not_asked_unless(&self, meets: bool, word: &str, what: &str) {
        if meets {
            return;
        }
        let message = format!(
            "{}.{word} has {what:?}, which its manifest does not ask for",
            self.given.path
        );
        let hint = "a grant counts where the plugin's [capabilities] ask for it; leave it out";
        let place = self.given.place;
        self.sink.error_hint("not_asked", place, message, hint);
    }

    fn not_granted_unless(&self, meets: bool, word: &str, what: &str) {
        if meets || self.given.is_enough {
            return;
        }
        let plugin = self.plugin;
        let message = format!("plugin {plugin} asks to {word} {what:?} and is not granted it");
        let hint = format!("add [grants.{plugin}] {word} = [{what:?}] to grant it");
        let place = self.given.asked_at;
        self.sink.warning_hint("not_granted", place, message, hint);
    }
}

fn all_of<'m, T>(
    manifests: &[&'m Manifest],
    list: impl Fn(&'m Manifest) -> &'m Vec<T>,
) -> Vec<&'m T> {
    let lists = manifests.iter().flat_map(|manifest| list(manifest));
    lists.collect()
}
