//! Single steps: what each answer, outcome and order of an operator comes to.

use serde_json::json;

use super::*;
use crate::json_items::{JsonOptions, Paginate};

const NOW_MS: u64 = 1_800_000_000_000;
const URL: &str = "https://a.example/feed";

#[derive(Clone, Debug, PartialEq)]
struct Effect(usize);

impl Operation for Effect {
    fn bytes(&self) -> usize {
        self.0
    }
}

type Feeds = Run<Effect>;

fn options() -> Options {
    Options {
        kind: "news".to_owned(),
        every: Some("30m".to_owned()),
        feed: Some(URL.to_owned()),
        ..Options::default()
    }
}

fn plan() -> Plan {
    options().check().unwrap()
}

fn tick(now_ms: u64) -> Tick {
    Tick {
        cause: Cause::Timer,
        now_ms,
    }
}

fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Answer {
    let headers = headers
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Answer {
        status,
        headers: headers.collect(),
        body: body.as_bytes().to_vec(),
    }
}

fn feed(items: &[&str]) -> String {
    let items: String = items
        .iter()
        .map(|item| format!("<item><guid>{item}</guid></item>"))
        .collect();
    format!("<rss version=\"2.0\"><channel>{items}</channel></rss>")
}

fn fetch(step: Step<Effect>) -> Fetch {
    match step {
        Step::Fetch(fetch) => fetch,
        other => panic!("expected a fetch, found {other:?}"),
    }
}

fn item(step: Step<Effect>) -> NewItem {
    match step {
        Step::Item(item) => *item,
        other => panic!("expected an item, found {other:?}"),
    }
}

fn commit(step: Step<Effect>) -> Commit<Effect> {
    match step {
        Step::Commit(commit) => *commit,
        other => panic!("expected a commit, found {other:?}"),
    }
}

/// Runs a tick against one answer; every item is done with one effect.
fn one(
    plan: &Plan,
    stored: &mut Stored,
    now_ms: u64,
    given: &Answer,
) -> (Vec<String>, Commit<Effect>) {
    let (mut run, mut step) = Feeds::start(plan.clone(), stored.clone(), tick(now_ms));
    let mut items = Vec::new();
    loop {
        step = match step {
            Step::Fetch(_) => run.answered(given, now_ms, 0.5),
            Step::Item(item) => {
                items.push(item.id.clone());
                run.handled(Handled::Done(vec![Effect(1)]), now_ms)
            }
            Step::Commit(commit) => {
                keep(stored, &commit);
                if commit.last.is_some() {
                    return (items, *commit);
                }
                run.committed(now_ms)
            }
        };
    }
}

fn keep(stored: &mut Stored, commit: &Commit<Effect>) {
    if let Some(state) = &commit.state {
        stored.state = (**state).clone();
    }
    if let Some(seen) = &commit.seen {
        let state = serde_json::to_string(&stored.state).unwrap();
        let (read, lost) = Stored::read(Some(&state), Some(seen));
        assert_eq!(lost, None);
        *stored = read;
    }
}

fn alerts(commit: &Commit<Effect>) -> Vec<(AlertKind, &str)> {
    commit
        .alerts
        .iter()
        .map(|alert| (alert.kind, alert.text.as_str()))
        .collect()
}

#[test]
fn only_new_items_are_handed_over_the_oldest_first() {
    let mut stored = Stored::default();
    let (items, last) = one(
        &plan(),
        &mut stored,
        NOW_MS,
        &answer(200, &[], &feed(&["3", "2", "1", "2"])),
    );
    assert_eq!(items, ["2", "1", "3"].map(str::to_owned).to_vec());
    assert_eq!(last.last, Some(Next::Scheduled));
    assert_eq!(last.ops.len(), 3);
    let (items, last) = one(
        &plan(),
        &mut stored,
        NOW_MS + 1,
        &answer(200, &[], &feed(&["4", "3", "2"])),
    );
    assert_eq!(items, ["4"]);
    assert_eq!(stored.seen.len(), 4);
    assert!(last.state.is_some() && last.seen.is_some());
}

/// Proves P4b: validators go back to the letter, and 304 is nothing new.
#[test]
fn validators_go_back_to_the_letter() {
    let mut stored = Stored::default();
    let modified = "Tue, 03 Jun 2025 09:39:21 GMT";
    let headers = [("ETag", "W/\"a,b\""), ("Last-Modified", modified)];
    one(
        &plan(),
        &mut stored,
        NOW_MS,
        &answer(200, &headers, &feed(&["1"])),
    );
    let (mut run, step) = Feeds::start(plan(), stored.clone(), tick(NOW_MS + 1));
    let asked = fetch(step);
    assert_eq!(asked.url, URL);
    assert!(
        asked
            .headers
            .contains(&("if-none-match", "W/\"a,b\"".to_owned()))
    );
    assert!(
        asked
            .headers
            .contains(&("if-modified-since", modified.to_owned()))
    );
    assert!(
        asked
            .headers
            .iter()
            .any(|(name, value)| *name == "user-agent" && value.starts_with("trunkline/"))
    );
    let last = commit(run.answered(&answer(304, &[], ""), NOW_MS + 1, 0.5));
    assert_eq!(
        (last.last, last.ops.len(), last.seen),
        (Some(Next::Scheduled), 0, None)
    );
    assert!(last.state.unwrap().validators.is_some());
    // Another address is another feed.
    let mut other = options();
    other.feed = Some("https://b.example/feed".to_owned());
    let (_, step) = Feeds::start(other.check().unwrap(), stored, tick(NOW_MS + 2));
    assert!(
        fetch(step)
            .headers
            .iter()
            .all(|(name, _)| !name.starts_with("if-"))
    );
}

#[test]
fn an_item_that_waits_or_is_rejected_holds_up_no_other() {
    let (mut run, _) = Feeds::start(plan(), Stored::default(), tick(NOW_MS));
    let first = item(run.answered(&answer(200, &[], &feed(&["2", "1"])), NOW_MS, 0.5));
    assert_eq!(first.id, "1");
    let how = Park::Retry {
        after_ms: Some(30_000),
        counted: true,
        reason: "busy".to_owned(),
    };
    let second = item(run.handled(Handled::Parked(how.clone()), NOW_MS));
    assert_eq!(second.id, "2");
    let last = commit(run.handled(Handled::Done(Vec::new()), NOW_MS));
    let [Op::Park(parked)] = &last.ops[..] else {
        panic!("expected the item that waits, found {:?}", last.ops);
    };
    assert_eq!(
        (parked.id.as_str(), &parked.how, &parked.event_id),
        ("1", &how, &first.event_id)
    );
    assert_eq!(parked.payload, json!({ "id": "1" }));
    assert_eq!(last.last, Some(Next::Scheduled));
}

#[test]
fn an_unreadable_item_is_a_dead_letter_once() {
    let mut stored = Stored::default();
    let body = "<rss><channel><item><pubDate>now</pubDate></item><item><guid>1</guid></item></channel></rss>";
    let (items, last) = one(&plan(), &mut stored, NOW_MS, &answer(200, &[], body));
    assert_eq!(items, ["1"]);
    let parked = last.ops.iter().find_map(|op| match op {
        Op::Park(parked) => Some(parked),
        Op::Own(_) => None,
    });
    assert!(
        matches!(&parked.unwrap().how, Park::Reject { reason, .. } if reason.contains("expected an id"))
    );
    assert_eq!(
        alerts(&last),
        [(AlertKind::Unreadable, "1 items could not be read")]
    );
    let (_, last) = one(&plan(), &mut stored, NOW_MS + 1, &answer(200, &[], body));
    assert!(last.ops.is_empty() && last.alerts.is_empty());
}

#[test]
fn a_handler_that_stops_keeps_what_is_done_and_gets_the_rest_again() {
    let mut stored = Stored::default();
    let (mut run, _) = Feeds::start(plan(), stored.clone(), tick(NOW_MS));
    item(run.answered(
        &answer(200, &[("etag", "\"1\"")], &feed(&["2", "1"])),
        NOW_MS,
        0.5,
    ));
    item(run.handled(Handled::Done(vec![Effect(1)]), NOW_MS));
    let stopped = Handled::Stopped {
        after_ms: 5_000,
        reason: "shutting down".to_owned(),
    };
    let last = commit(run.handled(stopped, NOW_MS));
    assert_eq!((last.ops.len(), last.last), (1, Some(Next::In(5_000))));
    keep(&mut stored, &last);
    assert_eq!(
        stored.state.validators, None,
        "the rest would not be listed again"
    );
    assert_eq!(stored.state.strikes + stored.state.failures, 0);
    let (items, _) = one(
        &plan(),
        &mut stored,
        NOW_MS + 5_000,
        &answer(200, &[], &feed(&["2", "1"])),
    );
    assert_eq!(items, ["2"]);
}

#[test]
fn a_commit_is_bounded_in_operations_and_in_bytes() {
    let sizes = |effects: Vec<Effect>, items: usize| {
        let names: Vec<String> = (0..items).map(|n| n.to_string()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (mut run, _) = Feeds::start(plan(), Stored::default(), tick(NOW_MS));
        let mut step = run.answered(&answer(200, &[], &feed(&names)), NOW_MS, 0.5);
        let mut sizes = Vec::new();
        loop {
            step = match step {
                Step::Item(_) => run.handled(Handled::Done(effects.clone()), NOW_MS),
                Step::Commit(commit) => {
                    sizes.push(commit.ops.len());
                    if commit.last.is_some() {
                        return sizes;
                    }
                    run.committed(NOW_MS)
                }
                Step::Fetch(_) => panic!("expected no fetch"),
            };
        }
    };
    assert_eq!(sizes(vec![Effect(10)], 450), [200, 200, 50]);
    assert_eq!(sizes(vec![Effect(10); 150], 3), [150, 150, 150]);
    assert_eq!(sizes(vec![Effect(10); 450], 1), [200, 200, 50]);
    assert_eq!(sizes(vec![Effect(300_000)], 3), [1, 1, 1]);
    assert_eq!(sizes(Vec::new(), 3), [0]);
}

/// Proves P4d: what a server asks for is kept to, also by an operator's tick.
#[test]
fn retry_after_is_kept_to() {
    let mut stored = Stored::default();
    let asked = answer(429, &[("Retry-After", "120")], "");
    let (_, last) = one(&plan(), &mut stored, NOW_MS, &asked);
    assert_eq!(last.last, Some(Next::In(120_000)));
    let early = |cause| {
        let tick = Tick {
            cause,
            now_ms: NOW_MS + 119_000,
        };
        commit(Feeds::start(plan(), stored.clone(), tick).1)
    };
    let skipped = early(Cause::Timer);
    assert_eq!(skipped.skipped, Some(Skip::TooEarly(NOW_MS + 120_000)));
    assert_eq!((skipped.last, skipped.state), (Some(Next::Unchanged), None));
    let text = "expected a server that may be asked, found that it asked to wait 1 s more";
    assert_eq!(
        early(Cause::Operator).skipped,
        Some(Skip::Refused(text.to_owned()))
    );
    fetch(Feeds::start(plan(), stored.clone(), tick(NOW_MS + 120_000)).1);
    // A clock that went back does not make it wait for ever.
    fetch(Feeds::start(plan(), stored.clone(), tick(NOW_MS - 1)).1);
}

#[test]
fn a_fresh_answer_is_not_asked_for_again_but_by_an_operator() {
    let mut stored = Stored::default();
    let fresh = answer(200, &[("cache-control", "max-age=3600")], &feed(&["1"]));
    let (_, last) = one(&plan(), &mut stored, NOW_MS, &fresh);
    assert_eq!(last.last, Some(Next::Scheduled));
    let at = |after_ms: u64, cause| {
        let tick = Tick {
            cause,
            now_ms: NOW_MS + after_ms,
        };
        matches!(Feeds::start(plan(), stored.clone(), tick).1, Step::Fetch(_))
    };
    assert!(!at(1_800_000, Cause::Timer));
    assert!(at(1_800_000, Cause::Operator));
    // A tick that comes a moment early is not put off by a whole interval.
    assert!(at(3_599_000, Cause::Timer));
    let ttl = "<rss><channel><ttl>120</ttl><item><guid>9</guid></item></channel></rss>";
    one(
        &plan(),
        &mut stored,
        NOW_MS + 3_600_000,
        &answer(200, &[], ttl),
    );
    assert_eq!(
        stored.state.wait.unwrap().until_ms,
        NOW_MS + 3_600_000 + 7_200_000
    );
}

/// Proves P4d: failures that time heals open the breaker and never pause.
#[test]
fn transient_failures_back_off_open_the_breaker_and_never_pause() {
    let (mut stored, mut now_ms, mut waits, mut told) =
        (Stored::default(), NOW_MS, Vec::new(), Vec::new());
    for _ in 0..12 {
        let (_, last) = one(&plan(), &mut stored, now_ms, &answer(502, &[], ""));
        let Some(Next::In(wait_ms)) = last.last else {
            panic!("expected a wait, found {:?}", last.last);
        };
        waits.push(wait_ms);
        now_ms += wait_ms;
        told.extend(last.alerts);
    }
    assert_eq!(
        waits[..6],
        [30_000, 60_000, 120_000, 240_000, 1_800_000, 1_800_000]
    );
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].kind, AlertKind::BreakerOpen);
    assert_eq!(stored.state.breaker, Breaker::Open);
    assert_eq!(stored.state.paused, None);
    let (_, last) = one(
        &plan(),
        &mut stored,
        now_ms,
        &answer(200, &[], &feed(&["1"])),
    );
    assert_eq!(
        alerts(&last),
        [(AlertKind::Recovered, "succeeded after 12 failures")]
    );
    assert_eq!((stored.state.failures, stored.state.last_error), (0, None));
}

/// Proves P4d: failures that only an operator heals pause the poller and say so.
#[test]
fn permanent_failures_pause_and_say_so() {
    for status in [401, 403, 410] {
        let mut stored = Stored::default();
        let (_, last) = one(&plan(), &mut stored, NOW_MS, &answer(status, &[], ""));
        let text = format!("paused: expected an answer of 200 or 304, found {status}");
        assert_eq!(alerts(&last), [(AlertKind::Paused, text.as_str())]);
        assert_eq!(last.last, Some(Next::Unchanged));
        let skipped = commit(Feeds::start(plan(), stored, tick(NOW_MS + 1)).1);
        assert!(matches!(skipped.skipped, Some(Skip::Paused(_))));
    }
    for bad in [
        answer(404, &[], ""),
        answer(200, &[], "<html/>"),
        answer(304, &[], ""),
    ] {
        let (mut stored, mut now_ms) = (Stored::default(), NOW_MS);
        for round in 1..=6 {
            assert_eq!(stored.state.paused, None);
            let (_, last) = one(&plan(), &mut stored, now_ms, &bad);
            if let Some(Next::In(wait_ms)) = last.last {
                now_ms += wait_ms;
            }
            assert_eq!(last.alerts.len(), usize::from(round == 6));
        }
        assert!(stored.state.paused.as_ref().unwrap().by_engine);
    }
    let limited = answer(
        403,
        &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "60")],
        "",
    );
    let mut stored = Stored::default();
    let (_, last) = one(&plan(), &mut stored, NOW_MS, &limited);
    assert_eq!(last.last, Some(Next::In(60_000)));
}

#[test]
fn redirects_for_good_are_remembered_and_credentials_stay_home() {
    let mut stored = Stored::default();
    let (mut run, step) = Feeds::start(plan(), stored.clone(), tick(NOW_MS));
    assert!(fetch(step).credentials);
    let hop = fetch(run.answered(
        &answer(308, &[("location", "//b.example/x")], ""),
        NOW_MS,
        0.5,
    ));
    assert_eq!(
        (hop.url.as_str(), hop.credentials),
        ("https://b.example/x", false)
    );
    let hop = fetch(run.answered(&answer(301, &[("location", "y")], ""), NOW_MS, 0.5));
    assert_eq!(hop.url, "https://b.example/y");
    let last = commit(run.answered(&answer(200, &[("etag", "\"1\"")], &feed(&[])), NOW_MS, 0.5));
    assert_eq!(
        alerts(&last),
        [(AlertKind::Moved, "moved for good to https://b.example/y")]
    );
    keep(&mut stored, &last);
    let asked = fetch(Feeds::start(plan(), stored.clone(), tick(NOW_MS + 1)).1);
    assert_eq!(asked.url, "https://b.example/y");
    assert!(
        asked
            .headers
            .contains(&("if-none-match", "\"1\"".to_owned()))
    );
    // Where it moved to is gone: the address that the operator wrote has its say before it pauses.
    let (_, last) = one(&plan(), &mut stored, NOW_MS + 1, &answer(410, &[], ""));
    assert!(matches!(last.last, Some(Next::In(_))));
    let now_ms = NOW_MS + 3_600_000;
    assert_eq!(
        fetch(Feeds::start(plan(), stored.clone(), tick(now_ms)).1).url,
        URL
    );
    let (_, last) = one(&plan(), &mut stored, now_ms, &answer(410, &[], ""));
    assert_eq!(last.alerts[0].kind, AlertKind::Paused);
}

#[test]
fn redirects_that_lead_nowhere_or_astray_are_failures() {
    for (location, found) in [
        ("http://a.example/feed", "expected a redirect to https"),
        ("", "expected a redirect to an address"),
        ("ftp://a.example/", "expected a redirect to an address"),
        ("/feed", "expected at most 5 redirects"),
    ] {
        let mut stored = Stored::default();
        one(
            &plan(),
            &mut stored,
            NOW_MS,
            &answer(302, &[("location", location)], ""),
        );
        let error = stored.state.last_error.unwrap().text;
        assert!(error.starts_with(found), "{error}");
        assert_eq!(stored.state.strikes, 1);
        assert_eq!(stored.state.moved, None);
    }
}

#[test]
fn a_list_in_pages_goes_on_where_the_last_tick_stopped() {
    let mut options = options();
    options.feed = None;
    options.json = Some(JsonOptions {
        url: "https://a.example/list".to_owned(),
        id_field: "id".to_owned(),
        cursor_field: Some("id".to_owned()),
        since_param: Some("since".to_owned()),
        paginate: Some(Paginate::Page {
            param: "page".to_owned(),
            start: 1,
        }),
        pages_max: 2,
        ..JsonOptions::default()
    });
    let plan = options.check().unwrap();
    let mut stored = Stored::default();
    let mut asked = Vec::new();
    let pages = ["[{\"id\":1},{\"id\":2}]", "[{\"id\":3}]", "[]"];
    let mut nexts = Vec::new();
    let mut page = 0;
    for at in 0..2 {
        let (mut run, mut step) = Feeds::start(plan.clone(), stored.clone(), tick(NOW_MS + at));
        loop {
            step = match step {
                Step::Fetch(fetch) => {
                    asked.push(fetch.url);
                    page += 1;
                    run.answered(
                        &answer(200, &[("etag", "\"1\"")], pages[page - 1]),
                        NOW_MS,
                        0.5,
                    )
                }
                Step::Item(_) => run.handled(Handled::Done(vec![Effect(1)]), NOW_MS),
                Step::Commit(commit) => {
                    keep(&mut stored, &commit);
                    if let Some(next) = commit.last {
                        nexts.push(next);
                        break;
                    }
                    run.committed(NOW_MS)
                }
            };
        }
        if at == 0 {
            assert_eq!(
                stored.state.cursor, None,
                "the cursor stays behind the last page"
            );
        }
    }
    let url = |page: u32| format!("https://a.example/list?page={page}");
    assert_eq!(asked, [url(1), url(2), url(3)]);
    assert_eq!(nexts, [Next::In(1_000), Next::Scheduled]);
    assert_eq!(stored.state.ahead, Some(json!(3)));
    assert_eq!(
        stored.state.validators, None,
        "a first page says nothing of the others"
    );
}

#[test]
fn a_handler_that_fetches_itself_gets_its_cursor_back() {
    let mut options = options();
    options.feed = None;
    options.every = Some("0s".to_owned());
    let plan = options.check().unwrap();
    let state = |state: State| Stored {
        state,
        ..Stored::default()
    };
    let start = |stored: Stored| Call::<Effect>::start(plan.clone(), stored, tick(NOW_MS));
    let end = |step: CallStep<Effect>| match step {
        CallStep::Commit(commit) => *commit,
        CallStep::Call(cursor) => panic!("expected a commit, found a call with {cursor:?}"),
    };
    let batch = |ops, cursor, again_ms| Returned::Batch {
        ops,
        cursor,
        again_ms,
    };
    let (mut call, step) = start(Stored::default());
    assert_eq!(step, CallStep::Call(None));
    let last = end(call.returned(
        batch(vec![Effect(1)], Cursor::Set(json!(7)), None),
        NOW_MS,
        0.5,
    ));
    assert_eq!(last.last, Some(Next::In(0)));
    let kept = *last.state.unwrap();
    let (mut call, step) = start(state(kept.clone()));
    assert_eq!(step, CallStep::Call(Some(json!(7))));
    // Nothing new, and at once: not in a circle that burns a processor.
    let last = end(call.returned(batch(Vec::new(), Cursor::Keep, None), NOW_MS + 100, 0.5));
    assert_eq!(last.last, Some(Next::In(900)));
    let (mut call, _) = start(state(kept.clone()));
    let last = end(call.returned(batch(Vec::new(), Cursor::Forget, Some(5_000)), NOW_MS, 0.5));
    assert_eq!(
        (last.last, last.state.unwrap().cursor),
        (Some(Next::In(5_000)), None)
    );
    let (mut call, _) = start(state(kept.clone()));
    let huge = Cursor::Set(json!("x".repeat(70_000)));
    let last = end(call.returned(batch(vec![Effect(1)], huge, None), NOW_MS, 0.5));
    assert!(last.ops.is_empty());
    assert_eq!(last.state.unwrap().cursor, Some(json!(7)));
    let (mut call, _) = start(state(kept));
    let rejected = Returned::Rejected {
        reason: "no such account".to_owned(),
    };
    let last = end(call.returned(rejected, NOW_MS, 0.5));
    assert_eq!(
        alerts(&last),
        [(AlertKind::Paused, "paused: no such account")]
    );
}

#[test]
fn the_sixth_failure_of_a_handler_pauses() {
    let mut options = options();
    options.feed = None;
    let plan = options.check().unwrap();
    let (mut stored, mut now_ms) = (Stored::default(), NOW_MS);
    for round in 1..=6 {
        let (mut call, _) = Call::<Effect>::start(plan.clone(), stored.clone(), tick(now_ms));
        let failed = Returned::Failed {
            reason: "boom".to_owned(),
        };
        let CallStep::Commit(last) = call.returned(failed, now_ms, 0.5) else {
            panic!("expected a commit");
        };
        keep(&mut stored, &last);
        now_ms += 3_600_000;
        assert_eq!(stored.state.paused.is_some(), round == 6);
    }
}

/// Proves P4e, as far as it is decided here: pause, resume, reset.
#[test]
fn an_operator_pauses_resumes_and_resets() {
    let mut stored = Stored::default();
    one(
        &plan(),
        &mut stored,
        NOW_MS,
        &answer(200, &[("etag", "\"1\"")], &feed(&["1"])),
    );
    let pause = Control::Pause {
        reason: "holiday".to_owned(),
    };
    let changed = |stored: &Stored, order: &Control| match control(stored.clone(), order, NOW_MS) {
        Controlled::Changed { stored, next } => (*stored, next),
        Controlled::Refused(text) => panic!("{text}"),
    };
    let (paused, next) = changed(&stored, &pause);
    assert_eq!(next, Next::Unchanged);
    let refused =
        Controlled::Refused("expected a poller that runs, found it paused: holiday".to_owned());
    assert_eq!(control(paused.clone(), &pause, NOW_MS), refused);
    let tick = Tick {
        cause: Cause::Operator,
        now_ms: NOW_MS,
    };
    let skipped = commit(Feeds::start(plan(), paused.clone(), tick).1);
    assert!(matches!(skipped.skipped, Some(Skip::Refused(_))));
    let (resumed, next) = changed(&paused, &Control::Resume);
    assert_eq!(next, Next::In(0));
    assert_eq!(resumed.state.paused, None);
    assert!(matches!(
        control(resumed, &Control::Resume, NOW_MS),
        Controlled::Refused(_)
    ));
    let first = event_id("news", 0, "1", 0);
    let (mut reset, next) = changed(&stored, &Control::Reset);
    assert_eq!((next, reset.state.resets), (Next::In(0), 1));
    let (mut run, step) = Feeds::start(plan(), reset.clone(), tick);
    assert!(
        fetch(step)
            .headers
            .iter()
            .all(|(name, _)| !name.starts_with("if-"))
    );
    let again = item(run.answered(&answer(200, &[], &feed(&["1"])), NOW_MS, 0.5));
    assert_ne!(
        again.event_id, first,
        "what is handed over anew is published anew"
    );
    let (items, _) = one(
        &plan(),
        &mut reset,
        NOW_MS,
        &answer(200, &[], &feed(&["1"])),
    );
    assert_eq!(items, ["1"]);
}
