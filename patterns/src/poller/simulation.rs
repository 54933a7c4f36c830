//! Pollers against servers that fail, move, limit and repeat, in processes that die at any step.
//!
//! Each seed is one history. What is checked of each: every item that is listed in the end was handed
//! over; an item whose operations are durable is not handed over again; an event that is published
//! twice has the same id and body; what a server asked for is kept to; commits, state and memory stay
//! within their bounds. A failing history names its seed.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::{Value, json};

use super::*;
use crate::json_items::{JsonOptions, Paginate};

const SEEDS: u64 = 10_000;
const URL: &str = "https://feeds.example/list";
const MOVED: &str = "https://new.example/list";
const EVERY_MS: u64 = 600_000;

struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Happens once in `n`; never for 0.
    fn once_in(&mut self, n: u64) -> bool {
        n > 0 && self.below(n) == 0
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// What a handler causes: the id of an event and its body.
#[derive(Clone, Debug, PartialEq)]
struct Effect(String, String);

impl Operation for Effect {
    fn bytes(&self) -> usize {
        self.0.len() + self.1.len()
    }
}

/// What is durable.
#[derive(Default)]
struct Broker {
    /// What is read of the texts that were written last.
    stored: Stored,
    events: BTreeMap<String, String>,
    parked: HashSet<String>,
    repeated: usize,
    commits: usize,
}

impl Broker {
    fn load(&self) -> Stored {
        self.stored.clone()
    }

    fn write_state(&mut self, state: &State) {
        let text = serde_json::to_string(state).unwrap();
        assert!(text.len() < 16 * 1024);
        let (read, lost) = Stored::read(Some(&text), None);
        assert_eq!((&read.state, lost), (state, None));
        self.stored.state = read.state;
    }

    fn write_seen(&mut self, seen: &str) {
        assert!(seen.len() < 200 * 1024);
        let (read, lost) = Stored::read(None, Some(seen));
        assert_eq!(lost, None);
        self.stored.seen = read.seen;
    }

    fn commit(&mut self, commit: &Commit<Effect>) {
        self.commits += 1;
        assert!(commit.ops.len() <= OPERATIONS_MAX);
        assert!(commit.alerts.len() <= 8);
        if let Some(state) = &commit.state {
            self.write_state(state);
        }
        if let Some(seen) = &commit.seen {
            self.write_seen(seen);
        }
        for op in &commit.ops {
            match op {
                Op::Own(Effect(id, body)) => {
                    if let Some(before) = self.events.insert(id.clone(), body.clone()) {
                        assert_eq!(&before, body, "one id, two bodies");
                        self.repeated += 1;
                    }
                }
                Op::Park(parked) => {
                    self.parked.insert(parked.id.clone());
                }
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Shape {
    Feed,
    Numbered,
    Linked,
}

struct Server {
    shape: Shape,
    items: Vec<u64>,
    next_item: u64,
    window: usize,
    moved: bool,
    trouble: bool,
    /// Until when it asked to be left alone, and the answer that asked.
    asked_ms: Option<u64>,
    conditional: usize,
}

impl Server {
    fn add(&mut self, count: u64) {
        for _ in 0..count {
            self.items.push(self.next_item);
            self.next_item += 1;
        }
        let over = self.items.len().saturating_sub(self.window);
        self.items.drain(..over);
    }

    fn etag(&self) -> String {
        format!("W/\"{}-{}\"", self.next_item, self.items.len())
    }

    fn answer(
        &mut self,
        fetch: &Fetch,
        now_ms: u64,
        chance: &mut Chance,
    ) -> Result<Answer, NetworkError> {
        self.asked_ms = None;
        let answer = |status: u16, headers: &[(&str, &str)], body: &str| {
            Ok(Answer {
                status,
                headers: headers
                    .iter()
                    .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                    .collect(),
                body: body.as_bytes().to_vec(),
            })
        };
        if fetch.url.contains("/elsewhere") {
            return answer(500, &[], "");
        }
        if self.trouble && chance.once_in(3) {
            match chance.below(9) {
                0 => return answer(500, &[], ""),
                1 => {
                    let seconds = 1 + chance.below(5_000);
                    self.asked_ms = Some(now_ms + seconds * 1_000);
                    let status = if chance.once_in(2) { 429 } else { 503 };
                    return answer(status, &[("Retry-After", &seconds.to_string())], "");
                }
                2 => return answer(404, &[], "no"),
                3 => return answer(200, &[], "<html>maintenance</html>"),
                4 => return answer(200, &[], "<rss version=\"2.0\"><channel><item><title>cut"),
                5 if chance.once_in(6) => return answer(410, &[], ""),
                6 if chance.once_in(6) => return answer(401, &[], ""),
                7 => return answer(302, &[("location", "/elsewhere")], ""),
                _ => {
                    return Err(NetworkError {
                        text: "connection refused".to_owned(),
                        is_final: false,
                    });
                }
            }
        }
        if self.moved && fetch.url.starts_with(URL) {
            let to = fetch.url.replace(URL, MOVED);
            assert!(fetch.credentials);
            return answer(301, &[("location", &to)], "");
        }
        let tag = self.etag();
        let known = fetch
            .headers
            .iter()
            .find(|(name, _)| *name == "if-none-match");
        if known.is_some_and(|(_, known)| *known == tag) {
            self.conditional += 1;
            return answer(304, &[("cache-control", "max-age=60")], "");
        }
        let (query, body) = match self.shape {
            Shape::Feed => (HashMap::new(), self.feed()),
            Shape::Numbered | Shape::Linked => {
                let query = fetch.url.split_once('?').map_or("", |(_, query)| query);
                let query = url::form_urlencoded::parse(query.as_bytes());
                let query: HashMap<String, String> = query.into_owned().collect();
                let body = self.page(&query);
                (query, body)
            }
        };
        let mut headers = vec![("etag", tag)];
        if chance.once_in(4) {
            headers.push(("cache-control", format!("max-age={}", chance.below(3_000))));
        }
        let page: u64 = query.get("page").map_or(1, |page| page.parse().unwrap());
        if self.shape == Shape::Linked && !body.ends_with("[]") {
            let since = query
                .get("since")
                .map_or(String::new(), |since| format!("&since={since}"));
            headers.push(("link", format!("<?page={}{since}>; rel=\"next\"", page + 1)));
        }
        let headers: Vec<(&str, &str)> = headers
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        answer(200, &headers, &body)
    }

    fn feed(&self) -> String {
        let items: String = self
            .items
            .iter()
            .rev()
            .map(|item| format!("<item><guid>{item}</guid></item>"))
            .collect();
        format!("<rss version=\"2.0\"><channel>{items}</channel></rss>")
    }

    fn page(&self, query: &HashMap<String, String>) -> String {
        let since: u64 = query.get("since").map_or(0, |since| since.parse().unwrap());
        let page: usize = query.get("page").map_or(1, |page| page.parse().unwrap());
        let items: Vec<Value> = self
            .items
            .iter()
            .filter(|item| **item >= since)
            .skip((page - 1) * 3)
            .take(3)
            .map(|item| json!({ "id": item.to_string(), "at": item }))
            .collect();
        Value::from(items).to_string()
    }
}

/// How many events an item causes: the same whenever it is handled. One of them is more than fits.
fn effects(id: &str) -> usize {
    match id.parse::<usize>().unwrap() % 97 {
        13 => 230,
        other => 1 + other % 3,
    }
}

/// The ids of an item's events: that of the first, then with a count, as [`event_id`] has them.
fn event_ids(first: &str, count: usize) -> impl Iterator<Item = String> {
    (0..count).map(move |n| match n {
        0 => first.to_owned(),
        n => format!("{first}:{n}"),
    })
}

#[test]
fn further_events_of_an_item_have_a_count_behind_the_first_id() {
    let first = event_id("sim", 0, "7", 0);
    let expected: Vec<String> = (0..3).map(|n| event_id("sim", 0, "7", n)).collect();
    assert_eq!(event_ids(&first, 3).collect::<Vec<_>>(), expected);
}

struct World {
    plan: Plan,
    chance: Chance,
    now_ms: u64,
    broker: Broker,
    server: Server,
    /// Items whose last operation is durable.
    done: HashSet<String>,
    /// Until when a durable answer asked to be left alone.
    asked_ms: u64,
    /// Once in how many steps the process dies; never for 0.
    dies: u64,
    is_moody: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut chance = Chance(seed);
        let shape =
            [Shape::Feed, Shape::Feed, Shape::Numbered, Shape::Linked][chance.below(4) as usize];
        Self {
            plan: Self::plan(shape),
            server: Server {
                shape,
                items: Vec::new(),
                next_item: 1 + chance.below(200),
                // Numbers of pages mean something only while nothing before them is taken away.
                window: match shape {
                    Shape::Feed => 4 + chance.below(9) as usize,
                    Shape::Numbered | Shape::Linked => 1_000,
                },
                moved: false,
                trouble: chance.once_in(2),
                asked_ms: None,
                conditional: 0,
            },
            dies: [0, 5, 20][chance.below(3) as usize],
            is_moody: chance.once_in(2),
            now_ms: 1_800_000_000_000,
            broker: Broker::default(),
            done: HashSet::new(),
            asked_ms: 0,
            chance,
        }
    }

    fn plan(shape: Shape) -> Plan {
        let mut options = Options {
            kind: "sim".to_owned(),
            every: Some("10m".to_owned()),
            ..Options::default()
        };
        if shape == Shape::Feed {
            options.feed = Some(URL.to_owned());
        } else {
            let paginate = match shape {
                Shape::Linked => Paginate::Link {},
                _ => Paginate::Page {
                    param: "page".to_owned(),
                    start: 1,
                },
            };
            options.json = Some(JsonOptions {
                url: URL.to_owned(),
                id_field: "id".to_owned(),
                cursor_field: Some("at".to_owned()),
                since_param: Some("since".to_owned()),
                paginate: Some(paginate),
                pages_max: 2,
                ..JsonOptions::default()
            });
        }
        options.check().unwrap()
    }

    fn handle(&mut self, item: &NewItem) -> Handled<Effect> {
        assert!(
            !self.done.contains(&item.id),
            "{} is handed over again",
            item.id
        );
        assert_eq!(item.event_id, event_id("sim", 0, &item.id, 0));
        if self.is_moody && self.chance.once_in(10) {
            return if self.chance.once_in(2) {
                Handled::Parked(Park::Reject {
                    reason: "no".to_owned(),
                    code: None,
                })
            } else {
                Handled::Stopped {
                    after_ms: self.chance.below(100_000),
                    reason: "busy".to_owned(),
                }
            };
        }
        let ids = event_ids(&item.event_id, effects(&item.id));
        let effect = |(n, id)| Effect(id, format!("{} {n}", item.id));
        Handled::Done(ids.enumerate().map(effect).collect())
    }

    fn is_death(&mut self) -> bool {
        self.chance.once_in(self.dies)
    }

    /// One delivery of a tick: what the last commit says, or nothing if the process died.
    fn deliver(&mut self, cause: Cause) -> Option<Next> {
        let tick = Tick {
            cause,
            now_ms: self.now_ms,
        };
        let (mut run, mut step) = Run::start(self.plan.clone(), self.broker.load(), tick);
        let mut asked_ms = None;
        loop {
            if self.is_death() {
                return None;
            }
            self.now_ms += self.chance.below(50);
            let now_ms = self.now_ms;
            step = match step {
                Step::Fetch(fetch) => {
                    assert!(now_ms >= self.asked_ms, "asked too early");
                    let answer = self.server.answer(&fetch, now_ms, &mut self.chance);
                    asked_ms = self.server.asked_ms;
                    let unit = self.chance.unit();
                    match answer {
                        Ok(answer) => run.answered(&answer, now_ms, unit),
                        Err(error) => run.unanswered(&error, now_ms, unit),
                    }
                }
                Step::Item(item) => {
                    let handled = self.handle(&item);
                    run.handled(handled, now_ms)
                }
                Step::Commit(commit) => {
                    self.broker.commit(&commit);
                    self.note_done(&commit);
                    if commit.last.is_some() {
                        self.asked_ms = self.asked_ms.max(asked_ms.unwrap_or(0));
                    }
                    if self.is_death() {
                        return None;
                    }
                    match commit.last {
                        Some(next) => return Some(next),
                        None => run.committed(now_ms),
                    }
                }
            };
        }
    }

    fn note_done(&mut self, commit: &Commit<Effect>) {
        for op in &commit.ops {
            match op {
                Op::Own(Effect(_, body)) => {
                    let (item, n) = body.split_once(' ').unwrap();
                    if n.parse::<usize>().unwrap() + 1 == effects(item) {
                        self.done.insert(item.to_owned());
                    }
                }
                Op::Park(parked) => {
                    self.done.insert(parked.id.clone());
                }
            }
        }
    }

    /// Delivers a tick until it is settled, and waits for the next one.
    fn tick(&mut self, cause: Cause) {
        let next = loop {
            if let Some(next) = self.deliver(cause) {
                break next;
            }
        };
        let wait_ms = match next {
            Next::Scheduled | Next::Unchanged => EVERY_MS,
            Next::In(wait_ms) => {
                assert!(wait_ms > 0 && wait_ms <= 24 * 3_600_000);
                wait_ms.min(EVERY_MS)
            }
        };
        self.now_ms += wait_ms;
    }

    fn live(&mut self) {
        for _ in 0..6 + self.chance.below(8) {
            let count = self.chance.below(4);
            self.server.add(count);
            if self.server.trouble && self.chance.once_in(8) {
                self.server.moved = true;
            }
            if self.chance.once_in(10) {
                self.now_ms += self.chance.below(400 * 24 * 3_600_000);
            }
            self.tick(Cause::Timer);
        }
        self.server.trouble = false;
        self.is_moody = false;
        let stored = self.broker.load();
        if stored.state.paused.is_some() {
            let Controlled::Changed { stored, .. } = control(stored, &Control::Resume, self.now_ms)
            else {
                panic!("a paused poller is resumed");
            };
            self.broker.write_state(&stored.state);
        }
        // A day of quiet: whatever was asked for is over, and every page has its turn.
        for _ in 0..3 {
            self.now_ms += 24 * 3_600_000;
            for _ in 0..8 {
                self.tick(Cause::Timer);
            }
        }
    }

    fn judge(&self) {
        let stored = self.broker.load();
        assert_eq!(stored.state.paused, None);
        assert_eq!(stored.state.last_error, None);
        assert_eq!(stored.state.pending, None);
        for item in &self.server.items {
            let id = item.to_string();
            // A list that is asked from a cursor on lists no old items, which are then forgotten.
            let is_known = stored.seen.contains(&id) || self.server.shape != Shape::Feed;
            assert!(is_known, "item {id} was never handed over");
            let first = event_id("sim", 0, &id, 0);
            let mut ids = event_ids(&first, effects(&id));
            let is_published = ids.all(|id| self.broker.events.contains_key(&id));
            assert!(
                is_published || self.broker.parked.contains(&id),
                "item {id} is lost: {:?} {:?} {:?}",
                self.server.items,
                stored.state,
                self.broker.events.keys().len()
            );
        }
        let is_conditional = self.server.conditional > 0;
        assert_eq!(is_conditional, self.server.shape == Shape::Feed);
        // Without deaths nothing is ever published twice.
        assert!(self.dies > 0 || self.broker.repeated == 0);
        if self.server.moved && self.server.shape == Shape::Feed {
            assert_eq!(stored.state.moved.as_deref(), Some(MOVED));
        }
    }
}

/// Proves P4b: cursor, validators and seen items advance only with what they stand for, wherever the
/// process dies.
#[test]
fn no_item_is_lost_or_repeated_in_ten_thousand_histories() {
    let threads = 4;
    std::thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || {
                for seed in (thread..SEEDS).step_by(threads as usize) {
                    let history = std::panic::AssertUnwindSafe(|| {
                        let mut world = World::new(seed);
                        world.live();
                        world.judge();
                    });
                    if let Err(panic) = std::panic::catch_unwind(history) {
                        eprintln!("seed {seed}");
                        std::panic::resume_unwind(panic);
                    }
                }
            });
        }
    });
}

/// One history of a handler that fetches itself: updates are confirmed by asking for a higher one.
fn updates(seed: u64) {
    let mut chance = Chance(seed);
    let options = Options {
        kind: "sim".to_owned(),
        every: Some(["0s", "10m"][chance.below(2) as usize].to_owned()),
        ..Options::default()
    };
    let plan = options.check().unwrap();
    let dies = [0, 4, 12][chance.below(3) as usize];
    let (mut broker, mut now_ms, mut last) = (Broker::default(), 1_800_000_000_000_u64, 0_u64);
    let mut confirmed = 0;
    for round in 0..16 {
        let quiet = round >= 11;
        if !quiet {
            last += if chance.once_in(40) {
                230
            } else {
                chance.below(4)
            };
        }
        // A tick is delivered until it is settled.
        loop {
            let tick = Tick {
                cause: Cause::Timer,
                now_ms,
            };
            let (mut call, mut step) = Call::start(plan.clone(), broker.load(), tick);
            let next = loop {
                if chance.once_in(dies) {
                    break None;
                }
                now_ms += chance.below(50);
                step = match step {
                    CallStep::Call(cursor) => {
                        let from = cursor.as_ref().and_then(Value::as_u64).unwrap_or(1);
                        assert!(from >= confirmed, "a cursor went back");
                        confirmed = from;
                        let returned = if !quiet && chance.once_in(4) {
                            trouble(&mut chance)
                        } else {
                            Returned::Batch {
                                ops: (from..=last)
                                    .map(|n| Effect(format!("update {n}"), n.to_string()))
                                    .collect(),
                                cursor: Cursor::Set((last + 1).into()),
                                again_ms: None,
                            }
                        };
                        call.returned(returned, now_ms, chance.unit())
                    }
                    CallStep::Commit(commit) => {
                        broker.commit(&commit);
                        if chance.once_in(dies) {
                            break None;
                        }
                        match commit.last {
                            Some(next) => break Some(next),
                            None => call.committed(),
                        }
                    }
                };
            };
            if let Some(next) = next {
                now_ms += match next {
                    Next::In(wait_ms) => wait_ms,
                    Next::Scheduled | Next::Unchanged => EVERY_MS,
                };
                break;
            }
        }
        let stored = broker.load();
        if stored.state.paused.is_some() {
            let Controlled::Changed { stored, .. } = control(stored, &Control::Resume, now_ms)
            else {
                panic!("a paused poller is resumed");
            };
            broker.write_state(&stored.state);
        }
        now_ms += if quiet { 3_600_000 } else { 0 };
    }
    for n in 1..=last {
        assert!(
            broker.events.contains_key(&format!("update {n}")),
            "{n} is lost"
        );
    }
    assert_eq!(broker.load().state.cursor, Some((last + 1).into()));
    assert!(dies > 0 || broker.repeated == 0);
}

fn trouble(chance: &mut Chance) -> Returned<Effect> {
    let reason = "trouble".to_owned();
    match chance.below(5) {
        0 => Returned::Failed { reason },
        1 if chance.once_in(4) => Returned::Rejected { reason },
        2 => Returned::Retry {
            after_ms: Some(chance.below(60_000)),
            counted: false,
            reason,
        },
        3 => Returned::Unavailable {
            reason,
            retry_after_ms: chance.once_in(2).then_some(30_000),
        },
        _ => Returned::Unavailable {
            reason,
            retry_after_ms: None,
        },
    }
}

#[test]
fn no_update_is_lost_in_ten_thousand_histories() {
    for seed in 0..SEEDS {
        if let Err(panic) = std::panic::catch_unwind(|| updates(seed)) {
            eprintln!("seed {seed}");
            std::panic::resume_unwind(panic);
        }
    }
}
