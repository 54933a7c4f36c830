//! What becomes of an instance that stays degraded.

use super::*;

fn degraded(reason: &str) -> Input {
    Input::Signal(Signal::Status {
        state: Status::Degraded,
        reason: Some(reason.to_owned()),
        retry_after_ms: None,
    })
}

/// A serving instance that may be degraded for 30 s.
fn limited() -> Life {
    let mut life = Life::serving();
    let policy = RestartPolicy {
        degraded_ms: Some(30_000),
        ..RestartPolicy::default()
    };
    life.machine.configure(policy, Timeouts::default());
    assert_eq!(life.input(Input::Configured), []);
    life
}

/// Proves LN16: an instance that stays degraded is asked to stop, then ended by signals, then started
/// again; that is an exit like any other, with its reason.
#[test]
fn an_instance_that_stays_degraded_is_restarted_by_policy() {
    let mut life = limited();
    let outputs = life.input(degraded("the event loop has been blocked for 6000 ms"));
    assert_eq!(reports(&outputs), [(State::Degraded, None)]);
    assert_eq!(armed(&outputs), Some(30_000));
    let outputs = life.after(
        10_000,
        degraded("the event loop has been blocked for 16000 ms"),
    );
    assert_eq!(armed(&outputs), Some(20_000), "the time goes on");

    let outputs = life.after(20_000, Input::Timer);
    assert_eq!(reports(&outputs), [(State::Draining, None)]);
    let reason = "degraded for 30000 ms: the event loop has been blocked for 16000 ms";
    let asked = Output::Shutdown {
        timeout_ms: 18_000,
        reason: reason.to_owned(),
    };
    assert!(outputs.contains(&asked), "{outputs:?}");
    let outputs = life.after(armed(&outputs).unwrap(), Input::Timer);
    assert!(outputs.contains(&Output::Kill(GroupSignal::Term)));
    let outputs = life.after(armed(&outputs).unwrap(), Input::Timer);
    assert!(outputs.contains(&Output::Kill(GroupSignal::Kill)));
    assert!(life.now_ms <= 60_000, "within the time a stop may take");

    assert_eq!(life.machine.exits(), 0);
    let killed = ExitReport::new(None, Some(9), String::new());
    let outputs = life.input(Input::Exited(Arc::new(killed)));
    assert_eq!(
        reports(&outputs),
        [(State::BackingOff, Some(Incident::Crashed))]
    );
    assert_eq!(life.machine.exits(), 1, "a restart that is counted");
    let outputs = life.input(blamed(false));
    let told = outputs.iter().find_map(|output| match output {
        Output::Report(change) => change.reason.clone(),
        _ => None,
    });
    assert_eq!(told.as_deref(), Some(reason));
    let outputs = life.after(armed(&outputs).unwrap(), Input::Timer);
    assert!(outputs.contains(&Output::Spawn));
    life.input(Input::Spawned);
    life.input(Input::Signal(Signal::Standby));
    assert_eq!(armed(&life.input(status(Status::Ready))), None);
}

/// Proves LN16: an instance that recovers in time goes on, and the next time counts from its beginning.
#[test]
fn an_instance_that_recovers_in_time_is_left_alone() {
    let mut life = limited();
    life.input(degraded("blocked"));
    let outputs = life.after(29_000, status(Status::Ready));
    assert_eq!(reports(&outputs), [(State::Ready, None)]);
    assert!(outputs.contains(&Output::Disarm));
    assert_eq!(armed(&life.after(5_000, degraded("again"))), Some(30_000));
    let outputs = life.after(1_000, Input::Pause);
    assert!(
        outputs.contains(&Output::Disarm),
        "the operator looks at it"
    );
    assert_eq!(armed(&life.after(60_000, Input::Resume)), Some(30_000));
    let outputs = life.after(1_000, Input::Signal(Signal::LinkClosed));
    assert_eq!(armed(&outputs), Some(LEAVE_MS), "another wait replaces it");
}

/// Proves LN16: without a limit a degraded instance stays; one that is set, changed or taken away counts
/// from where it is.
#[test]
fn the_limit_of_being_degraded_is_the_operators_and_off_by_default() {
    let mut life = Life::serving();
    assert_eq!(armed(&life.input(degraded("blocked"))), None);
    assert_eq!(life.after(3_600_000, Input::Timer), []);
    let configure = |life: &mut Life, degraded_ms| {
        let policy = RestartPolicy {
            degraded_ms,
            ..RestartPolicy::default()
        };
        life.machine.configure(policy, Timeouts::default());
        life.after(1_000, Input::Configured)
    };
    assert_eq!(
        armed(&configure(&mut life, Some(7_200_000))),
        Some(3_599_000)
    );
    assert_eq!(configure(&mut life, None), [Output::Disarm]);
    assert_eq!(armed(&configure(&mut life, Some(60_000))), Some(0));
    let outputs = life.input(Input::Timer);
    assert_eq!(reports(&outputs), [(State::Draining, None)]);
}
