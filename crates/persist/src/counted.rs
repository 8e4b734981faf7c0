//! How much of a file has been read, for whoever watches a load.
//!
//! Owns the count. Whoever reads does so a window at a time, so that counting costs nothing. Never reads by itself.

use std::io::{self, Read};
use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Debug)]
pub struct Counted<'a, R> {
    source: R,
    bytes: &'a AtomicU64,
}

impl<'a, R: Read> Counted<'a, R> {
    /// Adds what is read to `bytes`.
    pub fn new(source: R, bytes: &'a AtomicU64) -> Counted<'a, R> {
        Counted { source, bytes }
    }
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        self.bytes.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}
