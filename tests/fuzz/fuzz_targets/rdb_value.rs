//! Values of any bytes: no panic, memory bounded by what was read, and what is accepted can be written and read again.
//!
//! The first two bytes are the RDB version and the type, so that a corpus can hold values of every server.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../../crates/datatypes/tests/support/mod.rs"]
mod support;

fuzz_target!(|input: &[u8]| {
    let _ = support::check(input);
});
