//! Counts of latencies in log-linear buckets: at most 1.6 % error, constant memory. No clock.

/// Linear steps within one power of two.
const STEPS_LOG2: u32 = 6;
const STEPS: usize = 1 << STEPS_LOG2;
const BUCKETS: usize = (64 - STEPS_LOG2 as usize + 1) * STEPS;

pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
    sum_ns: u128,
    min_ns: u64,
    max_ns: u64,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Self { counts: vec![0; BUCKETS], total: 0, sum_ns: 0, min_ns: u64::MAX, max_ns: 0 }
    }

    pub(crate) fn record(&mut self, latency_ns: u64, times: u64) {
        self.counts[bucket(latency_ns)] += times;
        self.total += times;
        self.sum_ns += u128::from(latency_ns) * u128::from(times);
        self.min_ns = self.min_ns.min(latency_ns);
        self.max_ns = self.max_ns.max(latency_ns);
    }

    /// The latency that `percent` of the records do not exceed, in nanoseconds; 0 when empty.
    pub(crate) fn percentile_ns(&self, percent: f64) -> u64 {
        let rank = ((percent / 100.0 * self.total as f64).ceil() as u64).max(1);
        let mut seen = 0;
        for (index, &count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return upper_bound(index).min(self.max_ns);
            }
        }
        0
    }

    pub(crate) fn mean_ns(&self) -> u64 {
        if self.total == 0 { 0 } else { (self.sum_ns / u128::from(self.total)) as u64 }
    }

    pub(crate) fn min_ns(&self) -> u64 {
        if self.total == 0 { 0 } else { self.min_ns }
    }

    pub(crate) fn max_ns(&self) -> u64 {
        self.max_ns
    }
}

fn bucket(value: u64) -> usize {
    if value < STEPS as u64 {
        return value as usize;
    }
    let shift = 63 - value.leading_zeros() - STEPS_LOG2;
    (shift as usize + 1) * STEPS + ((value >> shift) as usize - STEPS)
}

/// The largest value that falls into the bucket.
fn upper_bound(index: usize) -> u64 {
    if index < STEPS {
        return index as u64;
    }
    let shift = index / STEPS - 1;
    let low = ((index % STEPS + STEPS) as u64) << shift;
    low + ((1u64 << shift) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_what_its_bounds_say() {
        for value in (0..100_000).chain([1 << 30, (1 << 40) + 12345, u64::MAX]) {
            let index = bucket(value);
            assert!(value <= upper_bound(index), "{value}");
            assert!(index == 0 || value > upper_bound(index - 1), "{value}");
        }
    }

    #[test]
    fn percentiles_are_within_the_bucket_error() {
        let mut histogram = Histogram::new();
        for value in 1..=100_000 {
            histogram.record(value, 1);
        }
        for (percent, exact) in [(50.0, 50_000.0), (99.0, 99_000.0), (99.9, 99_900.0), (100.0, 100_000.0)] {
            let got = histogram.percentile_ns(percent) as f64;
            assert!((got - exact).abs() / exact < 0.016, "{percent}: {got}");
        }
        assert_eq!((histogram.min_ns(), histogram.max_ns(), histogram.mean_ns()), (1, 100_000, 50_000));
    }
}
