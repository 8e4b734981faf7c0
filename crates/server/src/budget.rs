//! The budget of memory (`maxmemory`), which all shards share.
//!
//! What keys may take is the limit less everything else that the allocator has handed out since the start: buffers,
//! connections, what clients are to be told; and less what fragmentation takes beyond measure. Owns this account: a shard
//! takes a lease for what its keys take, in small steps ahead of its need, and gives back what it needs no longer; so the sum of all leases is never less than what keys take, however unevenly they
//! are spread. Never decides which key goes.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use crate::packet::ShardId;

/// The part of the limit by which it may be exceeded for a moment, and that is made free ahead for other shards.
const TOLERANCE: usize = 32;

/// Pages that are unused, or partly so, are borne up to 1/64 of the limit and this. What is beyond counts as used, and
/// several times: a key that goes leaves the rest of its page to others, so that many have to go for a few pages.
const WASTE_BORNE_BYTES: usize = 8 << 20;
/// The same for each shard, which has pages of its own.
const WASTE_BORNE_PER_SHARD_BYTES: usize = 4 << 20;
const WASTE_WEIGHT: usize = 4;

/// What a shard's thread has at hand for a moment (what the allocator keeps for it, figures for INFO) goes up and down
/// by about this.
const NOISE_BYTES: usize = 192 << 10;
/// Measurements whose least counts, as far as they differ by noise.
const RECENT: usize = 16;

/// The account of one process.
#[derive(Debug)]
pub struct Budget {
    leases: Leases,
    maxmemory: AtomicUsize,
    /// What is in use besides the leases.
    besides: AtomicUsize,
    /// The same as of the last measurements.
    recent: [AtomicUsize; RECENT],
    next_recent: AtomicUsize,
    parts: Box<[Part]>,
    /// Time above the limit, in milliseconds, and since when it is exceeded now (0: it is not).
    exceeded_ms: AtomicU64,
    exceeded_since_ms: AtomicU64,
}

/// What writes look at, in a cache line of its own.
#[derive(Debug)]
#[repr(align(64))]
struct Leases {
    /// Of all shards, in bytes.
    leased: AtomicUsize,
    /// What they may be together.
    limit: AtomicUsize,
}

/// What a shard shows of itself, in a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Part {
    /// How much its next key to go should go.
    score: AtomicU64,
    /// It has keys that may go.
    may_evict: AtomicBool,
    /// Its lease covers its keys.
    has_lease: AtomicBool,
    /// What is not counted, as no eviction makes it less: what waits to be written to its log, tables of fixed size.
    uncounted: AtomicUsize,
}

impl Budget {
    pub fn new(shards: usize) -> Budget {
        Budget {
            leases: Leases { leased: AtomicUsize::new(0), limit: AtomicUsize::new(usize::MAX) },
            maxmemory: AtomicUsize::new(0),
            besides: AtomicUsize::new(0),
            recent: Default::default(),
            next_recent: AtomicUsize::new(0),
            parts: (0..shards).map(|_| Part::default()).collect(),
            exceeded_ms: AtomicU64::new(0),
            exceeded_since_ms: AtomicU64::new(0),
        }
    }

    /// `maxmemory` has changed; 0: no limit. It holds from the next [`Budget::measure`] on, when all shards have their
    /// leases.
    pub fn set_maxmemory(&self, bytes: usize) {
        let before = self.maxmemory.swap(bytes, Ordering::Relaxed);
        if bytes == 0 || before == 0 {
            self.leases.limit.store(usize::MAX, Ordering::Relaxed);
        } else {
            self.set_limit();
        }
    }

    /// Take in what the allocator has handed out to the whole process, the pages that it has in memory, and what part of
    /// both the server itself takes. True: there are more unused pages than are borne.
    pub fn measure(&self, allocated: usize, resident: usize, exempt: usize) -> bool {
        let all_have_leases = self.parts.iter().all(|part| part.has_lease.load(Ordering::Relaxed));
        let maxmemory = self.maxmemory.load(Ordering::Relaxed);
        if maxmemory == 0 || !all_have_leases {
            return false;
        }
        let uncounted = self.uncounted() + exempt;
        let besides = allocated.saturating_sub(self.leased()).saturating_sub(uncounted);
        let borne = WASTE_BORNE_BYTES + WASTE_BORNE_PER_SHARD_BYTES * self.parts.len();
        let bearable = maxmemory.saturating_add(maxmemory / 64).saturating_add(borne);
        let wasted = resident.saturating_sub(uncounted).saturating_sub(bearable);
        let besides = besides + (wasted * WASTE_WEIGHT).min(maxmemory / 2);
        let is_known = self.used().is_some();
        if !is_known {
            self.recent.iter().for_each(|one| one.store(besides, Ordering::Relaxed));
        }
        let place = self.next_recent.fetch_add(1, Ordering::Relaxed) % RECENT;
        let recent = self.recent.iter().enumerate().filter(|(index, _)| *index != place);
        let least = recent.map(|(_, one)| one.load(Ordering::Relaxed)).min().unwrap_or(besides).min(besides);
        self.recent[place].store(besides, Ordering::Relaxed);
        // What is there for a moment only is not worth any key.
        let is_noise = is_known && besides <= least + NOISE_BYTES * self.parts.len();
        self.besides.store(if is_noise { least } else { besides }, Ordering::Relaxed);
        self.set_limit();
        wasted > 0
    }

    /// What shards show that is not counted.
    pub fn uncounted(&self) -> usize {
        self.parts.iter().map(|part| part.uncounted.load(Ordering::Relaxed)).sum()
    }

    fn set_limit(&self) {
        let maxmemory = self.maxmemory.load(Ordering::Relaxed);
        let limit = maxmemory.saturating_sub(self.besides.load(Ordering::Relaxed));
        self.leases.limit.store(limit, Ordering::Relaxed);
    }

    fn leased(&self) -> usize {
        self.leases.leased.load(Ordering::Relaxed)
    }

    /// What is in use, as it is compared with `maxmemory`; `None` while there is no limit.
    pub fn used(&self) -> Option<usize> {
        let is_limited = self.leases.limit.load(Ordering::Relaxed) != usize::MAX;
        is_limited.then(|| self.leased() + self.besides.load(Ordering::Relaxed))
    }

    /// By how much it is too much.
    #[inline]
    pub fn excess(&self) -> usize {
        self.leased().saturating_sub(self.leases.limit.load(Ordering::Relaxed))
    }

    /// By how much it is too much for there to be some room ahead.
    #[inline]
    pub fn excess_with_room(&self) -> usize {
        let limit = self.leases.limit.load(Ordering::Relaxed);
        self.leased().saturating_sub(limit - limit / TOLERANCE)
    }

    /// An excess up to this is borne for a moment, until the shard whose keys should go has let them go.
    pub fn tolerance(&self) -> usize {
        self.leases.limit.load(Ordering::Relaxed) / TOLERANCE
    }

    pub fn take(&self, bytes: usize) {
        self.leases.leased.fetch_add(bytes, Ordering::Relaxed);
    }

    pub fn give_back(&self, bytes: usize) {
        self.leases.leased.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Bytes by which leases grow: small against the limit, whatever the number of shards.
    pub fn lease_step(&self) -> usize {
        const STEP_MIN: usize = 256;
        const STEP_MAX: usize = 64 << 10;
        let share = self.maxmemory.load(Ordering::Relaxed) / (1024 * self.parts.len());
        share.clamp(STEP_MIN, STEP_MAX).next_power_of_two().min(STEP_MAX)
    }

    /// What a shard has to show.
    pub fn show(&self, shard: ShardId, score: u64, may_evict: bool, uncounted: usize) {
        let part = &self.parts[usize::from(shard)];
        // A line that is not written stays near for those who read it.
        if part.score.load(Ordering::Relaxed) != score {
            part.score.store(score, Ordering::Relaxed);
        }
        if part.may_evict.load(Ordering::Relaxed) != may_evict {
            part.may_evict.store(may_evict, Ordering::Relaxed);
        }
        if part.uncounted.load(Ordering::Relaxed) != uncounted {
            part.uncounted.store(uncounted, Ordering::Relaxed);
        }
    }

    /// Whether a shard's lease covers its keys from now on.
    pub fn set_has_lease(&self, shard: ShardId, has_lease: bool) {
        self.parts[usize::from(shard)].has_lease.store(has_lease, Ordering::Relaxed);
    }

    /// The other shard whose keys should go first, if any may.
    pub fn best_besides(&self, own: ShardId) -> Option<(ShardId, u64)> {
        let others = self
            .parts
            .iter()
            .enumerate()
            .filter(|(shard, part)| *shard != usize::from(own) && part.may_evict.load(Ordering::Relaxed));
        let scores = others.map(|(shard, part)| (shard as ShardId, part.score.load(Ordering::Relaxed)));
        scores.max_by_key(|(_, score)| *score)
    }

    /// Keep count of the time above the limit; on every tick.
    pub fn note_time(&self, now_ms: i64) {
        let now_ms = now_ms.max(1) as u64;
        let since_ms = self.exceeded_since_ms.load(Ordering::Relaxed);
        let is_exceeded = self.excess() > self.tolerance();
        if is_exceeded && since_ms == 0 {
            self.exceeded_since_ms.store(now_ms, Ordering::Relaxed);
        } else if !is_exceeded && since_ms > 0 {
            self.exceeded_ms.fetch_add(now_ms.saturating_sub(since_ms), Ordering::Relaxed);
            self.exceeded_since_ms.store(0, Ordering::Relaxed);
        }
    }

    /// Milliseconds above the limit, in all and up to now without a break.
    pub fn exceeded_ms(&self, now_ms: i64) -> (u64, u64) {
        let since_ms = self.exceeded_since_ms.load(Ordering::Relaxed);
        let current = if since_ms == 0 { 0 } else { (now_ms.max(0) as u64).saturating_sub(since_ms) };
        (self.exceeded_ms.load(Ordering::Relaxed) + current, current)
    }

    /// CONFIG RESETSTAT
    pub fn reset_time(&self) {
        self.exceeded_ms.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leases_and_what_is_besides_them_share_the_limit() {
        let budget = Budget::new(2);
        budget.take(5_000);
        assert_eq!((budget.excess(), budget.used()), (0, None));
        budget.set_maxmemory(10_000);
        budget.measure(7_000, 7_000, 0);
        assert_eq!(budget.used(), None, "not before all shards have their leases");
        (0..2).for_each(|shard| budget.set_has_lease(shard, true));
        budget.measure(7_000, 7_000, 0);
        assert_eq!((budget.excess(), budget.used()), (0, Some(7_000)));
        budget.take(4_000);
        assert_eq!((budget.excess(), budget.used()), (1_000, Some(11_000)));
        budget.give_back(2_000);
        assert_eq!(budget.excess(), 0);
        budget.set_maxmemory(1);
        assert_eq!(budget.excess(), 7_000);
        budget.set_maxmemory(0);
        assert_eq!((budget.excess(), budget.used()), (0, None));
    }

    #[test]
    fn what_no_eviction_makes_less_is_not_counted() {
        let budget = Budget::new(1);
        budget.set_maxmemory(10_000);
        budget.set_has_lease(0, true);
        budget.show(0, 0, true, 4_000);
        budget.measure(9_000, 9_000, 2_000);
        assert_eq!(budget.used(), Some(3_000));
    }

    #[test]
    fn what_is_there_for_a_moment_does_not_count() {
        let budget = Budget::new(1);
        budget.set_maxmemory(100_000_000);
        budget.set_has_lease(0, true);
        let used = |allocated| {
            budget.measure(allocated, allocated, 0);
            budget.used().expect("there is a limit")
        };
        assert_eq!(used(10_000), 10_000);
        assert_eq!(used(110_000), 10_000);
        (0..RECENT).for_each(|_| _ = used(30_000));
        assert_eq!(used(90_000), 30_000);
        assert_eq!(used(5_000_000), 5_000_000, "this is no noise");
    }

    #[test]
    fn fragmentation_beyond_measure_counts() {
        const MIB: usize = 1 << 20;
        let budget = Budget::new(1);
        budget.set_maxmemory(144 * MIB);
        budget.set_has_lease(0, true);
        // In steps that are no noise.
        for (resident, used) in [(158, 100), (160, 107), (1_000, 172)] {
            assert_eq!(budget.measure(100 * MIB, resident * MIB, 0), resident > 158);
            assert_eq!(budget.used(), Some(used * MIB));
        }
    }

    #[test]
    fn the_shard_with_the_best_key_is_found() {
        let budget = Budget::new(3);
        assert_eq!(budget.best_besides(0), None);
        budget.show(0, 50, true, 0);
        budget.show(1, 5, true, 0);
        budget.show(2, 9, false, 0);
        assert_eq!(budget.best_besides(0), Some((1, 5)));
        assert_eq!(budget.best_besides(1), Some((0, 50)));
    }

    #[test]
    fn steps_are_small_against_the_limit() {
        let budget = Budget::new(4);
        for (maxmemory, step) in [(1, 256), (11 << 20, 4096), (1 << 30, 64 << 10), (1 << 40, 64 << 10)] {
            budget.set_maxmemory(maxmemory);
            assert_eq!(budget.lease_step(), step);
        }
    }

    #[test]
    fn time_above_the_limit_adds_up() {
        let budget = Budget::new(1);
        budget.set_maxmemory(1_000);
        budget.set_has_lease(0, true);
        budget.measure(0, 0, 0);
        budget.take(5_000);
        budget.note_time(100);
        assert_eq!(budget.exceeded_ms(150), (50, 50));
        budget.give_back(5_000);
        budget.note_time(200);
        assert_eq!(budget.exceeded_ms(300), (100, 0));
    }
}
