//! HYPERLOGLOG: the family's list, and what its files share.
//!
//! Owns how a HyperLogLog is found in a string and stored again, and the errors of damaged ones. Never knows their
//! bytes.

mod count;
mod debug;

use torc_datatypes::Entry;
use torc_datatypes::hyperloglog::{Corrupt, Hll, HllRef};
use torc_datatypes::value::IntText;
use torc_keyspace::{At, SetExpire, StrValue};
use torc_resp::CommandError;

use crate::Command;
use crate::families::string::{edit, string_of};

pub(super) const COMMANDS: &[Command] =
    &[count::PFADD, count::PFCOUNT, count::PFMERGE, debug::PFDEBUG, debug::PFSELFTEST];

/// The HyperLogLog that a live entry holds; `text` is room that it needs for a moment.
fn hll_of<'a>(entry: &'a Entry, text: &'a mut IntText) -> Result<HllRef<'a>, CommandError> {
    HllRef::of(string_of(entry)?.as_bytes(text))
        .ok_or(CommandError::Text("WRONGTYPE Key is not a valid HyperLogLog string value."))
}

/// Stores a HyperLogLog where there is one, or nothing.
fn store(at: &mut At<'_>, hll: &Hll) {
    at.set_string(StrValue::Bytes(hll.as_bytes()), SetExpire::Keep);
    // It is a string that was changed, which OBJECT ENCODING calls raw however short it is.
    edit(at, 0, |_| ());
}

fn corrupt(_: Corrupt) -> CommandError {
    CommandError::Text("INVALIDOBJ Corrupted HLL object detected")
}
