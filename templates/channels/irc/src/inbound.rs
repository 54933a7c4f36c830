//! What a line of somebody else becomes: the standard inbound message.

use std::collections::BTreeMap;

use serde::Serialize;
use trunkline::Json;

use crate::config::is_channel;
use crate::line::Message;

/// Begins and ends what is no plain text.
const CTCP: char = '\u{1}';

/// A message that came in, with the id that it keeps however often it is published.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Inbound {
    /// Id of its event.
    pub(crate) id: String,
    /// The channel or the nickname, in lower case: the protocol does not tell them apart by case.
    pub(crate) session_id: String,
    /// What is published.
    pub(crate) payload: Payload,
}

/// The standard payload.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Payload {
    pub(crate) id: String,
    pub(crate) text: String,
    pub(crate) conversation: Conversation,
    pub(crate) sender: Sender,
    pub(crate) raw: BTreeMap<&'static str, Raw>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Conversation {
    pub(crate) id: String,
    pub(crate) kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Sender {
    pub(crate) id: String,
    pub(crate) name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) username: Option<String>,
}

/// What the line said beyond that.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Raw {
    /// `PRIVMSG`, or `ACTION` for what somebody does.
    pub(crate) command: &'static str,
    pub(crate) prefix: String,
    pub(crate) target: String,
    /// Bytes of the line were no UTF-8 and were replaced.
    #[serde(skip_serializing_if = "Json::is_null")]
    pub(crate) is_lossy: Json,
}

/// Reads a `PRIVMSG` to `me`; `None` for what is no message to us.
///
/// `id` is the new line's.
pub(crate) fn read(message: &Message, me: &str, ignored: &[String], id: String) -> Option<Inbound> {
    let [target, text] = &message.params[..] else {
        return None;
    };
    let nick = message.nick()?;
    if nick.eq_ignore_ascii_case(me) || is_ignored(nick, ignored) {
        return None;
    }
    let (text, command) = match text.strip_prefix(CTCP) {
        None => (text.as_str(), "PRIVMSG"),
        // Everything else between these marks is a question of one program to another.
        Some(inside) => {
            let action = inside.trim_end_matches(CTCP).strip_prefix("ACTION ")?;
            (action, "ACTION")
        }
    };
    let (conversation, kind) = if is_channel(target) {
        (target.as_str(), "channel")
    } else if target.eq_ignore_ascii_case(me) {
        (nick, "direct")
    } else {
        return None;
    };
    let raw = Raw {
        command,
        prefix: message.prefix.clone().unwrap_or_default(),
        target: target.clone(),
        is_lossy: if message.is_lossy {
            true.into()
        } else {
            Json::Null
        },
    };
    Some(Inbound {
        session_id: conversation.to_ascii_lowercase(),
        payload: Payload {
            id: id.clone(),
            text: text.to_owned(),
            conversation: Conversation {
                id: conversation.to_owned(),
                kind,
            },
            sender: Sender {
                id: nick.to_owned(),
                name: nick.to_owned(),
                username: message.user().map(str::to_owned),
            },
            raw: BTreeMap::from([("irc", raw)]),
        },
        id,
    })
}

/// A bot whose nickname was taken has another `_` at its end, and is the same bot.
fn is_ignored(nick: &str, ignored: &[String]) -> bool {
    let nick = nick.trim_end_matches('_');
    ignored
        .iter()
        .any(|other| other.trim_end_matches('_').eq_ignore_ascii_case(nick))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_line(line: &str) -> Option<Inbound> {
        let message = Message::parse(line.as_bytes()).unwrap();
        read(&message, "bot", &["other".to_owned()], "1".to_owned())
    }

    #[test]
    fn a_line_in_a_channel_belongs_to_the_channel() {
        let inbound = read_line(":Al!~u@h PRIVMSG #Help :hi there").unwrap();
        assert_eq!(inbound.session_id, "#help");
        let Payload {
            text,
            conversation,
            sender,
            ..
        } = inbound.payload;
        assert_eq!(
            (text.as_str(), conversation.id.as_str()),
            ("hi there", "#Help")
        );
        assert_eq!((conversation.kind, sender.id.as_str()), ("channel", "Al"));
        assert_eq!(sender.username.as_deref(), Some("~u"));
    }

    #[test]
    fn a_line_to_the_bot_belongs_to_who_said_it() {
        let inbound = read_line(":Al!u@h PRIVMSG BOT :hi").unwrap();
        assert_eq!(inbound.session_id, "al");
        assert_eq!(inbound.payload.conversation.kind, "direct");
    }

    #[test]
    fn an_action_is_text_and_other_questions_of_programs_are_not() {
        let inbound = read_line(":al!u@h PRIVMSG #a :\u{1}ACTION waves\u{1}").unwrap();
        assert_eq!(inbound.payload.text, "waves");
        assert_eq!(inbound.payload.raw["irc"].command, "ACTION");
        assert_eq!(read_line(":al!u@h PRIVMSG bot :\u{1}VERSION\u{1}"), None);
    }

    #[test]
    fn own_lines_those_of_ignored_nicknames_and_those_of_servers_are_no_messages() {
        for line in [
            ":bot!u@h PRIVMSG #a :hi",
            ":OTHER_!u@h PRIVMSG #a :hi",
            ":irc.example PRIVMSG bot :hi",
            ":al!u@h PRIVMSG somebody :hi",
            ":al!u@h PRIVMSG #a",
        ] {
            assert_eq!(read_line(line), None, "{line}");
        }
    }
}
