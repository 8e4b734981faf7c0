//! Which clients have read which keys of this shard since the keys changed last.
//!
//! Owns the table, without I/O. Keys of all databases share their names in it, as in Redis. Entries of clients that are
//! gone stay until their key changes or is forgotten: whoever gets the notice finds nobody.

use smallvec::SmallVec;
use torc_datatypes::element_hash;
use torc_datatypes::table::{Keyed, Table};

use crate::clients::ClientToken;

/// Clients in ascending order.
pub(super) type Readers = SmallVec<[ClientToken; 2]>;

/// The table of reads.
#[derive(Default)]
pub struct Reads {
    keys: Table<ReadKey>,
    /// Pairs of key and client.
    items: usize,
    /// Keys that came since they were last counted in for all shards, less those that went.
    uncounted: isize,
    /// Emptied tables, to be freed bit by bit.
    graves: Vec<Table<ReadKey>>,
}

#[derive(Clone)]
struct ReadKey {
    key: Box<[u8]>,
    clients: Readers,
}

impl Keyed for ReadKey {
    fn key_hash(&self) -> u64 {
        element_hash(&self.key)
    }

    fn key_is(&self, key: &[u8]) -> bool {
        *self.key == *key
    }

    fn heap_bytes(&self) -> usize {
        let spilled =
            if self.clients.spilled() { self.clients.capacity() * size_of::<ClientToken>() } else { 0 };
        self.key.len() + spilled
    }
}

impl Reads {
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Pairs of key and client.
    pub fn items(&self) -> usize {
        self.items
    }

    pub fn heap_bytes(&self) -> usize {
        self.keys.heap_bytes()
    }

    pub(super) fn remember(&mut self, key: &[u8], client: ClientToken) {
        let known = self.keys.edit(key, |read| match read.clients.binary_search(&client) {
            Ok(_) => false,
            Err(place) => {
                read.clients.insert(place, client);
                true
            }
        });
        match known {
            Some(is_new) => self.items += usize::from(is_new),
            None => {
                self.keys.insert_new(ReadKey { key: key.into(), clients: SmallVec::from_slice(&[client]) });
                self.items += 1;
                self.uncounted += 1;
            }
        }
    }

    /// The readers of a key, which are forgotten.
    pub(super) fn take(&mut self, key: &[u8]) -> Option<Readers> {
        let read = self.keys.remove(key)?;
        self.items -= read.clients.len();
        self.uncounted -= 1;
        Some(read.clients)
    }

    /// Forgets a key drawn at random, which the caller has counted out already.
    pub(super) fn forget(&mut self, random: impl FnMut(usize) -> usize) -> Option<(Box<[u8]>, Readers)> {
        let read = self.keys.remove_random(random)?;
        self.items -= read.clients.len();
        Some((read.key, read.clients))
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        if !self.keys.is_empty() {
            self.uncounted -= self.keys.len() as isize;
            self.items = 0;
            self.graves.push(std::mem::take(&mut self.keys));
        }
    }

    /// Keys that came since the last call, less those that went.
    pub(crate) fn take_uncounted(&mut self) -> isize {
        std::mem::take(&mut self.uncounted)
    }

    pub(crate) fn has_graves(&self) -> bool {
        !self.graves.is_empty()
    }

    /// Frees some of the keys that were forgotten all at once.
    pub(crate) fn dig(&mut self, effort_max: usize) {
        if self.graves.last_mut().is_some_and(|table| table.free_some(effort_max) == 0) {
            self.graves.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clients::ClientKey;

    fn client(index: u32) -> ClientToken {
        ClientToken::new(0, ClientKey { index, generation: 0 })
    }

    #[test]
    fn a_key_knows_its_readers_once_and_in_order() {
        let mut reads = Reads::default();
        for index in [3, 1, 3, 2] {
            reads.remember(b"k", client(index));
        }
        reads.remember(b"other", client(1));
        assert_eq!((reads.len(), reads.items(), reads.take_uncounted()), (2, 4, 2));
        assert_eq!(reads.take(b"k").unwrap().as_slice(), [client(1), client(2), client(3)]);
        assert!(reads.take(b"k").is_none());
        assert_eq!((reads.len(), reads.items(), reads.take_uncounted()), (1, 1, -1));
    }

    #[test]
    fn all_is_forgotten_at_once_and_freed_later() {
        let mut reads = Reads::default();
        (0..5_000u32).for_each(|number| reads.remember(&number.to_be_bytes(), client(number)));
        reads.clear();
        assert_eq!((reads.len(), reads.items(), reads.take_uncounted()), (0, 0, 0));
        let mut steps = 0;
        while reads.has_graves() {
            reads.dig(1_000);
            steps += 1;
        }
        assert!(steps > 4, "{steps} steps");
    }
}
