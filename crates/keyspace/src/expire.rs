//! Active expiry: a walk over slots that takes out expired keys, and expired fields of hashes, that nobody asks for.
//!
//! Slots without volatile keys, and slots whose keys all expire later, are skipped without a look at an entry. The
//! effort follows the share of expired keys that the walk meets: what it meets at its head is the worst share
//! anywhere, since every other place was visited later. Never reads a clock.

use crate::change::{Changes, Class};
use crate::database::{Gone, earlier};
use crate::keyspace::Keyspace;

/// Share of expired keys met at which the walk uses all of its budget.
const SHARE_FULL_EFFORT: f64 = 0.05;
/// Entries looked at per step within a slot before the budget is checked again.
const STEP_ENTRIES: usize = 64;
/// Least part of the budget that is used while there is something to look at.
const EFFORT_MIN: f64 = 1.0 / 16.0;
/// Entries over which the running estimate looks back, roughly.
const ESTIMATE_WINDOW: f64 = 2048.0;
/// Weight of a call's own mean in the running estimate of remaining lives.
const TTL_WEIGHT: f64 = 0.02;

/// Where the walk of one database stands.
#[derive(Clone, Debug, Default)]
pub(crate) struct Walk {
    slot: u16,
    /// Place in the slot; `None` before its beginning.
    position: Option<u64>,
    /// Earliest expiry that the walk met in the current slot.
    earliest_ms: Option<i64>,
    /// Running estimate of the mean remaining life of volatile keys, in ms.
    pub(crate) ttl_mean_ms: f64,
}

/// State over all databases.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cycle {
    db: usize,
    effort: f64,
    /// Running estimate of the share of expired keys among those that the walk looks at.
    met_share: f64,
    /// Keys that expired in the current round over all databases.
    round_expired: usize,
    stale_share: f64,
}

impl Cycle {
    pub(crate) fn stale_share(&self) -> f64 {
        self.stale_share
    }
}

/// What a call of [`Keyspace::active_expire`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ExpireReport {
    /// Volatile entries looked at, and parts of values taken out.
    pub visited: usize,
    /// Entries taken out.
    pub expired: usize,
    /// Parts of values (fields of hashes) taken out.
    pub expired_parts: usize,
    /// Running estimate of the share of expired keys where the walk arrives (0 to 1).
    pub met_share: f64,
    /// Whether the walk came past the end of the last database during the call.
    pub finished_round: bool,
    /// Whether the call stopped because its budget was used up: a further call would find more to look at.
    pub exhausted: bool,
}

impl Keyspace {
    /// Takes expired keys out, looking at about `budget` volatile entries at most (a few dozen more, where a line of the
    /// table is finished). Call it on every tick; it uses a small part of the budget while few of the keys it meets have
    /// expired.
    pub fn active_expire(&mut self, now_ms: i64, budget: usize, changes: &mut Changes) -> ExpireReport {
        let allowance = (budget as f64 * self.expire_effort()) as usize;
        self.expire_slice(now_ms, allowance.max(STEP_ENTRIES.min(budget)), changes)
    }

    /// Share of its budget that the walk should use now (0 to 1), by what it has met lately.
    pub fn expire_effort(&self) -> f64 {
        self.cycle.effort.clamp(EFFORT_MIN, 1.0)
    }

    /// Goes on with the walk for about `allowance` volatile entries, for callers that spread a tick's budget over
    /// several calls. What a tick should spend is its budget times [`Keyspace::expire_effort`].
    pub fn expire_slice(&mut self, now_ms: i64, allowance: usize, changes: &mut Changes) -> ExpireReport {
        let mut report = ExpireReport::default();
        let mut databases_left = self.databases();
        while report.visited < allowance && databases_left > 0 {
            let db = self.cycle.db;
            if self.expire_in_db(db, now_ms, allowance, &mut report, changes) {
                self.cycle.db = (db + 1) % self.databases();
                report.finished_round |= self.cycle.db == 0;
                databases_left -= 1;
            }
        }
        report.exhausted = databases_left > 0;
        self.adapt(&mut report);
        report
    }

    /// Goes on with the walk of one database; true once its end is reached.
    fn expire_in_db(
        &mut self,
        db: usize,
        now_ms: i64,
        allowance: usize,
        report: &mut ExpireReport,
        changes: &mut Changes,
    ) -> bool {
        let mut ttl_sum_ms: i128 = 0;
        let mut alive = 0usize;
        let mut all_gone = Vec::new();
        let mut done = false;
        while report.visited < allowance {
            let database = &mut self.dbs[db];
            let mut walk = std::mem::take(&mut database.walk);
            let position = walk.position.unwrap_or(0);
            if walk.position.is_none() {
                let from = usize::from(walk.slot);
                let Some(slot) = database.next_expiring_slot(from, now_ms) else {
                    database.walk = Walk { ttl_mean_ms: walk.ttl_mean_ms, ..Walk::default() };
                    done = true;
                    break;
                };
                walk.slot = slot;
                walk.earliest_ms = None;
                database.begin_expire_walk(slot);
            }
            let limit = STEP_ENTRIES.min(allowance - report.visited);
            let slot = walk.slot;
            let step = database.expire_slot(slot, position, limit, now_ms, &mut |gone| all_gone.push(gone));
            report.visited += step.visited;
            report.expired += step.expired;
            report.expired_parts += step.expired_parts;
            self.stats.expired_by_walk += step.expired as u64;
            ttl_sum_ms += step.ttl_sum_ms;
            alive += step.alive;
            walk.earliest_ms = earlier(walk.earliest_ms, step.earliest_ms);
            walk.position = step.next;
            if step.next.is_none() {
                database.end_expire_walk(slot, walk.earliest_ms.unwrap_or(i64::MAX));
                walk.slot += 1;
            }
            database.walk = walk;
            for gone in all_gone.drain(..) {
                match gone {
                    Gone::Key(entry) => {
                        self.note_expired(db, entry.key(), changes);
                        self.graveyard.release(entry);
                    }
                    Gone::Parts { key, names, vacant } => {
                        self.note_expired_parts(db, &key, &names, vacant.is_some(), changes);
                        if let Some(entry) = vacant {
                            self.graveyard.release(entry);
                        }
                    }
                }
            }
        }
        if alive > 0 {
            let mean = ttl_sum_ms as f64 / alive as f64;
            let estimate = &mut self.dbs[db].walk.ttl_mean_ms;
            *estimate = if *estimate == 0.0 { mean } else { *estimate + (mean - *estimate) * TTL_WEIGHT };
        }
        done
    }

    /// Expired parts of a value were taken out, and the key with the last of them (Valkey 9.0).
    fn note_expired_parts(
        &mut self,
        db: usize,
        key: &[u8],
        names: &[Box<[u8]>],
        key_too: bool,
        changes: &mut Changes,
    ) {
        self.stats.expired_fields += names.len() as u64;
        changes.effects.add(db, &[b"HDEL", key]);
        names.iter().for_each(|name| changes.effects.tell_word(name));
        self.touched(db, key);
        changes.event(Class::EXPIRED, "hexpired", db, key);
        if key_too {
            changes.event(Class::GENERIC, "del", db, key);
        }
    }

    /// Chooses the effort of the next call by what this one met, and keeps the estimate of what is left.
    fn adapt(&mut self, report: &mut ExpireReport) {
        let volatile: usize = (0..self.databases()).map(|db| self.expires_len(db)).sum();
        let cycle = &mut self.cycle;
        if report.visited > 0 {
            let met = (report.expired + report.expired_parts) as f64 / report.visited as f64;
            let weight = report.visited as f64 / (report.visited as f64 + ESTIMATE_WINDOW);
            cycle.met_share += (met - cycle.met_share) * weight;
        } else if !report.exhausted {
            cycle.met_share = 0.0;
        }
        cycle.effort = (cycle.met_share / SHARE_FULL_EFFORT).clamp(EFFORT_MIN, 1.0);
        report.met_share = cycle.met_share;
        cycle.round_expired += report.expired;
        if report.finished_round {
            // Between two visits of a slot its expired keys grow from none to those that are found: half on average.
            let stale = std::mem::take(&mut cycle.round_expired) as f64 / 2.0;
            cycle.stale_share = if stale == 0.0 { 0.0 } else { stale / (volatile as f64 + stale) };
        }
    }
}
