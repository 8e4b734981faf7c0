//! Scan cursors: a slot and a position in the order of hashes within it. Pure; the walk itself is the table's.
//!
//! Within a slot, keys are visited by ascending hash. A key never changes its hash, whatever tables do, so that a
//! key that stays is visited exactly when the walk passes its hash: never missed.

use crate::slot::SLOTS;
use crate::split::POSITION_BITS;

/// Cursors are below 2^48.
pub const CURSOR_BITS: u32 = 14 + POSITION_BITS;

const _: () = assert!(1 << (CURSOR_BITS - POSITION_BITS) == SLOTS);

/// A place to go on from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub(crate) slot: u16,
    /// Upper hash bits; everything below has been visited.
    pub(crate) position: u64,
}

impl Cursor {
    /// `None` for a number that is no cursor.
    pub(crate) fn decode(cursor: u64) -> Option<Cursor> {
        (cursor >> CURSOR_BITS == 0).then_some(Cursor {
            slot: (cursor >> POSITION_BITS) as u16,
            position: cursor & ((1 << POSITION_BITS) - 1),
        })
    }

    pub(crate) fn encode(self) -> u64 {
        u64::from(self.slot) << POSITION_BITS | self.position
    }
}

/// The slot in which a scan with this cursor goes on; `None` for a number that no scan returned.
pub fn slot_of_cursor(cursor: u64) -> Option<u16> {
    Cursor::decode(cursor).map(|cursor| cursor.slot)
}

/// The cursor that starts at the beginning of `slot` (a scan that goes on at the shard with the next slots).
pub fn cursor_at_slot(slot: u16) -> u64 {
    Cursor { slot, position: 0 }.encode()
}
