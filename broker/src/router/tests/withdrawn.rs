//! Filters that go while events wait: each of these is delivered if its filter comes back in time, else it is a dead
//! letter, once, whatever dies in between.

use std::collections::BTreeSet;

use super::super::limits::{WITHDRAWN_FILING_MAX, WITHDRAWN_MAX};
use super::super::position::Position;
use super::super::subscription::{Record, key};
use super::super::*;
use super::model::{End, Fate};
use super::world::World;
use crate::store::Seq;

pub(super) const BOTH: [&str; 2] = ["agent.a", "agent.b"];

pub(super) fn calm() -> World {
    let mut world = World::new(1);
    world.faults = 0;
    world
}

/// Reads and writes until nothing is left to do.
pub(super) fn settle_down(world: &mut World) {
    for _ in 0..400 {
        world.flush();
        while !world.asked.is_empty() {
            world.read(0);
            world.answer_read(0);
        }
        world.run();
        let is_busy = !world.asked.is_empty() || !world.staged.is_empty();
        if !is_busy && !world.router.wants_flush(world.now) {
            match world.router.flush_at_ms {
                Some(at) => world.advance(at - world.now.mono_ms),
                None => return,
            }
        }
    }
    panic!("it never stands still");
}

/// `count` events each of `agent.a` and `agent.b` wait in a subscription to both that nobody has served yet.
pub(super) fn waits(count: usize) -> (World, SubId) {
    let mut world = calm();
    let sub = world.subscribe("s", &BOTH, RetryPolicy::default());
    settle_down(&mut world);
    for _ in 0..count {
        world.publish("agent.a", None, 10);
        world.publish("agent.b", None, 10);
    }
    settle_down(&mut world);
    (world, sub)
}

/// The same, with one page of it loaded, two events of that in flight, and one waiting for another try.
pub(super) fn mixed(count: usize) -> (World, SubId, LinkId) {
    let (mut world, sub) = waits(count);
    let link = world.link(Window::UNLIMITED);
    let window = Window {
        events: 2,
        bytes: 1 << 20,
    };
    world.join(sub, link, window);
    world.run();
    world.read(0);
    world.answer_read(0);
    world.run();
    settle_without_reading(&mut world);
    let nak = Settle::Nak(Nak {
        delay_ms: Some(60_000),
        failure: Some(Failure::new("no")),
        counted: true,
    });
    // The first of `agent.b`.
    world.settle(link, 1, &nak);
    world.run();
    settle_without_reading(&mut world);
    assert_eq!(world.links[&link].held.len(), 2);
    assert!(!world.router.get(sub).unwrap().live, "most of it is unread");
    (world, sub, link)
}

pub(super) fn settle_without_reading(world: &mut World) {
    for _ in 0..3 {
        world.advance(11);
        world.run();
        world.flush();
    }
}

pub(super) fn of(world: &World, topic: &str) -> BTreeSet<Seq> {
    let events = world.history.values();
    let events = events.filter(|event| &*event.topic == topic);
    events.map(|event| event.seq).collect()
}

pub(super) fn acked(world: &World, sub: SubId) -> BTreeSet<Seq> {
    let known = world.subs[&sub].known.iter();
    let acked = known.filter(|(_, known)| known.fate == Fate::Ended(End::Acked));
    acked.map(|(seq, _)| *seq).collect()
}

pub(super) fn dead(world: &World, sub: SubId) -> BTreeSet<Seq> {
    let prefix = format!("d/{:08x}/", sub.0);
    let keys = world.state.keys().map(|key| String::from_utf8_lossy(key));
    let seqs = keys.filter_map(|key| Seq::from_str_radix(key.strip_prefix(&prefix)?, 16).ok());
    seqs.collect()
}

pub(super) fn record(world: &World, sub: SubId) -> Record {
    serde_json::from_slice(&world.state[&key(sub, "c")]).unwrap()
}

/// What is on the disk, by itself, leads to every event that is not settled.
pub(super) fn nothing_is_lost_on_the_disk(world: &World, sub: SubId) {
    let Some(position) = world.state.get(&key(sub, "p")) else {
        return;
    };
    let position = Position::decode(position).unwrap();
    let record = record(world, sub);
    let settled = acked(world, sub);
    for event in world.history.values() {
        let seq = event.seq;
        let has_note = record.withdrawn.iter().any(|note| {
            let mut filters = note.filters.iter();
            seq > note.after && seq <= note.upto && filters.any(|f| f.matches(&event.topic))
        });
        let is_selected = record.filters.iter().any(|f| f.matches(&event.topic)) || has_note;
        let is_kept = (is_selected && seq > position.upto)
            || position.unsettled.contains(&seq)
            || world
                .state
                .contains_key(&key(sub, &format!("r/{seq:016x}")))
            || dead(world, sub).contains(&seq)
            || settled.contains(&seq);
        assert!(is_kept, "{seq} is lost: {position:?} {record:?}");
    }
}

/// Proves LN10: what is loaded, waits or was never read when its filter goes is a dead letter; what is in flight may
/// be settled by who has it.
#[test]
fn what_waits_by_a_filter_that_goes_is_a_dead_letter() {
    let (mut world, sub, link) = mixed(20);
    let held = world.links[&link].held.iter().map(|held| held.id.seq);
    let held: BTreeSet<Seq> = held.collect();
    world.refilter(sub, &["agent.a"]);
    world.run();
    while !world.links[&link].held.is_empty() {
        world.settle(link, 0, &Settle::Ack);
        world.run();
        settle_down(&mut world);
    }
    let (a, b) = (of(&world, "agent.a"), of(&world, "agent.b"));
    let done: BTreeSet<Seq> = a.union(&held).copied().collect();
    assert_eq!(acked(&world, sub), done);
    assert_eq!(dead(&world, sub), b.difference(&held).copied().collect());
    assert!(record(&world, sub).withdrawn.is_empty(), "its note is gone");
    let letter = world.state.iter().find(|(key, _)| key.starts_with(b"d/"));
    let letter = String::from_utf8_lossy(letter.unwrap().1).into_owned();
    assert!(letter.contains(r#""reason":"removed""#), "{letter}");
    assert!(letter.contains(r#""code":"topic_not_granted""#), "{letter}");
    world.crash();
    assert!(world.drain().is_empty());
    assert_eq!(dead(&world, sub).len(), b.difference(&held).count());
}

/// Proves LN10: what is in flight and given back is a dead letter as well.
#[test]
fn what_is_given_back_after_its_filter_went_is_a_dead_letter() {
    let (mut world, sub, link) = mixed(3);
    world.refilter(sub, &[]);
    world.run();
    settle_down(&mut world);
    assert_eq!(dead(&world, sub).len(), 4);
    world.link_down(link);
    let link = world.link(Window::UNLIMITED);
    world.join(sub, link, Window::default());
    world.run();
    settle_down(&mut world);
    assert!(world.links[&link].held.is_empty());
    assert_eq!(dead(&world, sub).len(), 6);
}

#[test]
fn a_filter_that_comes_back_before_anything_was_judged_has_lost_nothing() {
    for has_died in [false, true] {
        let (mut world, sub) = waits(20);
        world.refilter(sub, &[]);
        world.run();
        settle_down(&mut world);
        assert!(!record(&world, sub).withdrawn.is_empty());
        if has_died {
            world.crash();
        }
        world.refilter(sub, &BOTH);
        world.run();
        assert!(world.drain().is_empty());
        assert!(dead(&world, sub).is_empty());
        assert_eq!(acked(&world, sub).len(), 40);
        assert!(record(&world, sub).withdrawn.is_empty());
    }
}

/// A plugin that is being started says only in its handshake what it selects beyond its manifest.
#[test]
fn nothing_is_judged_before_deliveries_are_taken() {
    let (mut world, sub) = waits(5);
    let link = world.link(Window::UNLIMITED);
    world.router.set_serving(link, false);
    world.links.get_mut(&link).unwrap().serving = false;
    world.refilter(sub, &["agent.a"]);
    world.join(sub, link, Window::default());
    world.run();
    settle_down(&mut world);
    assert!(dead(&world, sub).is_empty());
    world.router.set_serving(link, true);
    world.links.get_mut(&link).unwrap().serving = true;
    world.run();
    settle_down(&mut world);
    assert_eq!(dead(&world, sub), of(&world, "agent.b"));
}

/// One step of a life in which everything that can be late is late.
pub(super) fn creep(world: &mut World, step: usize) {
    match step % 5 {
        0 => world.make_batch(),
        1 => world.write_batch(),
        2 => world.answer_batch(),
        3 if !world.asked.is_empty() => world.read(0),
        4 if !world.answers.is_empty() => world.answer_read(0),
        _ => {}
    }
    if step.is_multiple_of(7) {
        world.advance(11);
    }
    world.run();
}

/// Proves LN10: the broker may die after any step of it; what is on the disk leads to every event at every moment.
#[test]
fn a_death_at_any_moment_loses_nothing_and_files_nothing_twice() {
    for steps in 0..120 {
        let (mut world, sub, _) = mixed(8);
        world.refilter(sub, &["agent.a"]);
        world.run();
        for step in 0..steps {
            creep(&mut world, step);
            nothing_is_lost_on_the_disk(&world, sub);
        }
        world.crash();
        nothing_is_lost_on_the_disk(&world, sub);
        // The change may have been lost with its broker; whoever asks for it asks again.
        world.refilter(sub, &["agent.a"]);
        let open = world.drain();
        assert!(open.is_empty(), "after {steps} steps: {open:?}");
        assert_eq!(dead(&world, sub), of(&world, "agent.b"), "{steps} steps");
        assert_eq!(acked(&world, sub), of(&world, "agent.a"), "{steps} steps");
    }
}

/// Proves LN10: a disk that fills up keeps the commits of a batch without its trailer, and then the broker dies: the
/// note and the position that passed it are not parted.
#[test]
fn a_torn_batch_parts_no_note_from_its_position() {
    for steps in 0..80 {
        let (mut world, sub, _) = mixed(4);
        world.refilter(sub, &["agent.a"]);
        world.run();
        for step in 0..steps {
            creep(&mut world, step);
        }
        world.answer_batch();
        world.advance(11);
        world.run();
        world.make_batch();
        world.tear_batch();
        nothing_is_lost_on_the_disk(&world, sub);
        world.refilter(sub, &["agent.a"]);
        let open = world.drain();
        assert!(open.is_empty(), "after {steps} steps: {open:?}");
        assert_eq!(dead(&world, sub), of(&world, "agent.b"), "{steps} steps");
    }
}

/// Refused housekeeping (a disk without room) is tried again: neither side of the change goes alone.
#[test]
fn a_refused_commit_of_the_change_is_made_again() {
    let (mut world, sub, _) = mixed(8);
    world.refilter(sub, &["agent.a"]);
    world.run();
    for _ in 0..6 {
        world.faults = 200;
        settle_without_reading(&mut world);
        world.faults = 0;
        nothing_is_lost_on_the_disk(&world, sub);
        world.advance(1_000);
        world.run();
    }
    let open = world.drain();
    assert!(open.is_empty(), "{open:?}");
    assert_eq!(dead(&world, sub), of(&world, "agent.b"));
}

#[test]
fn the_disk_sets_the_pace_of_what_is_filed() {
    let (mut world, sub) = waits(400);
    world.checked = false;
    let link = world.link(Window::UNLIMITED);
    let none = Window {
        events: 0,
        bytes: 0,
    };
    world.join(sub, link, none);
    world.run();
    while !world.asked.is_empty() {
        world.read(0);
        world.answer_read(0);
        world.run();
    }
    let loaded = world.router.get(sub).unwrap().entries.len();
    assert!(loaded > WITHDRAWN_FILING_MAX, "{loaded} are loaded");
    world.refilter(sub, &[]);
    world.run();
    for _ in 0..10 {
        world.run();
        let sub = world.router.get(sub).unwrap();
        assert_eq!(sub.filing, WITHDRAWN_FILING_MAX, "the rest waits");
        assert!(world.asked.is_empty(), "and nothing more is read");
    }
    settle_down(&mut world);
    assert_eq!(dead(&world, sub).len(), 800);
    assert_eq!(world.router.get(sub).unwrap().filing, 0);
}

/// Whoever changes its filters again and again keeps a bounded record, and still loses nothing.
#[test]
fn notes_are_bounded_and_the_oldest_become_one() {
    let mut world = calm();
    let topics: Vec<String> = (0..40).map(|n| format!("agent.t{n}")).collect();
    let first: Vec<&str> = topics.iter().map(String::as_str).collect();
    let sub = world.subscribe("s", &first, RetryPolicy::default());
    settle_down(&mut world);
    for round in 0..40 {
        world.publish(&topics[round], None, 1);
        settle_down(&mut world);
        world.refilter(sub, &first[round + 1..]);
        world.run();
        assert!(world.router.get(sub).unwrap().withdrawn.len() <= WITHDRAWN_MAX);
    }
    settle_down(&mut world);
    world.crash();
    assert!(world.drain().is_empty());
    assert_eq!(dead(&world, sub).len(), 40);
}

#[test]
fn the_same_filters_that_go_again_and_again_make_one_note() {
    let (mut world, sub) = waits(3);
    for _ in 0..5 {
        world.refilter(sub, &["agent.a"]);
        world.publish("agent.b", None, 1);
        settle_down(&mut world);
        world.refilter(sub, &BOTH);
        world.publish("agent.b", None, 1);
        settle_down(&mut world);
    }
    assert_eq!(world.router.get(sub).unwrap().withdrawn.len(), 1);
    assert!(world.drain().is_empty());
    assert!(dead(&world, sub).is_empty());
}

/// A store of a version that kept no notes loads, and one without notes has no word of them.
#[test]
fn a_record_without_notes_is_as_it_was() {
    let (mut world, sub) = waits(1);
    let text = String::from_utf8(world.state[&key(sub, "c")].clone()).unwrap();
    assert!(!text.contains("withdrawn"), "{text}");
    let mut old: serde_json::Value = serde_json::from_str(&text).unwrap();
    old.as_object_mut().unwrap().remove("since");
    let old = serde_json::to_vec(&old).unwrap();
    world.state.insert(key(sub, "c"), old);
    world.crash();
    let restored = world.router.get(sub).unwrap();
    assert_eq!(restored.since, restored.cursor, "what it had is not known");
    assert!(world.drain().is_empty());
}

/// A filter that is named for what is private to operators is not covered by a wildcard that leaves that out.
#[test]
fn a_wildcard_does_not_stand_for_what_it_leaves_out() {
    let mut world = calm();
    let owner = Owner::Instance(crate::instance::InstanceKey::new("mail", "a"));
    let filter = |text: &str| trunkline_contract::topic::Filter::parse(text).unwrap();
    let ask = SubscribeAs {
        name: "instance.mail.a".into(),
        owner,
        filters: vec![filter("plugin.dead.>")],
        group: None,
        start: Seq::MAX,
        policy: RetryPolicy::default(),
        hold: Hold::default(),
        expire_ms: NEVER_MS,
    };
    let (sub, _) = world.router.subscribe(ask, world.now).unwrap();
    world.publish("plugin.dead.letter", None, 1);
    world.flush();
    world.router.refilter(sub, vec![filter(">")], world.now);
    let changed = world.router.get(sub).unwrap();
    assert!(changed.holds(world.log[0].seq, "plugin.dead.letter"));
}
