//! IMAP over the mailboxes of a [`MailServer`](super::mail::MailServer): one inbox for each user.
//!
//! From RFC 3501 (IMAP4rev1: `LOGIN`, `SELECT`, `EXAMINE`, `UID SEARCH`, `UID FETCH`, `UID STORE`, `EXPUNGE`, `UIDVALIDITY`
//! and `UIDNEXT`, the `\Seen` that a read of `BODY[]` sets) and RFC 2177 (`IDLE`). What it does not know is `BAD`.

use std::fmt::Write as _;

use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::mail::{Kept, Mailbox, Office, read_line};
use super::stage::Stage;

const CAPABILITIES: &str = "IMAP4rev1 IDLE AUTH=PLAIN";
const FLAGS: &str = r"\Answered \Flagged \Deleted \Seen \Draft";
const SEEN: &str = r"\Seen";
const DELETED: &str = r"\Deleted";

struct Imap {
    stage: Stage<Office>,
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    user: Option<String>,
    is_selected: bool,
    is_read_only: bool,
}

/// Serves one connection until it ends.
pub(super) async fn serve(stage: Stage<Office>, stream: TcpStream) -> std::io::Result<()> {
    let (reader, writer) = stream.into_split();
    let mut imap = Imap {
        stage,
        reader: BufReader::new(reader),
        writer,
        user: None,
        is_selected: false,
        is_read_only: false,
    };
    imap.say(&format!("* OK [CAPABILITY {CAPABILITIES}] ready\r\n"))
        .await?;
    while let Some(line) = read_line(&mut imap.reader).await? {
        let words = words(&line);
        let [tag, command, rest @ ..] = &words[..] else {
            imap.say("* BAD expected a tag and a command\r\n").await?;
            continue;
        };
        let command = command.to_ascii_uppercase();
        if command == "LOGOUT" {
            let bye = format!("* BYE leaving\r\n{tag} OK LOGOUT completed\r\n");
            return imap.say(&bye).await;
        }
        if command == "IDLE" && imap.is_selected {
            imap.idle(tag).await?;
            continue;
        }
        let answer = imap.answer(&command, rest);
        let (untagged, state) = answer.unwrap_or_else(|refusal| (String::new(), refusal));
        imap.say(&format!("{untagged}{tag} {state}\r\n")).await?;
    }
    Ok(())
}

/// Says whether a mail is wanted.
type Criterion = Box<dyn Fn(&Kept) -> bool>;

type Answer = Result<(String, String), String>;

impl Imap {
    async fn say(&mut self, text: &str) -> std::io::Result<()> {
        self.writer.write_all(text.as_bytes()).await
    }

    fn answer(&mut self, command: &str, rest: &[String]) -> Answer {
        let done = |untagged: String| Ok((untagged, format!("OK {command} completed")));
        match (command, rest) {
            ("CAPABILITY", []) => done(format!("* CAPABILITY {CAPABILITIES}\r\n")),
            ("NOOP" | "CHECK", []) => done(String::new()),
            ("LOGIN", [user, password]) => {
                let is_known = self.stage.look(|office| {
                    let mailbox = office.mailboxes.get(user);
                    mailbox.is_some_and(|mailbox| mailbox.password == *password)
                });
                if !is_known {
                    return Err("NO [AUTHENTICATIONFAILED] credentials invalid".to_owned());
                }
                self.user = Some(user.clone());
                done(String::new())
            }
            _ if self.user.is_none() => Err("BAD expected LOGIN first".to_owned()),
            ("SELECT" | "EXAMINE", [name]) => self.select(command, name),
            _ if !self.is_selected => Err("BAD expected SELECT first".to_owned()),
            ("CLOSE", []) => {
                let is_read_only = self.is_read_only;
                self.mailbox(|mailbox| {
                    if !is_read_only {
                        expunge(mailbox);
                    }
                });
                self.is_selected = false;
                done(String::new())
            }
            ("EXPUNGE", []) if self.is_read_only => Err("NO the mailbox is read-only".to_owned()),
            ("EXPUNGE", []) => done(self.mailbox(expunge)),
            ("UID", [what, rest @ ..]) => {
                let untagged = match (what.to_ascii_uppercase().as_str(), rest) {
                    ("SEARCH", criteria) => self.search(criteria),
                    ("FETCH", [set, items @ ..]) => Ok(self.fetch(set, items)),
                    ("STORE", [set, how, flags @ ..]) => self.store(set, how, flags),
                    _ => Err(format!("BAD expected SEARCH, FETCH or STORE, found {what}")),
                }?;
                done(untagged)
            }
            _ => Err(format!("BAD expected a known command, found {command}")),
        }
    }

    /// Does something with the mailbox of who is logged in.
    fn mailbox<R>(&self, look: impl FnOnce(&mut Mailbox) -> R) -> R {
        let user = self.user.clone().unwrap_or_default();
        self.stage
            .change(|office| look(office.mailboxes.entry(user).or_default()))
    }

    fn select(&mut self, command: &str, name: &str) -> Answer {
        self.is_selected = name.eq_ignore_ascii_case("INBOX");
        if !self.is_selected {
            return Err(format!("NO expected INBOX, found {name}"));
        }
        self.is_read_only = command == "EXAMINE";
        let right = if self.is_read_only { "ONLY" } else { "WRITE" };
        let untagged = self.mailbox(|mailbox| {
            let (count, validity, next) =
                (mailbox.mails.len(), mailbox.uid_validity, mailbox.uid_next);
            let mut text = format!("* FLAGS ({FLAGS})\r\n* {count} EXISTS\r\n* 0 RECENT\r\n");
            let unseen = mailbox.mails.iter().position(|mail| !has(mail, SEEN));
            if let Some(first) = unseen {
                text += &format!("* OK [UNSEEN {}] first unseen\r\n", first + 1);
            }
            text += &format!("* OK [PERMANENTFLAGS ({FLAGS})] limited\r\n");
            text + &format!("* OK [UIDVALIDITY {validity}] valid\r\n* OK [UIDNEXT {next}] next\r\n")
        });
        Ok((untagged, format!("OK [READ-{right}] {command} completed")))
    }

    fn search(&self, criteria: &[String]) -> Result<String, String> {
        let mut wanted: Vec<Criterion> = Vec::new();
        let last = self.mailbox(|mailbox| mailbox.mails.last().map_or(0, |mail| mail.uid));
        let mut words = criteria.iter();
        while let Some(word) = words.next() {
            match word.to_ascii_uppercase().as_str() {
                "ALL" => {}
                "UNSEEN" => wanted.push(Box::new(|mail| !has(mail, SEEN))),
                "SEEN" => wanted.push(Box::new(|mail| has(mail, SEEN))),
                "UID" => {
                    let set = ranges(words.next().map_or("", String::as_str), last);
                    wanted.push(Box::new(move |mail| is_in(&set, mail.uid)));
                }
                other => return Err(format!("BAD expected a known criterion, found {other}")),
            }
        }
        let found = self.mailbox(|mailbox| {
            let mails = mailbox.mails.iter();
            let fitting = mails.filter(|mail| wanted.iter().all(|fits| fits(mail)));
            fitting.fold(String::new(), |mut found, mail| {
                write!(found, " {}", mail.uid).expect("a text takes text");
                found
            })
        });
        Ok(format!("* SEARCH{found}\r\n"))
    }

    fn fetch(&self, set: &str, items: &[String]) -> String {
        let items: Vec<_> = items.iter().map(|item| item.to_ascii_uppercase()).collect();
        let wants = |name: &str| items.iter().any(|item| item == name);
        let is_read = (wants("BODY[]") || wants("RFC822")) && !self.is_read_only;
        self.each(set, |number, mail| {
            if is_read && !has(mail, SEEN) {
                mail.flags.push(SEEN.to_owned());
            }
            let mut shown = format!("UID {}", mail.uid);
            if wants("FLAGS") || is_read {
                shown += &format!(" FLAGS ({})", mail.flags.join(" "));
            }
            if wants("RFC822.SIZE") {
                shown += &format!(" RFC822.SIZE {}", mail.text.len());
            }
            let name = if wants("RFC822") { "RFC822" } else { "BODY[]" };
            if wants("BODY[]") || wants("BODY.PEEK[]") || wants("RFC822") {
                shown += &format!(" {name} {{{}}}\r\n{}", mail.text.len(), mail.text);
            }
            format!("* {number} FETCH ({shown})\r\n")
        })
    }

    fn store(&self, set: &str, how: &str, flags: &[String]) -> Result<String, String> {
        if self.is_read_only {
            return Err("NO the mailbox is read-only".to_owned());
        }
        let how = how.to_ascii_uppercase();
        let (sign, is_silent) = match how.strip_suffix(".SILENT") {
            Some(sign) => (sign, true),
            None => (how.as_str(), false),
        };
        if !["FLAGS", "+FLAGS", "-FLAGS"].contains(&sign) {
            return Err(format!("BAD expected FLAGS, found {how}"));
        }
        Ok(self.each(set, |number, mail| {
            if sign != "+FLAGS" {
                mail.flags
                    .retain(|flag| sign == "-FLAGS" && !flags.contains(flag));
            }
            if sign != "-FLAGS" {
                let new = flags.iter().filter(|flag| !has(mail, flag)).cloned();
                let new: Vec<_> = new.collect();
                mail.flags.extend(new);
            }
            if is_silent {
                return String::new();
            }
            let shown = mail.flags.join(" ");
            format!("* {number} FETCH (UID {} FLAGS ({shown}))\r\n", mail.uid)
        }))
    }

    /// Does something with each mail of a set; gives what is said of them.
    fn each(&self, set: &str, mut look: impl FnMut(usize, &mut Kept) -> String) -> String {
        self.mailbox(|mailbox| {
            let last = mailbox.mails.last().map_or(0, |mail| mail.uid);
            let set = ranges(set, last);
            let mails = (1..).zip(&mut mailbox.mails);
            let fitting = mails.filter(|(_, mail)| is_in(&set, mail.uid));
            fitting.map(|(number, mail)| look(number, mail)).collect()
        })
    }

    /// Says what comes until the client is done.
    async fn idle(&mut self, tag: &str) -> std::io::Result<()> {
        let user = self.user.clone().unwrap_or_default();
        let count = move |office: &Office| Some(office.mailboxes.get(&user)?.mails.len());
        let mut known = self.stage.look(&count);
        self.say("+ idling\r\n").await?;
        loop {
            let more = self.stage.until(|office| {
                let now = count(office);
                (now != known).then_some(now)
            });
            tokio::select! {
                // A line comes whole, or its client is gone.
                line = read_line(&mut self.reader) => {
                    let is_done = line?.is_some_and(|line| line.eq_ignore_ascii_case("DONE"));
                    let state = if is_done { "OK IDLE completed" } else { "BAD expected DONE" };
                    return self.say(&format!("{tag} {state}\r\n")).await;
                }
                now = more => {
                    known = now;
                    self.say(&format!("* {} EXISTS\r\n", now.unwrap_or(0))).await?;
                }
            }
        }
    }
}

fn has(mail: &Kept, flag: &str) -> bool {
    mail.flags.iter().any(|known| known == flag)
}

/// Removes what is deleted; says which, each by its number at that moment.
fn expunge(mailbox: &mut Mailbox) -> String {
    let mut said = String::new();
    while let Some(at) = mailbox.mails.iter().position(|mail| has(mail, DELETED)) {
        mailbox.mails.remove(at);
        said += &format!("* {} EXPUNGE\r\n", at + 1);
    }
    said
}

/// Reads `1,3:5,7:*`; `*` is the last one.
fn ranges(set: &str, last: u32) -> Vec<(u32, u32)> {
    let number = |text: &str| match text {
        "*" => Some(last),
        text => text.parse().ok(),
    };
    let ranges = set.split(',').filter_map(|part| {
        let (from, to) = part.split_once(':').unwrap_or((part, part));
        let (from, to) = (number(from)?, number(to)?);
        Some((from.min(to), from.max(to)))
    });
    ranges.collect()
}

fn is_in(set: &[(u32, u32)], uid: u32) -> bool {
    set.iter().any(|(from, to)| (*from..=*to).contains(&uid))
}

/// Splits a line at spaces; parentheses are left out, and what is quoted is one word.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut is_quoted) = (Vec::new(), String::new(), false);
    let mut signs = line.chars();
    while let Some(sign) = signs.next() {
        match sign {
            '"' => is_quoted = !is_quoted,
            '\\' if is_quoted => word.extend(signs.next()),
            ' ' | '(' | ')' if !is_quoted => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            sign => word.push(sign),
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}
