//! RDB files of every version, with values in every encoding of every server, and damaged ones.
//!
//! Goal: no file makes the reader panic, or take more memory than a small multiple of its bytes, and every error says
//! where in the file it is. Method: files around the values in the seed corpus of the fuzz target `rdb_value` (those that
//! begin with `good` were written by servers or by hand in the format of old ones), with every opcode, and whole files of
//! servers; then thousands of seeded mutations of them, under an allocator that counts. A failure names its seed.

#[path = "../../datatypes/tests/support/counting.rs"]
mod counting;
mod support;

use std::path::PathBuf;

use counting::{Asked, Counting, counted};
use support::check;
use torc_datatypes::rdb::code;
use torc_datatypes::rdb::crc64::crc64;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const MUTATIONS: u64 = 20_000;
/// Bytes that reading may ask for at once and in all for each byte of its file, besides a few.
const LARGEST_EXPANSION_MAX: usize = 100;
const SUM_EXPANSION_MAX: usize = 300;
const BYTES_FREE: usize = 4_096;
/// Bytes that mean something: lengths, ends, opcodes.
const BYTES: [u8; 16] =
    [0, 1, 2, 0x3f, 0x40, 0x7f, 0x80, 0x81, 0xc0, 0xc3, 0xf5, 0xf7, 0xfa, 0xfc, 0xfe, 0xff];

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

/// The seed corpus of a fuzz target: names and contents.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/corpus").join(target);
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .expect("the fuzz target's seed corpus is part of the repository")
        .map(|entry| entry.expect("readable folder").path())
        .collect();
    files.sort();
    let named = |file: &PathBuf| file.file_name().expect("a file has a name").to_string_lossy().into_owned();
    files.iter().map(|file| (named(file), std::fs::read(file).expect("readable file"))).collect()
}

/// Values: name, version, and type with content.
fn values() -> Vec<(String, u8, Vec<u8>)> {
    corpus("rdb_value").into_iter().map(|(name, bytes)| (name, bytes[0], bytes[1..].to_vec())).collect()
}

fn header(version: u8) -> Vec<u8> {
    let text = if version >= 80 { format!("VALKEY{version:03}") } else { format!("REDIS{version:04}") };
    text.into_bytes()
}

/// The end of a file: opcode and, since version 5, the checksum.
fn end(file: &mut Vec<u8>, version: u8) {
    file.push(code::EOF);
    if version >= 5 {
        let crc = crc64(0, file);
        file.extend_from_slice(&crc.to_le_bytes());
    }
}

/// A file with one key, and with what may stand before it in such a version.
fn file_of(version: u8, value: &[u8]) -> Vec<u8> {
    let mut file = header(version);
    if version >= 7 {
        file.extend_from_slice(b"\xfa\x09redis-ver\x053.2.0");
    }
    file.extend_from_slice(b"\xfe\x00");
    if version >= 7 {
        file.extend_from_slice(b"\xfb\x01\x01");
    }
    file.extend_from_slice(b"\xfc\x00\x00\x00\x00\x00\x01\x00\x00");
    if version >= 9 {
        file.extend_from_slice(b"\xf9\x05\xf8\x07");
    }
    file.push(value[0]);
    file.extend_from_slice(b"\x03key");
    file.extend_from_slice(&value[1..]);
    end(&mut file, version);
    file
}

#[test]
fn every_encoding_of_every_server_is_read_from_files() {
    let mut versions = std::collections::BTreeSet::new();
    for (name, version, value) in values() {
        let file = file_of(version, &value);
        let outcome = check(&file, true);
        if name.starts_with("good") {
            assert_eq!(outcome.unwrap_or_else(|error| panic!("{name}: {error}")), 1);
            versions.insert(version);
        }
        for cut in 0..file.len().min(300) {
            assert!(check(&file[..cut], true).is_err(), "{name} cut at {cut}");
        }
    }
    assert!(versions.len() >= 3, "{versions:?}");
}

#[test]
fn files_of_servers_are_read() {
    for (name, file) in corpus("rdb_file") {
        let keys = check(&file, true).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(keys > 15, "{name}: {keys} keys");
        for cut in 0..file.len() {
            assert!(check(&file[..cut], true).is_err(), "{name} cut at {cut}");
        }
    }
}

/// The versions that issue from the servers: up to 12 of Redis, 80 of Valkey, and nothing else.
#[test]
fn versions_are_those_that_are_known() {
    for version in 0..=99u8 {
        let mut file = header(version);
        file.extend_from_slice(b"\x00\x01k\x01v");
        end(&mut file, version);
        let known = (1..=12).contains(&version) || version == 80;
        match check(&file, true) {
            Ok(keys) => assert!(known && keys == 1, "{version}"),
            Err(error) => {
                assert!(!known, "{version}: {error}");
                assert_eq!((error.offset, error.reason.as_str()), (9, "not supported: this version of RDB"));
            }
        }
    }
}

#[test]
fn values_of_modules_are_a_clear_error() {
    for (bytes, reason) in [
        (&b"\x06\x01k\x01"[..], "not supported: values of modules"),
        (b"\x07\x01k\x81\x01\x02\x03\x04\x05\x06\x07\x08\x00", "not supported: values of modules"),
        (b"\xf7\x81\x01\x02\x03\x04\x05\x06\x07\x08\x02\x00\x00", "not supported: data of modules"),
    ] {
        let mut file = header(11);
        file.extend_from_slice(bytes);
        end(&mut file, 11);
        let error = check(&file, true).expect_err("modules are not supported");
        assert_eq!(error.reason, reason);
    }
}

fn mutated(random: &mut Random, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut file = seeds[random.below(seeds.len())].clone();
    for _ in 0..1 + random.below(4) {
        let at = random.below(file.len());
        match random.below(8) {
            _ if file.is_empty() => {}
            0 | 1 => file[at] ^= 1 << random.below(8),
            2 => file[at] = BYTES[random.below(BYTES.len())],
            3 => file[at] = random.next() as u8,
            4 => drop(file.drain(at..(at + 1 + random.below(3)).min(file.len()))),
            5 => file.insert(at, BYTES[random.below(BYTES.len())]),
            6 => {
                let other = &seeds[random.below(seeds.len())];
                let from = random.below(other.len());
                let until = (from + 1 + random.below(40)).min(other.len());
                file.splice(at..at, other[from..until].iter().copied());
            }
            _ => file.truncate(at),
        }
    }
    file
}

#[test]
fn mutations_are_refused_or_harmless() {
    let mut seeds: Vec<Vec<u8>> =
        values().into_iter().map(|(_, version, value)| file_of(version, &value)).collect();
    seeds.extend(corpus("rdb_file").into_iter().map(|(_, file)| file));
    let mut all = header(80);
    all.extend_from_slice(
        b"\xf5\x0c#!lua name=a\xf4\x05\x01\x00\xfd\x00\x00\x00\x7f\x00\x01k\xc3\x04\x0a\x00a\xe0\x00",
    );
    end(&mut all, 80);
    seeds.push(all);
    let (mut accepted, mut refused) = (0, 0);
    for seed in 0..MUTATIONS {
        let file = mutated(&mut Random(seed), &seeds);
        // Without the checksum, so that damage gets further than that.
        let (outcome, Asked { largest, sum }) = counted(|| std::panic::catch_unwind(|| check(&file, false)));
        let is_bounded = largest <= LARGEST_EXPANSION_MAX * file.len() + BYTES_FREE
            && sum <= SUM_EXPANSION_MAX * file.len() + BYTES_FREE;
        assert!(is_bounded, "seed {seed}: {largest} bytes at once, {sum} in all for {file:02x?}");
        match outcome.unwrap_or_else(|_| panic!("seed {seed}: {file:02x?}")) {
            Ok(_) => accepted += 1,
            Err(_) => refused += 1,
        }
    }
    assert!(accepted > 500 && refused > 1_000, "{accepted} accepted, {refused} refused");
}
