//! The chat network of the fleet: accounts with tokens, lines of JSON, messages that are said again until they are
//! acked. It and the agent write two histories, one of what goes in and one of what goes out; in both the session is
//! the account, as whoever receives knows it, so that what comes to another account is a change on the way.

use std::collections::{BTreeMap, BTreeSet};
use std::io::BufReader;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use trunkline_tests::history::{Dlv, History, Record, hash};
use trunkline_tests::outside::{hear, say as tell};

/// How long what is waited for may take.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// What the network knows of an account.
#[derive(Default)]
pub(crate) struct Account {
    pub(crate) token: String,
    /// Connections that logged in.
    pub(crate) logins: usize,
    /// Texts in their order.
    messages: Vec<String>,
    acked: usize,
    /// What the bot said, by event id.
    pub(crate) said: BTreeSet<String>,
    /// Orders that were held and let go.
    pub(crate) released: usize,
    writer: Option<(u64, TcpStream)>,
}

#[derive(Default)]
pub(crate) struct Known {
    pub(crate) accounts: BTreeMap<String, Account>,
    posted_at: BTreeMap<String, Instant>,
    /// From a message to its answer, by the message.
    pub(crate) took: BTreeMap<String, Duration>,
    /// Logins that were refused.
    pub(crate) refused: usize,
    numbers: u64,
    connections: u64,
}

impl Known {
    /// Messages that no bot has acked, and answers that did not come back.
    fn open(&self) -> usize {
        self.posted_at.len() - self.took.len()
    }
}

pub(crate) struct Network {
    pub(crate) address: String,
    known: Mutex<Known>,
    changed: Condvar,
    /// From the accounts to the agent.
    pub(crate) inward: History,
    /// From the agent to the accounts.
    pub(crate) outward: History,
}

impl Network {
    pub(crate) fn start(home: &Path, names: &[String]) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut known = Known::default();
        for name in names {
            let token = format!("secret-of-{name}");
            let account = Account {
                token,
                ..Account::default()
            };
            known.accounts.insert(name.clone(), account);
        }
        let network = Arc::new(Self {
            address: listener.local_addr().unwrap().to_string(),
            known: Mutex::new(known),
            changed: Condvar::new(),
            inward: History::open(&home.join("inward.jsonl")).unwrap(),
            outward: History::open(&home.join("outward.jsonl")).unwrap(),
        });
        for name in names {
            network.outward.record(Record::Sub {
                sub: account_sub(name),
                filters: vec![format!("plugin.outbound.fleet.{name}")],
                from_seq: 0,
            });
        }
        for history in [&network.inward, &network.outward] {
            history.record(Record::Restart { life: 1 });
        }
        let serving = network.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let network = serving.clone();
                thread::spawn(move || network.serve(&stream));
            }
        });
        network
    }

    pub(crate) fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap()
    }

    /// Waits for something to change, and not longer than this.
    pub(crate) fn wait(&self, limit: Duration) {
        let known = self.known();
        drop(self.changed.wait_timeout(known, limit).unwrap());
    }

    /// Waits until it is so.
    pub(crate) fn until(&self, what: &str, mut is_so: impl FnMut(&Known) -> bool) {
        let known = self.known();
        let waits = |known: &mut Known| !is_so(known);
        let (_known, waited) = self
            .changed
            .wait_timeout_while(known, PATIENCE, waits)
            .unwrap();
        assert!(!waited.timed_out(), "it is not so in time: {what}");
    }

    /// Says a message to an account's bot; gives its id.
    pub(crate) fn post(&self, name: &str) -> String {
        let mut known = self.known();
        let account = known.accounts.get_mut(name).unwrap();
        let text = format!("{name}-{}", account.messages.len() + 1);
        self.inward.record(Record::PubInvoke {
            id: text.clone(),
            source: name.to_owned(),
            topic: format!("plugin.inbound.fleet.{name}"),
            session: Some(name.to_owned()),
            hash: hash(text.as_bytes()),
        });
        account.messages.push(text.clone());
        account.say(account.messages.len());
        known.posted_at.insert(text.clone(), Instant::now());
        text
    }

    /// Tells an account's bot to let go of what it holds.
    pub(crate) fn release(&self, name: &str) {
        let mut known = self.known();
        let account = known.accounts.get_mut(name).unwrap();
        account.tell(&json!({ "op": "release" }));
    }

    /// Waits until every message has its answer.
    pub(crate) fn settle(&self) {
        self.until("every message has its answer", |known| known.open() == 0);
    }

    fn serve(&self, stream: &TcpStream) -> Option<()> {
        stream.set_nodelay(true).ok()?;
        let mut reader = BufReader::new(stream.try_clone().ok()?);
        tell(stream, &json!({ "op": "hello" }))?;
        let login = hear(&mut reader)?;
        let (name, link) = {
            let mut known = self.known();
            known.connections += 1;
            let link = known.connections;
            let token = login["token"].as_str()?;
            let found = known
                .accounts
                .iter_mut()
                .find(|(_, one)| one.token == token);
            let Some((name, account)) = found else {
                known.refused += 1;
                self.changed.notify_all();
                tell(stream, &json!({ "op": "refused" }))?;
                drop(known);
                // It is for the other side to leave.
                while hear(&mut reader).is_some() {}
                return None;
            };
            let name = name.clone();
            account.logins += 1;
            account.writer = Some((link, stream.try_clone().ok()?));
            self.outward.record(Record::Attach {
                sub: account_sub(&name),
                link,
                life: 1,
                pid: link as u32,
                credit: 4096,
            });
            let from = login["resume"].as_u64().unwrap_or(0) as usize;
            let (until, mut acked) = (account.messages.len(), Vec::new());
            // What it goes on from it has, although the ack was lost with its connection.
            while account.acked < from {
                account.acked += 1;
                acked.push(account.messages[account.acked - 1].clone());
            }
            for number in from + 1..=until {
                account.say(number);
            }
            for id in acked {
                self.acked(&mut known, &name, id);
            }
            self.changed.notify_all();
            (name, link)
        };
        while let Some(frame) = hear(&mut reader) {
            self.heard(&name, link, &frame);
        }
        self.outward.record(Record::Detach { link });
        let mut known = self.known();
        let account = known.accounts.get_mut(&name)?;
        account.writer.take_if(|(of, _)| *of == link);
        Some(())
    }

    fn acked(&self, known: &mut Known, name: &str, id: String) {
        known.numbers += 1;
        self.inward.record(Record::PubOk {
            id,
            source: name.to_owned(),
            seq: known.numbers,
            duplicate: false,
        });
    }

    fn heard(&self, name: &str, link: u64, frame: &Value) {
        let mut known = self.known();
        match frame["op"].as_str() {
            Some("ack") => {
                let upto = frame["seq"].as_u64().unwrap() as usize;
                loop {
                    let account = known.accounts.get_mut(name).unwrap();
                    if account.acked >= upto {
                        break;
                    }
                    account.acked += 1;
                    let id = account.messages[account.acked - 1].clone();
                    self.acked(&mut known, name, id);
                }
            }
            Some("say") => {
                let text = |value: &Value| value.as_str().unwrap().to_owned();
                let (id, handing) = (text(&frame["id"]), &frame["delivery"]);
                let delivery = text(&handing["id"]);
                self.outward.record(Record::Dlv(Dlv {
                    sub: account_sub(name),
                    link,
                    id: id.clone(),
                    session: Some(name.to_owned()),
                    hash: hash(text(&frame["text"]).as_bytes()),
                    delivery: delivery.clone(),
                    attempt: handing["attempt"].as_u64().unwrap(),
                    redelivered: handing["redelivered"] == true,
                    replay_of: None,
                    seq: None,
                    lease_ms: 30_000,
                }));
                self.outward.record(Record::AckSent {
                    sub: account_sub(name),
                    delivery,
                    id: id.clone(),
                });
                if let Some(asked) = id.strip_prefix("re:")
                    && let Some(at) = known.posted_at.get(asked)
                {
                    let took = at.elapsed();
                    known.took.entry(asked.to_owned()).or_insert(took);
                }
                known.accounts.get_mut(name).unwrap().said.insert(id);
            }
            Some("released") => known.accounts.get_mut(name).unwrap().released += 1,
            _ => {}
        }
        drop(known);
        self.changed.notify_all();
    }
}

impl Account {
    fn say(&mut self, number: usize) {
        let text = self.messages[number - 1].clone();
        self.tell(&json!({ "op": "message", "seq": number, "text": text }));
    }

    fn tell(&mut self, frame: &Value) {
        if let Some((_, stream)) = &self.writer
            && tell(stream, frame).is_none()
        {
            // It is said again to the next connection.
            self.writer = None;
        }
    }
}

/// What the history calls the account's end.
pub(crate) fn account_sub(name: &str) -> String {
    format!("account.{name}")
}
