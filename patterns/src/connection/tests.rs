//! Single decisions of the machine, one sentence each.

use serde_json::{Value, json};

use super::*;

#[derive(Clone, Debug, PartialEq)]
struct Text(&'static str);

impl Frame for Text {
    fn value(&self) -> Option<Value> {
        Some(json!(self.0))
    }
}

struct Run {
    machine: Machine<Text>,
    now: u64,
    unit: f64,
}

type Out = Vec<Output<Text>>;

impl Run {
    fn new(options: Options) -> Self {
        Self {
            machine: Machine::new(options),
            now: 1_000,
            unit: 0.5,
        }
    }

    fn step(&mut self, input: Input<Text>) -> Out {
        let mut out = Vec::new();
        let unit = self.unit;
        self.machine.step(self.now, &mut || unit, input, &mut out);
        out
    }

    /// Steps at the next moment that the machine wants.
    fn wake(&mut self) -> Out {
        self.now = self
            .machine
            .wake_ms()
            .expect("it waits for a time")
            .max(self.now);
        self.step(Input::Tick)
    }

    fn connected(options: Options) -> Self {
        let mut run = Self::new(options);
        run.step(Input::Start { cursor: None });
        run.step(Input::Opened(1));
        run
    }

    fn closed(&mut self, socket: Socket, code: Option<u16>) -> Out {
        self.step(Input::Closed {
            socket,
            code,
            reason: String::new(),
        })
    }
}

fn done(cursor: Option<&str>, ack: bool) -> Input<Text> {
    Input::Handled(Verdict::Done {
        writes: true,
        cursor: cursor.map_or(Moved::Stays, |cursor| Moved::To(cursor.to_owned())),
        ack,
        again_ms: None,
    })
}

fn next_try(out: &Out) -> u64 {
    let next = out.iter().find_map(|output| match output {
        Output::Status(Status::Disconnected { next_try_ms, .. }) => Some(*next_try_ms),
        _ => None,
    });
    next.expect("a status that says when")
}

/// Proves P5a: the waits grow up to the cap, tries are not counted out, and only a connection that
/// lived for a while begins the waits anew.
#[test]
fn waits_grow_to_the_cap_and_begin_anew_after_a_stable_time() {
    let mut run = Run::new(Options::default());
    run.unit = 1.0;
    let mut out = run.step(Input::Start { cursor: None });
    let mut waits = Vec::new();
    for socket in 1..=40 {
        assert!(out.contains(&Output::Open(socket)), "{out:?}");
        let out_closed = run.closed(socket, None);
        waits.push(next_try(&out_closed) - run.now);
        out = run.wake();
    }
    assert_eq!(
        waits[..7],
        [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000]
    );
    assert!(waits[7..].iter().all(|wait| *wait == 60_000));
    run.step(Input::Opened(41));
    run.now += 29_999;
    assert_eq!(next_try(&run.closed(41, None)) - run.now, 60_000);
    run.wake();
    run.step(Input::Opened(42));
    run.now += 30_000;
    assert_eq!(next_try(&run.closed(42, None)) - run.now, 1_000);
}

#[test]
fn a_fatal_code_ends_it_with_a_status_after_what_came_was_handled() {
    let mut run = Run::connected(Options {
        fatal: vec![4004],
        ..Options::default()
    });
    run.step(Input::Frame(1, Text("a")));
    let out = run.closed(1, Some(4004));
    let fatal = Output::Status(Status::Fatal {
        code: 4004,
        reason: String::new(),
    });
    assert_eq!(out, [fatal]);
    run.step(done(None, false));
    assert_eq!(run.step(Input::Stored(Ok(()))), [Output::Ended(End::Fatal)]);
    assert_eq!(run.machine.wake_ms(), None);
}

#[test]
fn the_ack_follows_the_commit() {
    let mut run = Run::connected(Options::default());
    run.step(Input::Frame(1, Text("a")));
    assert_eq!(
        run.step(done(Some("7"), true)),
        [Output::Store(1, Store::Batch)]
    );
    let out = run.step(Input::Stored(Err(CommitFault::Later)));
    assert_eq!((out, run.machine.cursor()), (vec![], None));
    assert_eq!(run.wake(), [Output::Store(1, Store::Batch)]);
    assert_eq!(run.step(Input::Stored(Ok(()))), [Output::Ack(1, 1)]);
    assert_eq!(run.machine.cursor(), Some("7"));
}

#[test]
fn the_sixth_failure_makes_a_dead_letter_and_the_next_frame_is_handled() {
    let mut run = Run::connected(Options::default());
    run.step(Input::Frame(1, Text("a")));
    run.step(Input::Frame(1, Text("b")));
    let failed = || {
        Input::Handled(Verdict::Failed {
            after_ms: None,
            is_counted: true,
            is_gone: false,
        })
    };
    for attempt in 2..=FAILURES_MAX {
        assert_eq!(run.step(failed()), []);
        let again = Output::Hand {
            socket: 1,
            number: 1,
            attempt,
            frame: Text("a"),
        };
        assert_eq!(run.wake(), [again]);
    }
    assert_eq!(run.step(failed()), [Output::Store(1, Store::DeadLetter)]);
    let out = run.step(Input::Stored(Ok(())));
    assert!(
        matches!(
            out[..],
            [
                Output::Room(1),
                Output::Hand {
                    number: 2,
                    attempt: 1,
                    ..
                }
            ]
        ),
        "{out:?}"
    );
}

#[test]
fn in_a_refresh_the_new_one_is_up_before_the_old_one_closes() {
    let mut run = Run::connected(Options::default());
    run.now += 60_000;
    run.step(Input::Frame(1, Text("reconnect")));
    let reconnect = Verdict::Reconnect {
        after_ms: 0,
        reason: String::new(),
    };
    assert_eq!(run.step(Input::Handled(reconnect)), [Output::Open(2)]);
    run.step(Input::Frame(1, Text("late")));
    let out = run.step(Input::Opened(2));
    assert_eq!(
        out,
        [Output::Status(Status::Connected)],
        "what came is still at work"
    );
    assert_eq!(run.step(done(None, true)), [Output::Store(2, Store::Batch)]);
    let out = run.step(Input::Stored(Ok(())));
    let goodbye = Output::Close {
        socket: 1,
        code: CLOSE_KEPT,
        reason: "another connection took over",
    };
    assert_eq!(out, [Output::Ack(1, 2), goodbye]);
    assert_eq!(run.wake(), [Output::Drop(1)]);
}

#[test]
fn who_sends_while_it_is_down_is_told_when_to_come_again() {
    let mut run = Run::connected(Options::default());
    let send = |id| Input::Send { id, socket: None };
    assert_eq!(run.step(send(1)), [Output::Send(1, 1)]);
    run.closed(1, None);
    assert_eq!(run.step(send(2)), [Output::Refuse(2, 1_500)]);
    run.wake();
    run.step(Input::Opened(2));
    for id in 0..SENDS_WAITING_MAX as u64 {
        assert_eq!(run.step(send(id)), [Output::Send(2, id)]);
    }
    assert_eq!(run.step(send(99)), [Output::Refuse(99, 1_000)]);
    run.step(Input::Sent(2));
    assert_eq!(run.step(send(100)), [Output::Send(2, 100)]);
}

#[test]
fn the_server_says_how_long_to_wait() {
    let mut run = Run::connected(Options::default());
    run.step(Input::Retry(1, 20_000));
    assert_eq!(next_try(&run.closed(1, None)) - run.now, 20_000);
}

#[test]
fn beats_begin_within_the_first_interval_and_a_missing_answer_is_death() {
    let mut run = Run::connected(Options::default());
    run.step(Input::Beat(
        1,
        Heartbeat {
            every_ms: 1_000,
            frame: json!("beat"),
            expect: Some(json!("beaten")),
        },
    ));
    let beat = || Output::Beat(1, json!("beat"));
    assert_eq!((run.wake(), run.now), (vec![beat()], 1_500));
    assert_eq!(run.step(Input::Frame(1, Text("beaten"))), [Output::Room(1)]);
    assert_eq!((run.wake(), run.now), (vec![beat()], 2_500));
    let out = run.wake();
    assert_eq!(out[1], Output::Drop(1), "{out:?}");
    assert!(!run.machine.is_up());
}

#[test]
fn a_stop_handles_what_came_and_says_goodbye() {
    let mut run = Run::connected(Options::default());
    run.step(Input::Frame(1, Text("a")));
    assert_eq!(run.step(Input::Stop), []);
    run.step(Input::Frame(1, Text("b")));
    run.step(done(None, true));
    let out = run.step(Input::Stored(Ok(())));
    let goodbye = Output::Close {
        socket: 1,
        code: CLOSE_DONE,
        reason: "leaving",
    };
    let ended = Output::Ended(End::Stopped);
    assert_eq!(out, [Output::Ack(1, 1), goodbye, Output::Drop(1), ended]);
}

#[test]
fn a_forgotten_session_is_closed_for_good_and_begun_anew() {
    let mut run = Run::connected(Options::default());
    run.now += 60_000;
    run.step(Input::Frame(1, Text("a")));
    run.step(done(Some("7"), false));
    run.step(Input::Stored(Ok(())));
    run.step(Input::Frame(1, Text("invalid")));
    let forget = Verdict::Done {
        writes: false,
        cursor: Moved::Forgotten,
        ack: false,
        again_ms: Some(3_000),
    };
    assert_eq!(
        run.step(Input::Handled(forget)),
        [Output::Store(2, Store::Batch)]
    );
    let out = run.step(Input::Stored(Ok(())));
    assert!(
        matches!(
            out[0],
            Output::Close {
                code: CLOSE_DONE,
                ..
            }
        ),
        "{out:?}"
    );
    assert_eq!(next_try(&out) - run.now, 3_000);
}
