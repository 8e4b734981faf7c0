//! Ids of stream entries.
//!
//! Owns their order, their neighbours and their text. Never reads what a client writes: special ids and errors are the
//! commands' affair.

/// Milliseconds and a sequence number within them. `0-0` is no entry's id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId {
    pub ms: u64,
    pub seq: u64,
}

/// Longest text of an id.
pub const ID_TEXT_BYTES_MAX: usize = 41;

impl StreamId {
    pub const MIN: StreamId = StreamId::new(0, 0);
    pub const MAX: StreamId = StreamId::new(u64::MAX, u64::MAX);

    #[inline]
    pub const fn new(ms: u64, seq: u64) -> StreamId {
        StreamId { ms, seq }
    }

    /// The id behind this one; `None` behind the last.
    #[inline]
    pub fn next(self) -> Option<StreamId> {
        match self.seq.checked_add(1) {
            Some(seq) => Some(StreamId { seq, ..self }),
            None => self.ms.checked_add(1).map(|ms| StreamId { ms, seq: 0 }),
        }
    }

    /// The id before this one; `None` before the first.
    #[inline]
    pub fn prev(self) -> Option<StreamId> {
        match self.seq.checked_sub(1) {
            Some(seq) => Some(StreamId { seq, ..self }),
            None => self.ms.checked_sub(1).map(|ms| StreamId { ms, seq: u64::MAX }),
        }
    }

    #[inline]
    pub fn is_zero(self) -> bool {
        self == StreamId::MIN
    }

    /// The id as it is written, `ms-seq`.
    #[inline]
    pub fn text(self) -> IdText {
        let mut text = IdText { bytes: [0; ID_TEXT_BYTES_MAX], len: 0 };
        text.push(itoa::Buffer::new().format(self.ms));
        text.push("-");
        text.push(itoa::Buffer::new().format(self.seq));
        text
    }
}

impl std::fmt::Display for StreamId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

/// The text of an id.
#[derive(Clone, Copy)]
pub struct IdText {
    bytes: [u8; ID_TEXT_BYTES_MAX],
    len: usize,
}

impl IdText {
    #[inline]
    fn push(&mut self, part: &str) {
        self.bytes[self.len..self.len + part.len()].copy_from_slice(part.as_bytes());
        self.len += part.len();
    }

    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_carry_into_the_milliseconds() {
        let id = StreamId::new;
        assert_eq!(id(1, 2).next(), Some(id(1, 3)));
        assert_eq!(id(1, u64::MAX).next(), Some(id(2, 0)));
        assert_eq!(StreamId::MAX.next(), None);
        assert_eq!(id(1, 2).prev(), Some(id(1, 1)));
        assert_eq!(id(1, 0).prev(), Some(id(0, u64::MAX)));
        assert_eq!(StreamId::MIN.prev(), None);
    }

    #[test]
    fn texts_are_those_of_display() {
        for id in [StreamId::MIN, StreamId::new(1_700_000_000_000, 7), StreamId::MAX] {
            assert_eq!(id.text().as_bytes(), id.to_string().as_bytes());
        }
        assert_eq!(StreamId::MAX.text().as_bytes().len(), ID_TEXT_BYTES_MAX);
    }
}
