//! Which subscriptions match a topic, remembered and forgotten at the right time.

use std::sync::Arc;

use proptest::prelude::*;
use trunkline_contract::topic::Filter;

use super::super::*;
use super::world::World;
use crate::store::Seq;

const TOPICS: [&str; 6] = ["a", "a.b", "a.c", "a.b.c", "b", "b.c"];
const FILTERS: [&str; 7] = ["a", "a.*", "a.>", "*", "*.b", "b.>", "a.b.c"];

#[derive(Debug, Clone)]
enum Op {
    Subscribe(u8, Vec<usize>),
    Delete(u8),
    Look(usize),
    Crash,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => (0..5u8, prop::collection::vec(0..FILTERS.len(), 1..3)).prop_map(|(n, f)| Op::Subscribe(n, f)),
        1 => (0..5u8).prop_map(Op::Delete),
        5 => (0..TOPICS.len()).prop_map(Op::Look),
        1 => Just(Op::Crash),
    ]
}

proptest! {
    #[test]
    fn what_is_remembered_of_a_topic_is_what_the_filters_say_now(ops in prop::collection::vec(op(), 1..60)) {
        let mut world = World::new(1);
    world.faults = 0;
        for op in ops {
            match op {
                Op::Subscribe(name, filters) => {
                    let filters: Vec<&str> = filters.iter().map(|index| FILTERS[*index]).collect();
                    world.subscribe(&format!("s{name}"), &filters, RetryPolicy::default());
                }
                Op::Delete(name) => {
                    if let Some(id) = world.router.find(&format!("s{name}")) {
                        world.router.delete(id, world.now);
                        world.subs.remove(&id);
                    }
                }
                Op::Crash => {
                    world.flush();
                    world.now.mono_ms += 20;
                    world.flush();
                    world.crash();
                }
                Op::Look(topic) => {
                    let topic: Arc<str> = TOPICS[topic].into();
                    let mut expected: Vec<SubId> = world
                        .router
                        .subs
                        .values()
                        .filter(|sub| sub.filters.iter().any(|filter| filter.matches(&topic)))
                        .map(|sub| sub.id)
                        .collect();
                    expected.sort_unstable();
                    prop_assert_eq!(&*world.router.matching(&topic), &expected[..]);
                    let again = world.router.matching(&topic);
                    prop_assert_eq!(&*again, &expected[..]);
                }
            }
        }
    }
}

/// A page that was asked for with the old filters says nothing of what is published after the change.
#[test]
fn new_filters_apply_to_everything_after_them_even_while_a_page_is_being_read() {
    let mut world = World::new(1);
    world.faults = 0;
    let sub = world.subscribe("s", &["a"], RetryPolicy::default());
    world.flush();
    world.publish("a", None, 1);
    world.flush();
    let link = world.link(Window::default());
    world.join(sub, link, Window::default());
    world.run();
    assert_eq!(world.asked.len(), 1, "it reads what it missed");
    world
        .router
        .subscribe(
            SubscribeAs {
                name: "s".into(),
                owner: Owner::Client("c".into()),
                filters: vec![Filter::parse("a").unwrap(), Filter::parse("b").unwrap()],
                group: None,
                start: Seq::MAX,
                policy: RetryPolicy::default(),
                hold: Hold::default(),
                expire_ms: u64::MAX,
            },
            world.now,
        )
        .unwrap();
    world
        .subs
        .get_mut(&sub)
        .unwrap()
        .filters
        .push(Filter::parse("b").unwrap());
    world.publish("b", None, 1);
    world.flush();
    let open = world.drain();
    assert!(open.is_empty(), "{open:?}");
    assert_eq!(world.deliveries.len(), 2);
}
