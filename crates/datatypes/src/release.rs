//! What it costs to free memory, and how a large buffer is freed piece by piece.
//!
//! The time that freeing takes is counted as *effort*: one for an element, one more for every page. Nobody here knows a
//! clock; whoever frees a value chooses an effort that is short enough.

use bytes::Bytes;

use crate::ValueRef;
use crate::entry::class::{class_bytes, class_for};

/// The kernel takes memory back by pages.
const PAGE_BYTES: usize = 4096;
/// Buffers of up to this size are freed at once.
const PIECE_BYTES: usize = 2 << 20;

/// The effort of freeing an element that owns so many bytes.
#[inline]
pub fn effort_of(bytes: usize) -> usize {
    1 + bytes / PAGE_BYTES
}

/// The effort of freeing a value, its own memory included.
#[inline]
pub fn effort_of_value(value: ValueRef<'_>) -> usize {
    value.free_effort() + value.heap_bytes() / PAGE_BYTES
}

/// The length to which a large buffer is cut next: the allocator's next smaller class, as it gives nothing back before
/// that. `None`: it is not large.
pub(crate) fn shorter(bytes: usize) -> Option<usize> {
    (bytes > PIECE_BYTES).then(|| class_bytes(class_for(bytes) - 1))
}

/// Frees a piece at the end of a large buffer; returns the effort, or `None` when the rest may be freed at once.
pub(crate) fn cut(buffer: &mut Vec<u8>) -> Option<usize> {
    let before = buffer.capacity();
    let shorter = shorter(before)?;
    buffer.truncate(shorter);
    buffer.shrink_to(shorter);
    Some(effort_of(before - shorter))
}

/// The same for bytes that may be shared: those that somebody else reads are his to free.
pub(crate) fn cut_shared(bytes: &mut Bytes) -> Option<usize> {
    shorter(bytes.len()).filter(|_| bytes.is_unique())?;
    // Neither way copies: the bytes are the only ones in their buffer, and fill it.
    let mut buffer = Vec::from(std::mem::take(bytes));
    let effort = cut(&mut buffer);
    *bytes = buffer.into();
    effort
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_buffers_are_cut_and_never_copied() {
        let mut bytes = Bytes::from(vec![b'x'; 9 << 20]);
        let (place, mut pieces, mut effort) = (bytes.as_ptr(), 0, 0);
        let reader = bytes.clone();
        assert_eq!(cut_shared(&mut bytes), None, "a reader keeps it");
        drop(reader);
        while let Some(more) = cut_shared(&mut bytes) {
            assert_eq!(bytes.as_ptr(), place);
            (pieces, effort) = (pieces + 1, effort + more);
        }
        assert_eq!((bytes.len(), pieces), (2 << 20, 9));
        assert_eq!(effort, pieces + (7 << 20) / PAGE_BYTES);
        assert!(bytes.iter().all(|byte| *byte == b'x'));
        assert_eq!(cut(&mut vec![0; PIECE_BYTES]), None);
    }
}
