//! Damaged and random request streams.
//!
//! Goal: no input makes the parser panic, hold more memory than arrived, or depend on how the input is cut. Method: the
//! seed inputs of the fuzz target as they are, then thousands of seeded mutations of them. A failure names its seed.

mod support;

use std::path::PathBuf;

use support::{check_cut, drive};
use torc_resp::{BIG_BYTES, Limits};

const MUTATIONS: u64 = 4_000;

/// Pieces that matter to the protocol, to be put anywhere.
const PIECES: &[&[u8]] = &[
    b"\r\n",
    b"*",
    b"$",
    b"\r",
    b"\n",
    b"-1",
    b"0",
    b"\"",
    b"'",
    b"\\x4",
    b"\0",
    b"99999999999999999999",
    b"*3\r\n",
    b"$16384\r\n",
    b"$536870912\r\n",
    b"*1\r\n$4\r\nPING\r\n",
    b"PING\r\n",
];

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

fn corpus() -> Vec<Vec<u8>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/corpus/request_parser");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .expect("the fuzz target's seed corpus is part of the repository")
        .map(|entry| entry.expect("readable folder").path())
        .collect();
    files.sort();
    files.iter().map(|file| std::fs::read(file).expect("readable file")).collect()
}

fn check(stream: &[u8], random: &mut Random) {
    let limits = Limits { authenticated: random.below(4) > 0, ..Limits::default() };
    let whole = drive(limits, stream, []);
    let mut cuts: Vec<usize> = (0..random.below(8) + 1).map(|_| random.below(stream.len() + 1)).collect();
    cuts.sort_unstable();
    check_cut(limits, stream, &whole, &cuts);
}

#[test]
fn seed_corpus() {
    let inputs = corpus();
    assert!(inputs.len() >= 10, "seed corpus is missing");
    for input in &inputs {
        let whole = drive(Limits::default(), input, []);
        for cut in 0..input.len().min(2_000) {
            check_cut(Limits::default(), input, &whole, &[cut]);
        }
        let all: Vec<usize> = (0..input.len()).collect();
        check_cut(Limits::default(), input, &whole, &all);
    }
}

#[test]
fn mutated_corpus() {
    let inputs = corpus();
    for seed in 0..MUTATIONS {
        let mut random = Random(seed);
        let mut stream = inputs[random.below(inputs.len())].clone();
        if random.below(3) == 0 {
            stream.extend_from_slice(&inputs[random.below(inputs.len())]);
        }
        for _ in 0..=random.below(6) {
            let at = random.below(stream.len());
            match random.below(5) {
                0 if !stream.is_empty() => stream[at] = random.next() as u8,
                1 if !stream.is_empty() => stream[at] ^= 1 << random.below(8),
                2 => {
                    let end = (at + random.below(20)).min(stream.len());
                    stream.drain(at..end);
                }
                3 => {
                    let filler = random.below(64) * random.below(2 * BIG_BYTES / 64);
                    let _ = stream.splice(at..at, std::iter::repeat_n(b'x', filler));
                }
                _ => {
                    let piece = PIECES[random.below(PIECES.len())];
                    let _ = stream.splice(at..at, piece.iter().copied());
                }
            }
        }
        let seen = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(&stream, &mut random)));
        assert!(seen.is_ok(), "seed {seed} fails");
    }
}

#[test]
fn random_bytes() {
    const ALPHABET: &[u8] = b"*$\r\n0123456789-+ \"'\\xabPING\0";
    for seed in 0..MUTATIONS {
        let mut random = Random(seed);
        let len = random.below(200);
        let mut stream = Vec::with_capacity(len);
        for _ in 0..len {
            stream.push(ALPHABET[random.below(ALPHABET.len())]);
        }
        check(&stream, &mut random);
    }
}
