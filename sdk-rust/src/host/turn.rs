//! All that one turn of the host's loop has to say, as one text: a line for each decision and call.
//!
//! | line | meaning |
//! |---|---|
//! | `d<ticket> <outcome>` | a decision, as [`outcome_of`](super::outcome_of) reads it |
//! | `r<ticket> <payload>` | the decision to answer with a payload |
//! | `c<op> <target> <name> <arguments>` | a call |
//!
//! A capital letter says that the JSON text of the line is tagged. JSON writers put no newline into
//! a text, so lines are found without reading it, and each text is read once. The order is kept: a
//! call that goes out on behalf of a ticket stands before the decision that ends the ticket.

use std::borrow::Cow;

use serde_json::value::RawValue;
use trunkline_contract::error::{Code, Error};

use super::exact::untag;
use super::input::{args, payload};
use super::outcome::{Decision, outcome_of};
use crate::outcome::{Failure, Outcome};

/// What one line says.
#[derive(Debug)]
pub(super) enum Said<'a> {
    Decision {
        ticket: u64,
        decision: Decision,
    },
    Call {
        op: u64,
        target: u64,
        name: &'a str,
        args: Result<Cow<'a, str>, Error>,
    },
}

/// Reads the lines of a turn, in order.
pub(super) fn lines(text: &str) -> impl Iterator<Item = Result<Said<'_>, Error>> {
    text.split('\n').map(line)
}

fn line(line: &str) -> Result<Said<'_>, Error> {
    let unknown = || {
        let begin = &line[..line.floor_char_boundary(32)];
        let text = format!("expected a decision or a call, found {begin:?}");
        Error::new(Code::InvalidArguments, text)
    };
    let kind = *line.as_bytes().first().ok_or_else(unknown)?;
    let (number, rest) = line
        .get(1..)
        .and_then(|rest| rest.split_once(' '))
        .ok_or_else(unknown)?;
    let number = number.parse().map_err(|_| unknown())?;
    let plain = |text| {
        if kind.is_ascii_uppercase() {
            untag(text).map(Cow::Owned)
        } else {
            Ok(Cow::Borrowed(text))
        }
    };
    Ok(match kind.to_ascii_lowercase() {
        b'd' => Said::Decision {
            ticket: number,
            decision: plain(rest).map_or_else(failed, |text| outcome_of(&text)),
        },
        b'r' => Said::Decision {
            ticket: number,
            decision: plain(rest)
                .and_then(|text| payload(args::<&RawValue>(&text)?))
                .map_or_else(failed, Decision::reply),
        },
        b'c' => {
            let (target, rest) = rest.split_once(' ').ok_or_else(unknown)?;
            let (name, text) = rest.split_once(' ').ok_or_else(unknown)?;
            Said::Call {
                op: number,
                target: target.parse().map_err(|_| unknown())?,
                name,
                args: plain(text),
            }
        }
        _ => return Err(unknown()),
    })
}

fn failed(error: Error) -> Decision {
    Outcome::Failed(Failure::located(error, None)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decision(text: &str) -> Outcome {
        match line(text).expect("a line") {
            Said::Decision {
                ticket: 7,
                decision,
            } => decision.outcome(),
            other => panic!("expected the decision of ticket 7, found {other:?}"),
        }
    }

    #[test]
    fn decisions_and_calls_are_read_in_their_order() {
        let text = "c3 5 publish {\"topic\":\"a b\"}\nd7 null\nr7 {\"n\":1}";
        let read: Vec<_> = lines(text).map(|line| line.expect("a line")).collect();
        let Said::Call {
            op: 3,
            target: 5,
            name: "publish",
            args: Ok(args),
        } = &read[0]
        else {
            panic!("expected the call, found {:?}", read[0]);
        };
        assert_eq!(args, "{\"topic\":\"a b\"}");
        assert!(matches!(decision("d7 null"), Outcome::Nothing));
        assert!(matches!(decision("r7 {\"n\":1}"), Outcome::Reply(_)));
        assert_eq!(read.len(), 3);
    }

    /// Proves W4, boundary part: a tagged answer keeps its integers, and NaN is refused.
    #[test]
    fn a_tagged_line_is_exact() {
        let Outcome::Reply(reply) = decision("R7 [\"\\u0000n9007199254740993\"]") else {
            panic!("expected a reply");
        };
        assert!(format!("{reply:?}").contains("9007199254740993"));
        let Outcome::Failed(failure) = decision("R7 \"\\u0000x NaN\"") else {
            panic!("expected a failure");
        };
        assert_eq!(failure.code(), Some(Code::InvalidPayload));
        let read = line("C1 2 publish [\"\\u0000x NaN\"]").expect("a line");
        assert!(matches!(read, Said::Call { args: Err(_), .. }));
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        for text in ["", "d", "d7", "x7 null", "dx null", "c1 2 publish", "é1 2"] {
            assert!(line(text).is_err(), "{text}");
        }
        let Outcome::Failed(failure) = decision("r7 \"\\ud800\"") else {
            panic!("expected a failure");
        };
        assert_eq!(failure.code(), Some(Code::InvalidPayload));
    }
}
