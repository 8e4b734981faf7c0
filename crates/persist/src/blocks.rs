//! A segment as the disk has it: whole blocks, written ahead with zeros.
//!
//! Owns what is needed to write in whole blocks although records end anywhere: the beginning of the last block, and how far
//! the file is known to be there; and the zeros behind writes through the page cache. Does no I/O, and never reads a file.
//!
//! A write of whole blocks from aligned memory can go past the page cache (`O_DIRECT`), and where the blocks are there
//! already, making it durable needs no commit of the file system's journal. What the last block began with is written
//! again as it was, so a write that is torn leaves it as it was.

use std::ops::Deref;
use std::sync::Arc;

/// Offset, length and memory of a write of whole blocks are multiples of this.
pub const BLOCK_BYTES: usize = 4096;
/// The file is written with zeros up to the next multiple of this: one write in many makes the file longer.
pub const ZEROS_AHEAD_BYTES: u64 = 512 << 10;

/// A write through the page cache that is no shorter than a block is filled up with zeros to a multiple of the largest power of
/// two that it has, up to this. The next one goes there, and what comes behind begins where the kernel can take a large piece of
/// memory for it: a piece lies at a multiple of its own size (ADR 0009).
const FILL_BYTES_MAX: usize = 64 << 10;
/// A longer write is left as it is: to make room behind it may be to copy it.
const FILLED_BYTES_MAX: usize = 1 << 20;

/// Bytes to write: those of a vector from some index on.
#[derive(Clone, PartialEq, Eq)]
pub struct WriteBytes {
    data: Arc<Vec<u8>>,
    start: usize,
}

impl WriteBytes {
    /// The vector, and where in it they begin.
    pub fn into_parts(self) -> (Arc<Vec<u8>>, usize) {
        (self.data, self.start)
    }

    /// Room for `len` bytes in aligned memory, filled by appending to it.
    fn aligned(len: usize, fill: impl FnOnce(&mut Vec<u8>)) -> WriteBytes {
        let mut data: Vec<u8> = Vec::with_capacity(len + BLOCK_BYTES - 1);
        let start = data.as_ptr().align_offset(BLOCK_BYTES);
        data.resize(start, 0);
        fill(&mut data);
        data.resize(start + len, 0);
        WriteBytes { data: Arc::new(data), start }
    }
}

impl From<Arc<Vec<u8>>> for WriteBytes {
    fn from(data: Arc<Vec<u8>>) -> WriteBytes {
        WriteBytes { data, start: 0 }
    }
}

impl Deref for WriteBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.data[self.start..]
    }
}

impl std::fmt::Debug for WriteBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.len())
    }
}

/// The last block of a file that consists of this, filled up with zeros, and where it lies.
pub fn last_block(content: &[u8]) -> (u64, WriteBytes) {
    let tail = &content[content.len() / BLOCK_BYTES * BLOCK_BYTES..];
    (
        (content.len() - tail.len()) as u64,
        WriteBytes::aligned(BLOCK_BYTES, |data| data.extend_from_slice(tail)),
    )
}

/// The end of a file.
#[derive(Debug, Default)]
pub(crate) struct Blocks {
    /// What is written of the last block.
    tail: Vec<u8>,
    /// Up to here the file is there: behind what was written it is zeros.
    zeros_to: u64,
}

impl Blocks {
    /// Of a file that consists of this.
    pub(crate) fn of(content: &[u8]) -> Blocks {
        let whole = content.len() / BLOCK_BYTES * BLOCK_BYTES;
        Blocks { tail: content[whole..].to_vec(), zeros_to: 0 }
    }

    /// This is written behind what is there.
    fn append(&mut self, bytes: &[u8]) {
        let end = self.tail.len() + bytes.len();
        if end < BLOCK_BYTES {
            return self.tail.extend_from_slice(bytes);
        }
        self.tail.clear();
        self.tail.extend_from_slice(&bytes[bytes.len() - end % BLOCK_BYTES..]);
    }

    /// The same as a write through the page cache, where the file has `file_bytes` so far: zeros are put behind the bytes.
    pub(crate) fn append_filled(&mut self, file_bytes: u64, bytes: &mut Vec<u8>) {
        self.append(bytes);
        if !(BLOCK_BYTES..=FILLED_BYTES_MAX).contains(&bytes.len()) {
            return;
        }
        let unit = 1 << bytes.len().min(FILL_BYTES_MAX).ilog2();
        let end = file_bytes + bytes.len() as u64;
        bytes.resize(bytes.len() + (end.next_multiple_of(unit) - end) as usize, 0);
    }

    /// The same as a write of whole blocks, where the file has `file_bytes` so far: its offset, and its bytes.
    pub(crate) fn append_whole(&mut self, file_bytes: u64, bytes: &[u8]) -> (u64, WriteBytes) {
        let offset = file_bytes - self.tail.len() as u64;
        let end = file_bytes + bytes.len() as u64;
        if end > self.zeros_to {
            self.zeros_to = end.next_multiple_of(ZEROS_AHEAD_BYTES);
            return (offset, self.filled(bytes, (self.zeros_to - offset) as usize));
        }
        (offset, self.filled(bytes, (end - offset).next_multiple_of(BLOCK_BYTES as u64) as usize))
    }

    fn filled(&mut self, bytes: &[u8], len: usize) -> WriteBytes {
        let write = WriteBytes::aligned(len, |data| {
            data.extend_from_slice(&self.tail);
            data.extend_from_slice(bytes);
        });
        self.append(bytes);
        write
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever the lengths: the file is what was appended, and every whole write is aligned.
    #[test]
    fn writes_of_any_length_make_whole_blocks() {
        let header: Vec<u8> = (0..100).collect();
        let (mut expected, mut file) = (header.clone(), header.clone());
        let mut blocks = Blocks::of(&header);
        for (index, len) in
            [1, 3995, 1, 4095, 4096, 8192, 5, 0, 600_000, 3, 100_000, 5_000_000].into_iter().enumerate()
        {
            let bytes = vec![index as u8 + 1; len];
            let at = expected.len();
            expected.extend_from_slice(&bytes);
            if index % 3 == 2 {
                let mut write = bytes.clone();
                blocks.append_filled(at as u64, &mut write);
                let end = at + write.len();
                match len {
                    8192 => assert_eq!(end % 8192, 0),
                    600_000 => assert_eq!(end % FILL_BYTES_MAX, 0),
                    _ => assert_eq!(write.len(), len),
                }
                file.resize(file.len().max(end), 0);
                file[at..end].copy_from_slice(&write);
                assert_eq!(&file[..expected.len()], expected, "{len}");
                continue;
            }
            let (offset, write) = blocks.append_whole(at as u64, &bytes);
            assert_eq!(offset % BLOCK_BYTES as u64, 0, "{len}");
            assert_eq!(write.len() % BLOCK_BYTES, 0, "{len}");
            assert_eq!(write.as_ptr().align_offset(BLOCK_BYTES), 0, "{len}");
            let end = offset as usize + write.len();
            file.resize(file.len().max(end), 0);
            file[offset as usize..end].copy_from_slice(&write);
            assert_eq!(&file[..expected.len()], expected, "{len}");
            assert!(file[expected.len()..].iter().all(|byte| *byte == 0), "{len}");
        }
    }

    #[test]
    fn few_writes_make_the_file_longer() {
        let mut blocks = Blocks::of(&[0; 100]);
        let (mut file_bytes, mut longest, mut longer) = (100, 0, 0);
        for _ in 0..1000 {
            let (offset, write) = blocks.append_whole(file_bytes, &[1; 2000]);
            file_bytes += 2000;
            let end = offset + write.len() as u64;
            if end > longest {
                (longest, longer) = (end, longer + 1);
            }
        }
        assert_eq!(longer, 2_000_100_u64.div_ceil(ZEROS_AHEAD_BYTES));
    }
}
