//! RDB files of any bytes: no panic, memory bounded by the size of the file, and every error lies within it.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../../crates/persist/tests/support/mod.rs"]
mod support;

fuzz_target!(|input: &[u8]| {
    let _ = support::check(input, false);
});
