//! What a connection is told and what it says to that: registration, joins, messages.
//!
//! No input, no output, no time: lines go in, [`Action`]s come out. A connection is *settled* when
//! every configured channel was joined or refused; only then do messages go out.
//!
//! A message is settled by the answer to a `PING` behind it. Servers work on the lines of a
//! connection in their order, so an answer settles everything that was asked before it too.

use std::collections::{BTreeMap, VecDeque};

use crate::clock;
use crate::config::Config;
use crate::inbound::{self, Inbound};
use crate::line::Message;

/// Nicknames tried at a registration: the wanted one, then with more and more `_`.
const NICKS_MAX: usize = 4;

/// What is to be done.
#[derive(Debug, PartialEq)]
pub(crate) enum Action {
    /// Write this line.
    Say(String),
    /// Publish this message.
    Publish(Box<Inbound>),
    /// Messages may go out from here on.
    Settled,
    /// The server took the message of this number, or said why it did not.
    Taken(u64, Result<(), String>),
    /// Tell this to who reads the log.
    Note(String),
    /// Give the connection up.
    End(End),
}

/// Why a connection is given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Another attempt may help.
    Lost(String),
    /// The password is wrong or missing.
    Password(String),
}

/// What became of a configured channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Join {
    Asked,
    Joined,
    Refused,
}

/// A `PING` that was not answered yet.
#[derive(Debug)]
struct Asked {
    token: String,
    /// The message that it was sent behind.
    message: Option<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    number: u64,
    target: String,
    refused: Option<String>,
}

/// Follows one connection.
#[derive(Debug)]
pub(crate) struct Session {
    config: Config,
    nick: String,
    tries: usize,
    is_registered: bool,
    is_settled: bool,
    channels: BTreeMap<String, Join>,
    asked: VecDeque<Asked>,
    asked_count: u64,
}

impl Session {
    /// Begins a connection; gives the first lines too.
    pub(crate) fn open(config: Config) -> (Self, Vec<String>) {
        let mut lines = Vec::new();
        if let Some(password) = &config.password {
            lines.push(format!("PASS :{}", one_line(password)));
        }
        lines.push(format!("NICK {}", config.nick));
        lines.push(format!(
            "USER {} 0 * :{}",
            user_of(&config.nick),
            one_line(&config.realname)
        ));
        let join = |name: &String| (name.to_ascii_lowercase(), Join::Asked);
        let session = Self {
            nick: config.nick.clone(),
            tries: 1,
            is_registered: false,
            is_settled: false,
            channels: config.channels.iter().map(join).collect(),
            asked: VecDeque::new(),
            asked_count: 0,
            config,
        };
        (session, lines)
    }

    /// The nickname that the server knows.
    pub(crate) fn nick(&self) -> &str {
        &self.nick
    }

    /// Whether messages may go out.
    pub(crate) fn is_settled(&self) -> bool {
        self.is_settled
    }

    /// The line to send behind the last one of the message `number`.
    pub(crate) fn ask_for(&mut self, number: u64, target: &str) -> String {
        let target = target.to_ascii_lowercase();
        let refused = None;
        self.ask_with(Some(Waiting {
            number,
            target,
            refused,
        }))
    }

    /// The lines of a look around: a question, and what was refused before is tried again.
    pub(crate) fn look_around(&mut self) -> Vec<String> {
        let mut lines = vec![self.ask_with(None)];
        if self.is_registered {
            if self.nick != self.config.nick {
                lines.push(format!("NICK {}", self.config.nick));
            }
            let missing = |(name, join): (&String, &Join)| {
                (*join == Join::Refused).then(|| format!("JOIN {name}"))
            };
            lines.extend(self.channels.iter().filter_map(missing));
        }
        lines
    }

    fn ask_with(&mut self, message: Option<Waiting>) -> String {
        self.asked_count += 1;
        let token = format!("trunkline-{}", self.asked_count);
        let line = format!("PING :{token}");
        self.asked.push_back(Asked { token, message });
        line
    }

    /// Takes a line.
    pub(crate) fn take(&mut self, message: &Message) -> Vec<Action> {
        let mut actions = Vec::new();
        match message.command.as_str() {
            "PING" => actions.push(Action::Say(format!("PONG :{}", message.last()))),
            "PONG" => self.answered(message.last(), &mut actions),
            "PRIVMSG" if self.is_registered => {
                let ignored = &self.config.ignore;
                let inbound = inbound::read(message, &self.nick, ignored, clock::line_id());
                actions.extend(inbound.map(|inbound| Action::Publish(Box::new(inbound))));
            }
            "ERROR" => actions.push(Action::End(ended(message.last()))),
            "001" => self.registered(message, &mut actions),
            "432" | "433" | "436" | "437" if !self.is_registered => self.other_nick(&mut actions),
            "464" => actions.push(Action::End(End::Password(message.last().to_owned()))),
            "366" => self.joined(message.param(1), Join::Joined, &mut actions),
            "401" | "403" | "404" | "405" | "407" | "411" | "412" | "437" | "471" | "473"
            | "474" | "475" | "476" | "477" => self.refused(message, &mut actions),
            "NICK" | "QUIT" => self.nick_changed(message, &mut actions),
            "KICK" if self.is_me(message.param(1)) => {
                actions.push(Action::Note(format!("kicked from {}", message.param(0))));
                self.set(message.param(0), Join::Refused);
            }
            _ => {}
        }
        actions
    }

    fn is_me(&self, nick: &str) -> bool {
        nick.eq_ignore_ascii_case(&self.nick)
    }

    fn registered(&mut self, message: &Message, actions: &mut Vec<Action>) {
        if self.is_registered {
            return;
        }
        self.is_registered = true;
        // The server knows best: it may have cut the nickname.
        if !message.param(0).is_empty() && message.param(0) != "*" {
            message.param(0).clone_into(&mut self.nick);
        }
        let joins = self.config.channels.iter();
        actions.extend(joins.map(|name| Action::Say(format!("JOIN {name}"))));
        self.settle(actions);
    }

    fn other_nick(&mut self, actions: &mut Vec<Action>) {
        if self.tries == NICKS_MAX {
            let text = format!("no nickname like {} is free", self.config.nick);
            actions.push(Action::End(End::Lost(text)));
            return;
        }
        self.tries += 1;
        self.nick.push('_');
        actions.push(Action::Say(format!("NICK {}", self.nick)));
    }

    /// Follows the own nickname, and takes the wanted one when its holder lets it go.
    fn nick_changed(&mut self, message: &Message, actions: &mut Vec<Action>) {
        let Some(who) = message.nick() else { return };
        if self.is_me(who) {
            if message.command == "NICK" {
                message.last().clone_into(&mut self.nick);
            }
        } else if self.is_registered && who.eq_ignore_ascii_case(&self.config.nick) {
            actions.push(Action::Say(format!("NICK {}", self.config.nick)));
        }
    }

    /// Notes that a join or a message was refused: `<me> <target> :<why>`.
    fn refused(&mut self, message: &Message, actions: &mut Vec<Action>) {
        let target = message.param(1).to_ascii_lowercase();
        let why = format!("{} {}", message.command, message.last());
        let waiting = self
            .asked
            .iter_mut()
            .filter_map(|asked| asked.message.as_mut());
        let mut open = waiting.filter(|waiting| waiting.refused.is_none());
        if let Some(waiting) = open.find(|waiting| waiting.target == target) {
            waiting.refused = Some(why);
        } else if self.channels.get(&target) == Some(&Join::Asked) {
            actions.push(Action::Note(format!(
                "{} cannot be joined: {why}",
                message.param(1)
            )));
            self.joined(&target, Join::Refused, actions);
        }
    }

    fn joined(&mut self, channel: &str, join: Join, actions: &mut Vec<Action>) {
        self.set(channel, join);
        self.settle(actions);
    }

    fn set(&mut self, channel: &str, join: Join) {
        if let Some(known) = self.channels.get_mut(&channel.to_ascii_lowercase()) {
            *known = join;
        }
    }

    fn settle(&mut self, actions: &mut Vec<Action>) {
        let is_open = self.channels.values().any(|join| *join == Join::Asked);
        if self.is_registered && !self.is_settled && !is_open {
            self.is_settled = true;
            actions.push(Action::Settled);
        }
    }

    /// Settles what the answer is about and everything asked before it. An unknown token is that
    /// of a server that gives none back: it answers the oldest question.
    fn answered(&mut self, token: &str, actions: &mut Vec<Action>) {
        let known = self.asked.iter().position(|asked| asked.token == token);
        let count = known.map_or(1, |index| index + 1).min(self.asked.len());
        for asked in self.asked.drain(..count) {
            if let Some(Waiting {
                number, refused, ..
            }) = asked.message
            {
                actions.push(Action::Taken(number, refused.map_or(Ok(()), Err)));
            }
        }
    }
}

/// What the server's last words mean.
fn ended(text: &str) -> End {
    if text.to_ascii_lowercase().contains("password") {
        End::Password(text.to_owned())
    } else {
        End::Lost(format!("the server ended the connection: {text}"))
    }
}

/// A user name is plainer than a nickname.
fn user_of(nick: &str) -> String {
    let plain = nick.chars().filter(char::is_ascii_alphanumeric);
    let user: String = plain.take(9).collect();
    if user.is_empty() {
        "bot".to_owned()
    } else {
        user
    }
}

fn one_line(text: &str) -> String {
    text.replace(['\r', '\n', '\0'], " ")
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
