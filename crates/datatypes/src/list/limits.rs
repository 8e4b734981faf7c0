//! How large the nodes of a list may be: `list-max-listpack-size`, and what DEBUG QUICKLIST-PACKED-THRESHOLD sets. Never
//! looks at a list.

use super::run::ELEMENT_BYTES_MAX;

/// Bytes of a node for the values -1 to -5 of `list-max-listpack-size`.
const NODE_BYTES: [usize; 5] = [4 << 10, 8 << 10, 16 << 10, 32 << 10, 64 << 10];
/// Bytes of a node where its elements are counted.
const COUNTED_NODE_BYTES: usize = 8 << 10;
/// What an element takes besides its text, estimated (Redis 7.2).
const ELEMENT_OVERHEAD_BYTES: usize = 8;

/// Largest size of a list's nodes, and so of a compact list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeLimits {
    elements: usize,
    bytes: usize,
    is_counted: bool,
    large_bytes: usize,
}

impl NodeLimits {
    /// `size` as in `list-max-listpack-size`: elements of a node, or its bytes from -1 (4 KiB) to -5 (64 KiB).
    pub fn new(size: i64) -> NodeLimits {
        let is_counted = size >= 0;
        let bytes = match size {
            0.. => COUNTED_NODE_BYTES,
            _ => NODE_BYTES[(size.unsigned_abs() as usize).min(NODE_BYTES.len()) - 1],
        };
        let elements = if is_counted { (size as usize).max(1) } else { usize::MAX };
        NodeLimits { elements, bytes, is_counted, large_bytes: 0 }.with_packed_threshold(0)
    }

    /// Elements of this length and more get nodes of their own; 0: those that are longer than a node may be.
    pub fn with_packed_threshold(self, bytes: usize) -> NodeLimits {
        let large_bytes = if bytes == 0 { self.bytes + 1 } else { bytes };
        NodeLimits { large_bytes: large_bytes.min(ELEMENT_BYTES_MAX + 1), ..self }
    }

    /// Whether an element of this length gets a node of its own.
    #[inline]
    pub(super) fn is_large(&self, len: usize) -> bool {
        len >= self.large_bytes
    }

    /// Whether a listpack of this size is no node any more.
    #[inline]
    pub(super) fn are_exceeded(&self, listpack_bytes: usize, elements: usize) -> bool {
        listpack_bytes > self.bytes || elements > self.elements
    }

    /// Whether a node of this size takes another element, of a text of this length.
    #[inline]
    pub(super) fn allow(&self, listpack_bytes: usize, elements: usize, len: usize) -> bool {
        !self.is_large(len) && !self.are_exceeded(listpack_bytes + len + ELEMENT_OVERHEAD_BYTES, elements + 1)
    }

    /// Whether the only node of a list that shrinks is small enough to become a compact list: half of the limit, so that
    /// lists do not go to and fro. Where elements are counted, bytes do not matter (Redis 7.2).
    pub(super) fn are_half_used_at_most(&self, listpack_bytes: usize, elements: usize) -> bool {
        if self.is_counted { elements <= self.elements / 2 } else { listpack_bytes <= self.bytes / 2 }
    }

    /// Bytes that a node grows to.
    #[inline]
    pub(super) fn node_bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_counts_or_byte_classes() {
        for (size, bytes, elements) in [
            (-1, 4096, 9999),
            (-2, 8192, 9999),
            (-5, 65_536, 9999),
            (-6, 65_536, 9999),
            (3, 8192, 3),
            (0, 8192, 1),
        ] {
            let limits = NodeLimits::new(size);
            assert!(!limits.are_exceeded(bytes, elements), "{size}");
            assert!(limits.are_exceeded(bytes + 1, elements), "{size}");
            assert_eq!(limits.are_exceeded(bytes, elements + 1), size >= 0, "{size}");
            assert!(limits.is_large(bytes + 1) && !limits.is_large(bytes.min(65_000)), "{size}");
        }
        assert_eq!(NodeLimits::new(i64::MIN), NodeLimits::new(-5));
        let debugged = NodeLimits::new(-2).with_packed_threshold(5);
        assert!(debugged.is_large(5) && !debugged.is_large(4));
        assert_eq!(debugged.with_packed_threshold(0), NodeLimits::new(-2));
    }
}
