//! Defects that logs of other servers have or had, one test each: none of them can be here. On real files, plain and
//! encrypted.

use std::io;

use torc_persist::blocks::WriteBytes;
use torc_persist::load::{self, LoadError, Tolerance};
use torc_persist::log::{Action, FileNumber, NewSegment, Policy, ShardLog};
use torc_persist::manifest::{Generation, Manifest, SegmentFile};
use torc_persist::seal::Keys;
use torc_persist::store::Store;

mod folder;

use folder::{Folder, variants};

const DEFAULT: Tolerance = Tolerance { torn_tail: true, hole: false };
const STRICT: Tolerance = Tolerance { torn_tail: false, hole: false };

impl Folder {
    /// Appends a generation of one shard with these segments: first sequence and content.
    fn add(&self, number: u64, segments: &[(u64, &[u8])]) {
        let mut store = self.store();
        let mut manifest = Manifest::load(&store).expect("it is sound").unwrap_or_default();
        let mut listed = Vec::new();
        for (index, (first_sequence, content)) in segments.iter().enumerate() {
            let name = format!("log.{number}.{}", index + 1);
            store.create(&name, content).expect("the name is free");
            listed.push(SegmentFile { shard: 0, first_sequence: *first_sequence, name });
        }
        manifest.generations.push(Generation {
            number,
            shards: 1,
            segments: listed,
            ..Generation::default()
        });
        manifest.publish(&mut store).expect("the folder is writable");
    }

    /// The keys that are set, in the order in which they were logged.
    fn load(&self, tolerance: Tolerance) -> Result<Vec<String>, LoadError> {
        let store = self.store();
        let plan = load::plan(&store, tolerance)?.expect("there is a log");
        let mut keys = Vec::new();
        for log in plan.generations.iter().flat_map(|generation| &generation.logs) {
            for file in &log.files {
                load::replay(&store, log, file, |effect| {
                    keys.push(String::from_utf8_lossy(effect.words[1]).into_owned());
                })?;
            }
        }
        Ok(keys)
    }
}

fn new_log(generation: u64, keys: &Keys) -> ShardLog {
    ShardLog::new(0, generation, 1, FileNumber(0), Policy::Everysec).sealed(keys)
}

fn set(log: &mut ShardLog, key: &str) {
    log.effect(0, [&b"SET"[..], key.as_bytes(), b"value"].into_iter());
    log.end_record();
}

fn exec(log: &mut ShardLog, keys: &[&str]) {
    log.group(keys.iter().map(|key| (0, [&b"SET"[..], key.as_bytes(), b"value"].into_iter())));
}

/// Everything that was logged since the last call, as it goes to the file.
fn written(log: &mut ShardLog) -> WriteBytes {
    let bytes = begin_write(log);
    log.write_ended(Ok(bytes.len()));
    bytes
}

/// The next write, as soon as it is due.
fn begin_write(log: &mut ShardLog) -> WriteBytes {
    let now_us = log.next_action_us().expect("there is something to write");
    let Some(Action::Write { bytes, .. }) = log.next_action(now_us) else { panic!("a write") };
    bytes
}

/// What was written is durable.
fn sync(log: &mut ShardLog, now_us: u64) {
    assert!(matches!(log.next_action(now_us), Some(Action::Sync { .. })));
    log.sync_ended(Ok(()));
}

/// A segment with one write for each step, and where each ends.
fn segment(keys: &Keys, steps: &[&dyn Fn(&mut ShardLog)]) -> (Vec<u8>, Vec<usize>) {
    let mut log = new_log(1, keys);
    let mut content = log.file_header().to_vec();
    let mut ends = vec![content.len()];
    for step in steps {
        step(&mut log);
        content.extend_from_slice(&written(&mut log));
        ends.push(content.len());
    }
    (content, ends)
}

fn three(keys: &Keys) -> (Vec<u8>, Vec<usize>) {
    segment(keys, &[&|log| set(log, "a"), &|log| exec(log, &["b", "c"]), &|log| set(log, "d")])
}

/// valkey#4342: a short read within EXEC left a transaction open, and what was written after the restart was lost.
#[test]
fn a_short_read_within_a_transaction_takes_it_whole_and_nothing_else() {
    for keys in variants() {
        let (content, ends) = three(&keys);
        for cut in (ends[0]..content.len()).step_by(3) {
            let folder = Folder::new(&keys);
            folder.add(1, &[(1, &content[..cut])]);
            let mut later = new_log(2, &keys);
            set(&mut later, "later");
            let second = [later.file_header().to_vec(), written(&mut later).to_vec()].concat();
            folder.add(2, &[(1, &second)]);
            let mut expected = match ends.iter().filter(|end| **end <= cut).count() {
                1 => vec![],
                2 => vec!["a"],
                _ => vec!["a", "b", "c"],
            };
            expected.push("later");
            assert_eq!(folder.load(DEFAULT).expect("a torn end is allowed"), expected, "cut at {cut}");
        }
    }
}

/// valkey#2627: after a short write the rest was written again behind it, so that commands were there twice or in halves.
#[test]
fn a_short_write_neither_repeats_nor_splits_anything() {
    for keys in variants() {
        for short in 0..40 {
            let mut log = new_log(1, &keys);
            let mut content = log.file_header().to_vec();
            set(&mut log, "a");
            content.extend_from_slice(&written(&mut log));
            exec(&mut log, &["b", "c"]);
            let bytes = begin_write(&mut log);
            content.extend_from_slice(&bytes[..short]);
            log.write_ended(Ok(short));
            set(&mut log, "d");
            assert_eq!(log.next_action(1_000_000), None, "nothing is tried again");
            let (header, mut second) = log.reopen();
            log.reopened(FileNumber(1), second.len() as u64);
            second.extend_from_slice(&written(&mut log));
            let folder = Folder::new(&keys);
            folder.add(1, &[(1, &content), (header.first_sequence, &second)]);
            assert_eq!(folder.load(STRICT).expect("nothing is torn"), ["a", "b", "c", "d"], "{short}");
        }
    }
}

/// The same when the system says that there is no room, or nothing of what it did.
#[test]
fn a_failed_write_or_sync_is_not_tried_again() {
    for code in [5, 28] {
        let mut log = new_log(1, &Keys::default());
        set(&mut log, "a");
        assert!(matches!(log.next_action(0), Some(Action::Write { .. })));
        log.write_ended(Err(io::Error::from_raw_os_error(code)));
        assert_eq!(log.next_action(u64::MAX / 2), None);
        let mut log = new_log(1, &Keys::default());
        set(&mut log, "a");
        written(&mut log);
        assert!(matches!(log.next_action(u64::MAX / 2), Some(Action::Sync { .. })));
        log.sync_ended(Err(io::Error::from_raw_os_error(code)));
        assert_eq!(log.next_action(u64::MAX / 2), None);
        assert_eq!(log.reopen().0.first_sequence, 1, "what was not synced moves along");
    }
}

/// valkey#1148: zeros behind the end (a file system's answer to a power failure) stopped the start.
#[test]
fn zeros_behind_the_end_are_no_damage() {
    for keys in variants() {
        let (content, ends) = three(&keys);
        for zeros in [1, 100, 10_000] {
            let folder = Folder::new(&keys);
            folder.add(1, &[(1, &[&content[..], &vec![0; zeros]].concat())]);
            assert_eq!(folder.load(STRICT).expect("it is whole"), ["a", "b", "c", "d"]);
            // The block of the last write was never written.
            let folder = Folder::new(&keys);
            folder.add(1, &[(1, &[&content[..ends[2]], &vec![0; zeros]].concat())]);
            assert_eq!(folder.load(STRICT).expect("it ends there"), ["a", "b", "c"]);
            let folder = Folder::new(&keys);
            folder.add(1, &[(1, &[&content[..ends[2] + 9], &vec![0; zeros]].concat())]);
            assert_eq!(folder.load(DEFAULT).expect("a torn end is allowed"), ["a", "b", "c"]);
            assert!(matches!(folder.load(STRICT), Err(LoadError::Torn(torn)) if torn.at == ends[2]));
        }
    }
}

/// What an older file left in the same blocks is not read as commands, and is told as what it is.
#[test]
fn garbage_behind_the_end_is_no_data() {
    for keys in variants() {
        let (content, ends) = three(&keys);
        let older = three(&keys).0;
        for garbage in [&b"garbage"[..], b"*1\r\n$8\r\nFLUSHALL\r\n", &[0xff; 5000], &older] {
            let folder = Folder::new(&keys);
            folder.add(1, &[(1, &[&content[..], garbage].concat())]);
            assert_eq!(folder.load(DEFAULT).expect("a torn end is allowed"), ["a", "b", "c", "d"]);
            let error = folder.load(STRICT).expect_err("it is not always allowed");
            assert!(matches!(&error, LoadError::Torn(torn) if torn.at == ends[3]), "{error}");
            assert!(error.to_string().contains("log.1.1"), "{error}");
        }
    }
}

/// Damage in what was durable is never taken for an end: acknowledged writes stand behind it (scylla#2099 skipped them).
#[test]
fn a_hole_stops_the_start_unless_it_is_wanted() {
    for keys in variants() {
        let (content, ends) = segment(
            &keys,
            &[
                &|log| set(log, "a"),
                &|log| {
                    sync(log, 2_000_000);
                    exec(log, &["b", "c"]);
                },
                &|log| {
                    sync(log, 4_000_000);
                    set(log, "d");
                },
            ],
        );
        for (from, until) in [(ends[1], ends[2]), (ends[1] + 28, ends[1] + 32), (ends[1], ends[1] + 20)] {
            for filler in [0, 0x5a] {
                let mut hole = content.clone();
                hole[from..until].fill(filler);
                let folder = Folder::new(&keys);
                folder.add(1, &[(1, &hole)]);
                match folder.load(DEFAULT) {
                    Err(LoadError::Hole { file, at, next_valid_at }) => {
                        assert_eq!((file.as_str(), at, next_valid_at), ("log.1.1", ends[1], ends[2]));
                    }
                    other => panic!("{other:?}"),
                }
                let told = Tolerance { torn_tail: true, hole: true };
                assert_eq!(folder.load(told).expect("it is wanted"), ["a"]);
            }
        }
    }
}

/// Pages of several writes that no sync had covered were written back in any order: what was never durable needs nobody.
#[test]
fn a_hole_in_what_was_not_durable_is_an_end() {
    for keys in variants() {
        let (content, ends) = three(&keys);
        let mut hole = content.clone();
        hole[ends[1]..ends[2]].fill(0);
        let folder = Folder::new(&keys);
        folder.add(1, &[(1, &hole)]);
        assert_eq!(folder.load(DEFAULT).expect("a torn end is allowed"), ["a"]);
        match folder.load(STRICT) {
            Err(LoadError::Torn(torn)) => assert_eq!((torn.at, torn.records), (ends[1], 1)),
            other => panic!("{other:?}"),
        }
    }
}

/// A second without a record, or the end of the server: a mark tells that the last ones are durable, and nothing else is
/// written until there are others.
#[test]
fn damage_in_the_last_records_of_an_idle_log_is_noticed() {
    for keys in variants() {
        for ends in [false, true] {
            let mut log = new_log(1, &keys);
            let mut content = log.file_header().to_vec();
            set(&mut log, "a");
            content.extend_from_slice(&written(&mut log));
            let begins_at = content.len();
            set(&mut log, "b");
            content.extend_from_slice(&written(&mut log));
            let ends_at = content.len();
            sync(&mut log, 1_000_000);
            assert_eq!((log.next_action(1_900_000), log.next_action_us()), (None, Some(2_000_000)));
            let now_us = if ends { 1_900_000 } else { 2_000_000 };
            if ends {
                log.finish();
                assert!(!log.is_finished());
            }
            let Some(Action::Write { offset, bytes, then_sync, .. }) = log.next_action(now_us) else {
                panic!("a mark")
            };
            assert_eq!(log.position(), log.durable(), "nobody waits for it");
            content.truncate(offset as usize);
            content.extend_from_slice(&bytes);
            log.write_ended(Ok(bytes.len()));
            assert_eq!(then_sync, ends);
            if then_sync {
                log.sync_ended(Ok(()));
            }
            assert_eq!(
                (log.next_action(u64::MAX / 2), log.next_action_us()),
                (None, None),
                "it is left alone"
            );
            assert!(log.is_finished());
            content[begins_at..ends_at].fill(0);
            let folder = Folder::new(&keys);
            folder.add(1, &[(1, &content)]);
            assert!(matches!(folder.load(DEFAULT), Err(LoadError::Hole { .. })));
        }
    }
}

/// The first mark of a generation tells where the one before ended, so that a last block of zeros is no end.
#[test]
fn a_generation_that_goes_on_needs_all_of_the_one_before() {
    let mut log = new_log(1, &Keys::default());
    let mut first = log.file_header().to_vec();
    for key in ["a", "b"] {
        set(&mut log, key);
        first.extend_from_slice(&written(&mut log));
    }
    let new = NewSegment::new(0, 2, FileNumber(1), 7, &Keys::default());
    let mut second = new.header.clone();
    log.switch_to(new);
    sync(&mut log, 2_000_000);
    second.extend_from_slice(&written(&mut log));
    for (cut, is_whole) in [(0, true), (1, false), (first.len() - 40, false)] {
        let folder = Folder::new(&Keys::default());
        let mut cut_off = first[..first.len() - cut].to_vec();
        cut_off.resize(first.len() + 100, 0);
        folder.add(1, &[(1, &cut_off)]);
        folder.add(2, &[(1, &second)]);
        let mut store = folder.store();
        let mut manifest = Manifest::load(&store).expect("it is sound").expect("it is there");
        manifest.generations[1].continues = true;
        manifest.publish(&mut store).expect("the folder is writable");
        match folder.load(DEFAULT) {
            Ok(keys) => assert!(is_whole && keys == ["a", "b"]),
            Err(LoadError::Gap { file, needed, .. }) => {
                assert!(!is_whole && file == "log.1.1" && needed == 3)
            }
            other => panic!("{other:?}"),
        }
    }
}

/// A segment that a later one follows must reach as far as that begins, whatever it ends with.
#[test]
fn a_gap_between_segments_stops_the_start() {
    for keys in variants() {
        let (content, ends) = three(&keys);
        let mut log = ShardLog::new(0, 1, 4, FileNumber(1), Policy::Everysec).sealed(&keys);
        set(&mut log, "e");
        let second = [log.file_header().to_vec(), written(&mut log).to_vec()].concat();
        let folder = Folder::new(&keys);
        folder.add(1, &[(1, &content), (4, &second)]);
        assert_eq!(folder.load(STRICT).expect("they fit"), ["a", "b", "c", "d", "e"]);
        let folder = Folder::new(&keys);
        folder.add(1, &[(1, &content[..ends[2]]), (4, &second)]);
        let told = Tolerance { torn_tail: true, hole: true };
        assert!(matches!(folder.load(told), Err(LoadError::Gap { needed: 4, .. })));
    }
}
