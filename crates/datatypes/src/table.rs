//! The general hash table of collections (big sets, hashes and sorted sets): extendible hashing over small tables, so
//! that growth moves at most some hundred elements at a time and a scan cursor survives it.
//!
//! Owns its elements and the sum of their bytes. Never knows what they mean, and draws no random numbers itself.
//!
//! A directory of 2^depth indices, addressed by the upper hash bits, leads to parts. A full part splits in two by its
//! next hash bit; two small neighbours join again.
//!
//! A table may be saved bit by bit while it changes: whoever is about to change an element that is not saved yet keeps
//! it as it was ([`saving`]).

mod saving;

use hashbrown::HashTable;
use hashbrown::hash_table::Iter as PartIter;

use self::saving::SavingSlot;
use crate::element_hash::element_hash;
use crate::entry::class::allocated_bytes;
use crate::prefetch::prefetch_address;
use crate::release::effort_of;

/// Elements of a part that make it split: what 1,024 buckets hold.
const PART_LEN_MAX: usize = 896;
/// Two neighbours with together at most this many elements join.
const JOIN_LEN_MAX: usize = PART_LEN_MAX / 2;
/// Buckets of a part that is not at [`DEPTH_MAX`] at most.
const PART_BUCKETS_MAX: usize = 1_024;
/// Parts at this depth grow instead of splitting.
const DEPTH_MAX: u32 = 20;
/// Bits of a scan position, taken from the top of the hash.
const POSITION_BITS: u32 = 48;
/// Buckets in which a search that begins at the first of them mostly ends.
const BUCKETS_AHEAD: usize = 4;

/// What a table holds: something with a key of bytes.
pub trait Keyed: Clone {
    /// [`element_hash`] of the key.
    fn key_hash(&self) -> u64;
    fn key_is(&self, key: &[u8]) -> bool;
    /// Bytes that the element owns on the heap, without the element itself. O(1).
    fn heap_bytes(&self) -> usize;
    /// Frees a piece of an element that is very large, and is on its way out; returns the effort, or `None` when the rest
    /// may be freed at once.
    fn cut(&mut self) -> Option<usize> {
        None
    }
    /// Loads the key's memory ahead of its use.
    fn prefetch(&self) {}
}

/// Part and bucket of an element, until the table changes.
pub(crate) type Place = (usize, usize);

#[derive(Clone)]
struct Part<E> {
    table: HashTable<E>,
    depth: u32,
    /// Address of the table's control bytes, or 0: below them lie the buckets. For prefetching alone, so that of a copy may
    /// be wrong.
    control: usize,
}

impl<E: Keyed> Part<E> {
    fn new(table: HashTable<E>, depth: u32) -> Part<E> {
        let mut part = Part { table, depth, control: 0 };
        part.note_control();
        part
    }

    /// The table has got other memory.
    fn note_control(&mut self) {
        let address_of = |element: &E| std::ptr::from_ref(element).addr();
        let control = self.table.iter().next().and_then(|first| {
            let is_first = |element: &E| address_of(element) == address_of(first);
            let bucket = self.table.find_bucket_index(inner(first.key_hash()), is_first)?;
            Some(address_of(first) + (bucket + 1) * size_of::<E>())
        });
        self.control = control.unwrap_or(0);
    }

    /// Loads what a search for this hash begins with: control bytes, and the buckets where elements mostly are.
    #[inline]
    fn prefetch_slot(&self, hash: u64) {
        let control = std::ptr::without_provenance::<u8>(self.control);
        let bucket = inner(hash) as usize & (self.table.num_buckets().max(1) - 1);
        let behind = control.wrapping_sub(bucket * size_of::<E>());
        prefetch_address(control.wrapping_add(bucket));
        prefetch_address(behind.wrapping_sub(size_of::<E>()));
        prefetch_address(behind.wrapping_sub(BUCKETS_AHEAD * size_of::<E>()));
    }
}

/// A hash table of elements with distinct keys.
#[derive(Clone)]
pub struct Table<E> {
    depth: u32,
    /// Indices into `parts`; empty while there is one part.
    directory: Vec<u32>,
    parts: Vec<Part<E>>,
    len: usize,
    /// Bytes that the elements own.
    element_bytes: usize,
    /// Bytes of the parts' buckets, as the allocator counts them.
    bucket_bytes: usize,
    saving: SavingSlot<E>,
}

impl<E: Keyed> Default for Table<E> {
    fn default() -> Self {
        Table::new()
    }
}

impl<E: Keyed> Table<E> {
    pub fn new() -> Table<E> {
        Table {
            depth: 0,
            directory: Vec::new(),
            parts: vec![Part::new(HashTable::new(), 0)],
            len: 0,
            element_bytes: 0,
            bucket_bytes: 0,
            saving: SavingSlot::default(),
        }
    }

    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes on the heap, elements included. O(1).
    pub fn heap_bytes(&self) -> usize {
        self.element_bytes
            + self.bucket_bytes
            + allocated_bytes(self.directory.capacity() * size_of::<u32>())
            + allocated_bytes(self.parts.capacity() * size_of::<Part<E>>())
    }

    #[inline]
    fn directory_index(&self, hash: u64) -> usize {
        // Two shifts, since a shift by 64 is not defined.
        (hash >> 1 >> (63 - self.depth)) as usize
    }

    #[inline]
    fn part_of(&self, hash: u64) -> usize {
        if self.directory.is_empty() { 0 } else { self.directory[self.directory_index(hash)] as usize }
    }

    #[inline]
    pub fn get(&self, key: &[u8]) -> Option<&E> {
        let hash = element_hash(key);
        self.parts[self.part_of(hash)].table.find(inner(hash), |element| element.key_is(key))
    }

    /// Loads the place of a key ahead of its use; returns what [`Table::prefetch_element`] wants once it has arrived.
    #[inline]
    pub fn prefetch_slot(&self, key: &[u8]) -> u64 {
        let hash = element_hash(key);
        self.parts[self.part_of(hash)].prefetch_slot(hash);
        hash
    }

    /// Loads what may be the element of a key ahead of its use. Touches the key's place.
    #[inline]
    pub fn prefetch_element(&self, hash: u64) {
        // Looks like a search for something that is not there: every candidate's memory is asked for, none is read.
        self.parts[self.part_of(hash)].table.find(inner(hash), |element| {
            element.prefetch();
            false
        });
    }

    #[inline]
    pub fn contains(&self, key: &[u8]) -> bool {
        self.get(key).is_some()
    }

    /// Changes an element in place; its key must stay. `None` if it is not there.
    #[inline]
    pub fn edit<R>(&mut self, key: &[u8], change: impl FnOnce(&mut E) -> R) -> Option<R> {
        let hash = element_hash(key);
        self.keep_if_saving(hash);
        let part = self.part_of(hash);
        let element = self.parts[part].table.find_mut(inner(hash), |element| element.key_is(key))?;
        self.element_bytes -= element.heap_bytes();
        let result = change(element);
        self.element_bytes += element.heap_bytes();
        Some(result)
    }

    /// Adds an element whose key is not there.
    pub fn insert_new(&mut self, element: E) {
        self.insert_hashed(element.key_hash(), element);
    }

    /// Adds the element that `make` makes for a key, unless the key is there; returns whether it is new.
    #[inline]
    pub fn insert_with(&mut self, key: &[u8], make: impl FnOnce() -> E) -> bool {
        let hash = element_hash(key);
        let found = self.parts[self.part_of(hash)].table.find(inner(hash), |element| element.key_is(key));
        let is_new = found.is_none();
        if is_new {
            self.insert_hashed(hash, make());
        }
        is_new
    }

    fn insert_hashed(&mut self, hash: u64, element: E) {
        self.keep_if_saving(hash);
        self.reserve(hash);
        self.element_bytes += element.heap_bytes();
        self.len += 1;
        let part = self.part_of(hash);
        let table = &mut self.parts[part].table;
        if table.len() < table.capacity() {
            table.insert_unique(inner(hash), element, |element| inner(element.key_hash()));
            return;
        }
        let bytes_before = bytes_of(table);
        table.insert_unique(inner(hash), element, |element| inner(element.key_hash()));
        self.bucket_bytes += bytes_of(table) - bytes_before;
        self.parts[part].note_control();
    }

    /// Takes an element out.
    pub fn remove(&mut self, key: &[u8]) -> Option<E> {
        let hash = element_hash(key);
        self.keep_if_saving(hash);
        let part = self.part_of(hash);
        let found = self.parts[part].table.find_entry(inner(hash), |element| element.key_is(key)).ok()?;
        let (element, _) = found.remove();
        self.removed(&element, hash);
        Some(element)
    }

    /// Takes an element out that is drawn with equal chances for all. `random` gives numbers below its argument.
    pub fn remove_random(&mut self, random: impl FnMut(usize) -> usize) -> Option<E> {
        let (part, bucket) = self.draw(random)?;
        if self.saving.is_taken() {
            let drawn = self.at((part, bucket)).expect("it was just drawn").key_hash();
            self.keep_if_saving(drawn);
        }
        let found = self.parts[part].table.get_bucket_entry(bucket).ok()?;
        let (element, _) = found.remove();
        self.removed(&element, element.key_hash());
        Some(element)
    }

    /// Takes an element out whose key has this hash and which is the one that `is_it` tells.
    pub fn remove_where(&mut self, hash: u64, is_it: impl Fn(&E) -> bool) -> Option<E> {
        self.keep_if_saving(hash);
        let part = self.part_of(hash);
        let found = self.parts[part].table.find_entry(inner(hash), is_it).ok()?;
        let (element, _) = found.remove();
        self.removed(&element, hash);
        Some(element)
    }

    fn removed(&mut self, element: &E, hash: u64) {
        self.element_bytes -= element.heap_bytes();
        self.len -= 1;
        self.shrink(hash);
    }

    pub fn iter(&self) -> Iter<'_, E> {
        Iter { parts: self.parts.iter(), part: PartIter::default() }
    }

    /// Elements by ascending ranges of their hash, from `cursor` on (0 starts), about `count` of them; returns the cursor to
    /// go on with, 0 when all are done. Elements that stay from the first call to the last are visited at least once.
    pub fn scan(&self, cursor: u64, count: usize, mut visit: impl FnMut(&E)) -> u64 {
        let mut position = cursor;
        let mut visited = 0;
        while position < 1 << POSITION_BITS {
            let index = self.part_of(position << (64 - POSITION_BITS));
            let part = &self.parts[index];
            let below = POSITION_BITS - part.depth;
            let end = ((position >> below) + 1) << below;
            let mut found: Vec<(u64, &E)> = part
                .table
                .iter()
                .map(|element| (element.key_hash() >> (64 - POSITION_BITS), element))
                .filter(|(at, _)| *at >= position)
                .collect();
            let wanted = count.max(1) - visited;
            // Elements at one position belong together: the cursor can't tell them apart.
            let stop = (found.len() > wanted)
                .then(|| found.select_nth_unstable_by_key(wanted - 1, |(at, _)| *at).1.0);
            let mut next = None;
            for (at, element) in found {
                if stop.is_some_and(|stop| at > stop) {
                    next = Some(next.map_or(at, |next: u64| next.min(at)));
                } else {
                    visit(element);
                    visited += 1;
                }
            }
            if let Some(next) = next {
                return next;
            }
            position = end;
            if visited >= count.max(1) {
                break;
            }
        }
        // Empty parts are passed here, so that the walk ends with a 0 as soon as nothing is left.
        while position < 1 << POSITION_BITS {
            let part = &self.parts[self.part_of(position << (64 - POSITION_BITS))];
            if !part.table.is_empty() {
                return position;
            }
            let below = POSITION_BITS - part.depth;
            position = ((position >> below) + 1) << below;
        }
        0
    }

    /// An element drawn with equal chances for all. `random` gives numbers below its argument.
    pub fn random(&self, random: impl FnMut(usize) -> usize) -> Option<&E> {
        let place = self.draw(random)?;
        self.at(place)
    }

    /// The element at a place that [`Table::draw`] gave, as long as the table has not changed.
    pub(crate) fn at(&self, (part, bucket): Place) -> Option<&E> {
        self.parts[part].table.get_bucket(bucket)
    }

    /// The place of an element, each element with the same chance: buckets of all parts are drawn until one is
    /// taken. Since parts split and join, about half of them are, and hardly ever less than a seventh.
    pub(crate) fn draw(&self, mut random: impl FnMut(usize) -> usize) -> Option<Place> {
        if self.len == 0 {
            return None;
        }
        let buckets_max = match &self.parts[..] {
            [part] => part.table.num_buckets(),
            parts if self.depth == DEPTH_MAX => {
                parts.iter().map(|part| part.table.num_buckets()).max().unwrap_or(0)
            }
            _ => PART_BUCKETS_MAX,
        };
        loop {
            let part = random(self.parts.len());
            let bucket = random(buckets_max);
            if self.parts[part].table.get_bucket(bucket).is_some() {
                return Some((part, bucket));
            }
        }
    }

    /// Frees elements until that was about so much effort, and returns it: 0 when nothing is left. Nothing else may be done
    /// with the table afterwards.
    pub fn free_some(&mut self, effort_max: usize) -> usize {
        self.directory = Vec::new();
        let (mut effort, mut bytes) = (0, 0);
        while effort < effort_max
            && let Some(Part { table, .. }) = self.parts.last_mut()
        {
            let goes = |element: &mut E| {
                if effort >= effort_max {
                    return false;
                }
                let before = element.heap_bytes();
                if let Some(piece) = element.cut() {
                    effort += piece;
                    bytes += before - element.heap_bytes();
                    return false;
                }
                effort += effort_of(before);
                bytes += before;
                true
            };
            self.len -= table.extract_if(goes).count();
            if table.is_empty() {
                effort += effort_of(bytes_of(table));
                self.bucket_bytes -= bytes_of(table);
                self.parts.pop();
            }
        }
        self.element_bytes -= bytes;
        effort
    }

    /// Makes room for one more element with this hash.
    fn reserve(&mut self, hash: u64) {
        loop {
            let index = self.part_of(hash);
            let part = &self.parts[index];
            if part.table.len() < PART_LEN_MAX || part.depth == DEPTH_MAX {
                return;
            }
            self.split(index, hash);
        }
    }

    fn split(&mut self, index: usize, hash: u64) {
        let old_depth = self.parts[index].depth;
        if self.directory.is_empty() {
            self.directory.push(0);
        }
        if old_depth == self.depth {
            self.directory = self.directory.iter().flat_map(|&part| [part, part]).collect();
            self.depth += 1;
        }
        let depth = old_depth + 1;
        let old = std::mem::take(&mut self.parts[index].table);
        self.bucket_bytes -= bytes_of(&old);
        let room = old.len() / 2 + old.len() / 16;
        let mut halves = [HashTable::with_capacity(room), HashTable::with_capacity(room)];
        for element in old {
            let hash = element.key_hash();
            let half = (hash >> (64 - depth) & 1) as usize;
            halves[half].insert_unique(inner(hash), element, |element| inner(element.key_hash()));
        }
        let [low, high] = halves;
        self.bucket_bytes += bytes_of(&low) + bytes_of(&high);
        self.parts[index] = Part::new(low, depth);
        let high_index = self.parts.len() as u32;
        self.parts.push(Part::new(high, depth));
        // The directory range of the old part: all indices that share its upper `old_depth` bits.
        let shift = self.depth - old_depth;
        let first = self.directory_index(hash) >> shift << shift;
        let half = 1 << (shift - 1);
        self.directory[first + half..first + 2 * half].fill(high_index);
    }

    /// Gives memory back after a removal from the part of `hash`.
    fn shrink(&mut self, hash: u64) {
        loop {
            let index = self.part_of(hash);
            let depth = self.parts[index].depth;
            let len = self.parts[index].table.len();
            let buddy = (depth > 0).then(|| {
                let shift = self.depth - depth;
                let first = self.directory_index(hash) >> shift << shift;
                (first, self.directory[first ^ 1 << shift] as usize)
            });
            if let Some((first, buddy)) = buddy
                && self.parts[buddy].depth == depth
                && len + self.parts[buddy].table.len() <= JOIN_LEN_MAX
            {
                self.join(index, buddy, first);
                continue;
            }
            let table = &mut self.parts[index].table;
            if table.num_buckets() > 16 && len * 8 < table.num_buckets() {
                self.bucket_bytes -= bytes_of(table);
                table.shrink_to(len * 2, |element| inner(element.key_hash()));
                self.bucket_bytes += bytes_of(table);
                self.parts[index].note_control();
            }
            return;
        }
    }

    /// Joins two neighbours, the first of which the directory lists from `first` on.
    fn join(&mut self, index: usize, buddy: usize, first: usize) {
        let depth = self.parts[index].depth - 1;
        let moved = std::mem::take(&mut self.parts[buddy].table);
        let table = &mut self.parts[index].table;
        self.bucket_bytes -= bytes_of(&moved) + bytes_of(table);
        for element in moved {
            table.insert_unique(inner(element.key_hash()), element, |element| inner(element.key_hash()));
        }
        self.bucket_bytes += bytes_of(table);
        self.parts[index].depth = depth;
        self.parts[index].note_control();
        let shift = self.depth - depth;
        let start = first >> shift << shift;
        self.directory[start..start + (1 << shift)].fill(index as u32);
        self.parts.swap_remove(buddy);
        let last = self.parts.len() as u32;
        self.directory.iter_mut().filter(|part| **part == last).for_each(|part| *part = buddy as u32);
        while self.depth > 0 && self.directory.chunks(2).all(|pair| pair[0] == pair[1]) {
            self.directory = self.directory.iter().step_by(2).copied().collect();
            self.depth -= 1;
        }
        if self.depth == 0 {
            self.directory = Vec::new();
        }
    }
}

impl<E> std::fmt::Debug for Table<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table").field("len", &self.len).field("parts", &self.parts.len()).finish()
    }
}

/// All elements of a table, in the order in which they lie.
pub struct Iter<'a, E> {
    parts: std::slice::Iter<'a, Part<E>>,
    part: PartIter<'a, E>,
}

impl<'a, E> Iterator for Iter<'a, E> {
    type Item = &'a E;

    #[inline]
    fn next(&mut self) -> Option<&'a E> {
        loop {
            if let Some(element) = self.part.next() {
                return Some(element);
            }
            self.part = self.parts.next()?.table.iter();
        }
    }
}

/// Bytes of a part's buckets.
fn bytes_of<E>(table: &HashTable<E>) -> usize {
    allocated_bytes(table.allocation_size())
}

/// The hash inside a part. The small tables use the top and the low bits, the directory the top: turned by half, the
/// bits that all elements of a part share come to lie where nobody looks.
#[inline]
fn inner(hash: u64) -> u64 {
    hash.rotate_left(32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    #[derive(Clone, Debug)]
    struct Word(Vec<u8>);

    impl Keyed for Word {
        fn key_hash(&self) -> u64 {
            element_hash(&self.0)
        }
        fn key_is(&self, key: &[u8]) -> bool {
            self.0 == key
        }
        fn heap_bytes(&self) -> usize {
            self.0.len()
        }
    }

    fn numbers(seed: u64) -> impl FnMut(usize) -> usize {
        let mut state = seed;
        move |below| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % below as u64) as usize
        }
    }

    fn check(table: &Table<Word>, model: &BTreeSet<Vec<u8>>) {
        assert_eq!(table.len(), model.len());
        let seen: BTreeSet<Vec<u8>> = table.iter().map(|word| word.0.clone()).collect();
        assert_eq!(&seen, model);
        assert_eq!(table.element_bytes, model.iter().map(Vec::len).sum::<usize>());
        let buckets: usize = table.parts.iter().map(|part| bytes_of(&part.table)).sum();
        assert_eq!(table.bucket_bytes, buckets);
        // The hints for prefetching are right: a search finds its element where they say, or a little behind.
        let mut searched = 0;
        for part in table.parts.iter().filter(|part| !part.table.is_empty()) {
            for element in &part.table {
                let bucket = inner(element.key_hash()) as usize & (part.table.num_buckets() - 1);
                let expected = part.control - (bucket + 1) * size_of::<Word>();
                let found = std::ptr::from_ref(element).addr();
                searched += usize::from(expected.abs_diff(found) < BUCKETS_AHEAD * size_of::<Word>());
            }
        }
        assert!(searched * 3 >= table.len() * 2, "{searched} of {} elements are near", table.len());
    }

    /// Growth over many splits and back to nothing, with scans under way that must not lose what stays.
    #[test]
    fn grows_and_shrinks_without_losing_anything() {
        for seed in 1..=4 {
            let mut random = numbers(seed);
            let (mut table, mut model) = (Table::<Word>::new(), BTreeSet::new());
            for phase in 0..6 {
                let mut cursor = 0;
                let mut seen: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
                let mut stayed: BTreeSet<Vec<u8>> = model.clone();
                for step in 0..8_000 {
                    let key = random(20_000).to_string().into_bytes();
                    let growing = phase % 2 == 0;
                    if model.contains(&key) && (!growing || random(8) == 0) {
                        assert_eq!(table.remove(&key).map(|word| word.0), Some(key.clone()));
                        model.remove(&key);
                        stayed.remove(&key);
                    } else if !model.contains(&key) && (growing || random(8) == 0) {
                        assert!(table.get(&key).is_none());
                        table.insert_new(Word(key.clone()));
                        model.insert(key);
                    }
                    if step % 10 == 0 && (step == 0 || cursor != 0) {
                        cursor = table.scan(cursor, 40, |word| *seen.entry(word.0.clone()).or_default() += 1);
                    }
                }
                while cursor != 0 {
                    cursor = table.scan(cursor, 1000, |word| *seen.entry(word.0.clone()).or_default() += 1);
                }
                assert!(stayed.iter().all(|key| seen.contains_key(key)), "seed {seed} phase {phase}");
                check(&table, &model);
            }
            for key in std::mem::take(&mut model) {
                assert!(table.remove(&key).is_some());
            }
            check(&table, &model);
            assert_eq!((table.depth, table.parts.len()), (0, 1));
        }
    }

    #[test]
    fn a_scan_at_rest_shows_each_element_once() {
        let mut table = Table::new();
        (0..5_000).for_each(|id: u32| table.insert_new(Word(id.to_string().into())));
        let (mut cursor, mut seen) = (0, Vec::new());
        loop {
            let before = seen.len();
            cursor = table.scan(cursor, 10, |word| seen.push(word.0.clone()));
            assert!(seen.len() - before <= 11);
            if cursor == 0 {
                break;
            }
        }
        let distinct: BTreeSet<_> = seen.iter().collect();
        assert_eq!((seen.len(), distinct.len()), (5_000, 5_000));
    }

    #[test]
    fn draws_are_fair() {
        let mut table = Table::new();
        (0..2_000).for_each(|id: u32| table.insert_new(Word(id.to_string().into())));
        let mut random = numbers(7);
        let mut drawn: BTreeMap<Vec<u8>, u32> = BTreeMap::new();
        for _ in 0..200_000 {
            *drawn.entry(table.random(&mut random).unwrap().0.clone()).or_default() += 1;
        }
        let (least, most) = (drawn.values().min().unwrap(), drawn.values().max().unwrap());
        assert_eq!(drawn.len(), 2_000);
        assert!(*least > 50 && *most < 170, "{least} {most}");
    }

    /// A small, a big and a thinned out table; every element comes out, and nothing else changes.
    #[test]
    fn elements_are_taken_out_at_random() {
        for (added, left) in [(10, 0), (3_000, 0), (20_000, 1_500)] {
            let mut random = numbers(3);
            let mut table = Table::new();
            let mut model = BTreeSet::new();
            for id in 0..added {
                let key = id.to_string().into_bytes();
                table.insert_new(Word(key.clone()));
                model.insert(key);
            }
            for _ in left..added {
                let word = table.remove_random(&mut random).expect("something is left");
                assert!(model.remove(&word.0));
                assert!(table.get(&word.0).is_none());
            }
            check(&table, &model);
            assert_eq!(table.random(&mut random).is_some(), left > 0);
        }
        assert!(Table::<Word>::new().remove_random(numbers(1)).is_none());
    }

    #[test]
    fn is_freed_with_the_effort_that_is_given() {
        for (words, bytes) in [(5_000usize, 10), (300, 100_000), (0, 0)] {
            let mut table = Table::new();
            for id in 0..words {
                let mut word = format!("{id}:").into_bytes();
                word.resize(bytes, b'x');
                table.insert_new(Word(word));
            }
            let mut freed = 0;
            loop {
                let (len, bytes_before) = (table.len(), table.heap_bytes());
                let step = table.free_some(100);
                if step == 0 {
                    break;
                }
                freed += len - table.len();
                assert!((100..130).contains(&step) || table.is_empty(), "{step}");
                assert!(len - table.len() <= 100);
                assert!(bytes_before - table.heap_bytes() <= 130 * 4096);
            }
            assert_eq!((freed, table.element_bytes, table.bucket_bytes), (words, 0, 0));
        }
    }
}
