//! WATCH: which transactions look at which keys, and which of them may no longer run.
//! Plain data: never knows connections; a token stands for one.

use std::collections::BTreeMap;

/// Stands for a connection with watched keys; the caller sees to it that tokens are unique.
pub type Token = u64;

struct Watcher {
    token: Token,
    /// The key had expired already, though nobody had removed it yet, when it was watched. Its removal then is no
    /// change to the watcher (Redis 7.2).
    was_expired: bool,
}

#[derive(Default)]
struct Watched {
    /// Keys watched by the token.
    keys: Vec<(usize, Box<[u8]>)>,
    broken: bool,
}

/// What a touch left at the key's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    Nothing,
    /// A key that has expired, though nobody has removed it yet.
    Expired,
    Key,
}

#[derive(Default)]
pub(crate) struct WatchTable {
    /// Per database (grown on demand), the watchers of each key.
    by_key: Vec<BTreeMap<Box<[u8]>, Vec<Watcher>>>,
    by_token: BTreeMap<Token, Watched>,
}

impl WatchTable {
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.by_token.is_empty()
    }

    pub(crate) fn watch(&mut self, db: usize, key: &[u8], token: Token, was_expired: bool) {
        if self.by_key.len() <= db {
            self.by_key.resize_with(db + 1, BTreeMap::new);
        }
        let watchers = self.by_key[db].entry(key.into()).or_default();
        if watchers.iter().all(|watcher| watcher.token != token) {
            watchers.push(Watcher { token, was_expired });
            self.by_token.entry(token).or_default().keys.push((db, key.into()));
        }
    }

    pub(crate) fn unwatch(&mut self, token: Token) {
        let Some(watched) = self.by_token.remove(&token) else { return };
        for (db, key) in watched.keys {
            let Some(watchers) = self.by_key[db].get_mut(&key) else { continue };
            watchers.retain(|watcher| watcher.token != token);
            if watchers.is_empty() {
                self.by_key[db].remove(&key);
            }
        }
    }

    pub(crate) fn is_watched(&self, db: usize, key: &[u8]) -> bool {
        self.by_key.get(db).is_some_and(|keys| keys.contains_key(key))
    }

    /// A key was changed, created or removed.
    pub(crate) fn touched(&mut self, db: usize, key: &[u8], left: Left) {
        let Some(watchers) = self.by_key.get_mut(db).and_then(|keys| keys.get_mut(key)) else { return };
        for watcher in watchers {
            if watcher.was_expired && left == Left::Nothing {
                // The expired key went away, which is what the watcher saw already. From now on it counts as absent.
                watcher.was_expired = false;
                continue;
            }
            if let Some(watched) = self.by_token.get_mut(&watcher.token) {
                watched.broken = true;
            }
        }
    }

    /// A database took the place of another one; in the former one the key existed, expired or not.
    pub(crate) fn swapped(&mut self, db: usize, key: &[u8], existed: bool, left: Left) {
        let Some(watchers) = self.by_key.get_mut(db).and_then(|keys| keys.get_mut(key)) else { return };
        for watcher in watchers {
            let was_absent = watcher.was_expired || !existed;
            if was_absent && left != Left::Key {
                // What is no key to clients takes the place of what is none.
                watcher.was_expired = left == Left::Expired;
            } else if let Some(watched) = self.by_token.get_mut(&watcher.token) {
                watched.broken = true;
            }
        }
    }

    pub(crate) fn is_broken(&self, token: Token) -> bool {
        self.by_token.get(&token).is_some_and(|watched| watched.broken)
    }

    /// Keys watched by `token` that were alive when watched.
    pub(crate) fn keys_watched_alive(&self, token: Token) -> impl Iterator<Item = (usize, &[u8])> {
        let keys = self.by_token.get(&token).map_or(&[][..], |watched| &watched.keys);
        keys.iter().map(|(db, key)| (*db, &**key)).filter(move |(db, key)| {
            let watchers = self.by_key[*db].get(*key).map_or(&[][..], Vec::as_slice);
            watchers.iter().any(|watcher| watcher.token == token && !watcher.was_expired)
        })
    }

    /// All watched keys of a database.
    pub(crate) fn keys_in(&self, db: usize) -> Vec<Box<[u8]>> {
        self.by_key.get(db).map_or(Vec::new(), |keys| keys.keys().cloned().collect())
    }
}
