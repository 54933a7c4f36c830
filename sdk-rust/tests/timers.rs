//! Timers of a plugin against the real broker in memory, through the public API alone.

#![expect(clippy::unwrap_used, reason = "in a test a failure may panic")]

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use trunkline::testing::TestBroker;
use trunkline::{
    Batch, Code, Context, Event, Misfire, Plugin, Poll, Result, Schedule, Timer, TimerEvent,
};

type Seen = Arc<Mutex<Vec<(String, Value, u32)>>>;

fn note(seen: &Seen, timer: &TimerEvent) {
    let data = timer.data().unwrap();
    seen.lock()
        .unwrap()
        .push((timer.name.clone(), data, timer.missed));
}

fn plugin(seen: &Seen) -> Plugin {
    let (digests, reminders) = (seen.clone(), seen.clone());
    let digest = move |timer: TimerEvent| {
        note(&digests, &timer);
        async { Ok(()) as Result<()> }
    };
    let remind = move |timer: TimerEvent, ctx: Context| {
        note(&reminders, &timer);
        async move {
            let n: u64 = timer.data()?;
            assert!(ctx.timer().cancel("never").await? || n > 1);
            let next = Schedule::after("1m").data(n + 1);
            let said = Event::new("agent.reminded", "", json!({ "n": n }));
            let batch = Batch::new([said]);
            let batch: Result<Batch> = Ok(if n < 2 {
                batch.timer_set(timer.name, next)
            } else {
                batch
            });
            batch
        }
    };
    let hourly = Schedule::every("1h").data(json!({ "chat": 7 }));
    Plugin::new("news")
        .timer(Timer::new("digest", digest).schedule(hourly))
        .timer(Timer::new("remind/*", remind))
        .on_start(|ctx| async move {
            let timers = ctx.timer();
            timers
                .set("remind/a", Schedule::after("5m").data(1))
                .await?;
            timers
                .set("never", Schedule::at("2099-01-01T00:00:00Z"))
                .await?;
            let noon = Schedule::cron("0 12 * * *")
                .tz("Europe/Berlin")
                .session("noon");
            assert!(timers.set("noon", noon.clone()).await?.due_at.is_some());
            assert!(timers.set("noon", noon.keep()).await?.kept);
            let names: Vec<_> = timers
                .list("n")
                .await?
                .into_iter()
                .map(|timer| timer.set.name)
                .collect();
            assert_eq!(names, ["never", "noon"]);
            let short = timers.set("x", Schedule::every("10ms")).await.unwrap_err();
            assert!(short.message.contains("found 10 ms"), "{short}");
            let theirs = timers
                .set("engine.x", Schedule::after("1m"))
                .await
                .unwrap_err();
            assert_eq!(theirs.code, Code::InvalidArguments);
            Ok(())
        })
}

/// Proves LN27, P6c, Rust part: interval, one-shot and cron by one API, a timer that changes with the commit
/// which settles, and a test clock that moves them all.
#[tokio::test]
async fn timers_are_set_listed_cancelled_and_come_when_they_are_due() {
    let seen = Seen::default();
    let broker = TestBroker::start(plugin(&seen)).await;
    broker.advance("5m").await;
    broker
        .expect_published("agent.reminded", json!({ "n": 1 }), "1s")
        .await;
    broker.advance("1m").await;
    broker
        .expect_published("agent.reminded", json!({ "n": 2 }), "1s")
        .await;
    broker.advance("54m").await;
    broker.advance("1h").await;
    let mut found = seen.lock().unwrap().clone();
    found.sort_by_key(|(name, data, _)| format!("{name} {data}"));
    let digest = ("digest".to_owned(), json!({ "chat": 7 }), 0);
    let reminder = |n: u64| ("remind/a".to_owned(), json!(n), 0);
    assert_eq!(found, [digest.clone(), digest, reminder(1), reminder(2)]);
}

/// Proves LN27: a timer of the plugin keeps its beat over a restart of everything.
#[tokio::test]
async fn a_declared_timer_keeps_its_beat_over_a_restart() {
    let seen = Seen::default();
    let broker = TestBroker::start(plugin(&seen)).await;
    broker.advance("40m").await;
    broker.restart().await;
    broker.advance("21m").await;
    let found = seen.lock().unwrap().clone();
    assert!(found.iter().any(|(name, ..)| name == "digest"), "{found:?}");
}

#[tokio::test]
async fn what_cannot_be_a_timer_is_refused_before_anything_starts() {
    async fn nothing(_: TimerEvent) -> Result<()> {
        Ok(())
    }
    let refused = |timer: Timer| {
        Plugin::new("news")
            .timer(timer)
            .check()
            .unwrap_err()
            .message
    };
    let every = || Schedule::every("1h");
    assert!(refused(Timer::new("engine.poll", nothing)).contains("engine."));
    assert!(refused(Timer::new("a*", nothing).schedule(every())).contains("one timer's name"));
    let bare = Timer::new("a", nothing).schedule(Schedule::every("5"));
    assert!(refused(bare).contains("unit"));
    let twice = Plugin::new("news")
        .timer(Timer::new("a", nothing))
        .timer(Timer::new("a", nothing));
    assert!(twice.check().unwrap_err().message.contains("timer a"));
}

/// Proves P4a, LN27: what was due while nobody was there is left out, made up for once, or for each time, as a timer says.
#[tokio::test]
async fn what_was_missed_is_made_up_for_as_each_timer_says() {
    let seen = Seen::default();
    let noted = seen.clone();
    let tick = move |timer: TimerEvent| {
        note(&noted, &timer);
        async { Ok(()) as Result<()> }
    };
    let hourly = |misfire| Schedule::every("1h").misfire(misfire).data(0);
    let plugin = Plugin::new("news")
        .timer(Timer::new("skip", tick.clone()).schedule(hourly(Misfire::Skip)))
        .timer(Timer::new("once", tick.clone()).schedule(hourly(Misfire::Once)))
        .timer(Timer::new("all", tick).schedule(hourly(Misfire::All)));
    let broker = TestBroker::start(plugin).await;
    broker.advance("59m").await;
    assert!(seen.lock().unwrap().is_empty());
    broker.restart_after("130m").await;
    broker.advance("1s").await;
    let take = || {
        let mut taken = std::mem::take(&mut *seen.lock().unwrap());
        taken.sort_by_key(|(name, _, missed)| (name.clone(), *missed));
        let pairs = taken.into_iter();
        pairs
            .map(|(name, _, missed)| (name, missed))
            .collect::<Vec<_>>()
    };
    let all = |missed: u32| ("all".to_owned(), missed);
    assert_eq!(take(), [all(0), all(0), all(0), ("once".to_owned(), 2)]);
    broker.advance("1h").await;
    let skipped = ("skip".to_owned(), 3);
    assert_eq!(take(), [all(0), ("once".to_owned(), 0), skipped]);
}

/// Proves P4a: jitter is kept to: timers that are due together come one by one, none early, none later than allowed.
#[tokio::test]
async fn timers_with_jitter_do_not_come_together() {
    const TIMERS: usize = 20;
    let seen = Seen::default();
    let noted = seen.clone();
    let tick = move |timer: TimerEvent| {
        note(&noted, &timer);
        async { Ok(()) as Result<()> }
    };
    let mut plugin = Plugin::new("news");
    for n in 0..TIMERS {
        let hourly = Schedule::every("1h").jitter("10m").data(0);
        plugin = plugin.timer(Timer::new(format!("t{n}"), tick.clone()).schedule(hourly));
    }
    let broker = TestBroker::start(plugin).await;
    let count = || seen.lock().unwrap().len();
    broker.advance("3599s").await;
    assert_eq!(count(), 0, "none early");
    broker.advance("5m").await;
    let half = count();
    assert!(half > 0 && half < TIMERS, "{half} in the first half");
    broker.advance("301s").await;
    assert_eq!(count(), TIMERS, "none later than allowed");
}

/// Proves P4a: a poller that was due while nobody was there waits for its next time where its misfire policy says so, and
/// else is made up for.
#[tokio::test]
async fn a_poller_makes_up_for_what_it_missed_as_it_says() {
    for (misfire, found) in [(Misfire::Skip, 0), (Misfire::Once, 1)] {
        let calls = Arc::new(AtomicU32::new(0));
        let counted = calls.clone();
        let poll = move |_: Option<u32>, _: Context| {
            counted.fetch_add(1, Ordering::SeqCst);
            async move { Result::<Batch>::Ok(Batch::default()) }
        };
        let poll = Poll::new("rss", poll)
            .cron("0 * * * *")
            .misfire(misfire)
            .jitter("0s");
        let broker = TestBroker::start(Plugin::new("rss").poll(poll)).await;
        broker.advance("59m").await;
        let before = calls.load(Ordering::SeqCst);
        broker.restart_after("70m").await;
        broker.advance("1m").await;
        assert_eq!(calls.load(Ordering::SeqCst) - before, found, "{misfire:?}");
        broker.advance("1h").await;
        assert_eq!(calls.load(Ordering::SeqCst) - before, found + 1);
    }
}
