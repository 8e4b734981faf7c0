//! Strings as bits: the family's list, and what its files share.
//!
//! Owns how bit offsets are read. Never counts or combines bits itself: that is `torc_datatypes`.

mod bitfield;
mod bitop;
mod bits;

use torc_resp::{CommandError, number};

use crate::Command;

pub(super) const COMMANDS: &[Command] = &[
    bits::SETBIT,
    bits::GETBIT,
    bits::BITCOUNT,
    bits::BITPOS,
    bitop::BITOP,
    bitfield::BITFIELD,
    bitfield::BITFIELD_RO,
];

/// A bit offset in units of `unit` bits. Its byte must lie below the longest string.
fn offset_from(text: &[u8], unit: u64, string_bytes_max: usize) -> Result<u64, CommandError> {
    let offset = number::parse_i64(text).and_then(|offset| u64::try_from(offset).ok());
    let offset =
        offset.and_then(|offset| offset.checked_mul(unit)).filter(|bits| i64::try_from(*bits).is_ok());
    offset.filter(|offset| offset >> 3 < string_bytes_max as u64).ok_or(CommandError::BitOffset)
}
