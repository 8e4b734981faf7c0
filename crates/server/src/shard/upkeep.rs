//! Work of a shard that no request asks for: active expiry, eviction, release of flushed memory, the end of a pause, idle
//! clients.
//!
//! Owns what happens between requests. A tick, about ten times a second, does what is short and says how much of the
//! rest may be done until the next one; slices of that are then done between turns of the loop, so that a request never
//! waits for more than one slice.

use crate::clients::ClientKey;
use crate::connection::Suspension;
use crate::session::state::Pause;

use super::Shard;

/// Entries with an expiry that active expiry looks at per tick, at most, however fast it is.
const EXPIRE_VISITS_PER_TICK_MAX: usize = 400_000;
/// Time that active expiry may take per tick at the lowest `active-expire-effort`: 25 % of a core.
const EXPIRE_NS_PER_TICK: u64 = 25_000_000;
/// What each further level of `active-expire-effort` adds: 2 % of a core, up to 43 % at level 10.
const EXPIRE_NS_PER_LEVEL: u64 = 2_000_000;
/// Entries that one slice of active expiry looks at: some 50 µs.
const EXPIRE_VISITS_PER_SLICE: usize = 512;
/// Effort of releasing memory between two looks at the clock: some 20 µs, and no more than 150 µs.
const RELEASE_PER_STEP: usize = 256;
/// What one slice releases at most, and the time that it may take.
const RELEASE_STEPS_MAX: usize = 16;
const RELEASE_NS_MAX: u64 = 100_000;

/// What is left of this tick's allowance for active expiry. Used up, or nothing left to do: no visits.
#[derive(Default)]
pub(super) struct ExpireAllowance {
    visits: usize,
    ns: u64,
}

impl Shard {
    /// Periodic work, about ten times a second.
    pub fn tick(&mut self) {
        self.end_pause();
        self.migration_targets.close_old(self.now.unix_ms);
        self.finish_aside();
        self.save_tick();
        self.show_figures();
        self.tick_hot_keys();
        if self.id == 0 {
            self.process.measure_memory();
            self.process.budget.note_time(self.now.unix_ms);
        }
        self.memory_tick();
        if self.cron_paused {
            return;
        }
        self.allow_expiry();
        self.background();
        self.close_idle_clients();
        self.client_memory.check_soon();
        self.rates.sample(self.now.monotonic_us, &self.stats);
    }

    /// True while slices of background work are due: the loop calls [`Shard::background`] between its turns and does not
    /// sleep.
    pub fn has_background(&self) -> bool {
        let expires = self.expire_allowance.visits > 0 && self.may_expire();
        let digs = self.keyspace.graveyard.pending() > 0;
        let of_keyspace = expires || digs || self.can_save_on() || self.has_to_evict();
        !self.keyspace_away && of_keyspace || self.tracking.reads.has_graves() || self.tracks_too_much()
    }

    /// One slice of background work, a fraction of a millisecond.
    pub fn background(&mut self) {
        self.tracking.reads.dig(RELEASE_PER_STEP);
        if self.tracks_too_much() {
            self.limit_tracking();
        }
        if self.keyspace_away {
            return;
        }
        self.release_slice();
        if self.can_save_on() {
            self.save_slice();
        }
        if self.has_to_evict() {
            self.evict_slice();
            // Before the replies of requests that come from now on.
            self.tell_changes();
        }
        if self.expire_allowance.visits > 0 && self.may_expire() {
            self.expire_slice();
        }
    }

    /// Free what is buried, for a bounded time.
    fn release_slice(&mut self) {
        let started = (self.cycles)();
        for _ in 0..RELEASE_STEPS_MAX {
            let spent = (self.cycles_to_ns)((self.cycles)().wrapping_sub(started));
            if spent >= RELEASE_NS_MAX || !self.keyspace.graveyard.dig(RELEASE_PER_STEP) {
                break;
            }
        }
    }

    fn may_expire(&self) -> bool {
        !self.is_braked() && !self.participant.holds_effects()
    }

    /// CLIENT PAUSE is over when its time has come: held commands go on.
    fn end_pause(&mut self) {
        if self.state.pause.is_some_and(|pause| pause.until_ms > self.now.unix_ms) {
            return;
        }
        self.unpause();
    }

    /// CLIENT PAUSE.
    pub fn pause(&mut self, pause: Pause) {
        self.state.hold_back(pause);
        self.keyspace.keeps_expired = true;
    }

    /// End CLIENT PAUSE now.
    pub fn unpause(&mut self) {
        self.state.pause = None;
        self.keyspace.keeps_expired = self.keeps_expired();
        let mut waiting = Vec::new();
        for connection in self.clients.iter_mut() {
            if connection.suspension == Suspension::Pause {
                connection.suspension = Suspension::None;
                waiting.push(connection.key);
            }
        }
        for key in waiting {
            let Some(mut connection) = self.clients.take(key) else { continue };
            self.queue_run(&mut connection);
            self.clients.put_back(connection);
        }
    }

    /// `timeout`: close connections that have said nothing for too long (not subscribers).
    fn close_idle_clients(&mut self) {
        let Some(timeout_ms) = self.state.idle_timeout_ms() else { return };
        let oldest_ms = self.now.unix_ms - timeout_ms;
        let idle: Vec<ClientKey> = self
            .clients
            .iter()
            .filter(|client| {
                client.last_interaction_ms < oldest_ms
                    && client.subscriptions.is_none()
                    && client.suspension == Suspension::None
            })
            .map(|client| client.key)
            .collect();
        for key in idle {
            self.kill(key);
        }
    }

    /// How much active expiry may do until the next tick. Nothing expires while clients are paused, as in Redis.
    fn allow_expiry(&mut self) {
        if self.expire_allowance.visits > 0 {
            self.stats.expire_allowance_used_up += 1;
        }
        self.expire_allowance = ExpireAllowance::default();
        if self.state.active_expire && !self.keeps_expired() && !self.keyspace_away {
            let level = u64::from(self.state.config.active_expire_effort());
            self.expire_allowance = ExpireAllowance {
                visits: (EXPIRE_VISITS_PER_TICK_MAX as f64 * self.keyspace.expire_effort()) as usize,
                ns: EXPIRE_NS_PER_TICK + level.saturating_sub(1) * EXPIRE_NS_PER_LEVEL,
            };
        }
    }

    fn expire_slice(&mut self) {
        let allowance = &mut self.expire_allowance;
        let started = (self.cycles)();
        let visits = allowance.visits.min(EXPIRE_VISITS_PER_SLICE);
        let report = self.keyspace.expire_slice(self.now.unix_ms, visits, &mut self.changes);
        let ns = (self.cycles_to_ns)((self.cycles)().wrapping_sub(started));
        self.stats.expire_ns += ns;
        allowance.visits = allowance.visits.saturating_sub(report.visited);
        if !report.exhausted {
            *allowance = ExpireAllowance::default();
        } else if allowance.ns <= ns || allowance.visits == 0 {
            self.stats.expire_allowance_used_up += 1;
            *allowance = ExpireAllowance::default();
        } else {
            allowance.ns -= ns;
        }
        self.note_latency("expire-cycle", ns);
        self.serve_waiting(None);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use torc_commands::{DataSettings, Rng, SlotMap};
    use torc_keyspace::{SetExpire, StrValue};

    use super::*;
    use crate::config::Config;
    use crate::process::ProcessInfo;
    use crate::session::ServerState;
    use crate::shard::{Hub, Now, ShardSetup};

    const START_MS: i64 = 1_700_000_000_000;
    const TICK_MS: i64 = 100;

    /// A shard without a loop. Its cycle counter stands still, so that only the numbers of entries bound its slices.
    fn shard() -> Shard {
        let mut shard = Shard::new(ShardSetup {
            id: 0,
            slots: Arc::new(SlotMap::even(1)),
            hub: Hub::new(),
            seed: 5,
            settings: DataSettings::default(),
            cycles: || 0,
            cycles_to_ns: |cycles| cycles,
            state: ServerState::new(Arc::new(Config::default())),
            process: Arc::new(ProcessInfo::new(0, 1)),
            server: None,
        });
        set_time(&mut shard, START_MS);
        shard
    }

    fn set_time(shard: &mut Shard, unix_ms: i64) {
        shard.set_now(Now { unix_ms, monotonic_us: (unix_ms - START_MS) as u64 * 1000 });
    }

    fn set(shard: &mut Shard, name: &str, expire: SetExpire) {
        let key = shard.keyspace.key(name.as_bytes());
        let now_ms = shard.now.unix_ms;
        shard.keyspace.set_string(0, &key, StrValue::Int(1), expire, now_ms, &mut shard.changes);
    }

    /// A tick and the slices behind it; no slice may do more than its part.
    fn tick(shard: &mut Shard) {
        shard.tick();
        while shard.has_background() {
            let before = shard.keyspace.stats.expired;
            shard.background();
            let expired = (shard.keyspace.stats.expired - before) as usize;
            assert!(expired < 2 * EXPIRE_VISITS_PER_SLICE, "{expired} keys in one slice");
        }
    }

    /// Keys live up to 20 s and are replaced by new ones when they are gone, as in a cache of sessions; nobody asks for
    /// them again. The share of expired keys among all that are present stays below 10 %.
    #[test]
    fn expired_keys_that_nobody_asks_for_stay_few() {
        const KEYS: u64 = 100_000;
        const LIFE_MS_MAX: u64 = 20_000;
        let mut shard = shard();
        let mut rng = Rng::new(3);
        let mut ends: Vec<i64> = Vec::new();
        let mut created = 0u64;
        let mut worst: f64 = 0.0;
        for step in 0..400 {
            let now_ms = START_MS + step * TICK_MS;
            set_time(&mut shard, now_ms);
            ends.retain(|&end| end >= now_ms);
            let alive = ends.len();
            while (ends.len() as u64) < KEYS {
                let end = now_ms + 1 + rng.below(LIFE_MS_MAX) as i64;
                set(&mut shard, &format!("session:{created}"), SetExpire::At(end));
                ends.push(end);
                created += 1;
            }
            let stale = shard.keyspace.len(0) - ends.len();
            assert!(step == 0 || alive < KEYS as usize, "keys expire all the time");
            worst = worst.max(stale as f64 / shard.keyspace.len(0) as f64);
            tick(&mut shard);
        }
        println!("worst share of expired keys: {:.2} %", worst * 100.0);
        assert!(worst < 0.10, "{worst}");
        assert_eq!(shard.keyspace.stats.expired, shard.keyspace.stats.expired_by_walk);
        let estimate = shard.keyspace.stale_share();
        assert!(
            estimate > 0.0 && estimate < 2.0 * worst,
            "what INFO shows as expired_stale_perc: {estimate}"
        );
    }

    #[test]
    fn expiry_rests_when_it_is_switched_off_or_clients_are_paused() {
        let mut shard = shard();
        (0..100).for_each(|id| set(&mut shard, &id.to_string(), SetExpire::At(START_MS + 1)));
        set_time(&mut shard, START_MS + 10);
        shard.state.active_expire = false;
        tick(&mut shard);
        assert_eq!(shard.keyspace.len(0), 100);
        shard.state.active_expire = true;
        let until_ms = START_MS + 20;
        shard.state.pause = Some(crate::session::state::Pause { until_ms, writes_only: true });
        tick(&mut shard);
        assert_eq!(shard.keyspace.len(0), 100);
        let importing = DataSettings { import_mode: true, ..shard.settings.clone() };
        let settings = shard.settings.clone();
        shard.apply_settings(importing);
        set_time(&mut shard, until_ms);
        tick(&mut shard);
        assert!(shard.state.pause.is_none());
        assert_eq!(shard.keyspace.len(0), 100, "an importer says when they go");
        shard.apply_settings(settings);
        tick(&mut shard);
        assert_eq!(shard.keyspace.len(0), 0);
    }

    #[test]
    fn flushed_keys_are_released_slice_by_slice() {
        const SLICE: usize = RELEASE_PER_STEP * RELEASE_STEPS_MAX;
        let mut shard = shard();
        (0..20_000).for_each(|id| set(&mut shard, &id.to_string(), SetExpire::Clear));
        let flushed = shard.keyspace.flush(0);
        shard.keyspace.graveyard.bury(flushed);
        let mut slices = 0;
        while shard.has_background() {
            let before = shard.keyspace.graveyard.pending();
            shard.background();
            assert!(before - shard.keyspace.graveyard.pending() < 2 * SLICE);
            slices += 1;
        }
        assert!(slices >= 20_000 / SLICE);
        assert_eq!(shard.keyspace.graveyard.freed(), 20_000);
    }
}
