//! The seeded draws of the load: uniform, Zipf and sequential key numbers. Never reads a clock.

/// Exponent of the Zipf distribution; YCSB's default.
const ZIPF_EXPONENT: f64 = 0.99;

/// Zipf draws are sampled ahead, so that a draw costs one array read in the loop.
const ZIPF_SAMPLES: usize = 1 << 20;

/// A prime above every key count, so that `rank * PRIME % keys` permutes the keys: popular keys then lie anywhere.
const SCATTER_PRIME: u64 = 4_294_967_311;

pub(crate) struct Draw {
    state: u64,
    keys: u64,
    next_in_sequence: u64,
    zipf: Vec<u32>,
    zipf_next: usize,
}

impl Draw {
    /// Draws for keys `0..keys`; the Zipf samples are prepared only when asked for.
    pub(crate) fn new(seed: u64, keys: u64, with_zipf: bool) -> Self {
        let mut draw = Self { state: seed, keys, next_in_sequence: 0, zipf: Vec::new(), zipf_next: 0 };
        if with_zipf {
            draw.zipf = zipf_samples(&mut draw, keys);
        }
        draw
    }

    pub(crate) fn uniform(&mut self) -> u64 {
        self.below(self.keys)
    }

    pub(crate) fn zipf(&mut self) -> u64 {
        let sample = self.zipf[self.zipf_next];
        self.zipf_next = (self.zipf_next + 1) % self.zipf.len();
        u64::from(sample)
    }

    pub(crate) fn sequence(&mut self) -> u64 {
        let number = self.next_in_sequence;
        self.next_in_sequence = if number + 1 == self.keys { 0 } else { number + 1 };
        number
    }

    pub(crate) fn within(&mut self, range: std::ops::Range<u64>) -> u64 {
        range.start + self.below(range.end - range.start)
    }

    /// Uniform in `0..bound` by multiply-and-shift; the bias is below bound / 2^64.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// SplitMix64 (Steele, Lea, Flood 2014).
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

fn zipf_samples(draw: &mut Draw, keys: u64) -> Vec<u32> {
    let mut total = 0.0;
    let cumulative: Vec<f64> = (1..=keys)
        .map(|rank| {
            total += (rank as f64).powf(-ZIPF_EXPONENT);
            total
        })
        .collect();
    (0..ZIPF_SAMPLES)
        .map(|_| {
            let point = draw.below(1 << 53) as f64 / (1u64 << 53) as f64 * total;
            let rank = cumulative.partition_point(|&sum| sum <= point).min(cumulative.len() - 1) as u64;
            (u128::from(rank) * u128::from(SCATTER_PRIME) % u128::from(keys)) as u32
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uniform_covers_the_range() {
        let mut draw = Draw::new(1, 10, false);
        let mut seen = [0u32; 10];
        for _ in 0..10_000 {
            seen[draw.uniform() as usize] += 1;
        }
        assert!(seen.iter().all(|&count| (850..1150).contains(&count)), "{seen:?}");
    }

    #[test]
    fn zipf_prefers_few_keys() {
        let mut draw = Draw::new(1, 1000, true);
        let mut seen = vec![0u32; 1000];
        for _ in 0..100_000 {
            seen[draw.zipf() as usize] += 1;
        }
        let mut sorted = seen.clone();
        sorted.sort_unstable_by(|a, b| b.cmp(a));
        // Share of rank 1 of 1,000 at s = 0.99: 1 / 7.73 = 12.9 %.
        assert!((12_000..14_000).contains(&sorted[0]), "{}", sorted[0]);
        assert!(seen.iter().filter(|&&count| count > 0).count() > 950);
        assert_eq!(seen[0], sorted[0], "rank 1 is key 0: rank 0 * prime % keys");
    }

    #[test]
    fn the_same_seed_gives_the_same_draws() {
        let (mut a, mut b) = (Draw::new(5, 1 << 20, false), Draw::new(5, 1 << 20, false));
        assert!((0..100).all(|_| a.uniform() == b.uniform()));
    }
}
