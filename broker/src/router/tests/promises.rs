//! Promises, each proved by one test.

use super::super::limits::{LOADED_BYTES_MAX, PENDING_ROWS_MAX};
use super::super::*;
use super::model::{End, Fate};
use super::world::World;
use crate::store::Seq;

fn window(events: usize) -> Window {
    Window {
        events,
        bytes: 8 << 20,
    }
}

/// A world without faults, in which only the test does anything.
fn calm(seed: u64) -> World {
    let mut world = World::new(seed);
    world.faults = 0;
    world
}

fn acked(world: &World, sub: SubId) -> usize {
    let known = world.subs[&sub].known.values();
    known
        .filter(|known| known.fate == Fate::Ended(End::Acked))
        .count()
}

/// Publishes, writes and hands out, so that the world stands still.
fn publish_all(world: &mut World, count: usize, session: Option<&str>, bytes: usize) {
    for index in 0..count {
        world.publish("agent.a", session, bytes);
        if index % 256 == 255 {
            world.flush();
        }
    }
    settle_down(world);
}

fn settle_down(world: &mut World) {
    loop {
        world.flush();
        while !world.asked.is_empty() {
            world.read(0);
        }
        while !world.answers.is_empty() {
            world.answer_read(0);
        }
        world.run();
        let busy = world.router.wants_flush(world.now) || !world.staged.is_empty();
        if !busy && world.asked.is_empty() {
            return;
        }
    }
}

fn consume(world: &mut World, link: LinkId, upto: usize) {
    let mut taken = 0;
    while taken < upto && !world.links[&link].held.is_empty() {
        world.settle(link, 0, &Settle::Ack);
        taken += 1;
    }
    world.run();
}

/// Proves Q2: 10 000 queued while nobody listens are 10 000 delivered, in order.
#[test]
fn ten_thousand_queued_events_come_in_order() {
    let mut world = calm(2);
    world.checked = false;
    let sub = world.subscribe("s", &["agent.>"], RetryPolicy::default());
    world.flush();
    publish_all(&mut world, 10_000, Some("one"), 20);
    assert!(world.deliveries.is_empty());
    let link = world.link(Window::UNLIMITED);
    world.join(sub, link, window(64));
    world.run();
    while acked(&world, sub) < 10_000 {
        settle_down(&mut world);
        assert!(!world.links[&link].held.is_empty(), "it never stands still");
        consume(&mut world, link, 64);
    }
    let seqs: Vec<Seq> = world.deliveries.iter().map(|(_, seq, ..)| *seq).collect();
    assert_eq!(seqs.len(), 10_000);
    assert!(seqs.is_sorted(), "in the order of the log");
}

/// Proves LN10: what a slow consumer holds back stays within its window, costs bounded memory, delays
/// nobody else, and is all there when it goes on.
#[test]
fn a_slow_consumer_delays_nobody_and_loses_nothing() {
    let mut world = calm(3);
    world.checked = false;
    let slow = world.subscribe("slow", &["agent.>"], RetryPolicy::default());
    let fast = world.subscribe("fast", &["agent.>"], RetryPolicy::default());
    world.flush();
    let slow_link = world.link(Window::UNLIMITED);
    let fast_link = world.link(Window::UNLIMITED);
    world.join(slow, slow_link, window(4));
    world.join(fast, fast_link, window(256));
    for _ in 0..12 {
        for index in 0..100 {
            world.publish("agent.a", Some(&index.to_string()), 100);
        }
        settle_down(&mut world);
        consume(&mut world, fast_link, usize::MAX);
    }
    settle_down(&mut world);
    while !world.links[&fast_link].held.is_empty() {
        consume(&mut world, fast_link, usize::MAX);
        settle_down(&mut world);
    }
    assert_eq!(acked(&world, fast), 1_200);
    assert_eq!(world.links[&slow_link].held.len(), 4);
    assert!(world.router.get(slow).unwrap().entries.len() <= PENDING_ROWS_MAX);
    let open = world.drain();
    assert!(open.is_empty(), "{open:?}");
    assert_eq!(acked(&world, slow), 1_200);
}

/// Proves LN8: a consumer that takes nothing costs bounded memory, however much is published.
#[test]
fn a_stalled_subscription_costs_bounded_memory() {
    let mut world = calm(4);
    world.checked = false;
    let sub = world.subscribe("s", &["agent.>"], RetryPolicy::default());
    world.flush();
    let link = world.link(Window::UNLIMITED);
    world.join(sub, link, window(1));
    for round in 0..60 {
        for index in 0..50 {
            world.publish("agent.a", Some(&(index % 7).to_string()), 4_000);
        }
        if round % 2 == 0 {
            world.publish("agent.a", None, 100_000);
        }
        settle_down(&mut world);
        let sub = world.router.get(sub).unwrap();
        assert!(sub.entries.len() <= PENDING_ROWS_MAX);
        assert!(
            sub.loaded_bytes <= LOADED_BYTES_MAX + (1 << 20),
            "{}",
            sub.loaded_bytes
        );
    }
    assert_eq!(world.links[&link].held.len(), 1);
    world.link_down(link);
    world.run();
    let idle = world.router.get(sub).unwrap().loaded_bytes;
    assert!(
        idle <= super::super::limits::IDLE_BYTES_MAX,
        "nobody serves it: {idle} bytes stay"
    );
    let open = world.drain();
    assert!(open.is_empty(), "{} are open", open.len());
}

/// Proves W11: a child that reads slowly holds its events, no more than its writer takes; the others go on.
#[test]
fn a_slow_child_is_bounded_and_its_events_are_held() {
    let mut world = calm(5);
    let child = world.subscribe("child", &["agent.>"], RetryPolicy::default());
    let other = world.subscribe("other", &["agent.>"], RetryPolicy::default());
    world.flush();
    let slow = world.link(Window::default());
    let fast = world.link(Window::default());
    world.join(child, slow, Window::default());
    world.join(other, fast, Window::default());
    world.router.set_writable(slow, false);
    world.links.get_mut(&slow).unwrap().writable = false;
    publish_all(&mut world, 200, None, 10);
    assert!(world.links[&slow].held.is_empty());
    assert_eq!(world.links[&fast].held.len(), 200);
    assert!(
        world
            .router
            .get(child)
            .unwrap()
            .holds(world.log[0].seq, "agent.a")
    );
    world.router.set_writable(slow, true);
    world.links.get_mut(&slow).unwrap().writable = true;
    settle_down(&mut world);
    assert_eq!(world.links[&slow].held.len(), 200);
}

/// Proves LN41: a process that died of one of several events condemns none of the others: each is handed
/// out alone, and only the one that kills again is dead.
#[test]
fn one_poison_event_does_not_condemn_its_neighbours() {
    suspects(6);
}

/// Proves L12: after a crash the suspects come one at a time, and the second death of one alone in flight
/// ends it with reason `crashed`.
#[test]
fn a_suspect_that_kills_twice_alone_is_a_dead_letter() {
    suspects(2);
}

fn suspects(count: usize) {
    let mut world = calm(6);
    let sub = world.subscribe("s", &["agent.>"], RetryPolicy::default());
    world.flush();
    let mut link = world.link(Window::default());
    world.join(sub, link, Window::default());
    publish_all(&mut world, count, None, 1);
    let poison = world.links[&link].held.last().unwrap().id.seq;
    assert_eq!(world.links[&link].held.len(), count);
    let mut deaths = 0;
    loop {
        if world.links[&link]
            .held
            .iter()
            .any(|held| held.id.seq == poison)
        {
            world.link_down(link);
            let lost = world.lost.pop().unwrap();
            world.blame(&lost);
            deaths += 1;
            link = world.link(Window::default());
            world.join(sub, link, Window::default());
            settle_down(&mut world);
            continue;
        }
        if world.links[&link].held.is_empty() {
            break;
        }
        assert_eq!(
            world.links[&link].held.len(),
            1,
            "suspects are leased alone"
        );
        consume(&mut world, link, 1);
        settle_down(&mut world);
    }
    assert_eq!(deaths, 3, "once among others, twice alone");
    assert_eq!(acked(&world, sub), count - 1);
    assert_eq!(
        world.subs[&sub].known[&poison].fate,
        Fate::Ended(End::Dead("crashed"))
    );
    // Nobody is suspected any more: many at once again.
    publish_all(&mut world, 5, None, 1);
    assert_eq!(world.links[&link].held.len(), 5);
}

/// Proves the sentence "a repeat says that it is one, also after `kill -9` of the broker": nothing of what
/// was in flight had been written as such.
#[test]
fn a_repeat_says_that_it_is_one_also_after_kill_9_of_the_broker() {
    let mut world = calm(7);
    let sub = world.subscribe("s", &["agent.>"], RetryPolicy::default());
    world.flush();
    let link = world.link(Window::default());
    world.join(sub, link, window(3));
    publish_all(&mut world, 5, None, 1);
    assert_eq!(world.deliveries.len(), 3);
    assert!(
        world
            .deliveries
            .iter()
            .all(|(.., attempt, again)| *attempt == 1 && !again)
    );
    world.crash();
    let link = world.link(Window::default());
    world.join(sub, link, Window::default());
    settle_down(&mut world);
    let again: Vec<_> = world.deliveries.split_off(3);
    assert_eq!(again.len(), 5);
    let flagged =
        |(.., attempt, redelivered): &(SubId, Seq, u32, bool)| *redelivered && *attempt >= 2;
    assert!(again[..3].iter().all(flagged), "{again:?}");
}

/// Proves the sentence "nothing is delivered before it is durable": neither from the publish, nor from a
/// page that the reader saw before the writer answered.
#[test]
fn nothing_is_delivered_before_it_is_durable() {
    let mut world = calm(8);
    let sub = world.subscribe("s", &["agent.>"], RetryPolicy::default());
    world.flush();
    world.publish("agent.a", None, 1);
    world.flush();
    let link = world.link(Window::default());
    world.join(sub, link, Window::default());
    world.run();
    world.publish("agent.a", None, 1);
    world.make_batch();
    world.run();
    assert!(world.deliveries.is_empty());
    world.write_batch();
    // The page reaches what the core was not told of yet.
    world.read(0);
    world.answer_read(0);
    world.run();
    let head = world.router.head();
    assert!(world.deliveries.iter().all(|(_, seq, ..)| *seq <= head));
    world.answer_batch();
    world.run();
    settle_down(&mut world);
    assert_eq!(world.deliveries.len(), 2, "each once");
}
