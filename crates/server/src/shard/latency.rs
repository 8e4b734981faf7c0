//! The latency monitor of one shard: events that took at least `latency-monitor-threshold`.
//!
//! Owns a short history per class of event. LATENCY asks all shards and merges. Never on the path of anything fast.

use std::collections::{BTreeMap, VecDeque};

use torc_commands::Flags;

use crate::registry::Registered;

use super::Shard;

/// Samples kept per class of event (Redis's LATENCY_TS_LEN).
const SAMPLES_MAX: usize = 160;

/// One sample: the worst event of one second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Unix time in seconds.
    pub time_s: i64,
    pub ms: u64,
}

/// The history of one class of event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Series {
    /// Oldest first, at most one per second.
    pub samples: VecDeque<Sample>,
    /// The worst ever.
    pub max_ms: u64,
}

impl Series {
    pub fn add(&mut self, sample: Sample) {
        self.max_ms = self.max_ms.max(sample.ms);
        match self.samples.back_mut() {
            Some(last) if last.time_s == sample.time_s => last.ms = last.ms.max(sample.ms),
            _ => self.samples.push_back(sample),
        }
        if self.samples.len() > SAMPLES_MAX {
            self.samples.pop_front();
        }
    }

    /// Take another shard's samples in.
    pub fn merge(&mut self, other: &Series) {
        let mut all: Vec<Sample> = self.samples.iter().chain(&other.samples).copied().collect();
        all.sort_by_key(|sample| sample.time_s);
        self.samples.clear();
        for sample in all {
            self.add(sample);
        }
        self.max_ms = self.max_ms.max(other.max_ms);
    }
}

/// Histories by class of event.
pub type LatencyEvents = BTreeMap<&'static str, Series>;

impl Shard {
    /// Add a sample if the event was slow enough.
    pub fn note_latency(&mut self, event: &'static str, ns: u64) {
        let ms = ns / 1_000_000;
        if self.state.latency_wants(ms) {
            let time_s = self.now.unix_ms / 1000;
            self.latency.entry(event).or_default().add(Sample { time_s, ms });
        }
    }

    /// The class of event that a command belongs to.
    pub(super) fn latency_event_of(command: &Registered) -> &'static str {
        if command.spec.flags.has(Flags::FAST) { "fast-command" } else { "command" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(samples: &[(i64, u64)]) -> Series {
        let mut series = Series::default();
        for &(time_s, ms) in samples {
            series.add(Sample { time_s, ms });
        }
        series
    }

    #[test]
    fn a_second_has_one_sample_and_old_ones_go() {
        let one = series(&[(1, 5), (1, 7), (1, 6), (2, 1)]);
        assert_eq!(one, Series { samples: [(1, 7), (2, 1)].map(sample).into(), max_ms: 7 });
        let many: Vec<(i64, u64)> = (0..200).map(|second| (second, 1)).collect();
        let many = series(&many);
        assert_eq!((many.samples.len(), many.samples[0].time_s), (160, 40));
        let mut merged = series(&[(1, 5), (3, 5)]);
        merged.merge(&series(&[(1, 9), (2, 2)]));
        assert_eq!(merged, Series { samples: [(1, 9), (2, 2), (3, 5)].map(sample).into(), max_ms: 9 });
    }

    fn sample((time_s, ms): (i64, u64)) -> Sample {
        Sample { time_s, ms }
    }
}
