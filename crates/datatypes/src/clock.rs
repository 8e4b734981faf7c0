//! The 24-bit access clock of an entry, in both of its readings: seconds of the last access (LRU), or a
//! logarithmic access counter with its decay time (LFU). Pure functions: time and randomness are arguments.

/// Bits of the clock.
pub const CLOCK_MASK: u32 = (1 << 24) - 1;
/// Counter of a new key under LFU: not the first to be evicted (Redis 7.2 `LFU_INIT_VAL`).
pub const LFU_COUNTER_INIT: u8 = 5;

/// LRU reading: the clock value for an access at `now_ms` (unix milliseconds); seconds, wrapping after 194 days.
#[inline]
pub fn lru_now(now_ms: i64) -> u32 {
    ((now_ms / 1000) as u32) & CLOCK_MASK
}

/// LRU reading: seconds since the last access, at `now_ms`.
#[inline]
pub fn lru_idle_seconds(clock: u32, now_ms: i64) -> u32 {
    lru_now(now_ms).wrapping_sub(clock) & CLOCK_MASK
}

/// LRU reading: the clock of a key that was used `idle_seconds` ago; what lies further back than the clock reaches
/// counts as that far.
pub fn lru_restored(now_ms: i64, idle_seconds: i64) -> u32 {
    let idle = idle_seconds.clamp(0, i64::from(CLOCK_MASK)) as u32;
    lru_now(now_ms).wrapping_sub(idle) & CLOCK_MASK
}

/// How the LFU counter grows and fades (`lfu-log-factor`, `lfu-decay-time`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LfuSettings {
    /// The higher, the more accesses it takes to raise the counter.
    pub log_factor: u32,
    /// Minutes after which an idle counter loses one; 0: never.
    pub decay_minutes: u32,
}

impl Default for LfuSettings {
    fn default() -> Self {
        LfuSettings { log_factor: 10, decay_minutes: 1 }
    }
}

/// Upper 16 bits: minutes of the last decay; lower 8 bits: counter.
fn lfu_pack(minutes: u32, counter: u8) -> u32 {
    (minutes & 0xffff) << 8 | u32::from(counter)
}

fn lfu_minutes(now_ms: i64) -> u32 {
    ((now_ms / 60_000) as u32) & 0xffff
}

/// LFU reading: the clock of a key created at `now_ms`.
pub fn lfu_new(now_ms: i64) -> u32 {
    lfu_pack(lfu_minutes(now_ms), LFU_COUNTER_INIT)
}

/// LFU reading: the clock of a key whose counter is this at `now_ms`.
pub fn lfu_restored(now_ms: i64, counter: u8) -> u32 {
    lfu_pack(lfu_minutes(now_ms), counter)
}

/// LFU reading: the counter as it has faded by `now_ms` (`OBJECT FREQ`).
pub fn lfu_counter(clock: u32, now_ms: i64, settings: LfuSettings) -> u8 {
    let counter = (clock & 0xff) as u8;
    if settings.decay_minutes == 0 {
        return counter;
    }
    let elapsed = lfu_minutes(now_ms).wrapping_sub(clock >> 8) & 0xffff;
    counter.saturating_sub(u8::try_from(elapsed / settings.decay_minutes).unwrap_or(u8::MAX))
}

/// LFU reading: the clock after one more access. The counter rises with probability
/// `1 / ((counter - init) * log_factor + 1)`; `random` is uniform over all of `u32`.
pub fn lfu_touch(clock: u32, now_ms: i64, random: u32, settings: LfuSettings) -> u32 {
    let counter = lfu_counter(clock, now_ms, settings);
    let above = u64::from(counter.saturating_sub(LFU_COUNTER_INIT));
    let odds = above * u64::from(settings.log_factor) + 1;
    let rises = u64::from(random) * odds <= u64::from(u32::MAX);
    lfu_pack(lfu_minutes(now_ms), counter.saturating_add(u8::from(rises)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_time_survives_the_wrap() {
        let before_wrap = i64::from(CLOCK_MASK) * 1000;
        let clock = lru_now(before_wrap);
        assert_eq!(lru_idle_seconds(clock, before_wrap), 0);
        assert_eq!(lru_idle_seconds(clock, before_wrap + 5_000), 5);
        for (idle, expected) in [(0, 0), (1000, 1000), (i64::MAX, CLOCK_MASK)] {
            assert_eq!(lru_idle_seconds(lru_restored(5_000, idle), 5_000), expected);
        }
    }

    #[test]
    fn counter_starts_at_five_grows_slowly_and_fades() {
        let settings = LfuSettings::default();
        let mut clock = lfu_new(0);
        assert_eq!(lfu_counter(clock, 0, settings), 5);
        clock = lfu_touch(clock, 0, u32::MAX / 2, settings);
        assert_eq!(lfu_counter(clock, 0, settings), 6, "at the initial value each access counts");
        clock = lfu_touch(clock, 0, u32::MAX / 2, settings);
        assert_eq!(lfu_counter(clock, 0, settings), 6, "above it only one in eleven");
        clock = lfu_touch(clock, 0, u32::MAX / 12, settings);
        assert_eq!(lfu_counter(clock, 0, settings), 7);
        assert_eq!(lfu_counter(clock, 3 * 60_000, settings), 4);
        assert_eq!(lfu_counter(clock, 600 * 60_000, settings), 0);
        assert_eq!(lfu_counter(clock, 600 * 60_000, LfuSettings { decay_minutes: 0, ..settings }), 7);
    }

    #[test]
    fn counter_saturates() {
        let settings = LfuSettings { log_factor: 0, decay_minutes: 0 };
        let mut clock = lfu_new(0);
        for _ in 0..1000 {
            clock = lfu_touch(clock, 0, u32::MAX, settings);
        }
        assert_eq!(lfu_counter(clock, 0, settings), 255);
    }
}
