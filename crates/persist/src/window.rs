//! A window that moves over a file, which is read through once.
//!
//! Owns the buffer: the same memory for the whole file, however long that is, unless one piece of it is longer. Memory that is
//! touched for the first time costs more than what is read into it. Never knows what the bytes are.

use std::io::{self, Read};

/// Bytes that are read at once: they stay in the processor's cache until they are used.
const WINDOW_BYTES: usize = 256 << 10;

#[derive(Debug)]
pub(crate) struct Window<R> {
    source: R,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Where in the file the window begins.
    offset: usize,
    is_at_end: bool,
}

impl<R: Read> Window<R> {
    pub(crate) fn new(source: R) -> Window<R> {
        Window { source, buffer: vec![0; WINDOW_BYTES], start: 0, end: 0, offset: 0, is_at_end: false }
    }

    pub(crate) fn offset(&self) -> usize {
        self.offset
    }

    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Sees to it that so many bytes are there, unless the file ends before.
    #[inline]
    pub(crate) fn fill(&mut self, count: usize) -> io::Result<()> {
        while self.end - self.start < count && !self.is_at_end {
            self.read()?;
        }
        Ok(())
    }

    /// These bytes are done with.
    #[inline]
    pub(crate) fn consume(&mut self, count: usize) {
        self.start += count;
        self.offset += count;
    }

    /// Everything up to the end of the file.
    pub(crate) fn rest(&mut self) -> io::Result<&[u8]> {
        while !self.is_at_end {
            self.read()?;
        }
        Ok(self.bytes())
    }

    /// Reads as much as there is room for. What is not done with is kept, in a longer buffer if it fills this one.
    fn read(&mut self) -> io::Result<()> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.end == self.buffer.len() {
            self.buffer.resize(2 * self.end, 0);
        }
        let count = loop {
            match self.source.read(&mut self.buffer[self.end..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                outcome => break outcome?,
            }
        };
        self.end += count;
        self.is_at_end = count == 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives a few bytes at a time.
    struct Drops<'a>(&'a [u8], usize);

    impl Read for Drops<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.1 = self.1 * 7 % 1000 + 1;
            let count = buffer.len().min(self.1);
            self.0.read(&mut buffer[..count])
        }
    }

    #[test]
    fn a_file_passes_by_in_pieces_of_any_length() {
        let file: Vec<u8> = (0..700_000u32).map(|index| (index * 31) as u8).collect();
        let mut window = Window::new(Drops(&file, 3));
        let mut at = 0;
        for count in [1, 100, 5_000, 0, 300_000, 7, 60_000] {
            window.fill(count).expect("memory can be read");
            assert_eq!(window.offset(), at);
            assert!(window.bytes()[..count] == file[at..at + count]);
            window.consume(count);
            at += count;
        }
        assert!(window.rest().expect("memory can be read") == &file[at..]);
        window.fill(1 << 30).expect("the file ends before");
        assert_eq!(window.bytes().len(), file.len() - at);
    }
}
