//! Parts that are lost, repeated and late, with a caller that is killed at any time.

use std::collections::{BTreeMap, BTreeSet};

use super::{Buffer, Head, Options, Reason, Step, Whole};

/// A small generator: the same seed, the same story.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, most: u64) -> u64 {
        self.next() % most
    }
}

/// What a caller keeps: committed whole, or not at all.
#[derive(Clone, Default)]
struct Kept {
    buffer: Option<String>,
    parts: BTreeMap<u32, u64>,
    made: Vec<(Whole, Vec<u64>)>,
}

const OPTIONS: Options = Options {
    silence_ms: 50,
    max_age_ms: 300,
    max_parts: 12,
    max_bytes: 10_000,
};

fn take(kept: &Kept, seq: u64, head: &Head, now_ms: u64) -> Kept {
    let mut next = kept.clone();
    let mut buffer = load(kept).unwrap_or_else(|| Buffer::new("s".into(), None, now_ms));
    match buffer.add(head, &OPTIONS, now_ms) {
        Step::Repeat => {}
        Step::Wait { place, due_ms } => {
            assert!(due_ms >= now_ms, "never due in the past");
            next.parts.insert(place, seq);
            next.buffer = Some(serde_json::to_string(&buffer).expect("plain data"));
        }
        Step::Whole(whole) => {
            next.parts.insert(buffer.parts() - 1, seq);
            finish(&mut next, &buffer, whole);
        }
    }
    next
}

fn load(kept: &Kept) -> Option<Buffer> {
    let text = kept.buffer.as_ref()?;
    Some(serde_json::from_str(text).expect("what was written"))
}

fn finish(kept: &mut Kept, buffer: &Buffer, whole: Whole) {
    let parts = buffer
        .order()
        .iter()
        .map(|place| kept.parts[place])
        .collect();
    kept.made.push((whole, parts));
    kept.buffer = None;
    kept.parts.clear();
}

fn story(seed: u64) {
    let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let total = 1 + dice.below(10);
    let is_announced = dice.below(2) == 0;
    let mut waiting: Vec<u64> = (1..=total).collect();
    for seq in 1..=total {
        match dice.below(8) {
            0 => waiting.retain(|one| *one != seq),
            1 => waiting.push(seq),
            _ => {}
        }
    }
    let sent: BTreeSet<u64> = waiting.iter().copied().collect();
    let (mut kept, mut now_ms) = (Kept::default(), 1_000);
    let mut given = BTreeSet::new();
    while !waiting.is_empty() || kept.buffer.is_some() {
        now_ms += dice.below(20);
        // The clock of the host may jump; what is kept must survive both directions.
        if dice.below(40) == 0 {
            now_ms = now_ms.saturating_sub(dice.below(200));
        }
        let due = load(&kept).map(|buffer| buffer.due_ms(&OPTIONS));
        if waiting.is_empty() || due.is_some_and(|due| due <= now_ms) {
            now_ms = now_ms.max(due.expect("one is open"));
            let buffer = load(&kept).expect("one is open");
            let whole = buffer.at(&OPTIONS, now_ms).expect("it is due");
            assert!(matches!(whole.reason, Reason::Silence | Reason::MaxAge));
            let mut next = kept.clone();
            finish(&mut next, &buffer, whole);
            // Killed before the commit: the timer comes again.
            if dice.below(4) > 0 {
                kept = next;
            }
            continue;
        }
        let at = dice.below(waiting.len() as u64) as usize;
        let seq = waiting[at];
        let head = Head {
            seq: Some(seq),
            total: is_announced.then_some(total),
            is_final: !is_announced && seq == total,
            bytes: dice.below(500),
        };
        let next = take(&kept, seq, &head, now_ms);
        // Killed before the commit: the part comes again.
        if dice.below(4) > 0 {
            kept = next;
            waiting.swap_remove(at);
            given.insert(seq);
        }
    }
    let mut seen = BTreeSet::new();
    for (whole, parts) in &kept.made {
        assert!(
            parts.windows(2).all(|pair| pair[0] < pair[1]),
            "in order: {parts:?}"
        );
        for missing in &whole.missing {
            assert!(!parts.contains(missing), "what is there is not missing");
        }
        if matches!(whole.reason, Reason::Complete | Reason::Final) && kept.made.len() == 1 {
            assert_eq!(parts.len() as u64, total, "complete is all of it");
        }
        seen.extend(parts.iter().copied());
    }
    assert_eq!(seen, sent, "every part that was sent is in a whole");
    assert_eq!(seen, given);
    let twice: usize = kept.made.iter().map(|(_, parts)| parts.len()).sum();
    // A repeat after its whole was made begins another whole: the caller's mark of the group stops that.
    assert!(
        kept.made.len() > 1 || twice == sent.len(),
        "no part twice in a whole"
    );
}

/// Proves P6a: whatever is lost, repeated, late or killed, each part is in a whole, and each whole ends.
#[test]
fn ten_thousand_stories_lose_no_part() {
    for seed in 0..10_000 {
        story(seed);
    }
}
