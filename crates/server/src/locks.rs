//! The lock table of one shard: who may touch which keys while multi-shard transactions are under way.
//!
//! Owns the order of requests on keys and on the whole shard. Requests are granted first come, first served *per
//! key*: a request waits for every earlier, conflicting one, so requests that arrive at all shards in one global
//! order (see `transaction`) can never wait for each other in a circle. Plain commands register only when they
//! conflict with something; while the table is empty it costs one comparison per command.
//!
//! A key can also be *reserved* for a transaction that is not here yet (it will serve a blocked client): plain commands
//! on it wait until the reservation is lifted, and so does everything plain behind them. Transactions of the global
//! order pass all of those by, because the one that is expected may stand behind them in that order: so a reservation
//! never makes a circle either.
//!
//! Never runs commands, never sends messages, never knows time. Keys appear as 64-bit fingerprints: a collision
//! makes two keys wait for each other, which is slower and still correct.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

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
    /// Not part of the global order: reservations hold it up.
    is_plain: bool,
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
    /// Reserved keys, and how often.
    reserved: HashMap<u64, usize, RandomState>,
    /// Plain requests that wait for a reservation to be lifted, by arrival. They stand in no queue.
    held_back: BTreeMap<u64, (Scope, T)>,
    /// The keys of those.
    held_back_keys: HashSet<u64, RandomState>,
}

impl<T> LockTable<T> {
    /// An empty table. `hasher` is a value so that simulations are repeatable.
    pub fn new(hasher: RandomState) -> Self {
        LockTable {
            last_id: 0,
            requests: BTreeMap::new(),
            keys: HashMap::with_hasher(hasher.clone()),
            wholes: VecDeque::new(),
            reserved: HashMap::with_hasher(hasher.clone()),
            held_back: BTreeMap::new(),
            held_back_keys: HashSet::with_hasher(hasher),
        }
    }

    /// True when nobody holds, waits for or has reserved anything: every plain command may run at once.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty() && self.reserved.is_empty()
    }

    /// Requests held or waiting, and reservations.
    pub fn len(&self) -> usize {
        self.requests.len() + self.held_back.len() + self.reserved.len()
    }

    /// Would a plain command that uses `keys` in `mode` have to wait behind what is here already?
    pub fn conflicts(&self, keys: impl IntoIterator<Item = u64>, mode: Mode) -> bool {
        if self.is_empty() {
            return false;
        }
        if self.wholes.iter().any(|&(_, held)| clash(held, mode)) {
            return true;
        }
        keys.into_iter().any(|key| {
            self.is_reserved(key)
                || self.keys.get(&key).is_some_and(|queue| queue.iter().any(|&(_, held)| clash(held, mode)))
        })
    }

    /// Does another request than `own` hold one of these keys?
    pub fn is_held(&self, keys: impl IntoIterator<Item = u64>, own: Option<RequestId>) -> bool {
        let is_holder = |&(id, _): &(u64, Mode)| own != Some(RequestId(id)) && self.requests[&id].granted;
        self.wholes.iter().any(is_holder)
            || keys
                .into_iter()
                .any(|key| self.keys.get(&key).is_some_and(|queue| queue.iter().any(is_holder)))
    }

    /// Is the key reserved, or wanted by a request that waits for a reservation?
    pub fn is_reserved(&self, key: u64) -> bool {
        self.reserved.contains_key(&key) || self.held_back_keys.contains(&key)
    }

    fn meets_reservation(&self, scope: &Scope) -> bool {
        match scope {
            Scope::Keys(keys) => keys.iter().any(|&(key, _)| self.is_reserved(key)),
            // Who looks at the whole shard looks at reserved keys too: nothing is away from there.
            Scope::Whole(_) => false,
        }
    }

    /// Would a command that looks at every key of the shard have to wait?
    pub fn conflicts_whole(&self, mode: Mode) -> bool {
        self.requests.values().any(|request| match &request.scope {
            Scope::Whole(held) => clash(*held, mode),
            Scope::Keys(keys) => keys.iter().any(|&(_, held)| clash(held, mode)),
        })
    }

    /// Add a request of the global order at the end of every queue it names. `Some(payload)` comes straight back when it
    /// is granted at once; otherwise the payload is kept until [`LockTable::release`] reports the request.
    pub fn acquire(&mut self, scope: Scope, payload: T) -> (RequestId, Option<T>) {
        self.enqueue(scope, payload, false)
    }

    /// The same for a request outside the global order, which reservations hold up.
    pub fn acquire_plain(&mut self, scope: Scope, payload: T) -> (RequestId, Option<T>) {
        if self.meets_reservation(&scope) {
            self.last_id += 1;
            self.hold_back(self.last_id, scope, payload);
            return (RequestId(self.last_id), None);
        }
        self.enqueue(scope, payload, true)
    }

    fn enqueue(&mut self, mut scope: Scope, payload: T, is_plain: bool) -> (RequestId, Option<T>) {
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
        self.requests.insert(id, Request { scope, granted, is_plain, payload: kept });
        (RequestId(id), back)
    }

    /// Remove a granted request; requests that may run now are pushed onto `ready` in arrival order.
    ///
    /// # Panics
    /// When the request is unknown or was never granted: the transaction protocol is broken then.
    pub fn release(&mut self, id: RequestId, ready: &mut Vec<(RequestId, T)>) {
        let mut candidates: Vec<u64> = Vec::new();
        let request = self.take_out(id.0, &mut candidates);
        assert!(request.granted, "only a granted request can be released");
        self.grant(candidates, ready);
    }

    /// Reserve a key. Plain requests that wait for it, and those behind them, are held back from now on; what waited
    /// only for them is pushed onto `ready`.
    pub fn reserve(&mut self, key: u64, ready: &mut Vec<(RequestId, T)>) {
        *self.reserved.entry(key).or_insert(0) += 1;
        let waiting = self.requests.iter().filter(|(_, request)| request.is_plain && !request.granted);
        let waiting: Vec<u64> = waiting.map(|(&id, _)| id).collect();
        let mut candidates = Vec::new();
        for id in waiting {
            if self.meets_reservation(&self.requests[&id].scope) {
                let request = self.take_out(id, &mut candidates);
                let payload = request.payload.expect("a waiting request keeps its payload");
                self.hold_back(id, request.scope, payload);
            }
        }
        candidates.retain(|id| self.requests.contains_key(id));
        self.grant(candidates, ready);
    }

    /// Undo one [`LockTable::reserve`]. Requests that were held back queue up now, in the order in which they came.
    ///
    /// # Panics
    /// When the key is not reserved.
    pub fn lift(&mut self, key: u64, ready: &mut Vec<(RequestId, T)>) {
        let count = self.reserved.get_mut(&key).expect("a lifted key is reserved");
        *count -= 1;
        if *count > 0 {
            return;
        }
        self.reserved.remove(&key);
        self.held_back_keys.clear();
        for (id, (scope, payload)) in std::mem::take(&mut self.held_back) {
            if self.meets_reservation(&scope) {
                self.hold_back(id, scope, payload);
            } else if let (id, Some(payload)) = self.enqueue(scope, payload, true) {
                ready.push((id, payload));
            }
        }
    }

    fn hold_back(&mut self, id: u64, scope: Scope, payload: T) {
        if let Scope::Keys(keys) = &scope {
            self.held_back_keys.extend(keys.iter().map(|&(key, _)| key));
        }
        self.held_back.insert(id, (scope, payload));
    }

    /// Take a request out of all its queues; those that may be next are added to `candidates`.
    fn take_out(&mut self, id: u64, candidates: &mut Vec<u64>) -> Request<T> {
        let request = self.requests.remove(&id).expect("the request is in the table");
        match &request.scope {
            Scope::Keys(keys) => {
                for (key, _) in keys {
                    let queue = self.keys.get_mut(key).expect("a held key has a queue");
                    queue.retain(|&(holder, _)| holder != id);
                    if queue.is_empty() {
                        self.keys.remove(key);
                    } else {
                        candidates.extend(runnable_prefix(queue));
                    }
                }
                candidates.extend(self.wholes.iter().map(|&(whole, _)| whole));
            }
            Scope::Whole(_) => {
                self.wholes.retain(|&(whole, _)| whole != id);
                candidates.extend(self.requests.keys().copied());
            }
        }
        request
    }

    fn grant(&mut self, mut candidates: Vec<u64>, ready: &mut Vec<(RequestId, T)>) {
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

    #[test]
    fn a_reservation_holds_up_plain_requests_and_nobody_else() {
        let mut table = table();
        table.reserve(1, &mut Vec::new());
        assert!(
            !table.is_empty() && table.conflicts([1], Mode::Shared) && !table.conflicts([2], Mode::Shared)
        );
        assert!(!table.conflicts_whole(Mode::Shared), "a walk needs not wait");
        assert_eq!(table.acquire_plain(exclusive(&[1, 2]), "first").1, None);
        assert_eq!(table.acquire_plain(exclusive(&[2, 3]), "second").1, None, "it stands behind the first");
        let (transaction, granted) = table.acquire(exclusive(&[1, 3]), "transaction");
        assert_eq!(granted, Some("transaction"));
        let mut ready = Vec::new();
        table.lift(1, &mut ready);
        assert!(ready.is_empty(), "the transaction came before");
        table.release(transaction, &mut ready);
        let (first, payload) = ready.pop().expect("the first is next");
        assert!(payload == "first" && ready.is_empty());
        table.release(first, &mut ready);
        let (second, payload) = ready.pop().expect("the second is next");
        assert_eq!(payload, "second");
        table.release(second, &mut ready);
        assert_eq!((table.is_empty(), table.len()), (true, 0));
    }

    #[test]
    fn a_reservation_holds_back_plain_requests_that_wait_already() {
        let mut table = table();
        let (holder, _) = table.acquire(exclusive(&[1]), "holder");
        assert!(table.acquire_plain(exclusive(&[1, 2]), "plain").1.is_none());
        assert!(table.acquire_plain(exclusive(&[2]), "behind it").1.is_none());
        assert!(table.acquire(exclusive(&[2]), "transaction").1.is_none());
        let mut ready = Vec::new();
        table.reserve(1, &mut ready);
        let (transaction, payload) = ready.pop().expect("only the plain ones were in its way");
        assert_eq!(payload, "transaction");
        assert!(
            table.is_held([1], None) && !table.is_held([1], Some(holder)) && table.is_held([2], Some(holder))
        );
        table.release(holder, &mut ready);
        table.release(transaction, &mut ready);
        assert!(ready.is_empty(), "the key is reserved");
        table.lift(1, &mut ready);
        assert_eq!(names(ready), ["plain"]);
    }

    /// Random requests and reservations: whatever is granted clashes with nothing, and all are granted in the end.
    #[test]
    fn reservations_make_nobody_wait_for_ever() {
        for seed in 0..300u64 {
            let mut rng = torc_keyspace::Rng::new(seed);
            let mut table: LockTable<usize> = LockTable::new(RandomState::with_seeds(1, 2, 3, 4));
            let mut scopes: Vec<Scope> = Vec::new();
            let mut granted: Vec<(RequestId, usize)> = Vec::new();
            let mut reserved: Vec<u64> = Vec::new();
            let mut done = 0;
            for step in 0..200 {
                let mut ready = Vec::new();
                match if step < 100 { rng.below(6) } else { 4 + rng.below(2) } {
                    0 => {
                        let key = rng.below(4);
                        table.reserve(key, &mut ready);
                        reserved.push(key);
                    }
                    kind @ 1..=3 => {
                        let mode = if rng.below(3) == 0 { Mode::Shared } else { Mode::Exclusive };
                        let scope = if rng.below(10) == 0 {
                            Scope::Whole(mode)
                        } else {
                            Scope::Keys((0..1 + rng.below(2)).map(|_| (rng.below(4), mode)).collect())
                        };
                        scopes.push(scope.clone());
                        let name = scopes.len() - 1;
                        let (id, payload) = if kind == 1 {
                            table.acquire(scope, name)
                        } else {
                            table.acquire_plain(scope, name)
                        };
                        ready.extend(payload.map(|name| (id, name)));
                    }
                    4 if !reserved.is_empty() => {
                        let key = reserved.swap_remove(rng.index(reserved.len()));
                        table.lift(key, &mut ready);
                    }
                    _ if !granted.is_empty() => {
                        let (id, _) = granted.swap_remove(rng.index(granted.len()));
                        table.release(id, &mut ready);
                        done += 1;
                    }
                    _ => {}
                }
                granted.extend(ready);
                for (index, (_, a)) in granted.iter().enumerate() {
                    for (_, b) in &granted[..index] {
                        assert!(!scopes_clash(&scopes[*a], &scopes[*b]), "seed {seed} step {step}");
                    }
                }
            }
            for key in reserved {
                let mut ready = Vec::new();
                table.lift(key, &mut ready);
                granted.extend(ready);
            }
            while let Some((id, _)) = granted.pop() {
                let mut ready = Vec::new();
                table.release(id, &mut ready);
                granted.extend(ready);
                done += 1;
            }
            assert_eq!(done, scopes.len(), "seed {seed}: somebody waits for ever");
            assert_eq!(table.len(), 0);
        }
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
