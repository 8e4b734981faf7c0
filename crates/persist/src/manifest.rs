//! The manifest: the one file that says which other files are the log. Text, so that it can be read and mended by hand.
//!
//! Owns its syntax and the order of steps that replaces it. A manifest is never changed in place: the new one is written
//! beside it, synced, renamed over it, and the directory is synced. Until then the old one is the truth.
//!
//! ```text
//! torc log 1
//! generation 3 shards 2
//! slots 0-8191 0
//! slots 8192-16383 1
//! base base.3.rdb
//! segment 0 1 log.3.0.1
//! segment 1 1 log.3.1.1
//! crc32c 1f0e6d02
//! ```

use std::fmt::Write as _;
use std::io;

use crate::store::Store;

/// Name of the manifest in the log's directory.
pub const NAME: &str = "manifest";
const TEMPORARY_NAME: &str = "manifest.new";
const TITLE: &str = "torc log 1";

/// A segment as the manifest lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentFile {
    pub shard: u16,
    /// Sequence of the first record. What an earlier segment of the shard holds from there on is superseded.
    pub first_sequence: u64,
    pub name: String,
}

/// Slots `first..=last` belong to `shard`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotRange {
    pub first: u16,
    pub last: u16,
    pub shard: u16,
}

/// What was logged between one cut of all shards and the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Generation {
    pub number: u64,
    pub shards: u16,
    /// The same process went on in it: each shard's log follows its log in the generation before. Otherwise it began with
    /// what had been recovered from that.
    pub continues: bool,
    pub slots: Vec<SlotRange>,
    /// Files with the data as they were at the beginning of this generation; what came before is then not needed.
    pub bases: Vec<String>,
    /// In the order of their sequences, per shard.
    pub segments: Vec<SegmentFile>,
}

/// All generations that must be replayed, oldest first. A later one is replayed when the earlier one is whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    pub generations: Vec<Generation>,
}

/// Why a manifest can't be used.
#[derive(Debug)]
pub enum ManifestError {
    Io(io::Error),
    /// Its checksum is wrong: it was cut, damaged, or changed by hand (then the last line must go).
    Damaged,
    /// Line number, from 1, and what is wrong there.
    Syntax(usize, &'static str),
}

impl std::fmt::Display for ManifestError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ManifestError::Io(error) => write!(f, "cannot read the manifest: {error}"),
            ManifestError::Damaged => f.write_str("the manifest's checksum is wrong"),
            ManifestError::Syntax(line, what) => write!(f, "line {line} of the manifest: {what}"),
        }
    }
}

impl std::error::Error for ManifestError {}

impl Manifest {
    /// The manifest of a directory; `None` if it has none.
    pub fn load(store: &impl Store) -> Result<Option<Manifest>, ManifestError> {
        match store.read(NAME) {
            Ok(bytes) => Manifest::parse(&bytes).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(ManifestError::Io(error)),
        }
    }

    /// Makes this the manifest of the directory. After an error the old one is still in force, or this one is.
    pub fn publish(&self, store: &mut impl Store) -> io::Result<()> {
        // What a crash may have left of an earlier try.
        match store.remove(TEMPORARY_NAME) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        store.create(TEMPORARY_NAME, self.to_text().as_bytes())?;
        store.sync(TEMPORARY_NAME)?;
        store.rename(TEMPORARY_NAME, NAME)?;
        store.sync_directory()
    }

    /// Names of all files that the manifest needs.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.generations.iter().flat_map(|generation| {
            let segments = generation.segments.iter().map(|segment| segment.name.as_str());
            generation.bases.iter().map(String::as_str).chain(segments)
        })
    }

    pub fn to_text(&self) -> String {
        let mut text = format!("{TITLE}\n");
        for generation in &self.generations {
            let continues = if generation.continues { " continues" } else { "" };
            let _ =
                writeln!(text, "generation {} shards {}{continues}", generation.number, generation.shards);
            for SlotRange { first, last, shard } in &generation.slots {
                let _ = writeln!(text, "slots {first}-{last} {shard}");
            }
            for base in &generation.bases {
                let _ = writeln!(text, "base {base}");
            }
            for SegmentFile { shard, first_sequence, name } in &generation.segments {
                let _ = writeln!(text, "segment {shard} {first_sequence} {name}");
            }
        }
        let crc = crc32c::crc32c(text.as_bytes());
        let _ = writeln!(text, "crc32c {crc:08x}");
        text
    }

    pub fn parse(bytes: &[u8]) -> Result<Manifest, ManifestError> {
        let text = std::str::from_utf8(bytes).map_err(|_| ManifestError::Damaged)?;
        let mut manifest = Manifest::default();
        let mut checked = false;
        let mut at = 0;
        for (index, line) in text.split_inclusive('\n').enumerate() {
            let wrong = |what| Err(ManifestError::Syntax(index + 1, what));
            if checked {
                return wrong("nothing may follow the checksum");
            }
            let words: Vec<&str> = line.trim_end_matches('\n').split(' ').collect();
            let generation = manifest.generations.last_mut();
            match (index, words.as_slice(), generation) {
                (0, _, _) if line.trim_end_matches('\n') == TITLE => {}
                (0, _, _) => {
                    return wrong("this is not the manifest of a log of torc that this version reads");
                }
                (_, ["crc32c", crc], _) => {
                    if !line.ends_with('\n')
                        || u32::from_str_radix(crc, 16) != Ok(crc32c::crc32c(&bytes[..at]))
                    {
                        return Err(ManifestError::Damaged);
                    }
                    checked = true;
                }
                (_, ["generation", number, "shards", shards, continues @ ..], last) => {
                    let (Ok(number), Ok(shards @ 1..)) = (number.parse(), shards.parse()) else {
                        return wrong("not a number");
                    };
                    if last.as_ref().is_some_and(|last| last.number >= number) {
                        return wrong("generations must ascend");
                    }
                    let continues = match continues {
                        [] => false,
                        ["continues"] if last.is_none_or(|last| last.shards == shards) => true,
                        _ => return wrong("it cannot continue the generation before"),
                    };
                    manifest.generations.push(Generation {
                        number,
                        shards,
                        continues,
                        ..Generation::default()
                    });
                }
                (_, ["slots", range, shard], Some(generation)) => {
                    let range = range.split_once('-').and_then(|(first, last)| {
                        let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
                        (first <= last && last < 16_384).then_some((first, last))
                    });
                    let (Some((first, last)), Ok(shard)) = (range, shard.parse()) else {
                        return wrong("not a range of slots and a shard");
                    };
                    generation.slots.push(SlotRange { first, last, shard });
                }
                (_, ["base", name], Some(generation)) if is_plain_name(name) => {
                    generation.bases.push((*name).to_owned());
                }
                (_, ["segment", shard, first, name], Some(generation)) if is_plain_name(name) => {
                    let (Ok(shard), Ok(first_sequence)) = (shard.parse::<u16>(), first.parse()) else {
                        return wrong("not a number");
                    };
                    if shard >= generation.shards {
                        return wrong("the generation has no such shard");
                    }
                    generation.segments.push(SegmentFile { shard, first_sequence, name: (*name).to_owned() });
                }
                _ => return wrong("not understood"),
            }
            at += line.len();
        }
        if checked { Ok(manifest) } else { Err(ManifestError::Damaged) }
    }
}

/// A file of the log's own directory.
fn is_plain_name(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\', '\0'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let segment =
            |shard, first_sequence, name: &str| SegmentFile { shard, first_sequence, name: name.into() };
        Manifest {
            generations: vec![
                Generation {
                    number: 3,
                    shards: 2,
                    continues: false,
                    slots: vec![
                        SlotRange { first: 0, last: 8191, shard: 0 },
                        SlotRange { first: 8192, last: 16383, shard: 1 },
                    ],
                    bases: vec!["base.3.rdb".into()],
                    segments: vec![segment(0, 1, "log.3.0.1"), segment(1, 1, "log.3.1.1")],
                },
                Generation { number: 4, shards: 2, continues: true, ..Generation::default() },
                Generation {
                    number: 5,
                    shards: 1,
                    segments: vec![segment(0, 900, "log.4.0.900")],
                    ..Generation::default()
                },
            ],
        }
    }

    #[test]
    fn text_comes_back_as_it_was() {
        let text = manifest().to_text();
        assert_eq!(Manifest::parse(text.as_bytes()).expect("it is whole"), manifest());
        assert_eq!(manifest().files().count(), 4);
    }

    #[test]
    fn damage_is_noticed() {
        let text = manifest().to_text();
        for cut in 0..text.len() {
            assert!(Manifest::parse(&text.as_bytes()[..cut]).is_err(), "{cut}");
        }
        for index in 0..text.len() {
            let mut damaged = text.clone().into_bytes();
            damaged[index] ^= 1;
            assert!(Manifest::parse(&damaged).is_err(), "{index}");
        }
    }

    #[test]
    fn errors_name_their_line() {
        for (lines, line) in [
            ("redis log\n", 1),
            ("torc log 1\nsegment 0 1 x\n", 2),
            ("torc log 1\ngeneration 1 shards 0\n", 2),
            ("torc log 1\ngeneration 2 shards 1\ngeneration 2 shards 1\n", 3),
            ("torc log 1\ngeneration 2 shards 1\nsegment 1 1 x\n", 3),
            ("torc log 1\ngeneration 2 shards 1\nsegment 0 1 ../x\n", 3),
            ("torc log 1\ngeneration 2 shards 1\nslots 5-4 0\n", 3),
            ("torc log 1\ngeneration 2 shards 1\ngeneration 3 shards 2 continues\n", 3),
        ] {
            match Manifest::parse(lines.as_bytes()) {
                Err(ManifestError::Syntax(at, _)) => assert_eq!(at, line, "{lines}"),
                other => panic!("{lines}: {other:?}"),
            }
        }
    }
}
