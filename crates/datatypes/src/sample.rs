//! How to choose several elements of a collection, every choice with the same chance. `random` gives numbers below its
//! argument, each with the same chance. Never sees the elements.

use std::collections::HashSet;
use std::hash::Hash;

/// Above this share (one in so many) of a collection it is cheaper to go through all elements than to draw until enough
/// of them are different (Redis 7.2).
const DRAW_SHARE: usize = 3;

/// Whether so few of so many elements are wanted that they are better drawn one by one.
pub(crate) fn choose_few(wanted: usize, of: usize) -> bool {
    wanted <= of / DRAW_SHARE
}

/// Chooses some of so many things that are shown to it one after the other, every choice with the same chance.
pub(crate) struct Chooser {
    wanted: usize,
    left: usize,
}

impl Chooser {
    pub(crate) fn new(wanted: usize, of: usize) -> Chooser {
        Chooser { wanted, left: of }
    }

    pub(crate) fn chooses(&mut self, mut random: impl FnMut(usize) -> usize) -> bool {
        let is_chosen = self.wanted > 0 && random(self.left) < self.wanted;
        self.wanted -= usize::from(is_chosen);
        self.left -= 1;
        is_chosen
    }
}

/// Visits `count` different things of those that `draw` gives.
pub(crate) fn distinct<T: Copy + Eq + Hash>(
    count: usize,
    mut draw: impl FnMut() -> T,
    mut visit: impl FnMut(T),
) {
    let mut seen = HashSet::with_capacity(count);
    while seen.len() < count {
        let drawn = draw();
        if seen.insert(drawn) {
            visit(drawn);
        }
    }
}
