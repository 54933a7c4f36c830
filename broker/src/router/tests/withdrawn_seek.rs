//! Cursors that are moved while filters go: what was set back comes again or is a dead letter, and nothing is passed over.

use std::collections::BTreeSet;

use super::super::*;
use super::withdrawn::{
    BOTH, acked, calm, creep, dead, mixed, of, record, settle_down, settle_without_reading, waits,
};
use super::world::World;
use crate::store::Seq;

/// A seek reads again by the filters of now; what these do not find is kept all the same, and what was filed before
/// is not filed again.
#[test]
fn a_seek_back_neither_loses_what_waits_nor_files_it_again() {
    for has_died in [false, true] {
        let (mut world, sub, link) = mixed(12);
        world.refilter(sub, &["agent.a"]);
        world.run();
        // Some of it is filed, and that is durable.
        world.flush();
        world.advance(11);
        world.run();
        world.flush();
        let before = dead(&world, sub);
        assert!(!before.is_empty());
        for key in world.state.keys().cloned().collect::<Vec<_>>() {
            if key.starts_with(b"d/") {
                // The operator has dealt with them.
                world.state.remove(&key);
            }
        }
        world.link_down(link);
        world.seek(sub, 0);
        world.run();
        settle_down(&mut world);
        if has_died {
            world.crash();
        }
        let open = world.drain();
        assert!(open.is_empty(), "{open:?}");
        let b = of(&world, "agent.b");
        assert_eq!(dead(&world, sub), b.difference(&before).copied().collect());
        assert_eq!(acked(&world, sub), of(&world, "agent.a"));
    }
}

/// What an earlier life left unread by its number is judged by its topic, also behind a seek.
#[test]
fn what_an_earlier_life_left_is_judged_and_not_forgotten_by_a_seek() {
    let (mut world, sub, link) = mixed(3);
    // The last that is in flight ends, so that the position lists what is before it.
    let last = world.links[&link].held.len() - 1;
    world.settle(link, last, &Settle::Ack);
    world.run();
    settle_without_reading(&mut world);
    world.crash();
    let acked_before = acked(&world, sub).len();
    world.refilter(sub, &[]);
    world.seek(sub, 0);
    world.run();
    settle_down(&mut world);
    world.crash();
    let open = world.drain();
    assert!(open.is_empty(), "{open:?}");
    assert_eq!(dead(&world, sub).len() + acked_before, 6);
}

/// Three events of one session and one of another wait in a subscription that a link has read; what is in flight dies
/// with the broker, after the newest was settled, so that the position lists what is before it.
fn left_by_an_earlier_life() -> (World, SubId) {
    let mut world = calm();
    let sub = world.subscribe("s", &BOTH, RetryPolicy::default());
    settle_down(&mut world);
    let link = world.link(Window::UNLIMITED);
    world.join(sub, link, Window::default());
    for topic in ["agent.a", "agent.b", "agent.a"] {
        world.publish(topic, Some("one"), 10);
    }
    world.publish("agent.a", Some("two"), 10);
    settle_down(&mut world);
    let held = &world.links[&link].held;
    assert_eq!(held.len(), 2, "one of each session");
    let last = held
        .iter()
        .position(|held| held.id.seq == *of(&world, "agent.a").last().unwrap());
    world.settle(link, last.unwrap(), &Settle::Ack);
    world.run();
    settle_down(&mut world);
    world.crash();
    let missing = world.router.get(sub).unwrap().missing.len();
    assert_eq!(
        missing, 3,
        "what is not settled is known by its number alone"
    );
    (world, sub)
}

/// Proves LN10: what an earlier life left, and nobody has read since, keeps its place in its session behind a seek,
/// whatever dies in between; so does what is selected no longer, until it is a dead letter.
#[test]
fn what_an_earlier_life_left_keeps_its_place_in_its_session() {
    for is_selected in [true, false] {
        for steps in 0..60 {
            let (mut world, sub) = left_by_an_earlier_life();
            let narrow = |world: &mut World| {
                if !is_selected {
                    world.refilter(sub, &["agent.a"]);
                }
            };
            narrow(&mut world);
            world.seek(sub, 0);
            world.run();
            let link = world.link(Window::UNLIMITED);
            world.join(sub, link, Window::default());
            world.run();
            for step in 0..steps {
                creep(&mut world, step);
            }
            world.crash();
            narrow(&mut world);
            let open = world.drain();
            assert!(open.is_empty(), "after {steps} steps: {open:?}");
            let b = of(&world, "agent.b");
            let filed = if is_selected {
                BTreeSet::new()
            } else {
                b.clone()
            };
            assert_eq!(dead(&world, sub), filed, "{steps} steps");
            // The newest was settled before; a seek that was lost does not bring it again.
            let mut came = of(&world, "agent.a");
            let newest = came.pop_last().unwrap();
            if is_selected {
                came.extend(b);
            }
            let mut acked = acked(&world, sub);
            acked.remove(&newest);
            assert_eq!(acked, came, "{steps} steps");
        }
    }
}

/// Proves LN10: a broker that dies at once after the change, with one event loaded, knows of that one.
#[test]
fn the_event_at_the_cursor_survives_the_change() {
    let (mut world, sub) = waits(0);
    let link = world.link(Window::UNLIMITED);
    world.join(sub, link, Window::default());
    world.publish("agent.b", None, 10);
    settle_down(&mut world);
    world.refilter(sub, &["agent.a"]);
    settle_without_reading(&mut world);
    world.crash();
    world.refilter(sub, &["agent.a"]);
    assert!(world.drain().is_empty());
    assert_eq!(dead(&world, sub), of(&world, "agent.b"));
}

/// Proves LN10: the same filters go twice, and a seek between them opened what was settled before the first time.
#[test]
fn filters_that_go_again_after_a_seek_count_for_what_it_opened() {
    let (mut world, sub, link) = mixed(20);
    let before = acked(&world, sub);
    world.link_down(link);
    world.refilter(sub, &["agent.a"]);
    world.run();
    world.refilter(sub, &BOTH);
    world.seek(sub, 0);
    world.run();
    world.refilter(sub, &["agent.a"]);
    world.run();
    settle_down(&mut world);
    world.crash();
    let open = world.drain();
    assert!(open.is_empty(), "{open:?}");
    let b = of(&world, "agent.b");
    assert_eq!(dead(&world, sub), b.difference(&before).copied().collect());
}

/// What was skipped did not come by a subscription, in the next life of the broker either.
#[test]
fn a_skip_is_remembered() {
    let (mut world, sub) = waits(3);
    let to = *of(&world, "agent.b").last().unwrap();
    world.skip(sub, to);
    world.run();
    settle_down(&mut world);
    assert_eq!(record(&world, sub).since, Some(to));
    world.crash();
    assert_eq!(world.router.get(sub).unwrap().since, to);
}

/// What is given back for later is a dead letter now, and not when it would be tried again.
#[test]
fn what_is_given_back_for_later_is_a_dead_letter_now() {
    let (mut world, sub, link) = mixed(3);
    let held = world.links[&link].held.iter().map(|held| held.id.seq);
    let held: BTreeSet<Seq> = held.collect();
    world.refilter(sub, &[]);
    world.run();
    let later = Settle::Nak(Nak {
        delay_ms: Some(86_400_000),
        failure: None,
        counted: false,
    });
    while !world.links[&link].held.is_empty() {
        world.settle(link, 0, &later);
        world.run();
    }
    settle_without_reading(&mut world);
    assert!(dead(&world, sub).is_superset(&held));
}

/// A subscription that selects nothing is not done while a skip is untold, or a replay on its way to the disk; then
/// that is said once.
#[test]
fn a_subscription_is_empty_when_nothing_is_untold_or_on_its_way() {
    let is_said = |world: &mut World| {
        for _ in 0..3 {
            world.router.touch(SubId(1));
            world.router.run(world.now);
        }
        let commands = world.router.take_commands();
        let said = commands
            .iter()
            .filter(|one| matches!(one, Command::Drained { .. }));
        said.count()
    };
    let (mut world, sub) = waits(2);
    let link = world.link(Window::UNLIMITED);
    world.join(sub, link, Window::default());
    world.skip(sub, Seq::MAX);
    assert_eq!(sub, SubId(1));
    world.router.refilter(sub, Vec::new(), world.now);
    world.router.run(world.now);
    let commands = world.router.take_commands();
    let gap = commands.iter().find_map(|one| match one {
        Command::Gap { id, .. } => Some(*id),
        _ => None,
    });
    assert_eq!(is_said(&mut world), 0, "of a skip nobody knows yet");
    world.router.replay_staged(sub);
    world
        .router
        .settle(link, gap.unwrap(), Settle::Ack, world.now);
    assert_eq!(is_said(&mut world), 0, "a replay is on its way");
    world.router.replay_refused(sub);
    assert_eq!(is_said(&mut world), 1);
    world.router.refilter(sub, Vec::new(), world.now);
    assert_eq!(is_said(&mut world), 1);
}
