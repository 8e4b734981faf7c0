//! Which keys blocking commands wait for, and which of those something has happened to.
//! Plain data: never knows who waits, nor whether what has happened is of any use to them.

use std::collections::BTreeMap;

use crate::change::Class;

/// A key that was changed, created or removed while somebody waited for it, with its database.
pub type Ready = (usize, Box<[u8]>);

#[derive(Default)]
pub(crate) struct AwaitedKeys {
    /// Per database (grown on demand); `true`: it is in `ready` already.
    by_db: Vec<BTreeMap<Box<[u8]>, bool>>,
    /// In the order of the first touch.
    ready: Vec<Ready>,
}

impl AwaitedKeys {
    pub(crate) fn is_empty(&self) -> bool {
        self.by_db.iter().all(BTreeMap::is_empty)
    }

    pub(crate) fn add(&mut self, db: usize, key: &[u8]) {
        if self.by_db.len() <= db {
            self.by_db.resize_with(db + 1, BTreeMap::new);
        }
        if !self.by_db[db].contains_key(key) {
            self.by_db[db].insert(key.into(), false);
        }
    }

    pub(crate) fn remove(&mut self, db: usize, key: &[u8]) {
        if let Some(keys) = self.by_db.get_mut(db) {
            keys.remove(key);
        }
    }

    pub(crate) fn touched(&mut self, db: usize, key: &[u8]) {
        if let Some(is_ready @ false) = self.by_db.get_mut(db).and_then(|keys| keys.get_mut(key)) {
            *is_ready = true;
            self.ready.push((db, key.into()));
        }
    }

    #[inline]
    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    pub(crate) fn take_ready(&mut self) -> Vec<Ready> {
        for (db, key) in &self.ready {
            if let Some(is_ready) = self.by_db[*db].get_mut(key) {
                *is_ready = false;
            }
        }
        std::mem::take(&mut self.ready)
    }

    /// All awaited keys of a database.
    pub(crate) fn keys_in(&self, db: usize) -> Vec<Box<[u8]>> {
        self.by_db.get(db).map_or(Vec::new(), |keys| keys.keys().cloned().collect())
    }
}

/// Can this event be what somebody waits for? Of what happens to a stream only new entries and a lost group are, so
/// that the acknowledgements of one consumer do not wake all others.
#[inline]
pub(crate) fn may_serve(class: Class, name: &str) -> bool {
    !class.intersects(Class::STREAM) || matches!(name, "xadd" | "xgroup-destroy")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_touched_key_is_ready_once_until_it_is_taken() {
        let mut keys = AwaitedKeys::default();
        keys.add(1, b"k");
        keys.touched(0, b"k");
        keys.touched(1, b"other");
        assert!(!keys.has_ready());
        keys.touched(1, b"k");
        keys.touched(1, b"k");
        assert_eq!(keys.take_ready(), [(1, Box::from(*b"k"))]);
        assert!(!keys.has_ready());
        keys.touched(1, b"k");
        keys.remove(1, b"k");
        assert_eq!(keys.take_ready().len(), 1, "it was touched while it was awaited");
        keys.touched(1, b"k");
        assert!(!keys.has_ready() && keys.is_empty());
    }
}
