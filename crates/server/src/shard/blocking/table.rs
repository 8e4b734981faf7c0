//! Who waits at this shard, for which keys, in which order and for how long. Plain data: never runs a command, never
//! sends a packet.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use torc_datatypes::Kind;
use torc_resp::OwnedArgs;

use crate::packet::{Invocation, ReturnAddress, WaitId};

/// Waits in the order in which they began; numbers are never used again.
pub(super) struct WaitTable {
    /// Above the numbers of reply slots, with which they share the name of a wait.
    last_number: u64,
    waits: BTreeMap<u64, Wait>,
    numbers: HashMap<WaitId, u64>,
    /// Per database (grown on demand), who waits for each key.
    queues: Vec<BTreeMap<Box<[u8]>, Queue>>,
    /// Monotonic microseconds and number.
    deadlines: BTreeSet<(u64, u64)>,
}

/// One client's wait, as far as it concerns keys of this shard.
pub(super) struct Wait {
    pub(super) id: WaitId,
    pub(super) db: usize,
    /// Without repetitions.
    pub(super) keys: Vec<Box<[u8]>>,
    /// What a key must hold to be of use.
    pub(super) kind: Kind,
    /// A key that is gone or of another kind is of use too.
    pub(super) also_gone: bool,
    pub(super) deadline_us: Option<u64>,
    /// Keys whose turn is this wait's, though it cannot be served yet: their queues do not go on meanwhile.
    pub(super) held: Vec<Box<[u8]>>,
    pub(super) what: What,
}

impl Wait {
    /// The held keys are reserved: nothing else keeps others away from them.
    pub(super) fn reserves(&self) -> bool {
        !matches!(self.what, What::Bell(Bell::Silent | Bell::Heard))
    }
}

pub(super) enum What {
    /// A command with all its keys on this shard: it is served here. `None` while it runs.
    Command(Option<Box<BlockedCommand>>),
    /// A command with keys on other shards as well: the shard of its client is told, and it tries again from there.
    Bell(Bell),
}

pub(super) struct BlockedCommand {
    pub(super) invocation: Invocation,
    pub(super) args: OwnedArgs,
    pub(super) address: ReturnAddress,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bell {
    Silent,
    /// The client's shard has been told, and its transaction does not hold its locks here yet.
    Rung,
    /// It does.
    Heard,
}

#[derive(Default)]
struct Queue {
    numbers: BTreeSet<u64>,
    /// How many of them want to know that the key is gone.
    also_gone: usize,
    /// Those that hold the key.
    holders: Vec<u64>,
}

impl Default for WaitTable {
    fn default() -> Self {
        WaitTable {
            last_number: u64::from(u32::MAX),
            waits: BTreeMap::new(),
            numbers: HashMap::new(),
            queues: Vec::new(),
            deadlines: BTreeSet::new(),
        }
    }
}

impl WaitTable {
    pub(super) fn new_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    /// The number of the last wait that has begun.
    pub(super) fn last_number(&self) -> u64 {
        self.last_number
    }

    /// A wait begins. Returns its number.
    pub(super) fn add(&mut self, wait: Wait) -> u64 {
        let number = self.new_number();
        if self.queues.len() <= wait.db {
            self.queues.resize_with(wait.db + 1, BTreeMap::new);
        }
        for key in &wait.keys {
            let queue = self.queues[wait.db].entry(key.clone()).or_default();
            queue.numbers.insert(number);
            queue.also_gone += usize::from(wait.also_gone);
        }
        if let Some(deadline_us) = wait.deadline_us {
            self.deadlines.insert((deadline_us, number));
        }
        let former = self.numbers.insert(wait.id, number);
        debug_assert!(former.is_none(), "a client waits once");
        self.waits.insert(number, wait);
        number
    }

    /// A wait is over.
    ///
    /// # Panics
    /// When there is none of this number.
    pub(super) fn remove(&mut self, number: u64) -> Wait {
        let wait = self.waits.remove(&number).expect("the wait is in the table");
        self.numbers.remove(&wait.id);
        for key in &wait.keys {
            let queue = self.queues[wait.db].get_mut(key).expect("an awaited key has a queue");
            queue.numbers.remove(&number);
            queue.also_gone -= usize::from(wait.also_gone);
            queue.holders.retain(|&holder| holder != number);
            if queue.numbers.is_empty() {
                self.queues[wait.db].remove(key);
            }
        }
        if let Some(deadline_us) = wait.deadline_us {
            self.deadlines.remove(&(deadline_us, number));
        }
        wait
    }

    pub(super) fn find(&self, id: WaitId) -> Option<u64> {
        self.numbers.get(&id).copied()
    }

    pub(super) fn get(&self, number: u64) -> Option<&Wait> {
        self.waits.get(&number)
    }

    pub(super) fn get_mut(&mut self, number: u64) -> Option<&mut Wait> {
        self.waits.get_mut(&number)
    }

    /// Lend a blocked command out, to run it.
    pub(super) fn take_command(&mut self, number: u64) -> Box<BlockedCommand> {
        let wait = self.waits.get_mut(&number).expect("the wait is in the table");
        let What::Command(command) = &mut wait.what else { unreachable!("bells have no command") };
        command.take().expect("a command runs once at a time")
    }

    pub(super) fn put_command_back(&mut self, number: u64, taken: Box<BlockedCommand>) {
        let wait = self.waits.get_mut(&number).expect("the wait is in the table");
        wait.what = What::Command(Some(taken));
    }

    /// The first one in the queue of a key, from a number on.
    pub(super) fn next_for(&self, db: usize, key: &[u8], from: u64) -> Option<u64> {
        self.queues.get(db)?.get(key)?.numbers.range(from..).next().copied()
    }

    /// It is the turn of this wait to have the key. `false`: it has been already.
    pub(super) fn hold(&mut self, number: u64, key: &[u8]) -> bool {
        let wait = self.waits.get_mut(&number).expect("the wait is in the table");
        let queue = self.queues[wait.db].get_mut(key).expect("an awaited key has a queue");
        let is_new = !queue.holders.contains(&number);
        if is_new {
            queue.holders.push(number);
            wait.held.push(key.into());
        }
        is_new
    }

    /// Its turn with one key is over. `false`: it was not its turn.
    pub(super) fn let_go(&mut self, number: u64, key: &[u8]) -> bool {
        let wait = self.waits.get_mut(&number).expect("the wait is in the table");
        let queue = self.queues[wait.db].get_mut(key).expect("an awaited key has a queue");
        queue.holders.retain(|&holder| holder != number);
        let place = wait.held.iter().position(|held| **held == *key);
        place.map(|place| wait.held.swap_remove(place)).is_some()
    }

    /// Is it somebody's turn to have the key who stands before this place?
    pub(super) fn is_held_before(&self, number: u64, db: usize, key: &[u8]) -> bool {
        let queue = self.queues.get(db).and_then(|queues| queues.get(key));
        queue.is_some_and(|queue| queue.holders.iter().any(|&holder| holder < number))
    }

    /// From now on keys are of use to this wait whatever they hold.
    pub(super) fn wants_any_turn(&mut self, number: u64) {
        let wait = self.waits.get_mut(&number).expect("the wait is in the table");
        if !std::mem::replace(&mut wait.also_gone, true) {
            for key in &wait.keys {
                let queue = self.queues[wait.db].get_mut(key).expect("an awaited key has a queue");
                queue.also_gone += 1;
            }
        }
    }

    /// The waits that hold this key, of any database.
    pub(super) fn holders_of(&self, key: &[u8]) -> impl Iterator<Item = &Wait> {
        let queues = self.queues.iter().filter_map(move |queues| queues.get(key));
        queues.flat_map(|queue| &queue.holders).map(|number| &self.waits[number])
    }

    /// The first command that holds this key.
    pub(super) fn stuck_at(&self, db: usize, key: &[u8]) -> Option<u64> {
        let holders = &self.queues.get(db)?.get(key)?.holders;
        holders.iter().copied().find(|number| matches!(self.waits[number].what, What::Command(_)))
    }

    pub(super) fn is_awaited(&self, db: usize, key: &[u8]) -> bool {
        self.queues.get(db).is_some_and(|queues| queues.contains_key(key))
    }

    /// Does anybody want to know that the key is gone?
    pub(super) fn is_missed(&self, db: usize, key: &[u8]) -> bool {
        self.queues.get(db).and_then(|queues| queues.get(key)).is_some_and(|queue| queue.also_gone > 0)
    }

    /// Keys that somebody waits for, and those whose end would be news to somebody.
    pub(super) fn keys(&self) -> (usize, usize) {
        let queues = || self.queues.iter().flat_map(BTreeMap::values);
        (queues().count(), queues().filter(|queue| queue.also_gone > 0).count())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waits.is_empty() && self.deadlines.is_empty()
    }

    /// Note when a wait ends that is not in this table.
    pub(super) fn add_deadline(&mut self, deadline_us: u64, number: u64) {
        self.deadlines.insert((deadline_us, number));
    }

    pub(super) fn remove_deadline(&mut self, deadline_us: u64, number: u64) {
        self.deadlines.remove(&(deadline_us, number));
    }

    #[inline]
    pub(super) fn next_deadline_us(&self) -> Option<u64> {
        self.deadlines.first().map(|&(deadline_us, _)| deadline_us)
    }

    /// The next wait whose time is up; its deadline is forgotten.
    pub(super) fn pop_overdue(&mut self, now_us: u64) -> Option<u64> {
        let &(deadline_us, number) = self.deadlines.first()?;
        if deadline_us > now_us {
            return None;
        }
        self.deadlines.pop_first();
        Some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clients::ClientKey;

    fn wait(client: u32, keys: &[&str], deadline_us: Option<u64>, also_gone: bool) -> Wait {
        Wait {
            id: WaitId { home: 0, client: ClientKey { index: client, generation: 0 }, number: 7 },
            db: 1,
            keys: keys.iter().map(|key| key.as_bytes().into()).collect(),
            kind: Kind::List,
            also_gone,
            deadline_us,
            held: Vec::new(),
            what: What::Bell(Bell::Silent),
        }
    }

    #[test]
    fn queues_keep_the_order_of_arrival() {
        let mut table = WaitTable::default();
        let first = table.add(wait(1, &["a", "b"], None, false));
        let second = table.add(wait(2, &["b"], None, true));
        assert_eq!(table.next_for(1, b"b", 0), Some(first));
        assert_eq!(table.next_for(1, b"b", first + 1), Some(second));
        assert_eq!(table.next_for(1, b"a", first + 1), None);
        assert_eq!(table.next_for(0, b"a", 0), None);
        assert_eq!(table.keys(), (2, 1));
        assert!(table.is_missed(1, b"b") && !table.is_missed(1, b"a"));
        assert_eq!(table.find(wait(2, &[], None, false).id), Some(second));
        table.remove(first);
        assert_eq!(table.next_for(1, b"b", 0), Some(second));
        assert!(!table.is_awaited(1, b"a"));
        table.remove(second);
        assert!(table.is_empty());
    }

    #[test]
    fn deadlines_come_in_the_order_of_time() {
        let mut table = WaitTable::default();
        let late = table.add(wait(1, &["a"], Some(30), false));
        let early = table.add(wait(2, &["a"], Some(10), false));
        table.add_deadline(20, 99);
        assert_eq!(table.next_deadline_us(), Some(10));
        assert_eq!(table.pop_overdue(9), None);
        assert_eq!(table.pop_overdue(20), Some(early));
        assert_eq!(table.pop_overdue(20), Some(99));
        assert_eq!(table.pop_overdue(20), None);
        table.remove(late);
        table.remove(early);
        assert!(table.is_empty());
    }
}
