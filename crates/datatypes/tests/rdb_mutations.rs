//! Values that real servers wrote, and damaged ones.
//!
//! Goal: no bytes make the reader of RDB values panic, or take more memory than a small multiple of them; and whatever it
//! accepts is a sound value. Method: the seed inputs of the fuzz target as they are (what begins with `good` was written
//! by the servers that its name tells, or by hand in the format of old ones), then thousands of seeded mutations of them,
//! under an allocator that counts. A failure names its seed.

#[path = "support/counting.rs"]
mod counting;
mod support;

use std::path::PathBuf;

use counting::{Asked, Counting, counted};
use support::{check, read};
use torc_datatypes::rdb::{Error, payload};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const MUTATIONS: u64 = 40_000;
/// Bytes that reading may ask for at once and in all for each byte of its input, besides a few.
const LARGEST_EXPANSION_MAX: usize = 100;
const SUM_EXPANSION_MAX: usize = 300;
const BYTES_FREE: usize = 4_096;
/// Bytes that mean something: lengths, ends, types of elements.
const BYTES: [u8; 12] = [0, 1, 2, 0x3f, 0x40, 0x7f, 0x80, 0x81, 0xc3, 0xf0, 0xfe, 0xff];

/// SplitMix64: enough randomness for tests, and the same on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

fn corpus() -> Vec<(String, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/corpus/rdb_value");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .expect("the fuzz target's seed corpus is part of the repository")
        .map(|entry| entry.expect("readable folder").path())
        .collect();
    files.sort();
    let named = |file: &PathBuf| file.file_name().expect("a file has a name").to_string_lossy().into_owned();
    files.iter().map(|file| (named(file), std::fs::read(file).expect("readable file"))).collect()
}

#[test]
fn what_servers_wrote_is_read() {
    for (name, input) in corpus() {
        let outcome = check(&input);
        assert!(outcome.is_ok() || !name.starts_with("good"), "{name}: {outcome:?}");
    }
}

/// Whatever is cut off is missed: `Truncated` says that more bytes may help, and is never said of a whole value.
#[test]
fn cut_values_are_truncated() {
    for (name, input) in corpus() {
        for cut in 2..input.len().min(400) {
            assert_eq!(check(&input[..cut]), Err(Error::Truncated), "{name} at {cut}");
        }
    }
}

#[test]
fn mutations_are_refused_or_harmless() {
    let seeds: Vec<Vec<u8>> = corpus().into_iter().map(|(_, input)| input).collect();
    let (mut accepted, mut refused) = (0, 0);
    for seed in 0..MUTATIONS {
        let mut random = Random(seed);
        let mut input = seeds[random.below(seeds.len())].clone();
        for _ in 0..1 + random.below(4) {
            let at = random.below(input.len());
            match random.below(8) {
                _ if input.is_empty() => {}
                0 | 1 => input[at] ^= 1 << random.below(8),
                2 => input[at] = BYTES[random.below(BYTES.len())],
                3 => input[at] = random.next() as u8,
                4 => drop(input.drain(at..(at + 1 + random.below(3)).min(input.len()))),
                5 => input.insert(at, BYTES[random.below(BYTES.len())]),
                6 => {
                    let other = &seeds[random.below(seeds.len())];
                    let from = random.below(other.len());
                    let end = (from + 1 + random.below(20)).min(other.len());
                    input.splice(at..at, other[from..end].iter().copied());
                }
                _ => input[1] = random.below(27) as u8,
            }
            input.resize(input.len().max(2), 0);
        }
        let (_, Asked { largest, sum }) = counted(|| std::panic::catch_unwind(|| read(&input).is_ok()));
        let is_bounded = largest <= LARGEST_EXPANSION_MAX * input.len() + BYTES_FREE
            && sum <= SUM_EXPANSION_MAX * input.len() + BYTES_FREE;
        assert!(is_bounded, "seed {seed}: {largest} bytes at once, {sum} in all for {input:02x?}");
        let outcome = std::panic::catch_unwind(|| check(&input));
        match outcome.unwrap_or_else(|_| panic!("seed {seed}: {input:02x?}")) {
            Ok(()) => accepted += 1,
            Err(_) => refused += 1,
        }
    }
    assert!(accepted > 1_000 && refused > 1_000, "{accepted} accepted, {refused} refused");
}

/// Damage with a checksum that is right reaches the reader of values, damage without does not.
#[test]
fn checksums_guard_payloads() {
    for (_, input) in corpus() {
        let mut sealed = input[1..].to_vec();
        payload::seal(&mut sealed, u16::from(input[0]));
        assert_eq!(payload::open(&sealed), Some((&input[1..], u16::from(input[0]))));
        let middle = sealed.len() / 2;
        sealed[middle] ^= 4;
        assert_eq!(payload::open(&sealed), None);
    }
}
