//! Topics and filters: matching agrees with a slow definition, and covering implies matching.
#![no_main]

use libfuzzer_sys::fuzz_target;
use trunkline_contract::topic::{Filter, check_topic, classify, session_key};

fn matches(filter: &[&str], topic: &[&str]) -> bool {
    match (filter, topic) {
        ([], []) => true,
        ([">"], rest) => !rest.is_empty(),
        (["*", filter @ ..], [_, topic @ ..]) => matches(filter, topic),
        ([a, filter @ ..], [b, topic @ ..]) if a == b => matches(filter, topic),
        _ => false,
    }
}

fuzz_target!(|input: (&str, &str, &str)| {
    let (topic, first, second) = input;
    let _class = classify(topic);
    let _key = session_key(topic, Some(first));
    if check_topic(topic).is_err() {
        return;
    }
    let (Ok(first), Ok(second)) = (Filter::parse(first), Filter::parse(second)) else { return };
    let parts: Vec<&str> = topic.split('.').collect();
    for filter in [&first, &second] {
        let slow: Vec<&str> = filter.as_str().split('.').collect();
        assert_eq!(filter.matches(topic), matches(&slow, &parts));
    }
    if first.covers(&second) && second.matches(topic) {
        assert!(first.matches(topic));
    }
});
