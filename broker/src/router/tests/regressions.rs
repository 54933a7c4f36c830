//! Cases that once went wrong, kept.

use super::super::position::Position;
use super::super::*;
use super::simulation::life;
use super::world::{Staged, World};
use crate::store::{Seq, Trailer};

const ONE: Window = Window {
    events: 1,
    bytes: 1 << 20,
};

fn calm() -> World {
    let mut world = World::new(1);
    world.faults = 0;
    world
}

/// Flushes whatever waits, and lets the router look again.
fn settle_down(world: &mut World) {
    for _ in 0..4 {
        world.advance(11);
        world.run();
        world.flush();
    }
    while !world.asked.is_empty() {
        world.read(0);
        world.answer_read(0);
        world.run();
        world.flush();
    }
}

fn served(world: &mut World, name: &str, filter: &str, window: Window) -> (SubId, LinkId) {
    let sub = world.subscribe(name, &[filter], RetryPolicy::default());
    let link = world.link(Window::UNLIMITED);
    world.join(sub, link, window);
    settle_down(world);
    (sub, link)
}

fn publish(world: &mut World, topic: &str, sessions: &[Option<&str>]) {
    for session in sessions {
        world.publish(topic, *session, 10);
    }
    settle_down(world);
}

fn ack_all(world: &mut World, link: LinkId) {
    while !world.links[&link].held.is_empty() {
        world.settle(link, 0, &Settle::Ack);
        world.run();
    }
}

fn nak(delay_ms: u64) -> Settle {
    Settle::Nak(Nak {
        delay_ms: Some(delay_ms),
        failure: None,
        counted: true,
    })
}

#[test]
fn seeds_that_failed_once_pass() {
    for seed in [5, 10, 15, 22, 123, 203, 239, 803, 1_875, 3_851, 12_491] {
        life(seed, 400);
    }
}

#[test]
fn an_event_that_failed_hides_nothing_that_was_published_before_it() {
    let mut world = calm();
    let (_, link) = served(&mut world, "s", "agent.>", Window::default());
    publish(&mut world, "agent.a", &[None; 5]);
    // The last one fails and gets a row; the four before it are in flight and nowhere.
    world.settle(link, 4, &nak(5));
    settle_down(&mut world);
    world.crash();
    let sub = *world.subs.keys().next().unwrap();
    let link = world.link(Window::UNLIMITED);
    world.join(sub, link, ONE);
    settle_down(&mut world);
    ack_all(&mut world, link);
    settle_down(&mut world);
    world.crash();
    let open = world.drain();
    assert!(open.is_empty(), "{open:?}");
}

#[test]
fn the_failure_that_kills_a_delivery_gives_its_credit_back_once() {
    let mut world = calm();
    let policy = RetryPolicy {
        failures_max: 1,
        ..RetryPolicy::default()
    };
    let sub = world.subscribe("s", &["agent.>"], policy);
    let link = world.link(Window::default());
    world.join(sub, link, Window::default());
    settle_down(&mut world);
    publish(&mut world, "agent.a", &[None; 3]);
    world.settle(link, 0, &nak(1));
    world.run();
    assert_eq!(world.router.in_flight(link), 2);
}

#[test]
fn room_that_returns_on_one_subscription_wakes_another_of_the_same_link() {
    let mut world = calm();
    let first = world.subscribe("first", &["agent.a"], RetryPolicy::default());
    let second = world.subscribe("second", &["agent.b"], RetryPolicy::default());
    let window = Window {
        events: 8,
        bytes: 100,
    };
    let link = world.link(window);
    world.join(first, link, Window::default());
    world.join(second, link, Window::default());
    settle_down(&mut world);
    world.publish("agent.a", None, 60);
    settle_down(&mut world);
    world.publish("agent.b", None, 60);
    settle_down(&mut world);
    assert_eq!(
        world.deliveries.len(),
        1,
        "bytes are short, though not used up"
    );
    world.settle(link, 0, &Settle::Ack);
    world.run();
    assert_eq!(world.deliveries.len(), 2);
    // The same when the room comes from the end of a whole subscription.
    world.publish("agent.a", None, 60);
    settle_down(&mut world);
    world.delete(second);
    world.run();
    assert_eq!(world.deliveries.len(), 3);
}

#[test]
fn a_link_that_leaves_a_subscription_leaves_its_suspects_and_its_credit_behind() {
    let mut world = calm();
    let (first, link) = served(&mut world, "first", "agent.a", Window::default());
    let second = world.subscribe("second", &["agent.b"], RetryPolicy::default());
    publish(&mut world, "agent.a", &[None; 2]);
    world.link_down(link);
    let lost = world.lost.pop().unwrap();
    world.blame(&lost);
    let link = world.link(ONE);
    world.join(first, link, Window::default());
    world.join(second, link, Window::default());
    settle_down(&mut world);
    // One suspect is being settled by a commit when the link leaves.
    let id = world.links[&link].held[0].id;
    let prepared = world
        .router
        .prepare(link, &[id], Vec::new(), Vec::new(), world.now)
        .unwrap();
    let held = world.links.get_mut(&link).unwrap().held.remove(0);
    world.links.get_mut(&link).unwrap().settling.push(held);
    world.staged.push(Staged {
        ops: prepared.ops.clone(),
        prepared,
        acks: vec![(link, id)],
        ..Staged::default()
    });
    world.leave(first, link);
    world.run();
    publish(&mut world, "agent.b", &[None]);
    assert!(
        world.links[&link]
            .held
            .iter()
            .any(|held| held.id.sub == second),
        "it is served"
    );
    let open = world.drain();
    assert!(open.is_empty(), "{open:?}");
}

#[test]
fn a_trailer_asked_twice_settles_only_what_was_accepted_at_last() {
    let mut world = calm();
    let (_, link) = served(&mut world, "s", "agent.>", Window::default());
    publish(&mut world, "agent.a", &[None; 2]);
    let ids: Vec<DeliveryId> = world.links[&link].held.iter().map(|held| held.id).collect();
    let prepared = world
        .router
        .prepare(link, &ids, Vec::new(), Vec::new(), world.now)
        .unwrap();
    let mut durable = world.router.durable(100, &[(0, &prepared)], 1);
    durable.trailer.state(&[true]);
    let ops = durable.trailer.state(&[false]);
    let position = Position::decode(ops[0].value.as_deref().unwrap()).unwrap();
    assert!(
        position.upto < ids[0].seq,
        "neither is settled: {position:?}"
    );
}

#[test]
fn a_seek_while_a_commit_settles_leaves_nothing_settled_by_the_old_lease() {
    let mut world = calm();
    let (sub, link) = served(&mut world, "s", "agent.>", Window::default());
    publish(&mut world, "agent.a", &[None; 3]);
    let id = world.links[&link].held[2].id;
    let prepared = world
        .router
        .prepare(link, &[id], Vec::new(), Vec::new(), world.now)
        .unwrap();
    world.staged.push(Staged {
        ops: prepared.ops.clone(),
        prepared,
        ..Staged::default()
    });
    world.seek(sub, 0);
    world.run();
    settle_down(&mut world);
    world.crash();
    let delivered = world.delivered;
    let open = world.drain();
    assert!(open.is_empty(), "{open:?}");
    assert_eq!(world.delivered - delivered, 3, "all three come again");
}

#[test]
fn what_a_commit_settles_stays_settled_also_when_it_had_failed_before() {
    let mut world = calm();
    let (_, link) = served(&mut world, "s", "agent.>", Window::default());
    publish(&mut world, "agent.a", &[None]);
    world.settle(link, 0, &nak(1));
    settle_down(&mut world);
    let id = world.links[&link].held[0].id;
    let prepared = world
        .router
        .prepare(link, &[id], Vec::new(), Vec::new(), world.now)
        .unwrap();
    world.staged.push(Staged {
        ops: prepared.ops.clone(),
        prepared,
        acks: vec![(link, id)],
        ..Staged::default()
    });
    world.make_batch();
    world.write_batch();
    // Killed before it could do anything else.
    world.crash();
    let delivered = world.delivered;
    let open = world.drain();
    assert!(open.is_empty(), "{open:?}");
    assert_eq!(world.delivered, delivered);
}

#[test]
fn retention_keeps_what_an_earlier_life_left_unsettled() {
    let mut world = calm();
    let (sub, link) = served(&mut world, "s", "agent.>", Window::default());
    publish(&mut world, "agent.a", &[None; 3]);
    world.settle(link, 2, &Settle::Ack);
    settle_down(&mut world);
    let first = world.log[0].seq;
    world.crash();
    let sub = world.router.get(sub).unwrap();
    assert!(sub.holds(first, "agent.a"));
    assert!(sub.oldest_unsettled() <= first);
}

#[test]
fn a_replay_that_lands_after_its_subscription_ended_does_not_stop_the_next_start() {
    let mut world = calm();
    let (sub, _) = served(&mut world, "s", "agent.>", Window::default());
    let op = world.router.replay_op(sub, 7, "agent.a", None, "{}");
    world.delete(sub);
    settle_down(&mut world);
    world.state.insert(op.key.clone(), op.value.unwrap());
    world.crash();
    settle_down(&mut world);
    assert!(!world.state.contains_key(&op.key), "and it is cleaned away");
}

#[test]
fn the_number_of_a_subscription_is_never_used_twice() {
    let mut world = calm();
    let (first, _) = served(&mut world, "first", "agent.>", Window::default());
    world.delete(first);
    settle_down(&mut world);
    world.crash();
    let (second, _) = served(&mut world, "second", "agent.>", Window::default());
    assert!(second > first, "dead letters name it");
}

#[test]
fn a_replay_ahead_of_a_cursor_that_was_set_back_hides_nothing_between() {
    let mut world = calm();
    let (sub, link) = served(&mut world, "s", "agent.>", Window::default());
    publish(&mut world, "agent.a", &[None; 4]);
    let last: Seq = world.links[&link].held[3].id.seq;
    world.settle(link, 3, &Settle::Reject(Reject::default()));
    world.run();
    ack_all(&mut world, link);
    settle_down(&mut world);
    world.link_down(link);
    world.seek(sub, 0);
    world.run();
    settle_down(&mut world);
    let event = world.log.iter().find(|event| event.seq == last).unwrap();
    let event = crate::store::StoredEvent::clone(event);
    let op = world.router.replay_op(sub, last, "agent.a", None, "{}");
    world.state.insert(op.key, op.value.unwrap());
    world.router.replayed(sub, event, None);
    let row = &world.router.get(sub).unwrap().entries[&last];
    assert!(row.inline);
    world.router.finish_entry(sub, last, world.now);
    world.run();
    settle_down(&mut world);
    let key = super::super::subscription::key(sub, "p");
    let position = Position::decode(&world.state[&key]).unwrap();
    assert_eq!(position.upto, 0, "the three before it are still to come");
}

#[test]
fn epochs_of_one_life_do_not_run_into_the_next() {
    let mut world = calm();
    let first = world.router.epoch();
    world.router.boot += 1;
    let second = world.router.epoch();
    assert!(
        second - first > u64::from(u32::MAX),
        "more leases than a life can give out"
    );
}
