//! Requests over HTTP: whatever one is, the real tree of paths answers it as documented.
//!
//! The long form of `tests/suites/any_request_is_answered.rs`, which says what an input is and what is true of
//! every answer.
#![no_main]

#[path = "../../suites/any_request_is_answered/request.rs"]
mod request;
#[path = "../../suites/any_request_is_answered/world.rs"]
mod world;

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use world::World;

thread_local! {
    static WORLD: RefCell<World> = RefCell::default();
}

fuzz_target!(|data: &[u8]| {
    WORLD.with_borrow_mut(|world| world.check(data));
});
