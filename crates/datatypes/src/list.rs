//! A list: short strings in an order, pushed and popped at both ends.

use crate::Encoding;

/// A list: short strings in an order, pushed and popped at both ends.
#[derive(Clone, Debug, Default)]
pub struct List {}

impl List {
    /// Representation of the value (`OBJECT ENCODING`).
    pub fn encoding(&self) -> Encoding {
        Encoding::Quicklist
    }

    /// Number of parts that freeing the value has to walk.
    pub fn free_effort(&self) -> usize {
        1
    }

    /// Bytes on the heap. O(1).
    pub fn heap_bytes(&self) -> usize {
        0
    }

    /// Frees about `parts_max` parts (more only where a few hundred lie together); true while something is left.
    pub fn free_some(&mut self, _parts_max: usize) -> bool {
        false
    }
}
