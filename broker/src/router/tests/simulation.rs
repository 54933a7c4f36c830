//! Thousands of short lives, each from one seed.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use super::super::*;
use super::model::{End, Fate};
use super::world::{Held, Staged, World};
use crate::clock::Random;
use crate::store::{Seq, StoredEvent};

const TOPICS: [&str; 4] = [
    "agent.a",
    "agent.b",
    "plugin.inbound.chat.one",
    "agent.deep.c",
];
const FILTERS: [&str; 5] = [
    "agent.a",
    "agent.*",
    "agent.>",
    "plugin.inbound.chat.one",
    "agent.deep.*",
];
const SESSIONS: [Option<&str>; 5] = [None, Some("1"), Some("2"), Some("3"), Some("4")];

fn policy(world: &mut World) -> RetryPolicy {
    RetryPolicy {
        failures_max: 1 + world.below(4) as u32,
        backoff_ms: vec![10 + world.below(100), 500],
        jitter: 0.2,
        crashes_max: 1 + world.below(3) as u32,
        lease_ms: 100 + world.below(900),
        on_expired: if world.chance(50) {
            OnExpired::Dead
        } else {
            OnExpired::Drop
        },
        ..RetryPolicy::default()
    }
}

fn window(world: &mut World) -> Window {
    Window {
        events: world.below(6) as usize,
        bytes: [1, 60, 200, 1 << 20][world.below(4) as usize],
    }
}

fn subs(world: &World) -> Vec<SubId> {
    let live = world.subs.iter().filter(|(_, model)| !model.deleted);
    live.map(|(id, _)| *id).collect()
}

fn links(world: &World) -> Vec<LinkId> {
    world.links.keys().copied().collect()
}

fn publish(world: &mut World) {
    let topic = TOPICS[world.below(4) as usize];
    let session = SESSIONS[world.below(5) as usize];
    let bytes = world.below(120) as usize;
    let expires = world
        .chance(4)
        .then(|| world.now.wall_ms + world.below(400) as i64);
    world.publish_expiring(topic, session, bytes, expires);
}

fn settlement(world: &mut World) -> Settle {
    match world.below(10) {
        0..=4 => Settle::Ack,
        5 | 6 => Settle::Nak(Nak {
            delay_ms: world.chance(50).then(|| world.rng.bits() % 200),
            failure: Some(Failure::new("no")),
            counted: world.chance(70),
        }),
        7 => Settle::Reject(Reject::default()),
        _ => Settle::Extend {
            lease_ms: world.below(600),
        },
    }
}

/// A commit of an event and some settlements of one link.
fn commit(world: &mut World, link: LinkId) {
    let mut staged = Staged::default();
    if world.chance(60) {
        publish(world);
        staged = world.staged.pop().unwrap();
    }
    let mut held: Vec<Held> = Vec::new();
    let state = world.links.get_mut(&link).unwrap();
    let count = 1 + (world.rng.bits() % 3) as usize;
    while held.len() < count && !state.held.is_empty() {
        held.push(state.held.remove(0));
    }
    let stale = held.iter().position(|held| !world.lease_of(held.id));
    let split = world.below(held.len() as u64 + 1) as usize;
    let acks: Vec<DeliveryId> = held[..split].iter().map(|h| h.id).collect();
    let rejects: Vec<_> = held[split..]
        .iter()
        .map(|h| (h.id, Reject::default()))
        .collect();
    let prepared = world
        .router
        .prepare(link, &acks, Vec::new(), rejects, world.now);
    match (prepared, stale) {
        (Err(index), Some(first)) => {
            assert_eq!(index, first, "the first stale delivery is named");
            world.links.get_mut(&link).unwrap().held.extend(held);
        }
        (Ok(prepared), None) => {
            staged.ops = prepared.ops.clone();
            staged.prepared = prepared;
            staged.acks = held[..split].iter().map(|h| (link, h.id)).collect();
            staged.rejects = held[split..].iter().map(|h| (link, h.id)).collect();
            world.links.get_mut(&link).unwrap().settling.extend(held);
            world.staged.push(staged);
        }
        (prepared, stale) => panic!("prepared {prepared:?}, but stale is {stale:?}"),
    }
}

fn replay(world: &mut World) {
    let keys: Vec<Vec<u8>> = world
        .state
        .keys()
        .filter(|k| k.starts_with(b"d/"))
        .cloned()
        .collect();
    if keys.is_empty() {
        return;
    }
    let key = keys[world.below(keys.len() as u64) as usize].clone();
    let text = String::from_utf8(key.clone()).unwrap();
    let mut parts = text.split('/').skip(1);
    let sub = SubId(u32::from_str_radix(parts.next().unwrap(), 16).unwrap());
    let seq = Seq::from_str_radix(parts.next().unwrap(), 16).unwrap();
    let Some(model) = world.subs.get(&sub).filter(|m| !m.deleted && m.seeks == 0) else {
        return;
    };
    if !model.known.get(&seq).is_some_and(|known| known.durable) {
        return;
    }
    // The second of two replays at once would be refused: its record is gone.
    if world.replaying(sub, seq) {
        return;
    }
    let event = StoredEvent::clone(&world.history[&seq]);
    if !world.subs[&sub].matches(&event) {
        return;
    }
    let session = trunkline_contract::topic::session_key(&event.topic, event.session.as_deref());
    let envelope = String::from_utf8(event.envelope.to_vec()).unwrap();
    let op = world
        .router
        .replay_op(sub, seq, &event.topic, session.clone(), &envelope);
    world.staged.push(Staged {
        ops: vec![remove_op(key), op],
        replay: Some((sub, event, session)),
        ..Staged::default()
    });
}

fn remove_op(key: Vec<u8>) -> crate::store::StateOp {
    super::super::table::remove(key)
}

/// Other filters for a subscription: often fewer, sometimes none, sometimes those that it had.
fn refilter(world: &mut World) {
    let subs = subs(world);
    let Some(sub) = world.pick(&subs) else {
        return;
    };
    let count = world.below(3) as usize;
    let filters: Vec<&str> = (0..count)
        .map(|_| FILTERS[world.below(5) as usize])
        .collect();
    world.refilter(sub, &filters);
}

/// Retention: what nobody holds may go.
fn purge(world: &mut World) {
    let upto = world.below(world.log_head + 1);
    let router = &world.router;
    world.log.retain(|event| {
        let held = |sub: &Subscription| sub.holds(event.seq, &event.topic);
        event.seq > upto || router.subs.values().any(held)
    });
}

/// What one life has besides the everyday.
#[derive(Clone, Copy)]
struct Plan {
    crashes: bool,
    /// Replays, or else seeks: an event that is both replayed and sought comes twice, as asked.
    replays: bool,
    /// Filters change.
    refilters: bool,
}

fn step(world: &mut World, plan: Plan) {
    match world.below(100) {
        0..=19 => publish(world),
        20..=27 => world.make_batch(),
        28..=34 => world.write_batch(),
        35..=43 => world.answer_batch(),
        44..=49 => {
            let index = world.below(world.asked.len() as u64) as usize;
            if index < world.asked.len() {
                world.read(index);
            }
        }
        50..=55 => {
            let index = world.below(world.answers.len() as u64) as usize;
            if index < world.answers.len() {
                world.answer_read(index);
            }
        }
        56..=71 => {
            let links = links(world);
            if let Some(link) = world.pick(&links) {
                let held = world.links[&link].held.len();
                if held > 0 {
                    let index = world.below(held as u64) as usize;
                    let what = settlement(world);
                    world.settle(link, index, &what);
                }
                for id in std::mem::take(&mut world.links.get_mut(&link).unwrap().gaps) {
                    world.router.settle(link, id, Settle::Ack, world.now);
                }
            }
        }
        72..=77 => {
            let links = links(world);
            if let Some(link) = world.pick(&links) {
                commit(world, link);
            }
        }
        78..=81 => {
            let ms = [1, 5, 50, 400][world.below(4) as usize];
            world.advance(ms);
        }
        82..=84 if world.links.len() < 4 => {
            let window = if world.chance(50) {
                Window::default()
            } else {
                window(world)
            };
            let link = world.link(window);
            for sub in subs(world) {
                if world.chance(70) {
                    let window = if world.chance(60) {
                        Window::default()
                    } else {
                        self::window(world)
                    };
                    world.join(sub, link, window);
                }
            }
        }
        85..=86 => {
            let links = links(world);
            if let Some(link) = world.pick(&links) {
                world.link_down(link);
                if world.chance(60) {
                    let lost = world.lost.pop().unwrap();
                    world.blame(&lost);
                }
            }
        }
        87 => {
            if let Some(lost) = world.lost.pop() {
                world.blame(&lost);
            }
        }
        88 => {
            let (links, subs) = (links(world), subs(world));
            if let (Some(link), Some(sub)) = (world.pick(&links), world.pick(&subs)) {
                if world.links[&link].windows.contains_key(&sub) {
                    world.leave(sub, link);
                } else {
                    let window = window(world);
                    world.join(sub, link, window);
                }
            }
        }
        89..=90 => {
            let links = links(world);
            if let Some(link) = world.pick(&links) {
                let on = world.chance(70);
                let state = world.links.get_mut(&link).unwrap();
                if on {
                    state.serving = true;
                    state.writable = true;
                } else if world.rng.bits().is_multiple_of(2) {
                    state.serving = false;
                } else {
                    state.writable = false;
                }
                let (serving, writable) = (state.serving, state.writable);
                world.router.set_serving(link, serving);
                world.router.set_writable(link, writable);
            }
        }
        91 => {
            let links = links(world);
            if let Some(link) = world.pick(&links) {
                let window = window(world);
                world.router.set_link_window(link, window);
                world.links.get_mut(&link).unwrap().window = Some(window);
            }
        }
        92 => {
            if subs(world).len() < 4 {
                let name = format!("s{}", world.rng.bits());
                let filters = [
                    FILTERS[world.below(5) as usize],
                    FILTERS[world.below(5) as usize],
                ];
                let policy = policy(world);
                let start = if world.chance(50) {
                    Seq::MAX
                } else {
                    world.below(world.log_head + 1)
                };
                world.subscribe_from(&name, &filters, policy, start);
            }
        }
        93 if plan.replays => replay(world),
        94 => {
            let subs = subs(world);
            if let Some(sub) = world.pick(&subs) {
                match world.below(4) {
                    0 => world.delete(sub),
                    1 | 2 if !plan.replays => {
                        let to = world.below(world.log_head + 2);
                        world.seek(sub, to);
                    }
                    _ => {
                        let to = world.below(world.log_head + 2);
                        world.skip(sub, to);
                    }
                }
            }
        }
        95 => purge(world),
        96 if plan.crashes => world.crash(),
        97..=98 if plan.refilters => refilter(world),
        _ => {
            world.make_batch();
            world.write_batch();
            world.answer_batch();
        }
    }
    world.run();
}

pub(super) fn life(seed: u64, steps: usize) -> World {
    live(seed, steps, false)
}

fn live(seed: u64, steps: usize, refilters: bool) -> World {
    let mut world = World::new(seed);
    world.faults = [0, 5, 20][world.below(3) as usize];
    let plan = Plan {
        crashes: world.chance(70),
        replays: world.chance(50),
        refilters,
    };
    for index in 0..=world.below(3) {
        let filter = FILTERS[world.below(5) as usize];
        let policy = policy(&mut world);
        world.subscribe(&format!("first{index}"), &[filter], policy);
    }
    for _ in 0..steps {
        step(&mut world, plan);
    }
    let open = world.drain();
    assert!(open.is_empty(), "never ended: {open:?}");
    for (id, model) in world.subs.iter().filter(|(_, model)| !model.deleted) {
        for (seq, known) in &model.known {
            let key = format!("d/{:08x}/{seq:016x}", id.0).into_bytes();
            if let Fate::Ended(End::Dead(reason)) = known.fate {
                let record = world
                    .state
                    .get(&key)
                    .map(|value| String::from_utf8_lossy(value));
                let says = format!("\"reason\":\"{reason}\"");
                assert!(
                    record.is_some_and(|text| text.contains(&says)),
                    "{seq} died: {reason}"
                );
            }
        }
    }
    // Everything is settled and durable: after one more crash nothing comes again.
    let delivered = world.delivered;
    world.crash();
    let open = world.drain();
    assert!(open.is_empty(), "open again after a crash: {open:?}");
    let again =
        &world.deliveries[world.deliveries.len() - (world.delivered - delivered) as usize..];
    assert!(again.is_empty(), "delivered again after a crash: {again:?}");
    world
}

fn run(seed: u64, steps: usize, refilters: bool) {
    let outcome = catch_unwind(AssertUnwindSafe(|| live(seed, steps, refilters)));
    if let Err(panic) = outcome {
        eprintln!("seed {seed} with {steps} steps failed");
        resume_unwind(panic);
    }
}

/// The first seed and how many.
fn seeds() -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let first: u64 = number("TRUNKLINE_SEED").unwrap_or(1);
    first..first + number("TRUNKLINE_SEEDS").unwrap_or(2_000)
}

/// Proves LN10: whatever joins, leaves, crashes, fails or comes late, what is published reaches every
/// matching subscription, in order within a session, one at a time, or ends as a dead letter.
#[test]
fn thousands_of_lives_keep_every_promise_of_the_router() {
    for seed in seeds() {
        run(seed, [60, 120, 240, 400][(seed % 4) as usize], false);
    }
}

/// Proves LN10: the same while subscriptions change what they select: what waited by a filter that went is
/// delivered if it comes back in time, else a dead letter, once, and nothing else is.
#[test]
fn thousands_of_lives_whose_filters_change_lose_nothing() {
    for seed in seeds() {
        run(seed, [60, 120, 240, 400][(seed % 4) as usize], true);
    }
}
