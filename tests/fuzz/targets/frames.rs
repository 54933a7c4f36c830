//! Frames: no input panics, the chunking changes nothing, and what parses is JSON for others too.
#![no_main]

use libfuzzer_sys::fuzz_target;
use trunkline_contract::frame::{Decoder, Frame};
use trunkline_contract::rpc;

const LIMIT: usize = 512;

fn frames(input: &[u8], chunk: usize) -> Vec<Option<Vec<u8>>> {
    let mut decoder = Decoder::new(LIMIT);
    let mut found = Vec::new();
    for piece in input.chunks(chunk) {
        let mut rest = piece;
        while !rest.is_empty() {
            let room = decoder.spare(1);
            let count = room.len().min(rest.len());
            room[..count].copy_from_slice(&rest[..count]);
            decoder.filled(count);
            rest = &rest[count..];
            while let Some(frame) = decoder.next_frame() {
                found.push(match frame {
                    Frame::Complete(bytes) => Some(bytes.to_vec()),
                    Frame::TooLarge { .. } => None,
                });
            }
        }
    }
    found
}

fuzz_target!(|input: &[u8]| {
    let Some((&first, rest)) = input.split_first() else { return };
    let whole = frames(rest, rest.len().max(1));
    assert_eq!(whole, frames(rest, usize::from(first).max(1)));
    for frame in whole.into_iter().flatten() {
        assert!(frame.len() <= LIMIT);
        if rpc::parse(&frame).is_ok() {
            serde_json::from_slice::<serde_json::Value>(&frame).expect("what parses is JSON");
        }
    }
});
