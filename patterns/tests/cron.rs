//! When cron expressions are due, compared with another implementation (`cron/vectors.py` says which).

use trunkline_patterns::schedule::Schedule;

const VECTORS: &str = include_str!("cron/vectors.txt");

/// Proves P4a: cron with names, lists, ranges, steps, `L` and `#`, in real time zones with their changes of
/// clocks, is due when another implementation says so.
#[test]
fn thousands_of_expressions_are_due_when_another_implementation_says_so() {
    let (mut count, mut wrong) = (0, Vec::new());
    for line in VECTORS.lines() {
        let parts: Vec<&str> = line.split(" | ").collect();
        let [text, zone, start, due] = parts[..] else {
            panic!("expected four parts, found {line}");
        };
        let schedule = Schedule::cron(text, Some(zone)).expect("the vectors hold expressions");
        let mut at_ms: i64 = start.parse::<i64>().expect("seconds") * 1000;
        let mut found = Vec::new();
        for _ in due.split(' ') {
            at_ms = schedule.next_after(at_ms).expect("it is due for ever");
            found.push((at_ms / 1000).to_string());
        }
        count += 1;
        if found.join(" ") != due {
            wrong.push(format!("{line}\n  found {}", found.join(" ")));
        }
    }
    assert!(count >= 3000, "{count} vectors");
    let shown = wrong
        .iter()
        .take(20)
        .cloned()
        .collect::<Vec<_>>()
        .join("\n");
    assert!(
        wrong.is_empty(),
        "{} of {count} differ:\n{shown}",
        wrong.len()
    );
}
