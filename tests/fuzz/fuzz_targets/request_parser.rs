//! Request streams of any bytes: no panic, memory bounded by what arrived, and the same requests however cut.
//!
//! The input's length decides the cuts, so that a corpus is plain request streams that anything can read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use torc_resp::Limits;

#[path = "../../../crates/resp/tests/support/mod.rs"]
mod support;

fuzz_target!(|stream: &[u8]| {
    for authenticated in [true, false] {
        let limits = Limits { authenticated, ..Limits::default() };
        let whole = support::drive(limits, stream, []);
        let step = stream.len() % 61 + 1;
        support::check_cut(limits, stream, &whole, &(0..stream.len()).step_by(step).collect::<Vec<_>>());
        support::check_cut(limits, stream, &whole, &[stream.len() / 2]);
    }
});
