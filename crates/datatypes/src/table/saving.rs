//! A table that is saved bit by bit while it changes.
//!
//! The walk goes over the positions of hashes, as a scan does, which growth does not disturb. Every element behind it
//! whose hash is not listed as touched is as it was when the save began. Owns what was put aside, and the walk.

use hashbrown::HashTable;

use super::{Keyed, POSITION_BITS, Table, inner};
use crate::saving::{Parts, Slot};

pub(super) type SavingSlot<E> = Slot<Saving<E>>;

pub(super) struct Saving<E> {
    /// Elements at smaller positions are saved.
    position: u64,
    /// Hashes of what is behind it and no more as it was: elements that were changed, added or taken out.
    touched: HashTable<u64>,
    /// Those of them that were there, as they were.
    kept: Vec<E>,
}

impl<E> Saving<E> {
    fn is_touched(&self, hash: u64) -> bool {
        !self.touched.is_empty() && self.touched.find(inner(hash), |other| *other == hash).is_some()
    }
}

fn position_of(hash: u64) -> u64 {
    hash >> (64 - POSITION_BITS)
}

impl<E: Keyed> Parts for Table<E> {
    fn begin_save(&mut self) {
        self.saving.put(Saving { position: 0, touched: HashTable::new(), kept: Vec::new() });
    }

    fn save_id(&self) -> Option<usize> {
        self.saving.id()
    }

    fn end_save(&mut self) {
        self.saving.clear();
    }
}

impl<E: Keyed> Table<E> {
    /// Before an element with this hash is changed, added or taken out.
    #[inline]
    pub(super) fn keep_if_saving(&mut self, hash: u64) {
        if self.saving.is_taken() {
            self.keep(hash);
        }
    }

    /// The same, for an element that is changed past the table.
    #[inline]
    pub(crate) fn keep_key_if_saving(&mut self, key: &[u8]) {
        if self.saving.is_taken() {
            self.keep(crate::element_hash(key));
        }
    }

    #[cold]
    fn keep(&mut self, hash: u64) {
        let part = self.part_of(hash);
        let Some(saving) = self.saving.get() else { return };
        if position_of(hash) < saving.position || saving.is_touched(hash) {
            return;
        }
        saving.touched.insert_unique(inner(hash), hash, |hash| inner(*hash));
        let of_hash =
            self.parts[part].table.iter_hash(inner(hash)).filter(|element| element.key_hash() == hash);
        saving.kept.extend(of_hash.cloned());
    }

    /// Shows elements as they were when the save began, each one once over all calls, until `show` asks for a pause by
    /// `false` (elements at one position are shown together). True while there are more.
    pub(crate) fn save_some(&mut self, mut show: impl FnMut(&E) -> bool) -> bool {
        Slot::go_on(
            |table: &mut Table<E>| &mut table.saving,
            self,
            |saving, table| saving.go_on(table, &mut show),
        )
    }
}

impl<E: Keyed> Saving<E> {
    fn go_on(&mut self, table: &Table<E>, show: &mut impl FnMut(&E) -> bool) -> bool {
        let mut goes_on = true;
        while let Some(element) = self.kept.pop() {
            if !show(&element) {
                return true;
            }
        }
        while self.position >> POSITION_BITS == 0 {
            let part = &table.parts[table.part_of(self.position << (64 - POSITION_BITS))];
            part.table.iter().for_each(E::prefetch);
            let mut found: Vec<(u64, &E)> = part
                .table
                .iter()
                .map(|element| (element.key_hash(), element))
                .filter(|(hash, _)| position_of(*hash) >= self.position && !self.is_touched(*hash))
                .collect();
            found.sort_unstable_by_key(|(hash, _)| *hash);
            for (hash, element) in found {
                let position = position_of(hash);
                if !goes_on && position > self.position {
                    self.position = position;
                    return true;
                }
                self.position = position;
                goes_on &= show(element);
            }
            let below = POSITION_BITS - part.depth;
            self.position = ((self.position >> below) + 1) << below;
            if !goes_on {
                return self.position >> POSITION_BITS == 0;
            }
        }
        false
    }
}
