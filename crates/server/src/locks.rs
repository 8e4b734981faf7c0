//! The lock table of one shard: who may touch which keys while multi-shard transactions are under way.
//!
//! Owns the order of requests on keys and on the whole shard. Requests are granted first come, first served *per
//! key*: a request waits for every earlier, conflicting one, so requests that arrive at all shards in one global
//! order (see `transaction`) can never wait for each other in a circle. Plain commands register only when they
//! conflict with something; while the table is empty it costs one comparison per command.
//!
//! Never runs commands, never sends messages, never knows time. Keys appear as 64-bit fingerprints: a collision
//! makes two keys wait for each other, which is slower and still correct.

use std::collections::{BTreeMap, HashMap, VecDeque};

use ahash::RandomState;

/// How a request uses a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// Reads: compatible with other readers.
    Shared,
    /// Writes, or entries that leave the shard for a while.
    Exclusive,
}

/// What a request wants to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// These keys of the shard (fingerprint and mode; a key may be named more than once).
    Keys(Vec<(u64, Mode)>),
    /// Everything on the shard.
    Whole(Mode),
}

/// Identifies a request while it is in the table. Ascending: a smaller id arrived earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(u64);

struct Request<T> {
    scope: Scope,
    granted: bool,
    payload: Option<T>,
}

/// The lock table. `T` is what the owner wants back when a waiting request is granted.
pub struct LockTable<T> {
    last_id: u64,
    requests: BTreeMap<u64, Request<T>>,
    /// Requests in arrival order, for each key that any request names.
    keys: HashMap<u64, VecDeque<(u64, Mode)>, RandomState>,
    /// Requests for the whole shard, in arrival order.
    wholes: VecDeque<(u64, Mode)>,
}

impl<T> LockTable<T> {
    /// An empty table. `hasher` is a value so that simulations are repeatable.
    pub fn new(hasher: RandomState) -> Self {
        LockTable {
            last_id: 0,
            requests: BTreeMap::new(),
            keys: HashMap::with_hasher(hasher),
            wholes: VecDeque::new(),
        }
    }

    /// True when nobody holds or waits for anything: every plain command may run at once.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// Requests held or waiting.
    pub fn len(&self) -> usize {
        self.requests.len()
    }

    /// Would a command that uses `keys` in `mode` have to wait behind a request that is here already?
    pub fn conflicts(&self, keys: impl IntoIterator<Item = u64>, mode: Mode) -> bool {
        if self.requests.is_empty() {
            return false;
        }
        if self.wholes.iter().any(|&(_, held)| clash(held, mode)) {
            return true;
        }
        keys.into_iter().any(|key| {
            self.keys.get(&key).is_some_and(|queue| queue.iter().any(|&(_, held)| clash(held, mode)))
        })
    }

    /// Would a command that looks at every key of the shard have to wait?
    pub fn conflicts_whole(&self, mode: Mode) -> bool {
        self.requests.values().any(|request| match &request.scope {
            Scope::Whole(held) => clash(*held, mode),
            Scope::Keys(keys) => keys.iter().any(|&(_, held)| clash(held, mode)),
        })
    }

    /// Add a request at the end of every queue it names. `Some(payload)` comes straight back when it is granted at
    /// once; otherwise the payload is kept until [`LockTable::release`] reports the request.
    pub fn acquire(&mut self, mut scope: Scope, payload: T) -> (RequestId, Option<T>) {
        self.last_id += 1;
        let id = self.last_id;
        match &mut scope {
            Scope::Keys(keys) => {
                strongest_per_key(keys);
                for &(key, mode) in keys.iter() {
                    self.keys.entry(key).or_default().push_back((id, mode));
                }
            }
            Scope::Whole(mode) => self.wholes.push_back((id, *mode)),
        }
        let granted = self.may_run(id, &scope);
        let (kept, back) = if granted { (None, Some(payload)) } else { (Some(payload), None) };
        self.requests.insert(id, Request { scope, granted, payload: kept });
        (RequestId(id), back)
    }

    /// Remove a granted request; requests that may run now are pushed onto `ready` in arrival order.
    ///
    /// # Panics
    /// When the request is unknown or was never granted: the transaction protocol is broken then.
    pub fn release(&mut self, id: RequestId, ready: &mut Vec<(RequestId, T)>) {
        let request = self.requests.remove(&id.0).expect("a released request is in the table");
        assert!(request.granted, "only a granted request can be released");
        let mut candidates: Vec<u64> = Vec::new();
        match request.scope {
            Scope::Keys(keys) => {
                for (key, _) in keys {
                    let queue = self.keys.get_mut(&key).expect("a held key has a queue");
                    queue.retain(|&(holder, _)| holder != id.0);
                    if queue.is_empty() {
                        self.keys.remove(&key);
                    } else {
                        candidates.extend(runnable_prefix(queue));
                    }
                }
                candidates.extend(self.wholes.iter().map(|&(whole, _)| whole));
            }
            Scope::Whole(_) => {
                self.wholes.retain(|&(whole, _)| whole != id.0);
                candidates.extend(self.requests.keys().copied());
            }
        }
        candidates.sort_unstable();
        candidates.dedup();
        for candidate in candidates {
            let request = &self.requests[&candidate];
            if request.granted || !self.may_run(candidate, &request.scope) {
                continue;
            }
            let request = self.requests.get_mut(&candidate).expect("looked up above");
            request.granted = true;
            let payload = request.payload.take().expect("a waiting request keeps its payload");
            ready.push((RequestId(candidate), payload));
        }
    }

    fn may_run(&self, id: u64, scope: &Scope) -> bool {
        match scope {
            Scope::Keys(keys) => {
                let strongest = keys.iter().map(|&(_, mode)| mode).max().unwrap_or(Mode::Shared);
                let behind_whole =
                    self.wholes.iter().any(|&(whole, held)| whole < id && clash(held, strongest));
                !behind_whole
                    && keys.iter().all(|&(key, mode)| {
                        self.keys[&key]
                            .iter()
                            .take_while(|&&(other, _)| other < id)
                            .all(|&(_, held)| !clash(held, mode))
                    })
            }
            Scope::Whole(mode) => self.requests.range(..id).all(|(_, earlier)| match &earlier.scope {
                Scope::Whole(held) => !clash(*held, *mode),
                Scope::Keys(keys) => keys.iter().all(|&(_, held)| !clash(held, *mode)),
            }),
        }
    }
}

fn clash(held: Mode, wanted: Mode) -> bool {
    held == Mode::Exclusive || wanted == Mode::Exclusive
}

/// Requests at the front of a queue that no earlier one in the same queue keeps waiting.
fn runnable_prefix(queue: &VecDeque<(u64, Mode)>) -> impl Iterator<Item = u64> {
    let shared = queue.iter().take_while(|&&(_, mode)| mode == Mode::Shared).count();
    queue.iter().take(shared.max(1)).map(|&(id, _)| id)
}

/// Keep each key once, with the strongest mode it was named with.
fn strongest_per_key(keys: &mut Vec<(u64, Mode)>) {
    keys.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)));
    keys.dedup_by_key(|entry| entry.0);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> LockTable<&'static str> {
        LockTable::new(RandomState::with_seeds(1, 2, 3, 4))
    }

    fn exclusive(keys: &[u64]) -> Scope {
        Scope::Keys(keys.iter().map(|&key| (key, Mode::Exclusive)).collect())
    }

    fn shared(keys: &[u64]) -> Scope {
        Scope::Keys(keys.iter().map(|&key| (key, Mode::Shared)).collect())
    }

    fn names(ready: Vec<(RequestId, &'static str)>) -> Vec<&'static str> {
        ready.into_iter().map(|(_, name)| name).collect()
    }

    #[test]
    fn an_empty_table_conflicts_with_nothing() {
        let table = table();
        assert!(table.is_empty());
        assert!(!table.conflicts([1, 2], Mode::Exclusive));
        assert!(!table.conflicts_whole(Mode::Exclusive));
    }

    #[test]
    fn waiters_run_in_arrival_order_per_key() {
        let mut table = table();
        let (first, granted) = table.acquire(exclusive(&[1, 2]), "first");
        assert_eq!(granted, Some("first"));
        let (_, second) = table.acquire(exclusive(&[2, 3]), "second");
        assert_eq!(second, None);
        let (_, third) = table.acquire(exclusive(&[3]), "third");
        assert_eq!(third, None, "the third waits behind the waiting second");
        assert!(!table.conflicts([4], Mode::Exclusive));
        let mut ready = Vec::new();
        table.release(first, &mut ready);
        let second = ready[0].0;
        assert_eq!(names(ready), ["second"]);
        let mut ready = Vec::new();
        table.release(second, &mut ready);
        let third = ready[0].0;
        assert_eq!(names(ready), ["third"]);
        table.release(third, &mut Vec::new());
        assert!(table.is_empty());
    }

    #[test]
    fn readers_share_and_a_writer_waits_for_all_of_them() {
        let mut table = table();
        let (a, granted_a) = table.acquire(shared(&[1]), "a");
        let (b, granted_b) = table.acquire(shared(&[1]), "b");
        assert!(granted_a.is_some() && granted_b.is_some());
        let (_, writer) = table.acquire(exclusive(&[1]), "writer");
        assert!(writer.is_none());
        let (_, late) = table.acquire(shared(&[1]), "late");
        assert!(late.is_none(), "a later reader does not overtake the waiting writer");
        let mut ready = Vec::new();
        table.release(a, &mut ready);
        assert!(ready.is_empty());
        table.release(b, &mut ready);
        assert_eq!(names(ready), ["writer"]);
    }

    #[test]
    fn a_whole_request_waits_for_earlier_and_holds_up_later_ones() {
        let mut table = table();
        let (key, _) = table.acquire(exclusive(&[1]), "key");
        let (_, whole) = table.acquire(Scope::Whole(Mode::Exclusive), "whole");
        assert!(whole.is_none());
        assert!(table.conflicts([99], Mode::Shared));
        let (_, later) = table.acquire(exclusive(&[99]), "later");
        assert!(later.is_none());
        let mut ready = Vec::new();
        table.release(key, &mut ready);
        let whole = ready[0].0;
        assert_eq!(names(ready), ["whole"]);
        let mut ready = Vec::new();
        table.release(whole, &mut ready);
        assert_eq!(names(ready), ["later"]);
    }

    #[test]
    fn a_key_named_twice_keeps_its_strongest_mode() {
        let mut table = table();
        let scope = Scope::Keys(vec![(7, Mode::Shared), (7, Mode::Exclusive), (7, Mode::Shared)]);
        let (id, granted) = table.acquire(scope, "both");
        assert!(granted.is_some());
        assert!(table.conflicts([7], Mode::Shared));
        table.release(id, &mut Vec::new());
        assert!(table.is_empty());
    }

    /// Random requests against a brute-force model: a request is granted exactly when no earlier active one clashes.
    #[test]
    fn grants_match_the_definition() {
        for seed in 0..200u64 {
            let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
            let mut random = move |below: u64| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state % below
            };
            let mut table: LockTable<usize> = LockTable::new(RandomState::with_seeds(1, 2, 3, 4));
            let mut active: Vec<(RequestId, Scope, bool)> = Vec::new();
            for step in 0..60 {
                if random(3) > 0 || active.iter().all(|(_, _, granted)| !granted) {
                    let mode = if random(2) == 0 { Mode::Shared } else { Mode::Exclusive };
                    let scope = if random(8) == 0 {
                        Scope::Whole(mode)
                    } else {
                        Scope::Keys((0..1 + random(3)).map(|_| (random(5), mode)).collect())
                    };
                    let (id, granted) = table.acquire(scope.clone(), step);
                    active.push((id, scope, granted.is_some()));
                } else {
                    let held: Vec<usize> = (0..active.len()).filter(|&index| active[index].2).collect();
                    let (id, _, _) = active.remove(held[random(held.len() as u64) as usize]);
                    let mut ready = Vec::new();
                    table.release(id, &mut ready);
                    for (id, _) in ready {
                        active.iter_mut().find(|entry| entry.0 == id).expect("known").2 = true;
                    }
                }
                for index in 0..active.len() {
                    let free =
                        active[..index].iter().all(|earlier| !scopes_clash(&earlier.1, &active[index].1));
                    assert_eq!(active[index].2, free, "seed {seed} step {step}");
                }
            }
        }
    }

    fn scopes_clash(a: &Scope, b: &Scope) -> bool {
        let modes = |scope: &Scope| match scope {
            Scope::Whole(mode) => vec![*mode],
            Scope::Keys(keys) => keys.iter().map(|&(_, mode)| mode).collect(),
        };
        match (a, b) {
            (Scope::Keys(a), Scope::Keys(b)) => {
                a.iter().any(|x| b.iter().any(|y| x.0 == y.0 && clash(x.1, y.1)))
            }
            _ => modes(a).iter().any(|&x| modes(b).iter().any(|&y| clash(x, y))),
        }
    }
}
