//! Timers of a plugin against the real broker in memory, through the public API alone.

#![expect(clippy::unwrap_used, reason = "in a test a failure may panic")]

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use trunkline::testing::TestBroker;
use trunkline::{Batch, Code, Context, Event, Plugin, Result, Schedule, Timer, TimerEvent};

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
