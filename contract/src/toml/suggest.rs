//! "Did you mean": the nearest known word.

/// Finds the known word that a typing mistake most likely meant, if any is near enough.
///
/// Near enough: at most a third of the longer word differs (one character for short words), counted
/// as insertions, deletions, replacements and swaps of neighbours.
pub fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    known
        .iter()
        .map(|candidate| (distance(word, candidate), *candidate))
        .filter(|(far, candidate)| {
            *far <= (word.chars().count().max(candidate.chars().count()) / 3).max(1)
        })
        .min_by_key(|(far, _)| *far)
        .map(|(_, candidate)| candidate)
}

/// How many are named of what there is.
const NAMED_MAX: usize = 10;

/// Says what there is, and first what was most likely meant: `did you mean hello? there are hello, mail`.
pub fn one_of(word: &str, known: &[&str]) -> String {
    meant(word, known, known)
}

/// The same where what there is has longer names than what may have been meant.
pub fn meant(word: &str, words: &[&str], known: &[&str]) -> String {
    let near = nearest(word, words).filter(|near| *near != word);
    let near = near.map_or_else(String::new, |near| format!("did you mean {near}? "));
    let named = known[..known.len().min(NAMED_MAX)].join(", ");
    match known.len() {
        0 => "there is none".to_owned(),
        1 if !near.is_empty() => near.trim_end().to_owned(),
        1 => format!("there is {named}"),
        count if count > NAMED_MAX => {
            format!("{near}there are {named} and {} more", count - NAMED_MAX)
        }
        _ => format!("{near}there are {named}"),
    }
}

/// Optimal string alignment distance over characters.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}
