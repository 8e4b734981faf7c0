//! An allocator that counts what a thread asks for, in all and at once: what is read may be freed again before anybody
//! can look at it. Never limits anything itself.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// Bytes that a thread has asked for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Asked {
    /// The most at once.
    pub(crate) largest: usize,
    /// All together; memory that grows counts anew with its new length.
    pub(crate) sum: usize,
}

thread_local! {
    static ASKED: Cell<Asked> = const { Cell::new(Asked { largest: 0, sum: 0 }) };
}

pub(crate) struct Counting;

/// What this thread asks for while something runs.
pub(crate) fn counted<T>(run: impl FnOnce() -> T) -> (T, Asked) {
    ASKED.set(Asked::default());
    let result = run();
    (result, ASKED.get())
}

fn count(bytes: usize) {
    let Asked { largest, sum } = ASKED.get();
    ASKED.set(Asked { largest: largest.max(bytes), sum: sum.saturating_add(bytes) });
}

// SAFETY: every request goes to the system's allocator as it is. Counting allocates nothing and cannot panic: the cell needs
// neither initialization nor a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller keeps the contract of this function, which is that one's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        // SAFETY: as above; the memory came from the system's allocator.
        unsafe { System.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }
}
