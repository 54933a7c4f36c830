use super::*;

/// Proves LN19 (the policy): one that is held shakes hands and goes no further; released, it goes to work.
#[test]
fn one_that_is_held_waits_in_standby_without_a_timer() {
    let mut life = Life::new();
    life.input(Input::Hold);
    life.input(want(Wanted::Running));
    life.input(Input::Spawned);
    let outputs = life.input(Input::Signal(Signal::Standby));
    assert!(!outputs.contains(&Output::Activate));
    assert_eq!(reports(&outputs), [(State::Standby, None)]);
    assert!(life.machine.is_in_standby() && life.machine.is_quiet());
    assert_eq!(life.after(1_000_000, Input::Timer), []);
    let outputs = life.input(Input::Release);
    assert!(outputs.contains(&Output::Activate));
    assert_eq!(armed(&outputs), Some(10_000));
    life.input(status(Status::Ready));
    assert!(life.machine.is_serving());
}

#[test]
fn one_that_serves_goes_back_to_standby_and_to_work_again() {
    let mut life = Life::serving();
    let outputs = life.input(Input::Hold);
    let timeout_ms = Timeouts::default().stop_ms * 6 / 10;
    assert!(outputs.contains(&Output::Deactivate { timeout_ms }));
    assert!(!life.machine.is_quiet(), "not before it says so");
    life.input(status(Status::Ready));
    assert!(!life.machine.is_serving(), "late words count for nothing");
    life.input(deactivated(None));
    assert!(life.machine.is_in_standby());
    assert!(life.input(Input::Release).contains(&Output::Activate));
    life.input(status(Status::Ready));
    assert!(life.machine.is_serving());
    // Released while it goes back: it turns round as soon as it is there.
    life.input(Input::Hold);
    assert!(!life.input(Input::Release).contains(&Output::Activate));
    assert!(life.input(deactivated(None)).contains(&Output::Activate));
}

#[test]
fn one_that_does_not_go_back_to_standby_is_ended_and_comes_back_held() {
    for is_late in [true, false] {
        let mut life = Life::serving();
        let outputs = life.input(Input::Hold);
        let wait_ms = armed(&outputs).unwrap();
        let outputs = if is_late {
            life.after(wait_ms, Input::Timer)
        } else {
            life.input(deactivated(Some("on_stop failed")))
        };
        assert!(outputs.contains(&Output::Kill(GroupSignal::Term)));
        assert!(!life.machine.is_quiet(), "it may still do something");
        life.input(exit(143));
        assert!(life.machine.is_quiet());
        let wait_ms = armed(&life.input(blamed(false))).unwrap();
        life.after(wait_ms, Input::Timer);
        life.input(Input::Spawned);
        life.input(Input::Signal(Signal::Standby));
        assert!(life.machine.is_in_standby());
    }
}

/// Proves L10 (the policy): one on trial has one attempt; whatever it fails with is final, and told.
#[test]
fn one_on_trial_is_not_started_twice() {
    let ends: [(Input, &str); 4] = [
        (exit(1), "exit"),
        (status(Status::NeedsAuth), "needs_auth"),
        (status(Status::Fatal), "fatal"),
        (status(Status::RetryLater), "retry_later"),
    ];
    for (end, word) in ends {
        let old = Life::serving().machine;
        let mut life = Life::new();
        life.machine = life.machine.on_trial_after(&old, false);
        life.input(want(Wanted::Running));
        life.input(Input::Spawned);
        life.input(Input::Signal(Signal::Standby));
        life.input(end);
        life.input(exit(1));
        let outputs = life.input(blamed(false));
        let told = outputs.iter().find_map(|output| match output {
            Output::Report(change) if change.state == State::Failed => change.reason.clone(),
            _ => None,
        });
        assert!(
            told.as_ref().is_some_and(|told| told.contains(word)),
            "{told:?}"
        );
        assert!(life.machine.is_at_rest());
    }
    let mut life = Life::new();
    life.machine = life.machine.on_trial_after(&Life::new().machine, false);
    life.input(want(Wanted::Running));
    life.input(Input::Spawned);
    life.input(Input::Signal(Signal::Standby));
    life.input(status(Status::Ready));
    life.input(Input::Trust);
    life.input(exit(1));
    assert!(
        armed(&life.input(blamed(false))).is_some(),
        "trusted, it is started again"
    );
}

/// Proves L10 (the policy): one on trial that tells progress without end is ended, since others wait for it; in an ordinary
/// start a person may take as long as it takes.
#[test]
fn no_progress_makes_a_trial_longer() {
    let progress = || Input::Signal(Signal::Progress);
    for is_on_trial in [true, false] {
        let mut life = Life::new();
        if is_on_trial {
            life.machine = life.machine.on_trial_after(&Life::new().machine, false);
        }
        life.input(want(Wanted::Running));
        life.input(Input::Spawned);
        life.input(Input::Signal(Signal::Standby));
        let start_ms = Timeouts::default().start_ms;
        let mut left_ms = start_ms;
        for _ in 0..2 * TRIAL_MS_MAX / start_ms {
            if left_ms < start_ms {
                break;
            }
            left_ms = armed(&life.after(start_ms - 1, progress())).unwrap();
        }
        assert_eq!(left_ms < start_ms, is_on_trial, "{left_ms} ms");
        if is_on_trial {
            assert_eq!(life.now_ms + left_ms, TRIAL_MS_MAX);
            let outputs = life.after(left_ms, Input::Timer);
            assert!(outputs.contains(&Output::Kill(GroupSignal::Term)));
            life.input(exit(143));
            let outputs = life.input(blamed(false));
            let told = format!("{outputs:?}");
            assert!(told.contains("after it began to replace"), "{told}");
            assert!(life.machine.is_at_rest());
        }
    }
}

/// The one that is replaced may finish what it has for as long as it may take to stop.
#[test]
fn the_time_of_a_trial_begins_again_when_it_is_released() {
    let mut life = Life::new();
    life.machine = life.machine.on_trial_after(&Life::new().machine, true);
    life.input(want(Wanted::Running));
    life.input(Input::Spawned);
    let outputs = life.input(Input::Signal(Signal::Standby));
    assert_eq!(armed(&outputs), None);
    assert!(life.machine.is_in_standby());
    let outputs = life.after(2 * TRIAL_MS_MAX, Input::Release);
    let start_ms = Timeouts::default().start_ms;
    assert_eq!(armed(&outputs), Some(start_ms));
    life.input(status(Status::Ready));
    assert!(life.machine.is_serving());
}
