//! What is owed to which subscription and not settled yet: how a run knows when its drain has ended.

use std::collections::{HashMap, HashSet};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

use crate::checker::matches;

#[derive(Debug, Default)]
struct Account {
    filters: Vec<String>,
    unsettled: HashSet<String>,
    settled: HashSet<String>,
}

#[derive(Debug, Default)]
struct Book {
    accounts: HashMap<String, Account>,
    /// Acks and settlements so far.
    ticks: u64,
    /// Refused publishes by code.
    refused: HashMap<String, u64>,
}

/// Shared by all drivers of a run.
#[derive(Debug, Default)]
pub struct Ledger {
    book: Mutex<Book>,
    changed: Condvar,
}

impl Ledger {
    /// Opens an account for each subscription.
    pub(super) fn new(subs: Vec<(String, Vec<String>)>) -> Self {
        let accounts = subs.into_iter().map(|(sub, filters)| {
            (
                sub,
                Account {
                    filters,
                    ..Account::default()
                },
            )
        });
        let book = Book {
            accounts: accounts.collect(),
            ..Book::default()
        };
        Self {
            book: Mutex::new(book),
            changed: Condvar::new(),
        }
    }

    /// An event was acked: it is owed to every subscription that matches.
    pub fn acked(&self, id: &str, topic: &str) {
        let mut book = self.lock();
        for account in book.accounts.values_mut() {
            let is_owed = account.filters.iter().any(|filter| matches(filter, topic));
            if is_owed && !account.settled.contains(id) {
                account.unsettled.insert(id.to_owned());
            }
        }
        self.tick(book);
    }

    /// An event was handed over.
    pub fn handed(&self, sub: &str, id: &str) {
        if let Some(account) = self.lock().accounts.get_mut(sub) {
            account.unsettled.insert(id.to_owned());
        }
    }

    /// An event was settled for good.
    pub fn settled(&self, sub: &str, id: &str) {
        let mut book = self.lock();
        if let Some(account) = book.accounts.get_mut(sub) {
            account.unsettled.remove(id);
            account.settled.insert(id.to_owned());
        }
        self.tick(book);
    }

    /// How much is unsettled at the subscription that is furthest behind.
    pub fn backlog(&self) -> usize {
        self.lock()
            .accounts
            .values()
            .map(|account| account.unsettled.len())
            .max()
            .unwrap_or_default()
    }

    /// Waits for `more` further acks or settlements, at most `limit`; false when they did not come.
    pub fn wait_ticks(&self, more: u64, limit: Duration) -> bool {
        let book = self.lock();
        let wanted = book.ticks + more;
        let (book, _) = self
            .changed
            .wait_timeout_while(book, limit, |book| book.ticks < wanted)
            .expect("no thread panics with it");
        book.ticks >= wanted
    }

    /// A publish was refused with `code`.
    pub fn refused(&self, code: &str) {
        *self.lock().refused.entry(code.to_owned()).or_default() += 1;
        self.changed.notify_all();
    }

    /// Waits until a publish was refused with `code`, at most `limit`; false when none was.
    pub fn wait_refused(&self, code: &str, limit: Duration) -> bool {
        let (book, _) = self
            .changed
            .wait_timeout_while(self.lock(), limit, |book| !book.refused.contains_key(code))
            .expect("no thread panics with it");
        book.refused.contains_key(code)
    }

    /// Acks and settlements so far.
    pub fn ticks(&self) -> u64 {
        self.lock().ticks
    }

    /// Waits until nothing is unsettled, at most `limit`; returns how much is.
    pub fn wait_settled(&self, limit: Duration) -> u64 {
        let count = |book: &Book| {
            book.accounts
                .values()
                .map(|a| a.unsettled.len())
                .sum::<usize>()
        };
        let (book, _) = self
            .changed
            .wait_timeout_while(self.lock(), limit, |book| count(book) > 0)
            .expect("no thread panics with it");
        count(&book) as u64
    }

    /// What is unsettled at `sub`, in no order.
    pub fn unsettled(&self, sub: &str) -> Vec<String> {
        let book = self.lock();
        let account = book.accounts.get(sub);
        account.map_or_else(Vec::new, |account| {
            account.unsettled.iter().cloned().collect()
        })
    }

    fn tick(&self, mut book: MutexGuard<'_, Book>) {
        book.ticks += 1;
        drop(book);
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().expect("no thread panics with it")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_settled_before_its_ack_is_not_owed() {
        let ledger = Ledger::new(vec![("s".into(), vec!["a.>".into()])]);
        ledger.acked("e1", "a.b");
        ledger.handed("s", "e2");
        ledger.settled("s", "e2");
        ledger.acked("e2", "a.b");
        ledger.acked("e3", "b.b");
        assert_eq!(ledger.wait_settled(Duration::ZERO), 1);
        assert_eq!(ledger.unsettled("s"), ["e1"]);
        ledger.settled("s", "e1");
        assert_eq!(ledger.wait_settled(Duration::ZERO), 0);
        assert!(!ledger.wait_ticks(1, Duration::ZERO));
    }
}
