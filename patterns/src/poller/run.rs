//! A tick that fetches: page by page, item by item, commit by commit.

use std::collections::VecDeque;

use serde_json::Value;

use super::answer::{Answer, NetworkError};
use super::commit::{Alert, AlertKind, Commit, Next, Op, Operation, Park, Skip};
use super::fetch::{Asking, Fetch};
use super::gather::Gather;
use super::items::{Listed, NewItem, event_id, list};
use super::options::{Plan, Source};
use super::seen::{SEEN_MAX, Seen};
use super::state::{Pending, State, Stored, Validators, Wait, WaitReason, bounded};
use super::trouble::{Class, Trouble, fail, succeed};
use crate::json_items::greater;

/// How soon the next tick goes on with pages that are left.
const PAGES_AGAIN_MS: u64 = 1_000;
/// A run that stopped between two pages longer ago than this begins anew: an hour.
const PENDING_MS_MAX: u64 = 3_600_000;
/// Most items of one run over all its ticks: half of what is remembered.
const RUN_ITEMS_MAX: usize = SEEN_MAX / 2;

/// No document is left alone for longer than this because it says so: a day.
const FRESH_MS_MAX: u64 = 24 * 3_600_000;

/// Says why a tick came, and when.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tick {
    /// Why.
    pub cause: Cause,
    /// Milliseconds since the epoch.
    pub now_ms: u64,
}

/// Says why a tick came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Its time has come.
    Timer,
    /// An operator wants it now: it does not wait for a backoff, but for what a server asked.
    Operator,
}

/// Is what the shell does next.
#[derive(Clone, Debug, PartialEq)]
pub enum Step<E> {
    /// Make this request, then call [`Run::answered`] or [`Run::unanswered`].
    Fetch(Fetch),
    /// Call the handler with this item, then call [`Run::handled`].
    Item(Box<NewItem>),
    /// Make this durable. If it is the last, it settles the tick; else call [`Run::committed`].
    Commit(Box<Commit<E>>),
}

/// Is what a handler made of an item.
#[derive(Clone, Debug, PartialEq)]
pub enum Handled<E> {
    /// It is done, and caused this (nothing is fine).
    Done(Vec<E>),
    /// It is not done: it waits by itself and holds up no other.
    Parked(Park),
    /// The tick ends here; this item and those behind it come again.
    Stopped {
        /// How soon, in milliseconds.
        after_ms: u64,
        /// Why.
        reason: String,
    },
}

/// Is one tick of a poller that fetches.
#[derive(Debug)]
pub struct Run<E> {
    plan: Plan,
    state: State,
    /// The state as it is durable.
    durable: State,
    seen: Seen,
    asking: Option<Asking>,
    current: Option<Box<NewItem>>,
    queue: VecDeque<NewItem>,
    gather: Gather<E>,
    page: Option<PageEnd>,
    pages: u32,
    alerts: Vec<Alert>,
    unreadable: usize,
    /// What the last commit says, once the tick is over.
    end: Option<Next>,
}

/// Is what holds once every item of a page is handed over.
#[derive(Debug, Default)]
struct PageEnd {
    next: Option<Pending>,
    cursor: Option<Value>,
    /// Whether the run had this one page.
    is_whole: bool,
    /// Whether it listed what there is, and did not only say that nothing changed.
    is_list: bool,
    validators: Option<Validators>,
    fresh_ms: Option<u64>,
}

impl<E: Operation> Run<E> {
    /// Begins a tick.
    pub fn start(plan: Plan, stored: Stored, tick: Tick) -> (Self, Step<E>) {
        let mut run = Self {
            durable: stored.state.clone(),
            state: stored.state,
            seen: stored.seen,
            plan,
            asking: None,
            current: None,
            queue: VecDeque::new(),
            gather: Gather::new(),
            page: None,
            pages: 0,
            alerts: Vec::new(),
            unreadable: 0,
            end: None,
        };
        let step = match skip(&run.state, &run.plan, tick) {
            Some(skip) => Step::Commit(Box::new(skipped(skip, &run.plan, tick.now_ms))),
            None => run.first(tick.now_ms),
        };
        (run, step)
    }

    fn first(&mut self, now_ms: u64) -> Step<E> {
        let source = self.plan.address().map(str::to_owned);
        if self.state.source != source {
            self.state.source = source;
            self.state.moved = None;
            self.state.validators = None;
            self.state.pending = None;
            self.state.cursor = None;
            self.state.ahead = None;
        }
        let is_old = |pending: &Pending| now_ms.saturating_sub(pending.since_ms) > PENDING_MS_MAX;
        if self.state.pending.as_ref().is_some_and(is_old) {
            self.state.pending = None;
        }
        let page = self
            .state
            .pending
            .as_ref()
            .map(|pending| pending.next.clone());
        match Asking::new(&self.plan, &self.state, page) {
            Ok(asking) => self.ask(asking),
            Err(trouble) => self.fail(&trouble, now_ms, 1.0),
        }
    }

    fn ask(&mut self, asking: Asking) -> Step<E> {
        let fetch = asking.fetch(&self.plan, &self.state);
        self.asking = Some(asking);
        Step::Fetch(fetch)
    }

    /// Takes an answer. `unit` is chance in `0.0..1.0`.
    pub fn answered(&mut self, answer: &Answer, now_ms: u64, unit: f64) -> Step<E> {
        let Some(mut asking) = self.asking.take() else {
            return self.out_of_turn(now_ms);
        };
        match answer.status {
            301 | 302 | 303 | 307 | 308 => match asking.follow(answer) {
                Ok(()) => self.ask(asking),
                Err(trouble) => self.fail(&trouble, now_ms, unit),
            },
            304 if asking.validators(&self.state).is_some() => {
                self.moved(&asking);
                let mut validators = self.state.validators.clone();
                if let (Some(known), Some(moved)) = (&mut validators, asking.moved()) {
                    moved.clone_into(&mut known.url);
                }
                self.page = Some(PageEnd {
                    is_whole: true,
                    validators,
                    fresh_ms: answer.fresh_ms(),
                    ..PageEnd::default()
                });
                self.advance(now_ms)
            }
            204 => {
                self.page = Some(PageEnd::default());
                self.advance(now_ms)
            }
            200..=299 => {
                let page = asking.page.as_ref();
                match list(&self.plan, self.state.resets, answer, &asking.url, page) {
                    Ok(listed) => {
                        self.moved(&asking);
                        self.take(listed, answer, &asking, now_ms);
                        self.advance(now_ms)
                    }
                    Err(trouble) => self.fail(&trouble, now_ms, unit),
                }
            }
            _ => self.fail(&Trouble::status(answer, now_ms), now_ms, unit),
        }
    }

    /// Takes that there was no answer.
    pub fn unanswered(&mut self, error: &NetworkError, now_ms: u64, unit: f64) -> Step<E> {
        self.asking = None;
        self.fail(&Trouble::network(error), now_ms, unit)
    }

    /// Ends the tick because its time is over, or the process stops: what is complete is committed.
    pub fn timed_out(&mut self, now_ms: u64, unit: f64) -> Step<E> {
        let text = format!(
            "expected a tick of at most {} ms, found more",
            self.plan.timeout_ms
        );
        self.asking = None;
        self.fail(&Trouble::new(Class::Transient, text), now_ms, unit)
    }

    fn moved(&mut self, asking: &Asking) {
        let Some(to) = asking.moved() else {
            return;
        };
        if self.state.moved.as_deref() != Some(to) {
            self.alerts.push(Alert {
                kind: AlertKind::Moved,
                text: bounded(format!("moved for good to {to}")),
            });
            self.state.moved = Some(to.to_owned());
        }
    }

    fn take(&mut self, listed: Listed, answer: &Answer, asking: &Asking, now_ms: u64) {
        let before = self.state.pending.clone();
        let (since_ms, items, last_page, cursor) = match before {
            Some(before) => (
                before.since_ms,
                before.items,
                Some(before.page),
                before.cursor,
            ),
            None => (now_ms, 0, None, None),
        };
        let items = items + listed.items.len();
        let cursor = greater(cursor, listed.cursor);
        let mut next = listed.next;
        if next.is_some() && last_page == Some(listed.page) {
            next = None;
            self.left_out("expected another page, found the one before again".to_owned());
        } else if next.is_some() && items > RUN_ITEMS_MAX {
            next = None;
            self.left_out(format!(
                "expected at most {RUN_ITEMS_MAX} items in a run, found more"
            ));
        }
        if listed.left_out > 0 {
            self.left_out(format!(
                "{} items more than are read of one answer",
                listed.left_out
            ));
        }
        for (hash, parked) in listed.unreadable {
            if !self.seen.meet(hash, now_ms) {
                self.unreadable += 1;
                self.gather.put(vec![Op::Park(parked)], Some(hash));
            }
        }
        let mut listed_now = std::collections::HashSet::new();
        for mut item in listed.items {
            // A feed that gives one id twice means one item.
            if listed_now.insert(item.hash) && !self.seen.meet(item.hash, now_ms) {
                item.event_id = event_id(&self.plan.kind, self.state.resets, &item.id, 0);
                self.queue.push_back(item);
            }
        }
        self.page = Some(PageEnd {
            next: next.map(|next| Pending {
                next,
                cursor: cursor.clone(),
                since_ms,
                items,
                page: listed.page,
            }),
            cursor,
            is_whole: last_page.is_none(),
            is_list: true,
            validators: self.validators(answer, asking),
            fresh_ms: answer.fresh_ms().max(listed.ttl_ms),
        });
    }

    /// Gives what to ask with next time. Of a list in pages nothing: that the first page is as it was
    /// says nothing of the others.
    fn validators(&self, answer: &Answer, asking: &Asking) -> Option<Validators> {
        if matches!(&self.plan.source, Source::Json(options) if options.paginate.is_some()) {
            return None;
        }
        // Where it moved for good, that is what is asked for next time.
        let url = asking.moved().unwrap_or(&asking.start);
        Validators::new(url, answer.header("etag"), answer.header("last-modified"))
    }

    fn left_out(&mut self, text: String) {
        self.alerts.push(Alert {
            kind: AlertKind::LeftOut,
            text,
        });
    }

    /// Takes what the handler made of the item.
    pub fn handled(&mut self, handled: Handled<E>, now_ms: u64) -> Step<E> {
        let Some(item) = self.current.take() else {
            return self.out_of_turn(now_ms);
        };
        match handled {
            Handled::Done(ops) => {
                let ops = ops.into_iter().map(Op::Own).collect();
                self.gather.put(ops, Some(item.hash));
            }
            Handled::Parked(how) => {
                self.gather
                    .put(vec![Op::Park(item.park(how))], Some(item.hash));
            }
            Handled::Stopped { after_ms, reason } => {
                let trouble = Trouble::wish(Class::Asked, reason, Some(after_ms));
                return self.fail(&trouble, now_ms, 1.0);
            }
        }
        self.advance(now_ms)
    }

    /// Goes on after a commit that was not the last.
    pub fn committed(&mut self, now_ms: u64) -> Step<E> {
        self.advance(now_ms)
    }

    /// Gives the next step: a full commit, the next item, the next page, or the end.
    fn advance(&mut self, now_ms: u64) -> Step<E> {
        let (complete, is_full) = self.gather.settle();
        for hash in complete {
            self.seen.insert(hash, now_ms);
        }
        if is_full {
            return self.commit(None);
        }
        if let Some(next) = self.end {
            return self.commit(Some(next));
        }
        if let Some(item) = self.queue.pop_front() {
            let item = Box::new(item);
            self.current = Some(item.clone());
            return Step::Item(item);
        }
        match self.page.take() {
            Some(page) => self.page_is_done(page, now_ms),
            None => self.next_page(now_ms),
        }
    }

    fn page_is_done(&mut self, page: PageEnd, now_ms: u64) -> Step<E> {
        self.pages += 1;
        let pages_max = match &self.plan.source {
            Source::Json(options) => options.pages_max,
            Source::Feed(_) | Source::Handler => 1,
        };
        self.state.pending = page.next;
        if self.state.pending.is_some() {
            if self.pages >= pages_max {
                self.alerts.extend(succeed(&mut self.state, now_ms));
                self.end = Some(Next::In(PAGES_AGAIN_MS));
                return self.advance(now_ms);
            }
            return if self.gather.is_empty() {
                self.next_page(now_ms)
            } else {
                self.commit(None)
            };
        }
        let greatest = greater(self.state.cursor.clone(), page.cursor);
        if page.is_whole {
            self.state.ahead = None;
            self.state.cursor = greatest;
        } else {
            let before = self.state.ahead.take();
            self.state.cursor = greater(self.state.cursor.take(), before);
            self.state.ahead = greatest;
        }
        self.state.validators = page.validators;
        self.alerts.extend(succeed(&mut self.state, now_ms));
        self.state.wait = page
            .fresh_ms
            .map(|fresh| Wait::new(now_ms, fresh.min(FRESH_MS_MAX), WaitReason::Fresh));
        // Only what could have been met may be missed.
        if page.is_list {
            self.seen.forget_old(now_ms);
        }
        self.end = Some(Next::Scheduled);
        self.advance(now_ms)
    }

    fn next_page(&mut self, now_ms: u64) -> Step<E> {
        let page = self
            .state
            .pending
            .as_ref()
            .map(|pending| pending.next.clone());
        match Asking::new(&self.plan, &self.state, page) {
            Ok(asking) => self.ask(asking),
            Err(trouble) => self.fail(&trouble, now_ms, 1.0),
        }
    }

    fn fail(&mut self, trouble: &Trouble, now_ms: u64, unit: f64) -> Step<E> {
        // What is complete stays; what is not comes again.
        self.queue.clear();
        self.page = None;
        self.gather.drop_waiting();
        // A page that is not there any more must not stand in the way for ever.
        if matches!(trouble.class, Class::Suspect | Class::Permanent) {
            self.state.pending = None;
        }
        let (next, alerts) = fail(&mut self.state, &self.plan, trouble, now_ms, unit);
        self.alerts.extend(alerts);
        self.end = Some(next);
        self.commit(Some(next))
    }

    fn commit(&mut self, last: Option<Next>) -> Step<E> {
        if last.is_some() && self.unreadable > 0 {
            self.alerts.push(Alert {
                kind: AlertKind::Unreadable,
                text: format!("{} items could not be read", self.unreadable),
            });
        }
        let is_changed = self.state != self.durable;
        if is_changed {
            self.durable = self.state.clone();
        }
        let seen = self.seen.take_changed();
        Step::Commit(Box::new(Commit {
            ops: self.gather.take(),
            state: is_changed.then(|| Box::new(self.state.clone())),
            seen: seen.map(|seen| Value::from(seen).to_string()),
            alerts: if last.is_some() {
                std::mem::take(&mut self.alerts)
            } else {
                Vec::new()
            },
            skipped: None,
            last,
        }))
    }

    /// A shell that answers what was not asked ends the tick; nothing is lost by it.
    fn out_of_turn(&mut self, now_ms: u64) -> Step<E> {
        self.fail(
            &Trouble::new(Class::Suspect, "expected another step, found this one"),
            now_ms,
            1.0,
        )
    }
}

/// Says why there is nothing to be done, if so.
pub(super) fn skip(state: &State, plan: &Plan, tick: Tick) -> Option<Skip> {
    let is_operator = tick.cause == Cause::Operator;
    if let Some(paused) = &state.paused {
        return Some(if is_operator {
            Skip::Refused(format!(
                "expected a poller that runs, found it paused: {}",
                paused.reason
            ))
        } else {
            Skip::Paused(paused.reason.clone())
        });
    }
    let wait = state.wait?;
    let slack_ms = match wait.reason {
        WaitReason::Fresh => plan.slack_ms(),
        WaitReason::Asked | WaitReason::Backoff | WaitReason::Handler => 0,
    };
    let is_over = tick.now_ms.saturating_add(slack_ms) >= wait.until_ms;
    if is_over || tick.now_ms < wait.since_ms {
        return None;
    }
    match (is_operator, wait.reason) {
        (false, _) => Some(Skip::TooEarly(wait.until_ms)),
        (true, WaitReason::Asked) => Some(Skip::Refused(format!(
            "expected a server that may be asked, found that it asked to wait {} s more",
            wait.until_ms.saturating_sub(tick.now_ms).div_ceil(1_000)
        ))),
        (true, _) => None,
    }
}

/// Is the commit of a tick that does nothing.
pub(super) fn skipped<E>(skip: Skip, plan: &Plan, now_ms: u64) -> Commit<E> {
    // Where no schedule ticks, a tick that came too early arms the next one.
    let next = match skip {
        Skip::TooEarly(until_ms) if plan.is_immediate() => {
            Next::In(until_ms.saturating_sub(now_ms))
        }
        _ => Next::Unchanged,
    };
    Commit {
        ops: Vec::new(),
        state: None,
        seen: None,
        alerts: Vec::new(),
        skipped: Some(skip),
        last: Some(next),
    }
}
