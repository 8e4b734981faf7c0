//! Prefixes of keys that clients follow (CLIENT TRACKING with BCAST).
//!
//! Owns who follows what, the same on every shard, and the keys of this shard that have changed in the current step,
//! without I/O. A key costs one lookup for each length that a followed prefix has.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use crate::clients::ClientToken;

use super::Changed;

/// What is followed.
#[derive(Default)]
pub struct Prefixes {
    followed: BTreeMap<Bytes, Followed>,
    /// How many prefixes have a length.
    lens: BTreeMap<usize, usize>,
    /// Prefixes of keys that have changed in this step.
    changed: BTreeSet<Bytes>,
}

#[derive(Default)]
struct Followed {
    clients: BTreeSet<ClientToken>,
    /// Keys that have changed in this step, and who changed them last.
    keys: BTreeMap<Bytes, Option<ClientToken>>,
}

/// Changed keys with one prefix, and who follows it, in ascending order.
pub(super) struct ChangedPrefix {
    pub(super) keys: Arc<[Changed]>,
    pub(super) clients: Vec<ClientToken>,
}

impl Prefixes {
    pub fn len(&self) -> usize {
        self.followed.len()
    }

    pub fn is_empty(&self) -> bool {
        self.followed.is_empty()
    }

    pub(super) fn follow(&mut self, client: ClientToken, prefixes: &[Bytes]) {
        for prefix in prefixes {
            let lens = &mut self.lens;
            let followed = self.followed.entry(prefix.clone()).or_insert_with(|| {
                *lens.entry(prefix.len()).or_default() += 1;
                Followed::default()
            });
            followed.clients.insert(client);
        }
    }

    pub(super) fn unfollow(&mut self, client: ClientToken, prefixes: &[Bytes]) {
        for prefix in prefixes {
            let Some(followed) = self.followed.get_mut(prefix) else { continue };
            followed.clients.remove(&client);
            if followed.clients.is_empty() {
                self.followed.remove(prefix);
                let count = self.lens.get_mut(&prefix.len()).expect("every prefix is counted");
                *count -= 1;
                if *count == 0 {
                    self.lens.remove(&prefix.len());
                }
            }
        }
    }

    pub(super) fn changed(&mut self, key: &[u8], actor: Option<ClientToken>) {
        for &len in self.lens.range(..=key.len()).map(|(len, _)| len) {
            let Some((prefix, _)) = self.followed.get_key_value(&key[..len]) else { continue };
            let prefix = prefix.clone();
            let keys = &mut self.followed.get_mut(&prefix).expect("found above").keys;
            keys.insert(Bytes::copy_from_slice(key), actor);
            self.changed.insert(prefix);
        }
    }

    /// What has changed since the last call; prefixes and keys in ascending order.
    pub(super) fn take_changed(&mut self) -> Vec<ChangedPrefix> {
        let mut list = Vec::new();
        for prefix in std::mem::take(&mut self.changed) {
            let Some(followed) = self.followed.get_mut(&prefix) else { continue };
            let keys = std::mem::take(&mut followed.keys);
            let keys = keys.into_iter().map(|(key, actor)| Changed { key, actor }).collect();
            list.push(ChangedPrefix { keys, clients: followed.clients.iter().copied().collect() });
        }
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clients::ClientKey;

    fn client(index: u32) -> ClientToken {
        ClientToken::new(0, ClientKey { index, generation: 0 })
    }

    fn names(list: &[&'static str]) -> Vec<Bytes> {
        list.iter().map(|name| Bytes::from_static(name.as_bytes())).collect()
    }

    #[test]
    fn changed_keys_are_found_by_all_their_prefixes() {
        let mut prefixes = Prefixes::default();
        prefixes.follow(client(1), &names(&["user:", "user:1"]));
        prefixes.follow(client(2), &names(&["", "user:"]));
        for (key, actor) in [("user:12", 1), ("user:2", 1), ("user:12", 2), ("x", 1)] {
            prefixes.changed(key.as_bytes(), Some(client(actor)));
        }
        let shown = |changed: &ChangedPrefix| {
            let keys: Vec<_> = changed.keys.iter().map(|changed| (&changed.key[..], changed.actor)).collect();
            format!("{keys:?} {:?}", changed.clients)
        };
        let (one, two) = (Some(client(1)), Some(client(2)));
        let expected = [
            format!("{:?} {:?}", [(&b"user:12"[..], two), (b"user:2", one), (b"x", one)], [client(2)]),
            format!("{:?} {:?}", [(&b"user:12"[..], two), (b"user:2", one)], [client(1), client(2)]),
            format!("{:?} {:?}", [(&b"user:12"[..], two)], [client(1)]),
        ];
        assert_eq!(prefixes.take_changed().iter().map(shown).collect::<Vec<_>>(), expected);
        assert!(prefixes.take_changed().is_empty());
        prefixes.unfollow(client(1), &names(&["user:", "user:1", "never"]));
        prefixes.unfollow(client(2), &names(&["", "user:"]));
        assert!(prefixes.is_empty() && prefixes.lens.is_empty());
    }
}
