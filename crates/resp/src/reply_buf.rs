//! Reply bytes on their way out: one growing buffer, with big payloads spliced in by reference.
//!
//! Owns the order of bytes and blobs, what has been sent, and how much memory stays reserved between uses. Never knows
//! what the bytes mean (that is [`crate::Reply`]) and never writes to a socket: it lends slices for that.

use std::io::IoSlice;

use bytes::Bytes;

/// Capacity that an emptied buffer keeps for its next use.
pub const KEPT_CAPACITY_BYTES: usize = 16 * 1024;

/// Slices lent at once: what one `writev` may take on Linux.
pub const MAX_IO_SLICES: usize = 1024;

/// Sent bytes in front of unsent ones are dropped when there are this many, and more than unsent ones.
const COMPACT_BYTES: usize = 64 * 1024;

/// An insertion moves up to this many bytes behind it; beyond, the inserted bytes become a blob.
const INSERT_MOVE_BYTES: usize = 64 * 1024;

/// Replies in wire form. Positions count from the first unsent byte; sent bytes are gone.
#[derive(Debug, Default)]
pub struct ReplyBuf {
    bytes: Vec<u8>,
    /// In order of `at`; blobs at the same place follow each other.
    blobs: Vec<Splice>,
    /// Bytes of `bytes` that are sent.
    sent: usize,
    /// Bytes of the first blob that are sent.
    blob_sent: usize,
    /// Bytes of all blobs, sent or not.
    blob_bytes: usize,
}

#[derive(Debug)]
struct Splice {
    /// The blob comes before `bytes[at]`.
    at: usize,
    blob: Bytes,
}

/// A place in a [`ReplyBuf`]. Valid until something is consumed, or inserted or truncated before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    at: usize,
    blobs: usize,
}

impl Mark {
    /// The place `count` inline bytes further on; there must be no blob between.
    pub fn skip(self, count: usize) -> Mark {
        Mark { at: self.at + count, blobs: self.blobs }
    }
}

impl ReplyBuf {
    pub fn new() -> ReplyBuf {
        ReplyBuf::default()
    }

    /// Unsent bytes, those of blobs included.
    #[inline]
    pub fn len(&self) -> usize {
        self.bytes.len() - self.sent + self.blob_bytes - self.blob_sent
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.bytes.len() == self.sent && self.blobs.is_empty()
    }

    /// The unsent bytes when they lie in one piece, which is so unless there are blobs.
    #[inline]
    pub fn contiguous(&self) -> Option<&[u8]> {
        self.blobs.is_empty().then(|| &self.bytes[self.sent..])
    }

    /// The unsent bytes without the blobs.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    /// A copy of all unsent bytes in order, for tests and cold paths.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut all = Vec::with_capacity(self.len());
        self.pieces(|piece| {
            all.extend_from_slice(piece);
            true
        });
        all
    }

    /// Memory held: reserved bytes, and blobs although they may be shared.
    pub fn heap_bytes(&self) -> usize {
        self.bytes.capacity() + self.blobs.capacity() * size_of::<Splice>() + self.blob_bytes
    }

    /// Forgets everything and gives back what exceeds [`KEPT_CAPACITY_BYTES`].
    #[inline]
    pub fn clear(&mut self) {
        self.bytes.clear();
        (self.sent, self.blob_sent, self.blob_bytes) = (0, 0, 0);
        if !self.blobs.is_empty() {
            self.blobs.clear();
            self.blobs.shrink_to(KEPT_CAPACITY_BYTES / size_of::<Splice>());
        }
        if self.bytes.capacity() > KEPT_CAPACITY_BYTES {
            self.bytes.shrink_to(KEPT_CAPACITY_BYTES);
        }
    }

    /// The end as it is now.
    #[inline]
    pub fn mark(&self) -> Mark {
        Mark { at: self.bytes.len(), blobs: self.blobs.len() }
    }

    /// Drops everything behind `mark`.
    pub fn truncate(&mut self, mark: Mark) {
        self.bytes.truncate(mark.at);
        for splice in self.blobs.drain(mark.blobs..) {
            self.blob_bytes -= splice.blob.len();
        }
    }

    /// The line that begins at `mark`, without its end, and the place behind it. A header that was put in front of much is a
    /// blob of its own.
    pub fn line_at(&self, mark: Mark) -> Option<(&[u8], Mark)> {
        const LINE_END: &[u8] = b"\r\n";
        if let Some(splice) = self.blobs.get(mark.blobs)
            && splice.at == mark.at
        {
            let line = splice.blob.strip_suffix(LINE_END)?;
            return Some((line, Mark { at: mark.at, blobs: mark.blobs + 1 }));
        }
        let rest = self.bytes.get(mark.at..)?;
        let length = rest.iter().position(|&byte| byte == b'\r')?;
        Some((&rest[..length], mark.skip(length + LINE_END.len())))
    }

    /// The bytes between two places, those of blobs included.
    pub fn len_between(&self, start: Mark, end: Mark) -> usize {
        let blobs = &self.blobs[start.blobs..end.blobs];
        end.at - start.at + blobs.iter().map(|splice| splice.blob.len()).sum::<usize>()
    }

    /// Appends what lies between two places of another buffer. Blobs are shared, not copied.
    #[inline]
    pub fn copy_range(&mut self, from: &ReplyBuf, start: Mark, end: Mark) {
        debug_assert!(start.blobs > 0 || from.blob_sent == 0, "range begins in a partly sent blob");
        let base = self.bytes.len();
        self.bytes.extend_from_slice(&from.bytes[start.at..end.at]);
        if start.blobs != end.blobs {
            for splice in &from.blobs[start.blobs..end.blobs] {
                self.blob_bytes += splice.blob.len();
                self.blobs.push(Splice { at: base + splice.at - start.at, blob: splice.blob.clone() });
            }
        }
    }

    /// Appends everything unsent of another buffer.
    pub fn append(&mut self, from: &ReplyBuf) {
        if from.blob_sent == 0 {
            self.copy_range(from, Mark { at: from.sent, blobs: 0 }, from.mark());
        } else {
            // The first blob is partly sent: share its rest.
            let first = &from.blobs[0];
            self.push_bytes(&from.bytes[from.sent..first.at]);
            self.push_blob(first.blob.slice(from.blob_sent..));
            self.copy_range(from, Mark { at: first.at, blobs: 1 }, from.mark());
        }
    }

    /// Fills `out` with the unsent bytes behind the first `skip` ones, as slices in order; at most [`MAX_IO_SLICES`] in
    /// `out` altogether. Returns how many bytes the added slices cover.
    pub fn io_slices<'a>(&'a self, skip: usize, out: &mut Vec<IoSlice<'a>>) -> usize {
        let (mut skip, mut covered) = (skip, 0);
        self.pieces(|piece| {
            if skip >= piece.len() {
                skip -= piece.len();
                return true;
            }
            if out.len() >= MAX_IO_SLICES {
                return false;
            }
            let piece = &piece[skip..];
            skip = 0;
            covered += piece.len();
            out.push(IoSlice::new(piece));
            true
        });
        covered
    }

    /// Fills `out` with the first `bytes` unsent bytes, as slices in order; at most [`MAX_IO_SLICES`] of them.
    pub fn io_slices_of<'a>(&'a self, mut bytes: usize, out: &mut Vec<IoSlice<'a>>) {
        self.pieces(|piece| {
            if bytes == 0 || out.len() >= MAX_IO_SLICES {
                return false;
            }
            let piece = &piece[..piece.len().min(bytes)];
            bytes -= piece.len();
            out.push(IoSlice::new(piece));
            true
        });
    }

    /// Drops the first `count` bytes, which were sent. Panics when there are fewer.
    pub fn consume(&mut self, count: usize) {
        assert!(count <= self.len(), "consumed more than there is");
        if self.blobs.is_empty() {
            self.sent += count;
        } else {
            self.consume_with_blobs(count);
        }
        if self.is_empty() {
            self.clear();
        } else if self.sent >= COMPACT_BYTES && self.sent > self.bytes.len() - self.sent {
            self.compact();
        }
    }

    fn consume_with_blobs(&mut self, mut count: usize) {
        let mut gone = 0;
        for splice in &self.blobs {
            let before = splice.at - self.sent;
            if count < before {
                break;
            }
            count -= before;
            self.sent = splice.at;
            let rest = splice.blob.len() - self.blob_sent;
            if count < rest {
                self.blob_sent += count;
                count = 0;
                break;
            }
            count -= rest;
            self.blob_bytes -= splice.blob.len();
            self.blob_sent = 0;
            gone += 1;
        }
        self.blobs.drain(..gone);
        self.sent += count;
    }

    fn compact(&mut self) {
        self.bytes.drain(..self.sent);
        for splice in &mut self.blobs {
            splice.at -= self.sent;
        }
        self.sent = 0;
        if self.bytes.capacity() / 4 > self.bytes.len().max(KEPT_CAPACITY_BYTES) {
            self.bytes.shrink_to(self.bytes.len() * 2);
        }
    }

    #[inline]
    pub(crate) fn push_bytes(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The buffer itself, to append to.
    #[inline]
    pub(crate) fn tail(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    #[inline]
    pub(crate) fn push_blob(&mut self, blob: Bytes) {
        if !blob.is_empty() {
            self.blob_bytes += blob.len();
            self.blobs.push(Splice { at: self.bytes.len(), blob });
        }
    }

    /// Puts `bytes` at an earlier place.
    pub(crate) fn insert(&mut self, mark: Mark, bytes: &[u8]) {
        let behind = self.bytes.len() - mark.at;
        if behind > INSERT_MOVE_BYTES {
            self.blob_bytes += bytes.len();
            let splice = Splice { at: mark.at, blob: Bytes::copy_from_slice(bytes) };
            return self.blobs.insert(mark.blobs, splice);
        }
        self.bytes.extend_from_slice(bytes);
        self.bytes[mark.at..].rotate_right(bytes.len());
        for splice in &mut self.blobs[mark.blobs..] {
            splice.at += bytes.len();
        }
    }

    /// Calls `visit` with each unsent piece in order, until it returns false.
    fn pieces<'a>(&'a self, mut visit: impl FnMut(&'a [u8]) -> bool) {
        let (mut at, mut blob_sent) = (self.sent, self.blob_sent);
        for splice in &self.blobs {
            if splice.at > at && !visit(&self.bytes[at..splice.at]) {
                return;
            }
            if !visit(&splice.blob[blob_sent..]) {
                return;
            }
            (at, blob_sent) = (splice.at, 0);
        }
        if at < self.bytes.len() {
            visit(&self.bytes[at..]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> (ReplyBuf, Vec<u8>) {
        let mut buf = ReplyBuf::new();
        buf.push_bytes(b"head");
        buf.push_blob(Bytes::from_static(b"BLOB1"));
        buf.push_blob(Bytes::from_static(b"BLOB2"));
        buf.push_bytes(b"middle");
        buf.push_blob(Bytes::from_static(b"BLOB3"));
        let whole = b"headBLOB1BLOB2middleBLOB3".to_vec();
        (buf, whole)
    }

    #[test]
    fn slices_and_consumption_agree_at_every_offset() {
        for first in 0..=25 {
            for second in 0..=25 - first {
                let (mut buf, whole) = sample();
                buf.consume(first);
                assert_eq!(buf.len(), whole.len() - first);
                assert_eq!(buf.to_vec(), whole[first..]);
                let mut copy = ReplyBuf::new();
                copy.push_bytes(b">");
                copy.append(&buf);
                assert_eq!(copy.to_vec()[1..], whole[first..]);
                let mut slices = Vec::new();
                let covered = buf.io_slices(second, &mut slices);
                assert_eq!(
                    slices.iter().flat_map(|slice| slice.to_vec()).collect::<Vec<_>>(),
                    whole[first + second..]
                );
                assert_eq!(covered, whole.len() - first - second);
                drop(slices);
                buf.consume(second);
                assert_eq!(buf.to_vec(), whole[first + second..]);
                assert_eq!(buf.is_empty(), first + second == whole.len());
                buf.push_bytes(b"more");
                assert!(buf.to_vec().ends_with(b"more"));
            }
        }
    }

    #[test]
    fn ranges_are_copied_in_pieces() {
        let mut batch = ReplyBuf::new();
        let mut marks = vec![batch.mark()];
        for command in 0..4u8 {
            batch.push_bytes(&[b'a' + command; 3]);
            if command % 2 == 1 {
                batch.push_blob(Bytes::from_static(b"<blob>"));
            }
            marks.push(batch.mark());
        }
        let mut out = ReplyBuf::new();
        for command in [3, 0, 1] {
            out.copy_range(&batch, marks[command], marks[command + 1]);
        }
        assert_eq!(out.to_vec(), b"ddd<blob>aaabbb<blob>");
        assert_eq!(batch.len_between(marks[1], marks[3]), 12);
        batch.truncate(marks[1]);
        assert_eq!(batch.to_vec(), b"aaa");
        assert_eq!(batch.len(), 3);
    }

    #[test]
    fn insertion_moves_what_follows() {
        for filler in [10, INSERT_MOVE_BYTES + 1] {
            let mut buf = ReplyBuf::new();
            buf.push_bytes(b"a");
            buf.push_blob(Bytes::from_static(b"B"));
            let mark = buf.mark();
            buf.push_blob(Bytes::from_static(b"C"));
            buf.push_bytes(&vec![b'x'; filler]);
            buf.push_blob(Bytes::from_static(b"D"));
            buf.insert(mark, b"*1234");
            let expected = [b"aB*1234C".to_vec(), vec![b'x'; filler], b"D".to_vec()].concat();
            assert_eq!(buf.to_vec(), expected);
            assert_eq!(buf.len(), expected.len());
        }
    }

    #[test]
    fn memory_is_given_back() {
        let mut buf = ReplyBuf::new();
        buf.push_bytes(&vec![0; 1 << 20]);
        buf.consume((1 << 20) - 10);
        assert!(buf.heap_bytes() <= 4 * KEPT_CAPACITY_BYTES, "{}", buf.heap_bytes());
        buf.push_bytes(&vec![0; 1 << 20]);
        buf.consume(buf.len());
        assert!(buf.heap_bytes() <= KEPT_CAPACITY_BYTES);
    }
}
