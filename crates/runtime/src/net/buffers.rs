//! The ring of provided receive buffers: memory the kernel picks from when bytes arrive, so that idle connections
//! hold none. Hot path.
//!
//! Owns the memory and its registration. A buffer belongs to the kernel until a completion names it, then to us until
//! [`Buffers::give_back`].
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;

use super::ring::{BUFFER_GROUP, Ring};
use crate::limits::retry_locked_memory;

/// The kernel wants the ring of buffers aligned to a page.
const PAGE_BYTES: usize = 4096;

/// Extra bytes between two buffers. Buffers are used in turn and mostly hold a few hundred bytes at their start; at
/// a distance that is a power of two, all starts would share one set of the CPU caches.
const COLOUR_BYTES: usize = 17 * 64;

pub(crate) struct Buffers {
    entries: Memory,
    data: Memory,
    count: u16,
    buffer_bytes: usize,
    tail: u16,
}

impl Buffers {
    /// Registers `count` (a power of two, at most 32768) buffers of `buffer_bytes` each. Memory is touched only when
    /// a buffer is first used.
    pub(crate) fn register(ring: &Ring, count: u16, buffer_bytes: usize) -> io::Result<Buffers> {
        assert!(count.is_power_of_two() && count <= 1 << 15, "{count} buffers");
        assert!(buffer_bytes > 0 && u32::try_from(buffer_bytes).is_ok(), "buffers of {buffer_bytes} bytes");
        let entries = Memory::new(usize::from(count) * size_of::<BufRingEntry>());
        let data = Memory::new(usize::from(count) * (buffer_bytes + COLOUR_BYTES));
        // SAFETY: the memory is page-aligned, holds `count` zeroed entries, and lives in the returned value, which
        // unregisters it before it is freed.
        retry_locked_memory(|| unsafe {
            let address = entries.start.as_ptr() as u64;
            ring.submitter().register_buf_ring_with_flags(address, count, BUFFER_GROUP, 0)
        })?;
        let mut buffers = Buffers { entries, data, count, buffer_bytes, tail: 0 };
        for id in 0..count {
            buffers.give_back(id);
        }
        Ok(buffers)
    }

    /// Takes the memory back from the kernel. Must be called before the value is dropped.
    pub(crate) fn unregister(&self, ring: &Ring) -> io::Result<()> {
        ring.submitter().unregister_buf_ring(BUFFER_GROUP)
    }

    /// The first `len` bytes of a buffer that a completion named.
    #[inline]
    pub(crate) fn bytes(&self, id: u16, len: usize) -> &[u8] {
        assert!(id < self.count && len <= self.buffer_bytes, "buffer {id} with {len} bytes");
        // SAFETY: the range lies inside the data memory (checked above). The kernel does not write to a buffer
        // between the completion that named it and `give_back`, which needs `&mut self`.
        unsafe { std::slice::from_raw_parts(self.start_of(id), len) }
    }

    fn start_of(&self, id: u16) -> *const u8 {
        self.data.start.as_ptr().wrapping_add(usize::from(id) * (self.buffer_bytes + COLOUR_BYTES))
    }

    /// Returns a buffer to the kernel.
    #[inline]
    pub(crate) fn give_back(&mut self, id: u16) {
        debug_assert!(id < self.count);
        let slot = usize::from(self.tail & (self.count - 1));
        // SAFETY: `slot` is below `count`, so the entry lies inside the entry memory, which nobody else in this
        // process refers to; the kernel reads an entry only after the tail has moved past it. The fields are set one
        // by one because the tail itself lives in the padding of the first entry.
        unsafe {
            let entry = self.entries.start.as_ptr().cast::<BufRingEntry>().add(slot);
            (*entry).set_addr(self.start_of(id) as u64);
            (*entry).set_len(self.buffer_bytes as u32);
            (*entry).set_bid(id);
        }
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: the tail is a u16 inside the first entry, aligned, alive, and shared with the kernel only.
        unsafe {
            let tail = BufRingEntry::tail(self.entries.start.as_ptr().cast()).cast_mut();
            AtomicU16::from_ptr(tail).store(self.tail, Ordering::Release);
        }
    }
}

/// Zeroed memory aligned to a page.
struct Memory {
    start: NonNull<u8>,
    layout: Layout,
}

impl Memory {
    fn new(bytes: usize) -> Memory {
        let layout = Layout::from_size_align(bytes, PAGE_BYTES).expect("buffer memory below isize::MAX");
        // SAFETY: callers ask for at least one byte.
        let start = unsafe { alloc_zeroed(layout) };
        let Some(start) = NonNull::new(start) else { handle_alloc_error(layout) };
        Memory { start, layout }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout in `new`, freed only here.
        unsafe { dealloc(self.start.as_ptr(), self.layout) };
    }
}
