//! A mail server: what is sent to it by SMTP lies in the mailboxes that [`imap`](super::imap) shows.
//!
//! From RFC 5321 (SMTP: replies, the order of commands, transparency of the dot), RFC 4954 (`AUTH PLAIN`, `AUTH LOGIN`),
//! RFC 3463 (enhanced status codes), RFC 1870 (`SIZE`). It offers no `STARTTLS`, so it is for this machine alone.

use std::collections::{BTreeMap, VecDeque};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::imap;
use super::stage::{Server, Stage};

/// The largest mail.
const SIZE_MAX: usize = 1 << 20;
/// The longest line of a command.
const LINE_MAX: usize = 4_096;
/// The name that the server has.
const NAME: &str = "mail.example.com";

/// A mail that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// Who logged in.
    pub user: Option<String>,
    /// The envelope's sender.
    pub from: String,
    /// The envelope's recipients.
    pub to: Vec<String>,
    /// Headers and body, lines ending in CRLF.
    pub text: String,
}

impl Mail {
    /// The first header of a name; what is folded is not joined.
    pub fn header(&self, name: &str) -> Option<&str> {
        let head = self.text.split("\r\n\r\n").next()?;
        head.split("\r\n").find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

/// A mail in a mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) uid: u32,
    pub(super) text: String,
    pub(super) flags: Vec<String>,
}

/// The inbox of a user.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    pub(super) password: String,
    pub(super) uid_validity: u32,
    pub(super) uid_next: u32,
    pub(super) mails: Vec<Kept>,
}

/// Everything that the server knows.
#[derive(Debug, Default)]
pub(super) struct Office {
    pub(super) mailboxes: BTreeMap<String, Mailbox>,
    taken: Vec<Mail>,
    /// Answers instead of the usual ones, by command.
    refusals: BTreeMap<&'static str, VecDeque<&'static str>>,
    heard: Vec<String>,
}

impl Office {
    fn deliver(&mut self, to: &str, text: &str) {
        if let Some(mailbox) = self.mailboxes.get_mut(to) {
            let uid = mailbox.uid_next;
            mailbox.uid_next += 1;
            mailbox.mails.push(Kept {
                uid,
                text: text.to_owned(),
                flags: Vec::new(),
            });
        }
    }

    fn is_password(&self, user: &str, password: &str) -> bool {
        let mailbox = self.mailboxes.get(user);
        mailbox.is_some_and(|mailbox| mailbox.password == password)
    }
}

/// A mail server.
#[derive(Debug)]
pub struct MailServer {
    server: Server<Office>,
    smtp: String,
    imap: String,
}

impl MailServer {
    /// Starts it with users: each an address, and a password.
    pub fn start(users: &[(&str, &str)]) -> Self {
        let mailboxes = users.iter().map(|(user, password)| {
            let mailbox = Mailbox {
                password: (*password).to_owned(),
                uid_validity: 1,
                uid_next: 1,
                mails: Vec::new(),
            };
            ((*user).to_owned(), mailbox)
        });
        let server = Server::start(Office {
            mailboxes: mailboxes.collect(),
            ..Office::default()
        });
        let ((smtp, smtp_at), (imap, imap_at)) = (server.bind(), server.bind());
        let stage = server.stage().clone();
        server.spawn(async move {
            while let Ok((stream, _)) = smtp.accept().await {
                let smtp = Smtp::new(stage.clone(), stream);
                // Who hangs up in the middle has said what it says.
                tokio::spawn(async move { smtp.serve().await.ok() });
            }
        });
        let stage = server.stage().clone();
        server.spawn(async move {
            while let Ok((stream, _)) = imap.accept().await {
                let stage = stage.clone();
                tokio::spawn(async move { imap::serve(stage, stream).await.ok() });
            }
        });
        Self {
            server,
            smtp: smtp_at,
            imap: imap_at,
        }
    }

    /// The port of SMTP on 127.0.0.1.
    pub fn smtp_port(&self) -> u16 {
        port(&self.smtp)
    }

    /// The port of IMAP on 127.0.0.1.
    pub fn imap_port(&self) -> u16 {
        port(&self.imap)
    }

    /// The next command of this name is answered so: `("DATA", "451 4.3.2 try later")`. For `DATA` it is the answer
    /// to the whole mail.
    pub fn refuse(&self, command: &'static str, answer: &'static str) {
        self.server.stage().change(|office| {
            let refusals = office.refusals.entry(command).or_default();
            refusals.push_back(answer);
        });
    }

    /// Lays a mail into the mailbox of a user.
    pub fn deliver(&self, to: &str, text: &str) {
        let stage = self.server.stage();
        stage.change(|office| office.deliver(to, &text.replace('\n', "\r\n")));
    }

    /// Begins to count the mails of a user anew, as a server does that lost its numbers.
    pub fn renumber(&self, user: &str) {
        self.server.stage().change(|office| {
            let mailbox = office.mailboxes.get_mut(user).expect("a user is so called");
            mailbox.uid_validity += 1;
            for (uid, mail) in (1..).zip(&mut mailbox.mails) {
                mail.uid = uid;
            }
            mailbox.uid_next = mailbox.mails.last().map_or(1, |mail| mail.uid + 1);
        });
    }

    /// Waits until so many mails were taken; gives them all.
    pub fn taken(&self, count: usize) -> Vec<Mail> {
        self.server.wait(&format!("{count} mails"), |office| {
            (office.taken.len() >= count).then(|| office.taken.clone())
        })
    }

    /// How often a command was heard.
    pub fn heard(&self, command: &str) -> usize {
        let stage = self.server.stage();
        stage.look(|office| {
            office
                .heard
                .iter()
                .filter(|heard| *heard == command)
                .count()
        })
    }
}

fn port(address: &str) -> u16 {
    let port = address
        .rsplit(':')
        .next()
        .and_then(|port| port.parse().ok());
    port.expect("an address has a port")
}

/// One connection of SMTP.
struct Smtp {
    stage: Stage<Office>,
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    is_greeted: bool,
    user: Option<String>,
    from: Option<String>,
    to: Vec<String>,
}

impl Smtp {
    fn new(stage: Stage<Office>, stream: TcpStream) -> Self {
        let (reader, writer) = stream.into_split();
        Self {
            stage,
            reader: BufReader::new(reader),
            writer,
            is_greeted: false,
            user: None,
            from: None,
            to: Vec::new(),
        }
    }

    async fn say(&mut self, answer: &str) -> std::io::Result<()> {
        self.writer
            .write_all(format!("{answer}\r\n").as_bytes())
            .await
    }

    /// Reads a line; none at the end.
    async fn line(&mut self) -> std::io::Result<Option<String>> {
        read_line(&mut self.reader).await
    }

    async fn serve(mut self) -> std::io::Result<()> {
        self.say(&format!("220 {NAME} ESMTP")).await?;
        while let Some(line) = self.line().await? {
            let (command, rest) = line.split_once(' ').unwrap_or((&line, ""));
            let command = command.to_ascii_uppercase();
            let refusal = self.stage.change(|office| {
                office.heard.push(command.clone());
                // A mail is refused when it is there.
                (command != "DATA").then(|| office.refusals.get_mut(command.as_str())?.pop_front())
            });
            if let Some(Some(refusal)) = refusal {
                self.say(refusal).await?;
                if refusal.starts_with("421") {
                    return Ok(());
                }
                continue;
            }
            match command.as_str() {
                "EHLO" => {
                    (self.is_greeted, self.from) = (true, None);
                    let offers = format!(
                        "250-{NAME}\r\n250-SIZE {SIZE_MAX}\r\n250-8BITMIME\r\n250-AUTH PLAIN LOGIN\r\n250 ENHANCEDSTATUSCODES"
                    );
                    self.say(&offers).await?;
                }
                "HELO" => {
                    self.is_greeted = true;
                    self.say(&format!("250 {NAME}")).await?;
                }
                "AUTH" => self.login(rest).await?,
                "MAIL" if !self.is_greeted || self.from.is_some() => {
                    self.say("503 5.5.1 bad sequence of commands").await?;
                }
                "MAIL" => match path(rest, "FROM:") {
                    Some(from) => {
                        (self.from, self.to) = (Some(from), Vec::new());
                        self.say("250 2.1.0 ok").await?;
                    }
                    None => self.say("501 5.5.4 expected FROM:<address>").await?,
                },
                "RCPT" if self.from.is_none() => self.say("503 5.5.1 expected MAIL first").await?,
                "RCPT" => match path(rest, "TO:") {
                    Some(to) if !to.is_empty() => {
                        self.to.push(to);
                        self.say("250 2.1.5 ok").await?;
                    }
                    _ => self.say("501 5.5.4 expected TO:<address>").await?,
                },
                "DATA" if self.to.is_empty() => self.say("503 5.5.1 expected RCPT first").await?,
                "DATA" => self.data().await?,
                "RSET" => {
                    self.from = None;
                    self.say("250 2.0.0 ok").await?;
                }
                "NOOP" => self.say("250 2.0.0 ok").await?,
                "QUIT" => return self.say("221 2.0.0 bye").await,
                _ => self.say("502 5.5.1 command not implemented").await?,
            }
        }
        Ok(())
    }

    async fn login(&mut self, rest: &str) -> std::io::Result<()> {
        let (way, first) = rest.split_once(' ').unwrap_or((rest, ""));
        let (way, mut first) = (way.to_ascii_uppercase(), first.to_owned());
        if self.user.is_some() || !self.is_greeted {
            return self.say("503 5.5.1 bad sequence of commands").await;
        }
        let pair = match way.as_str() {
            "PLAIN" => {
                if first.is_empty() {
                    self.say("334 ").await?;
                    first = self.line().await?.unwrap_or_default();
                }
                let decoded = decoded(&first).unwrap_or_default();
                let mut parts = decoded.split('\0').skip(1).map(str::to_owned);
                parts.next().zip(parts.next())
            }
            "LOGIN" => {
                if first.is_empty() {
                    self.say("334 VXNlcm5hbWU6").await?;
                    first = self.line().await?.unwrap_or_default();
                }
                self.say("334 UGFzc3dvcmQ6").await?;
                let second = self.line().await?.unwrap_or_default();
                decoded(&first).zip(decoded(&second))
            }
            _ => return self.say("504 5.5.4 unknown mechanism").await,
        };
        let known = pair.filter(|(user, password)| {
            self.stage.look(|office| office.is_password(user, password))
        });
        match known {
            Some((user, _)) => {
                self.user = Some(user);
                self.say("235 2.7.0 welcome").await
            }
            None => self.say("535 5.7.8 credentials invalid").await,
        }
    }

    async fn data(&mut self) -> std::io::Result<()> {
        self.say("354 go on").await?;
        let mut text = String::new();
        loop {
            let Some(line) = self.line().await? else {
                return Ok(());
            };
            if line == "." {
                break;
            }
            if text.len() + line.len() <= SIZE_MAX {
                text.push_str(line.strip_prefix('.').unwrap_or(&line));
                text.push_str("\r\n");
            }
        }
        let mail = Mail {
            user: self.user.clone(),
            from: self.from.take().unwrap_or_default(),
            to: std::mem::take(&mut self.to),
            text,
        };
        let answer = self.stage.change(|office| {
            let refusal = office
                .refusals
                .get_mut("DATA")
                .and_then(VecDeque::pop_front);
            if refusal.is_none() {
                for to in &mail.to {
                    office.deliver(to, &mail.text);
                }
                office.taken.push(mail);
            }
            refusal
        });
        self.say(answer.unwrap_or("250 2.0.0 taken")).await
    }
}

/// Reads a line without its end; none where there is no other one.
pub(super) async fn read_line(
    reader: &mut BufReader<OwnedReadHalf>,
) -> std::io::Result<Option<String>> {
    let mut line = Vec::new();
    if reader.read_until(b'\n', &mut line).await? == 0 || line.len() > LINE_MAX {
        return Ok(None);
    }
    let text = String::from_utf8_lossy(&line);
    Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()))
}

/// The address of `FROM:<address>`, whatever comes behind it.
fn path(rest: &str, name: &str) -> Option<String> {
    let given = rest.get(..name.len())?;
    let inside = rest[name.len()..].trim_start().strip_prefix('<')?;
    let (address, _) = inside.split_once('>')?;
    given.eq_ignore_ascii_case(name).then(|| address.to_owned())
}

fn decoded(text: &str) -> Option<String> {
    String::from_utf8(STANDARD.decode(text.trim()).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Runs a script of Python with the ports of SMTP and IMAP: its own libraries are the second opinion.
    fn python(server: &MailServer, script: &str) {
        let ports = [server.smtp_port(), server.imap_port()].map(|port| port.to_string());
        let mut command = Command::new("python3");
        let ran = command.args(["-c", script]).args(ports).output();
        let output = ran.expect("python3 is there");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
    }

    #[test]
    fn a_mail_is_taken_from_who_logs_in() {
        let server = MailServer::start(&[("ada@example.com", "s3cret")]);
        server.refuse("DATA", "451 4.3.2 try later");
        server.refuse("RCPT", "550 5.1.1 no such user");
        python(
            &server,
            r#"
import smtplib, sys
smtp = smtplib.SMTP("127.0.0.1", int(sys.argv[1]))
def send(text="Subject: hi\n\n.dots\nand more\n"):
    smtp.sendmail("bot@example.com", ["ada@example.com"], text)
def refused(code, do):
    try:
        do()
    except (smtplib.SMTPResponseException, smtplib.SMTPRecipientsRefused) as error:
        found = getattr(error, "smtp_code", None) or list(error.recipients.values())[0][0]
        assert found == code, error
    else:
        raise AssertionError(f"expected {code}")
refused(535, lambda: smtp.login("ada@example.com", "wrong"))
refused(550, send)
refused(451, send)
smtp.login("ada@example.com", "s3cret")
send()
assert smtp.docmd("MAIL", "TO:<x>")[0] == 501
assert smtp.docmd("DATA")[0] == 503
assert smtp.docmd("VRFY", "ada")[0] == 502
smtp.quit()
smtp = smtplib.SMTP("127.0.0.1", int(sys.argv[1]))
smtp.ehlo()
smtp.user, smtp.password = "ada@example.com", "s3cret"
assert smtp.auth("LOGIN", smtp.auth_login)[0] == 235
"#,
        );
        let taken = server.taken(1);
        assert_eq!(taken[0].user.as_deref(), Some("ada@example.com"));
        assert_eq!(taken[0].to, ["ada@example.com"]);
        assert_eq!(taken[0].header("subject"), Some("hi"));
        assert!(taken[0].text.ends_with("\r\n\r\n.dots\r\nand more\r\n"));
        assert_eq!(server.heard("DATA"), 4 - 1);
    }

    #[test]
    fn a_mailbox_is_read_with_numbers_that_stay() {
        let server = MailServer::start(&[("ada@example.com", "s3cret")]);
        server.deliver("ada@example.com", "Subject: one\n\nfirst\n");
        server.deliver("ada@example.com", "Subject: two\n\nsecond\n");
        let script = r#"
import imaplib, sys
def session(password="s3cret"):
    imap = imaplib.IMAP4("127.0.0.1", int(sys.argv[2]))
    assert "IDLE" in imap.capabilities
    imap.login("ada@example.com", password)
    return imap
try:
    session("wrong")
except imaplib.IMAP4.error as error:
    assert "AUTHENTICATIONFAILED" in str(error)
else:
    raise AssertionError("expected a refusal")
imap = session()
state, count = imap.select("INBOX")
assert (state, count) == ("OK", [b"2"]), (state, count)
assert imap.response("UIDVALIDITY")[1] == [b"1"] and imap.response("UIDNEXT")[1] == [b"3"]
assert imap.uid("SEARCH", None, "UNSEEN")[1] == [b"1 2"]
assert imap.uid("SEARCH", None, "UID", "2:*")[1] == [b"2"]
state, found = imap.uid("FETCH", "1:2", "(UID FLAGS BODY.PEEK[])")
assert found[0][1] == b"Subject: one\r\n\r\nfirst\r\n" and b"UID 2" in found[2][0], found
assert imap.uid("STORE", "1", "+FLAGS", r"(\Seen)")[0] == "OK"
assert imap.uid("SEARCH", None, "UNSEEN")[1] == [b"2"]
imap.uid("FETCH", "2", "(BODY[])")
assert imap.uid("SEARCH", None, "UNSEEN")[1] == [b""]
assert imap.uid("STORE", "1", "+FLAGS", r"(\Deleted)")[0] == "OK"
assert imap.expunge()[0] == "OK"
assert imap.uid("SEARCH", None, "ALL")[1] == [b"2"]
assert imap.select("Sent")[0] == "NO"
imap.logout()
"#;
        python(&server, script);
        server.renumber("ada@example.com");
        server.deliver("ada@example.com", "Subject: three\n\nthird\n");
        let again = r#"
import imaplib, sys
imap = imaplib.IMAP4("127.0.0.1", int(sys.argv[2]))
imap.login("ada@example.com", "s3cret")
imap.select("INBOX", readonly=True)
assert imap.response("UIDVALIDITY")[1] == [b"2"]
assert imap.uid("SEARCH", None, "ALL")[1] == [b"1 2"]
imap.logout()
"#;
        python(&server, again);
    }

    #[test]
    fn who_idles_is_told_of_a_new_mail() {
        let server = MailServer::start(&[("ada@example.com", "s3cret")]);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                python(
                    &server,
                    r#"
import imaplib, smtplib, sys
imap = imaplib.IMAP4("127.0.0.1", int(sys.argv[2]))
imap.login("ada@example.com", "s3cret")
imap.select("INBOX")
imap.send(b"X1 IDLE\r\n")
assert imap.readline().startswith(b"+")
smtp = smtplib.SMTP("127.0.0.1", int(sys.argv[1]))
smtp.sendmail("bot@example.com", ["ada@example.com"], "Subject: new\n\nhi\n")
assert imap.readline() == b"* 1 EXISTS\r\n"
imap.send(b"DONE\r\n")
assert imap.readline().startswith(b"X1 OK")
"#,
                );
            });
        });
        assert_eq!(server.taken(1)[0].header("Subject"), Some("new"));
    }
}
