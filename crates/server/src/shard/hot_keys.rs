//! Which keys of this shard are used most: a sample of the commands that run here, counted in a bounded sketch.
//!
//! Owns the countdown to the next sample, the counts of the window under way (Space-Saving: the rarest candidate makes
//! room) and the result of the last one. Hot path: one decrement per command. However busy the shard is, it takes about
//! [`SAMPLES_PER_TICK`] samples between two ticks; a shard with less to do counts every command.

use torc_commands::keys;
use torc_resp::Args;

use crate::packet::Invocation;

use super::Shard;

const SAMPLES_PER_TICK: u32 = 64;
/// The result of a window stands until the next one is over.
const WINDOW_US: u64 = 5_000_000;
/// Candidates for each key that is shown, and at least.
const CANDIDATES_PER_KEY: usize = 8;
const CANDIDATES_MIN: usize = 128;
/// Longer keys are not looked at.
const KEY_BYTES_MAX: usize = 16 * 1024;

/// A key and how often it is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HotKey {
    pub db: u32,
    pub key: Box<[u8]>,
    pub per_second: u64,
}

pub struct HotKeys {
    /// Commands until the next sample.
    countdown: u32,
    /// Commands between samples, in the mean.
    gap: u32,
    samples_in_tick: u32,
    commands_before: u64,
    random: u64,
    /// `hotkey-top-k`; 0 is off.
    shown_max: usize,
    window_began_us: u64,
    candidates: Vec<Candidate>,
    last: Vec<HotKey>,
}

struct Candidate {
    hash: u64,
    db: u32,
    key: Box<[u8]>,
    count: u64,
    /// What of the count may belong to others that were here before.
    surplus: u64,
}

impl HotKeys {
    pub fn new(seed: u64) -> HotKeys {
        HotKeys {
            countdown: 1,
            gap: 1,
            samples_in_tick: 0,
            commands_before: 0,
            random: seed | 1,
            shown_max: 0,
            window_began_us: 0,
            candidates: Vec::new(),
            last: Vec::new(),
        }
    }

    /// Called for every command: is it one of the sample?
    #[inline]
    pub(super) fn is_due(&mut self) -> bool {
        self.countdown -= 1;
        self.countdown == 0
    }

    /// Gaps differ, so that a pattern in the commands does not meet one in the sample.
    fn wind_up(&mut self) {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let gap = u64::from(self.gap);
        self.countdown = 1 + (self.random % (2 * gap - 1)) as u32;
        self.samples_in_tick += 1;
        if self.samples_in_tick > 2 * SAMPLES_PER_TICK {
            self.samples_in_tick = 0;
            self.gap = (self.gap * 2).min(1 << 24);
        }
    }

    fn count(&mut self, db: u32, key: &[u8], hash: u64) {
        let weight = u64::from(self.gap);
        let is_it = |known: &&mut Candidate| known.hash == hash && known.db == db && *known.key == *key;
        if let Some(known) = self.candidates.iter_mut().find(is_it) {
            known.count += weight;
        } else if self.candidates.len() < (self.shown_max * CANDIDATES_PER_KEY).max(CANDIDATES_MIN) {
            self.candidates.push(Candidate { hash, db, key: key.into(), count: weight, surplus: 0 });
        } else if let Some(rarest) = self.candidates.iter_mut().min_by_key(|known| known.count) {
            let surplus = rarest.count;
            *rarest = Candidate { hash, db, key: key.into(), count: surplus + weight, surplus };
        }
    }

    /// About ten times a second.
    fn tick(&mut self, shown_max: usize, commands: u64, now_us: u64) {
        let in_tick = commands.saturating_sub(self.commands_before);
        self.commands_before = commands;
        self.samples_in_tick = 0;
        self.gap = ((in_tick / u64::from(SAMPLES_PER_TICK)) as u32).clamp(1, 1 << 24);
        if shown_max == 0 || self.shown_max == 0 {
            self.reset(now_us);
            self.shown_max = shown_max;
            self.countdown = if shown_max == 0 { u32::MAX } else { 1 };
            return;
        }
        self.shown_max = shown_max;
        if now_us.saturating_sub(self.window_began_us) >= WINDOW_US {
            self.last = self.hottest(now_us);
            self.candidates.clear();
            self.window_began_us = now_us;
        }
    }

    fn hottest(&self, now_us: u64) -> Vec<HotKey> {
        let elapsed_us = now_us.saturating_sub(self.window_began_us).max(1);
        let rate = |known: &Candidate| ((known.count - known.surplus) * 1_000_000).div_ceil(elapsed_us);
        let mut keys: Vec<HotKey> = self
            .candidates
            .iter()
            .map(|known| HotKey { db: known.db, key: known.key.clone(), per_second: rate(known) })
            .filter(|known| known.per_second > 0)
            .collect();
        keys.sort_unstable_by(|a, b| b.per_second.cmp(&a.per_second).then_with(|| a.key.cmp(&b.key)));
        keys.truncate(self.shown_max);
        keys
    }

    /// Of the last window; before the first has ended, of the one under way.
    pub fn shown(&self, now_us: u64) -> Vec<HotKey> {
        if self.last.is_empty() { self.hottest(now_us) } else { self.last.clone() }
    }

    pub fn reset(&mut self, now_us: u64) {
        self.candidates.clear();
        self.last.clear();
        self.window_began_us = now_us;
    }
}

impl Shard {
    /// This command is one of the sample.
    #[cold]
    pub(super) fn sample_keys(&mut self, invocation: Invocation, args: Args<'_>) {
        if self.hot_keys.shown_max > 0 {
            // Of a request that makes no sense no key is used.
            let _ = keys::for_each(invocation.command.spec, args, |index, _| {
                let key = args.get(index);
                if key.len() <= KEY_BYTES_MAX {
                    let hash = self.key_fingerprints.hash_one(key);
                    self.hot_keys.count(u32::from(invocation.db), key, hash);
                }
            });
        }
        self.hot_keys.wind_up();
    }

    /// Part of the tick.
    pub(super) fn tick_hot_keys(&mut self) {
        let shown_max = self.state.config.hotkey_top_k();
        self.hot_keys.tick(shown_max, self.stats.commands_processed, self.now.monotonic_us);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2,000 commands per tick on 10,000 keys; every tenth is for one of three.
    #[test]
    fn the_keys_that_are_used_most_are_found() {
        let mut hot = HotKeys::new(7);
        let mut commands = 0;
        hot.tick(3, commands, 0);
        let mut samples = 0;
        for tick in 1..=50 {
            for _ in 0..2000 {
                commands += 1;
                if hot.is_due() {
                    samples += 1;
                    let key = match commands % 20 {
                        0 => commands / 20 % 2,
                        10 => 2,
                        _ => 10 + commands * 7919 % 10_000,
                    };
                    hot.count(0, &key.to_be_bytes(), key);
                    hot.wind_up();
                }
            }
            hot.tick(3, commands, tick * 100_000);
        }
        assert!(samples < 60 * 50 * 4, "{samples}");
        let shown = hot.shown(5_000_000);
        let mut keys: Vec<u64> =
            shown.iter().map(|hot| u64::from_be_bytes((*hot.key).try_into().unwrap())).collect();
        assert_eq!(keys[0], 2, "{shown:?}");
        keys.sort_unstable();
        assert_eq!(keys, [0, 1, 2], "{shown:?}");
        assert!((600..1400).contains(&shown[0].per_second), "1,000 per second: {shown:?}");
        hot.tick(0, commands, 5_100_000);
        assert_eq!(hot.shown(5_100_000), []);
    }

    #[test]
    fn an_idle_shard_counts_every_command() {
        let mut hot = HotKeys::new(1);
        hot.tick(10, 0, 0);
        for _ in 0..30 {
            if hot.is_due() {
                hot.count(1, b"k", 5);
                hot.wind_up();
            }
        }
        assert_eq!(hot.shown(1_000_000), [HotKey { db: 1, key: b"k"[..].into(), per_second: 30 }]);
        hot.reset(1_000_000);
        assert_eq!(hot.shown(2_000_000), []);
    }
}
