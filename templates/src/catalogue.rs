//! Which scaffolds there are.

use crate::lang::Lang;

/// Tells what a template is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Group {
    /// The shape of a plugin, in every language.
    Pattern,
    /// A plugin for a real network, in the language that suits it.
    Channel,
}

impl Group {
    /// Names the group's folder.
    pub(crate) const fn folder(self) -> &'static str {
        match self {
            Self::Pattern => "patterns",
            Self::Channel => "starters",
        }
    }

    /// Names the group as the command line does.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pattern => "pattern",
            Self::Channel => "channel",
        }
    }
}

/// Describes one scaffold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Template {
    /// What it is for.
    pub group: Group,
    /// Its name.
    pub name: &'static str,
    /// What it is, in a few words.
    pub about: &'static str,
    /// Its languages; the first is the one to take where none is asked for.
    pub langs: &'static [Lang],
    /// What its file of code is called, without the ending.
    pub(crate) stem: &'static str,
}

const fn pattern(name: &'static str, stem: &'static str, about: &'static str) -> Template {
    Template {
        group: Group::Pattern,
        name,
        about,
        langs: &Lang::ALL,
        stem,
    }
}

const fn channel(
    name: &'static str,
    stem: &'static str,
    langs: &'static [Lang],
    about: &'static str,
) -> Template {
    Template {
        group: Group::Channel,
        name,
        about,
        langs,
        stem,
    }
}

const TEMPLATES: [Template; 14] = [
    pattern(
        "echo",
        "echo",
        "sends back what it is sent: the smallest plugin",
    ),
    pattern(
        "webhook",
        "hook",
        "takes what a provider posts: issues of GitHub",
    ),
    pattern(
        "tool",
        "invoices",
        "a function for agents and models: an invoice of Stripe",
    ),
    pattern("poller", "news", "asks again and again what is new: a feed"),
    pattern(
        "connection",
        "chat",
        "keeps a connection open: a chat over WebSocket",
    ),
    pattern(
        "assembler",
        "sms",
        "puts together what comes in pieces: a long SMS",
    ),
    pattern(
        "outbound",
        "sms",
        "sends, once, with receipts: SMS by Twilio",
    ),
    pattern("multi-instance", "watcher", "many accounts in one process"),
    channel("irc", "bot", &[Lang::Python], "a bot on IRC"),
    channel(
        "telegram",
        "bot",
        &[Lang::Python],
        "Telegram bots, by long polling",
    ),
    channel("slack", "bot", &[Lang::Node], "a Slack app in Socket Mode"),
    channel(
        "discord",
        "bot",
        &[Lang::Node],
        "a Discord bot on the gateway",
    ),
    channel("email", "mail", &[Lang::Python], "mail by SMTP"),
    channel(
        "webhook",
        "hook",
        &[Lang::Python],
        "any system that posts, and is posted to",
    ),
];

impl Template {
    /// Names the file of code, by its path in the scaffold.
    pub fn code(&self, lang: Lang) -> String {
        match lang {
            Lang::Python => format!("{}.py", self.stem),
            Lang::Node => format!("src/{}.ts", self.stem),
            Lang::Rust => "src/main.rs".to_owned(),
        }
    }

    /// Names the file of tests, by its path in the scaffold.
    pub fn test(&self, lang: Lang) -> String {
        match lang {
            Lang::Python => format!("test_{}.py", self.stem),
            Lang::Node => format!("src/{}.test.ts", self.stem),
            Lang::Rust => "src/tests.rs".to_owned(),
        }
    }
}

/// Lists all scaffolds, patterns first.
pub fn all() -> &'static [Template] {
    &TEMPLATES
}

/// Finds a scaffold.
///
/// ```
/// use trunkline_templates::{Group, find};
/// assert_eq!(find(Group::Pattern, "echo").map(|found| found.langs.len()), Some(3));
/// assert!(find(Group::Channel, "echo").is_none());
/// ```
pub fn find(group: Group, name: &str) -> Option<&'static Template> {
    all()
        .iter()
        .find(|template| template.group == group && template.name == name)
}
