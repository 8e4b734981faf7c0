//! Keeping memory within its limit: leases of the budget, eviction, and the refusal of writes.
//!
//! Owns this shard's lease ([`crate::budget`]) and the moment at which keys go: before a command that may need memory runs,
//! and between turns while there is too much. Keys go where the best one is, by what shards show of themselves: a shard
//! that needs memory evicts its own keys, or asks the shard whose keys have been unused for longer. Never chooses among
//! keys (`keyspace::evict`), and never touches a key that somebody holds locked.

use torc_commands::Flags;
use torc_keyspace::{Eviction, Order, Score};

use crate::config::Config;
use crate::connection::Connection;
use crate::locks::Mode;
use crate::packet::{Packet, ShardId};
use crate::registry::Registered;

use super::Shard;

/// Parts of buried values that are freed between two looks at the budget.
const RELEASE_PER_STEP: usize = 512;
/// Time of a slice of eviction between turns.
const SLICE_NS: u64 = 200_000;
/// Time that a write may spend on freeing what is buried before it is refused for want of memory.
const RELEASE_NS_MAX: u64 = 1_000_000;
/// Bytes of tables of fixed size that do not count, per shard: those of a few databases.
const FIXED_BYTES_EXEMPT_MAX: usize = 2 << 20;
/// Keys evicted between two looks at the clock.
const EVICTIONS_PER_LOOK: usize = 8;

/// This shard's part of the budget.
#[derive(Default)]
pub(super) struct Evicting {
    is_limited: bool,
    /// Which keys go; `None`: none do.
    policy: Option<Eviction>,
    /// Time that one write may spend on eviction.
    ns_max: u64,
    /// Bytes taken from the budget, and in what steps.
    lease: usize,
    step: usize,
    /// Bytes used outside `db`, as of the last exact look.
    elsewhere: usize,
    db: usize,
    /// How much the last key that went, or the next one, should go.
    score: Score,
    /// Whose keys go in this turn, once it is known.
    first: Option<ShardId>,
    /// Another shard was asked to evict in this turn.
    has_asked: bool,
    /// Another shard has asked for room, and there is not enough yet.
    makes_room: bool,
    /// Nothing that may go was found: wait for the next tick.
    is_stuck: bool,
}

impl Shard {
    /// Take over the settings about memory.
    pub(crate) fn apply_memory_settings(&mut self) {
        let config = &self.state.config;
        let evicting = &mut self.evicting;
        evicting.is_limited = config.maxmemory() > 0;
        evicting.policy = policy_of(config);
        evicting.ns_max =
            config.maxmemory_eviction_tenacity().map_or(u64::MAX, |time| time.as_nanos() as u64);
        evicting.step = self.process.budget.lease_step();
        evicting.is_stuck = false;
        evicting.score = 0;
        self.settle_lease();
        self.process.budget.set_has_lease(self.home, self.evicting.is_limited);
    }

    /// Bring the lease in line with what keys take.
    fn settle_lease(&mut self) {
        if !self.evicting.is_limited {
            self.process.budget.give_back(std::mem::take(&mut self.evicting.lease));
        } else if !self.keyspace_away {
            let used = self.keyspace.counted_bytes() + self.keyspace.graveyard.bytes();
            self.evicting.elsewhere = used - self.keyspace.counted_bytes_in(self.evicting.db);
            self.lease(used);
        }
    }

    #[inline]
    fn lease(&mut self, used: usize) {
        let Evicting { lease, step, .. } = &mut self.evicting;
        if used > *lease {
            let wanted = used.next_multiple_of(*step);
            self.process.budget.take(wanted - *lease);
            *lease = wanted;
        } else if *lease - used >= 2 * *step {
            let wanted = used.next_multiple_of(*step);
            self.process.budget.give_back(*lease - wanted);
            *lease = wanted;
        }
    }

    /// Make room before a command runs that may need memory. True: keys have gone for it. Hot path.
    #[inline]
    pub(super) fn make_room_for(&mut self, command: &Registered, db: usize) -> bool {
        if self.evicting.is_limited && command.spec.flags.has(Flags::DENYOOM) {
            if db != self.evicting.db {
                self.evicting.db = db;
                self.settle_lease();
            }
            self.lease(self.keyspace.counted_bytes_in(db) + self.evicting.elsewhere);
            if self.process.budget.excess() > 0 {
                let evicted_before = self.keyspace.stats.evicted;
                self.make_room();
                self.pipeline_time.interrupt();
                return self.keyspace.stats.evicted != evicted_before;
            } else if self.process.budget.excess_with_room() > 0 && !self.evicting.has_asked {
                self.ask_ahead();
            }
        }
        false
    }

    /// Memory will be needed soon, and another shard's keys should go for it.
    fn ask_ahead(&mut self) {
        if self.evicting.policy.is_some() && !self.goes_first() {
            self.ask_for_room();
        }
    }

    /// The same for a part of a transaction.
    pub(super) fn make_room_if_needed(&mut self) {
        if self.evicting.is_limited && self.process.budget.excess() > 0 {
            self.make_room();
        }
    }

    #[cold]
    fn make_room(&mut self) {
        self.settle_lease();
        self.evict_some(self.evicting.ns_max, false);
    }

    /// Another shard needs memory, and this one's keys should go first.
    pub(super) fn asked_for_room(&mut self) {
        if self.evicting.is_limited && !self.is_braked() {
            self.evicting.makes_room = true;
            self.evict_slice();
        }
    }

    /// Evict until there is enough, or `ns_max` have passed. `is_asked`: keys of this shard go, whatever others
    /// show, and some more than are needed now.
    fn evict_some(&mut self, ns_max: u64, is_asked: bool) {
        if self.keyspace_away || self.state.is_loading || self.state.pause.is_some() {
            return;
        }
        let started = (self.cycles)();
        let evicted_before = self.keyspace.stats.evicted;
        let mut steps = 0;
        loop {
            let budget = &self.process.budget;
            let excess = if is_asked { budget.excess_with_room() } else { budget.excess() };
            let tolerance = self.process.budget.tolerance();
            if excess == 0 {
                break;
            }
            let buried = self.keyspace.graveyard.bytes();
            if buried > 0 {
                self.keyspace.graveyard.dig(RELEASE_PER_STEP);
                self.settle_lease();
            }
            let suffices = buried >= excess;
            if !suffices {
                let Some(policy) = self.evicting.policy else { break };
                let is_first = is_asked || self.goes_first();
                if !is_first {
                    self.ask_for_room();
                }
                // What is on its way on another shard is waited for, up to a point.
                if !is_first && excess <= tolerance {
                    break;
                }
                if !self.evict_one(policy) {
                    self.evicting.is_stuck = true;
                    self.ask_for_room();
                    break;
                }
            }
            steps += 1;
            let looks = steps % EVICTIONS_PER_LOOK == 0 || buried > 0;
            if looks
                && excess <= tolerance
                && (self.cycles_to_ns)((self.cycles)().wrapping_sub(started)) >= ns_max
            {
                break;
            }
        }
        if self.keyspace.stats.evicted != evicted_before {
            let ns = (self.cycles_to_ns)((self.cycles)().wrapping_sub(started));
            self.note_latency("eviction-cycle", ns);
        }
    }

    fn evict_one(&mut self, policy: Eviction) -> bool {
        let Shard { keyspace, changes, locks, key_fingerprints, .. } = self;
        let may_go = |key: &[u8]| {
            locks.is_empty() || !locks.conflicts([key_fingerprints.hash_one(key)], Mode::Exclusive)
        };
        let Some(score) = keyspace.evict(policy, self.now.unix_ms, changes, may_go) else { return false };
        self.evicting.score = score;
        self.settle_lease();
        true
    }

    /// Whether keys of this shard should go rather than those of another one. Chosen once per turn.
    fn goes_first(&mut self) -> bool {
        if self.shards() == 1 {
            return true;
        }
        let own = self.id;
        *self.evicting.first.get_or_insert_with(|| {
            let other = self.process.budget.best_besides(own);
            let Some(policy) = self.evicting.policy else { return own };
            let score = shown_score(policy, self.evicting.score, self.evicting.lease);
            let has_some = self.keyspace.evictable_len(policy.volatile_only) > 0;
            match other {
                Some((shard, best)) if !has_some || best > score.saturating_add(slack(policy, score)) => {
                    shard
                }
                _ => own,
            }
        }) == own
    }

    /// Tell the shard whose keys should go that memory is needed.
    fn ask_for_room(&mut self) {
        if self.evicting.has_asked {
            return;
        }
        self.evicting.has_asked = true;
        if let Some((shard, _)) = self.process.budget.best_besides(self.id) {
            self.send(shard, Packet::MakeRoom);
        }
    }

    /// Is this command refused because memory is used up, and no key may go?
    #[inline]
    pub(super) fn lacks_memory(&mut self, connection: &Connection, command: &Registered) -> bool {
        self.evicting.is_limited
            && self.process.budget.excess() > 0
            && self.refuses_for_memory(connection, command)
    }

    #[cold]
    fn refuses_for_memory(&mut self, connection: &Connection, command: &Registered) -> bool {
        let denied = |command: &Registered| command.spec.flags.has(Flags::DENYOOM);
        let is_concerned = match &connection.multi {
            _ if connection.exec.is_some() => false,
            Some(multi) if command.name == "exec" => multi.queue.iter().any(|held| denied(held.command)),
            _ => denied(command),
        };
        if !is_concerned {
            return false;
        }
        if self.can_evict() {
            if command.name == "exec" {
                self.make_room();
            }
            return false;
        }
        let started = (self.cycles)();
        while self.process.budget.excess() > 0
            && !self.keyspace_away
            && self.keyspace.graveyard.dig(RELEASE_PER_STEP)
        {
            self.settle_lease();
            if (self.cycles_to_ns)((self.cycles)().wrapping_sub(started)) > RELEASE_NS_MAX {
                break;
            }
        }
        self.settle_lease();
        self.process.budget.excess() > 0
    }

    /// Whether any shard has keys that may go.
    fn can_evict(&self) -> bool {
        let Some(policy) = self.evicting.policy else { return false };
        let is_here = !self.keyspace_away && self.keyspace.evictable_len(policy.volatile_only) > 0;
        is_here || self.process.budget.best_besides(self.id).is_some()
    }

    /// Settle accounts at the end of a turn.
    #[inline]
    pub(super) fn account_for_memory(&mut self) {
        if self.evicting.is_limited {
            self.show_memory();
        }
    }

    fn show_memory(&mut self) {
        self.settle_lease();
        self.evicting.first = None;
        self.evicting.has_asked = false;
        let Evicting { policy, score, lease, .. } = self.evicting;
        let shown = policy.map_or(0, |policy| shown_score(policy, score, lease));
        let may_evict = policy.is_some_and(|policy| {
            !self.keyspace_away && self.keyspace.evictable_len(policy.volatile_only) > 0
        });
        self.process.budget.show(self.id, shown, may_evict, self.uncounted_bytes());
    }

    fn uncounted_bytes(&self) -> usize {
        let fixed = (self.keyspace.used_bytes() - self.keyspace.counted_bytes()).min(FIXED_BYTES_EXEMPT_MAX);
        fixed + self.unwritten_log_bytes()
    }

    /// On every tick: look anew at the keys that would go next, as an idle shard's keys grow old.
    pub(super) fn memory_tick(&mut self) {
        if !self.evicting.is_limited {
            // INFO tells the same with a limit and without.
            return self.process.budget.show(self.id, 0, false, self.uncounted_bytes());
        }
        self.evicting.is_stuck = false;
        if let Some(policy) = self.evicting.policy
            && !self.keyspace_away
            && policy.order != Order::Random
        {
            let best = self.keyspace.best_to_evict(policy, self.now.unix_ms);
            self.evicting.score = best.unwrap_or(0);
        }
        self.show_memory();
    }

    /// There is too much, and it is this shard's turn to do something about it.
    pub(super) fn has_to_evict(&self) -> bool {
        let Evicting { is_limited, is_stuck, policy: Some(policy), first, score, lease, .. } = self.evicting
        else {
            return false;
        };
        if !is_limited || is_stuck || self.is_braked() || self.state.pause.is_some() {
            return false;
        }
        let budget = &self.process.budget;
        if self.evicting.makes_room || budget.excess() == 0 {
            return self.evicting.makes_room && budget.excess_with_room() > 0;
        }
        let other = if first.is_some() { None } else { self.process.budget.best_besides(self.id) };
        let score = shown_score(policy, score, lease);
        first.is_none_or(|first| first == self.id)
            && other.is_none_or(|(_, best)| best <= score.saturating_add(slack(policy, score)))
    }

    /// A slice of eviction between turns.
    pub(super) fn evict_slice(&mut self) {
        self.evict_some(SLICE_NS, self.evicting.makes_room);
        self.evicting.makes_room &= self.process.budget.excess_with_room() > 0;
    }
}

/// Which keys may go; `None`: none. What is being imported stays.
fn policy_of(config: &Config) -> Option<Eviction> {
    if config.import_mode() {
        return None;
    }
    let (keys, order) = config.maxmemory_policy().split_once('-')?;
    let order = match order {
        "lru" => Order::Lru,
        "lfu" => Order::Lfu,
        "ttl" => Order::Ttl,
        _ => Order::Random,
    };
    Some(Eviction { order, volatile_only: keys == "volatile", samples: config.maxmemory_samples() })
}

/// What a shard shows: where keys go at random, the shard with the most bytes gives some.
fn shown_score(policy: Eviction, score: Score, lease: usize) -> Score {
    if policy.order == Order::Random { lease as Score } else { score }
}

/// By how much another shard's key must be the better one for that to matter: shown scores are old by up to a tick, and
/// are those of single keys.
fn slack(policy: Eviction, score: Score) -> Score {
    /// Steps of the counter of uses.
    const LFU: Score = 2;
    const TTL_MS: Score = 2_000;
    const IDLE_S: Score = 2;
    const BYTES: Score = 1 << 20;
    match policy.order {
        Order::Random => score / 8 + BYTES,
        Order::Lru => score / 8 + IDLE_S,
        Order::Lfu => LFU,
        Order::Ttl => TTL_MS,
    }
}
