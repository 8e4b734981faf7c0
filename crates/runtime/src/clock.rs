//! Clocks: wall time, monotonic time, and a counter cheap enough to read around every command.
//!
//! Owns the calibration of the counter. Crates below the shard loop never read a clock: time is passed to them.
#![allow(unsafe_code)] // reading the time stamp counter is an intrinsic

use std::sync::OnceLock;
use std::time::Duration;

use crate::sys;

/// Milliseconds since the Unix epoch, from the wall clock (it may jump).
pub fn unix_ms() -> i64 {
    (sys::clock_ns(libc::CLOCK_REALTIME) / 1_000_000) as i64
}

/// Microseconds since the Unix epoch, from the wall clock (it may jump).
pub fn unix_us() -> i64 {
    (sys::clock_ns(libc::CLOCK_REALTIME) / 1_000) as i64
}

/// Microseconds since some fixed point; never goes backwards.
pub fn monotonic_us() -> u64 {
    sys::clock_ns(libc::CLOCK_MONOTONIC) / 1_000
}

/// The counter of [`cycles`] in units per nanosecond.
struct Calibration {
    has_counter: bool,
    ns_per_cycle: f64,
}

/// How long the counter is compared with the monotonic clock, once per process.
const CALIBRATION_TIME: Duration = Duration::from_millis(4);

static CALIBRATION: OnceLock<Calibration> = OnceLock::new();

/// Measures the counter against the monotonic clock; takes [`CALIBRATION_TIME`] on the first call. Call it at
/// start-up, otherwise the first conversion pays.
pub fn calibrate() {
    calibration();
}

/// A counter for measuring short durations: the CPU's time stamp counter where it is invariant (same rate on all
/// cores and in all power states), else monotonic nanoseconds. Differences convert with [`cycles_to_ns`].
#[inline]
pub fn cycles() -> u64 {
    if calibration().has_counter { counter() } else { sys::clock_ns(libc::CLOCK_MONOTONIC) }
}

/// Nanoseconds in a difference of two [`cycles`] readings.
#[inline]
pub fn cycles_to_ns(cycles: u64) -> u64 {
    (cycles as f64 * calibration().ns_per_cycle) as u64
}

#[inline]
fn calibration() -> &'static Calibration {
    CALIBRATION.get_or_init(measure)
}

fn measure() -> Calibration {
    if !counter_is_invariant() {
        return Calibration { has_counter: false, ns_per_cycle: 1.0 };
    }
    let (start_ns, start) = (sys::clock_ns(libc::CLOCK_MONOTONIC), counter());
    let until_ns = start_ns + CALIBRATION_TIME.as_nanos() as u64;
    loop {
        let (now_ns, now) = (sys::clock_ns(libc::CLOCK_MONOTONIC), counter());
        if now_ns >= until_ns {
            let ns_per_cycle = (now_ns - start_ns) as f64 / now.wrapping_sub(start).max(1) as f64;
            return Calibration { has_counter: true, ns_per_cycle };
        }
        std::hint::spin_loop();
    }
}

#[cfg(target_arch = "x86_64")]
fn counter_is_invariant() -> bool {
    use std::arch::x86_64::__cpuid;
    const POWER_MANAGEMENT: u32 = 0x8000_0007;
    const INVARIANT_COUNTER: u32 = 1 << 8;
    __cpuid(0x8000_0000).eax >= POWER_MANAGEMENT && __cpuid(POWER_MANAGEMENT).edx & INVARIANT_COUNTER != 0
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn counter() -> u64 {
    // SAFETY: rdtsc exists on every x86-64 CPU and has no effect on memory.
    unsafe { std::arch::x86_64::_rdtsc() }
}

#[cfg(not(target_arch = "x86_64"))]
fn counter_is_invariant() -> bool {
    false
}

#[cfg(not(target_arch = "x86_64"))]
fn counter() -> u64 {
    sys::clock_ns(libc::CLOCK_MONOTONIC)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Instant, SystemTime, UNIX_EPOCH};

    #[test]
    fn wall_clock_agrees_with_std() {
        let std_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
        assert!((unix_ms() - std_ms).abs() < 1_000);
        assert!((unix_us() / 1_000 - std_ms).abs() < 1_000);
    }

    #[test]
    fn counter_measures_real_durations() {
        calibrate();
        let (clock, before) = (Instant::now(), cycles());
        std::thread::sleep(Duration::from_millis(50));
        let measured = cycles_to_ns(cycles() - before) as f64;
        let real = clock.elapsed().as_nanos() as f64;
        assert!((measured / real - 1.0).abs() < 0.05, "{measured} ns by the counter, {real} ns by the clock");
    }

    #[test]
    fn monotonic_time_never_goes_back() {
        let times: Vec<u64> = (0..1_000).map(|_| monotonic_us()).collect();
        assert!(times.is_sorted());
    }
}
