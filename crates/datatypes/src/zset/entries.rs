//! Hot path. A bounded run of entries in order, each a score and a handle: what the nodes of the [tree](super::tree) are
//! made of. Never knows what a handle refers to, nor what makes the order.

use std::ops::Range;

/// Up to `N` entries. Scores lie together, so that a search reads them without the handles.
#[derive(Clone)]
pub(super) struct Entries<H, const N: usize> {
    len: usize,
    scores: [f64; N],
    handles: [Option<H>; N],
}

impl<H: Copy, const N: usize> Entries<H, N> {
    pub(super) fn new() -> Self {
        Entries { len: 0, scores: [0.0; N], handles: [None; N] }
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(super) fn get(&self, at: usize) -> (f64, H) {
        (self.scores[at], self.handles[at].expect("entries below the length are there"))
    }

    #[inline]
    pub(super) fn last(&self) -> (f64, H) {
        self.get(self.len - 1)
    }

    #[inline]
    pub(super) fn set(&mut self, at: usize, (score, handle): (f64, H)) {
        self.scores[at] = score;
        self.handles[at] = Some(handle);
    }

    #[inline]
    pub(super) fn set_score(&mut self, at: usize, score: f64) {
        self.scores[at] = score;
    }

    /// How many entries lie before a place: those for which `before` is true come first.
    #[inline]
    pub(super) fn partition(&self, mut before: impl FnMut(f64, H) -> bool) -> usize {
        let (mut low, mut high) = (0, self.len);
        while low < high {
            let middle = (low + high) / 2;
            let (score, handle) = self.get(middle);
            if before(score, handle) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// Puts an entry at a place; there must be room.
    #[inline]
    pub(super) fn insert(&mut self, at: usize, entry: (f64, H)) {
        self.scores.copy_within(at..self.len, at + 1);
        self.handles.copy_within(at..self.len, at + 1);
        self.len += 1;
        self.set(at, entry);
    }

    #[inline]
    pub(super) fn remove(&mut self, range: Range<usize>) {
        self.scores.copy_within(range.end..self.len, range.start);
        self.handles.copy_within(range.end..self.len, range.start);
        self.len -= range.len();
    }

    /// Moves the entries from `at` on to `into`, which must be empty.
    pub(super) fn split_into(&mut self, at: usize, into: &mut Self) {
        into.len = self.len - at;
        into.scores[..into.len].copy_from_slice(&self.scores[at..self.len]);
        into.handles[..into.len].copy_from_slice(&self.handles[at..self.len]);
        self.len = at;
    }

    /// Adds all entries of another run at the end; there must be room.
    pub(super) fn append(&mut self, other: &Self) {
        let end = self.len + other.len;
        self.scores[self.len..end].copy_from_slice(&other.scores[..other.len]);
        self.handles[self.len..end].copy_from_slice(&other.handles[..other.len]);
        self.len = end;
    }
}
