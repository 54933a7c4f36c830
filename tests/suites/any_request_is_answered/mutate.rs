//! Requests nobody thought of, made from ones that somebody did. One seed gives one row of them.

use trunkline_tests::random::Random;

/// Bytes of one input.
const BYTES_MAX: usize = 16 << 10;
/// Changes of one input.
const CHANGES_MAX: u64 = 6;
/// Numbers at which something ends.
const NUMBERS: [&str; 12] = [
    "0",
    "-1",
    "1e3",
    "0.5",
    "255",
    "65536",
    "2147483648",
    "9007199254740993",
    "9223372036854775808",
    "18446744073709551616",
    "1e400",
    "00",
];
/// What requests are made of.
const WORDS: [&str; 84] = [
    "/v1/",
    "/v1/publish",
    "/v1/events",
    "/v1/tools/",
    "/v1/blobs",
    "/v1/blobs/uploads/",
    "/v1/kv/client/",
    "/v1/kv/bot/",
    "/v1/status",
    "/v1/dead-letters",
    "/v1/subscriptions",
    "/v1/instances/bot/main",
    "/v1/locks",
    "/v1/link",
    "/hooks/bot/main/tg",
    "/plugins/bot/main/",
    "/mcp",
    "/metrics",
    "/healthz",
    "..",
    "//",
    "%2F",
    "%00",
    "%ff",
    "%",
    "*",
    ">",
    "?",
    "&",
    "=",
    "&limit=",
    "&after=",
    "&filter=",
    "&start=earliest",
    "&prefix=",
    "&token=",
    "&format=cloudevents",
    "&if_revision=",
    "\n\n",
    "\nhost: 127.0.0.1:7711",
    "\nhost: evil.example.com",
    "\norigin: https://console.example.com",
    "\norigin: null",
    "\nauthorization: Bearer ",
    "\nauthorization: Basic Og==",
    "\ncontent-length: 3",
    "\ncontent-type: application/json",
    "\ncontent-type: application/cloudevents+json",
    "\ncontent-type: application/cloudevents-batch+json",
    "\ncontent-type: text/plain; charset=\"",
    "\naccept: text/event-stream",
    "\nlast-event-id: ",
    "\nrange: bytes=-1",
    "\ncontent-range: bytes 0-0/*",
    "\nif-none-match: *",
    "\ntraceparent: 00-",
    "\nforwarded: for=\"[::1]\"",
    "\nx-forwarded-for: ",
    "\nce-specversion: 1.0",
    "\nce-id: ",
    "\nce-type: a.b",
    "\nce-time: ",
    "\nexpect: 100-continue",
    "\ntransfer-encoding: chunked",
    "\nupgrade: websocket",
    "\nmcp-session-id: ",
    "{",
    "}",
    "[",
    "]",
    "\"",
    ",",
    ":",
    "null",
    "true",
    "{}",
    "[[[[[[[[",
    "\"\\ud800\"",
    "\\u0000",
    "\u{e9}",
    "\u{1f600}",
    "\"payload\":",
    "\"session_id\":",
    "\"expires_at\":\"9999-12-31T23:59:60Z\"",
];
const METHODS: [&str; 9] = [
    "GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "X",
];

/// Makes inputs of those that there are.
pub(crate) struct Mutator {
    random: Random,
    corpus: Vec<Vec<u8>>,
}

impl Mutator {
    /// Begins with what somebody thought of.
    pub(crate) fn new(random: Random, corpus: Vec<Vec<u8>>) -> Self {
        assert!(!corpus.is_empty(), "something to begin with");
        Self { random, corpus }
    }

    /// Makes the next input.
    pub(crate) fn next(&mut self) -> Vec<u8> {
        let mut input = self.any().clone();
        for _ in 0..=self.random.below(CHANGES_MAX) {
            self.change(&mut input);
            input.truncate(BYTES_MAX);
        }
        input
    }

    fn any(&mut self) -> &Vec<u8> {
        let at = self.at(self.corpus.len());
        &self.corpus[at]
    }

    fn at(&mut self, end: usize) -> usize {
        usize::try_from(self.random.below(end as u64)).expect("it is below a length")
    }

    /// A part of the input, most often a short one.
    fn part(&mut self, input: &[u8]) -> std::ops::Range<usize> {
        let begin = self.at(input.len() + 1);
        let longest = if self.random.chance(80) {
            8
        } else {
            input.len()
        };
        let bytes = self.at(longest.min(input.len() - begin) + 1);
        begin..begin + bytes
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        match self.random.below(13) {
            0 => self.flip(input),
            1 => {
                let (at, byte) = (
                    self.at(input.len() + 1),
                    self.random.number().to_le_bytes()[0],
                );
                input.insert(at, byte);
            }
            2 => {
                let part = self.part(input);
                input.drain(part);
            }
            3 => self.repeat(input),
            4 | 5 => {
                let (at, word) = (self.at(input.len() + 1), WORDS[self.at(WORDS.len())]);
                input.splice(at..at, word.bytes());
            }
            6 => {
                let (part, word) = (self.part(input), WORDS[self.at(WORDS.len())]);
                input.splice(part, word.bytes());
            }
            7 => self.splice(input),
            8 | 9 => self.header(input),
            10 => self.number(input),
            11 => {
                let end = input.iter().position(|byte| *byte == b' ');
                let method = METHODS[self.at(METHODS.len())];
                if let Some(end) = end.filter(|end| *end > 0) {
                    input.splice(1..end, method.bytes());
                }
            }
            _ => {
                let choices = self.random.number().to_le_bytes()[0];
                if let Some(first) = input.first_mut() {
                    *first = choices;
                }
            }
        }
    }

    fn flip(&mut self, input: &mut [u8]) {
        let (at, bit) = (self.at(input.len()), self.random.below(8));
        if let Some(byte) = input.get_mut(at) {
            *byte ^= 1 << bit;
        }
    }

    /// One part many times: what was short is long.
    fn repeat(&mut self, input: &mut Vec<u8>) {
        let part = self.part(input);
        let times = 1 << self.random.below(11);
        let room = BYTES_MAX.saturating_sub(input.len());
        let times = times.min(room / part.len().max(1));
        let again = input[part.clone()].repeat(times);
        input.splice(part.end..part.end, again);
    }

    /// The beginning of this one, the end of another; at the body, or anywhere.
    fn splice(&mut self, input: &mut Vec<u8>) {
        let other = self.any().clone();
        let (mine, its) = if self.random.chance(50) {
            (head_end(input), head_end(&other))
        } else {
            (self.at(input.len() + 1), self.at(other.len() + 1))
        };
        input.truncate(mine);
        input.extend_from_slice(&other[its..]);
    }

    /// A header again, once less, or one of another request.
    fn header(&mut self, input: &mut Vec<u8>) {
        let other = self.any().clone();
        let mine = lines(input);
        let choice = self.random.below(3);
        let from = if choice == 2 {
            lines(&other)
        } else {
            mine.clone()
        };
        let Some(line) = from.get(self.at(from.len())).cloned() else {
            return;
        };
        match choice {
            0 => {
                input.drain(line);
            }
            _ => {
                let text = if choice == 2 {
                    &other[line]
                } else {
                    &input[line]
                }
                .to_vec();
                let at = mine.first().map_or(head_end(input), |line| line.start);
                input.splice(at..at, text);
            }
        }
    }

    fn number(&mut self, input: &mut Vec<u8>) {
        let from = self.at(input.len() + 1);
        let Some(begin) = input[from..].iter().position(u8::is_ascii_digit) else {
            return;
        };
        let begin = from + begin;
        let digits = input[begin..]
            .iter()
            .take_while(|byte| byte.is_ascii_digit());
        let end = begin + digits.count();
        input.splice(begin..end, NUMBERS[self.at(NUMBERS.len())].bytes());
    }
}

/// Where the head ends, before the empty line.
fn head_end(input: &[u8]) -> usize {
    let end = input.windows(2).position(|two| two == b"\n\n");
    end.unwrap_or(input.len())
}

/// The lines of headers, each with the line break before it.
fn lines(input: &[u8]) -> Vec<std::ops::Range<usize>> {
    let end = head_end(input);
    let mut begins: Vec<usize> = (0..end).filter(|at| input[*at] == b'\n').collect();
    begins.push(end);
    begins.windows(2).map(|two| two[0]..two[1]).collect()
}
