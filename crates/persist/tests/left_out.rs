//! The account of what a start leaves out: file, offset, bytes, whole records and reason, of plain and sealed logs; and how
//! much of a file has been read, while it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use torc_persist::left_out::{LeftOut, Why};
use torc_persist::load::{self, Plan, Tolerance};
use torc_persist::log::{Action, FileNumber, Policy, ShardLog};
use torc_persist::manifest::{Generation, Manifest, SegmentFile};
use torc_persist::record::Transaction;
use torc_persist::seal::Keys;
use torc_persist::store::Store;

mod folder;

use folder::{Folder, variants};

impl Folder {
    /// A generation of two shards with these segments: shard, first sequence, content.
    fn write(&self, segments: &[(u16, u64, &[u8])]) {
        let mut store = self.store();
        let mut listed = Vec::new();
        for (shard, first_sequence, content) in segments {
            let name = format!("log.{shard}.{first_sequence}");
            store.create(&name, content).expect("the name is free");
            listed.push(SegmentFile { shard: *shard, first_sequence: *first_sequence, name });
        }
        let generation = Generation { number: 1, shards: 2, segments: listed, ..Generation::default() };
        let mut manifest = Manifest::default();
        manifest.generations.push(generation);
        manifest.publish(&mut store).expect("the folder is writable");
    }

    fn plan(&self) -> Plan {
        let tolerance = Tolerance { torn_tail: true, hole: false };
        load::plan(&self.store(), tolerance).expect("it can be loaded").expect("there is a log")
    }

    fn left_out(&self) -> Vec<LeftOut> {
        self.plan().generations.into_iter().flat_map(|one| one.logs).flat_map(|log| log.left_out).collect()
    }
}

/// What one shard logs.
#[derive(Clone, Copy)]
enum Step {
    Set,
    /// Its part of a transaction of both shards with this ticket.
    Part(u64),
}

/// A segment with one record for each step, each written by itself; and where each of them ends.
fn segment(
    shard: u16,
    first_sequence: u64,
    policy: Policy,
    keys: &Keys,
    steps: &[Step],
) -> (Vec<u8>, Vec<usize>) {
    let mut log = ShardLog::new(shard, 1, first_sequence, FileNumber(1), policy).sealed(keys);
    let mut content = log.file_header().to_vec();
    let mut ends = vec![content.len()];
    for step in steps {
        let words = || [&b"SET"[..], b"key", b"value"].into_iter();
        match step {
            Step::Set => {
                log.effect(0, words());
                log.end_record();
            }
            Step::Part(ticket) => {
                log.part(Transaction { ticket: *ticket, participants: vec![0, 1] }, [(0, words())]);
            }
        }
        let now_us = log.next_action_us().expect("there is something to write");
        let Some(Action::Write { offset, bytes, then_sync, .. }) = log.next_action(now_us) else {
            panic!("a write")
        };
        // Whole blocks under `always`: the last one is written again, and ends with zeros.
        content.truncate(offset as usize);
        content.extend_from_slice(&bytes);
        log.write_ended(Ok(bytes.len()));
        if then_sync {
            log.sync_ended(Ok(()));
        }
        ends.push(content.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1));
    }
    (content, ends)
}

fn left_out(file: &str, range: std::ops::Range<usize>, records: u64, why: Why) -> LeftOut {
    LeftOut { file: file.to_owned(), at: range.start, bytes: range.len(), records, why }
}

#[test]
fn a_transaction_that_is_not_whole_takes_what_follows() {
    for keys in variants() {
        let folder = Folder::new(&keys);
        let (content, ends) =
            segment(0, 1, Policy::Everysec, &keys, &[Step::Set, Step::Part(1), Step::Set, Step::Set]);
        let (other, _) = segment(1, 1, Policy::Everysec, &keys, &[Step::Set]);
        folder.write(&[(0, 1, &content), (1, 1, &other)]);
        assert_eq!(folder.left_out(), [left_out("log.0.1", ends[1]..ends[4], 3, Why::FromPartOn)]);
        assert_eq!(folder.plan().generations[0].logs[0].records(), 1);
    }
}

#[test]
fn a_torn_end_is_told_besides() {
    for keys in variants() {
        let folder = Folder::new(&keys);
        let (content, ends) = segment(0, 1, Policy::Everysec, &keys, &[Step::Part(1), Step::Set, Step::Set]);
        let (other, _) = segment(1, 1, Policy::Everysec, &keys, &[]);
        let torn = &content[..ends[3] - 5];
        folder.write(&[(0, 1, torn), (1, 1, &other)]);
        let expected = [
            left_out("log.0.1", ends[0]..ends[2], 2, Why::FromPartOn),
            left_out("log.0.1", ends[2]..torn.len(), 0, Why::Torn),
        ];
        assert_eq!(folder.left_out(), expected);
        assert_eq!(
            expected[1].to_string(),
            format!(
                "{} bytes of log.0.1 from offset {} on with 0 whole records: the file ends in the middle of a record",
                torn.len() - ends[2],
                ends[2]
            )
        );
    }
}

#[test]
fn files_behind_the_one_that_is_cut_are_told_of() {
    for keys in variants() {
        let folder = Folder::new(&keys);
        // The second file supersedes the last record of the first one.
        let steps = [Step::Set, Step::Part(1), Step::Set, Step::Set];
        let (first, ends) = segment(0, 1, Policy::Everysec, &keys, &steps);
        let (second, later_ends) = segment(0, 4, Policy::Everysec, &keys, &[Step::Set, Step::Set]);
        let (other, _) = segment(1, 1, Policy::Everysec, &keys, &[]);
        folder.write(&[(0, 1, &first), (0, 4, &second), (1, 1, &other)]);
        let expected = [
            left_out("log.0.1", ends[1]..ends[3], 2, Why::FromPartOn),
            left_out("log.0.4", later_ends[0]..later_ends[2], 2, Why::FromPartOn),
        ];
        assert_eq!(folder.left_out(), expected);
    }
}

/// Under `always` they alone are left out.
#[test]
fn parts_are_counted_where_the_first_one_is() {
    let keys = Keys::default();
    let folder = Folder::new(&keys);
    let steps = [Step::Set, Step::Part(1), Step::Set, Step::Part(2), Step::Set];
    let (content, ends) = segment(0, 1, Policy::Always, &keys, &steps);
    let (other, _) = segment(1, 1, Policy::Always, &keys, &[Step::Set]);
    folder.write(&[(0, 1, &content), (1, 1, &other)]);
    let part_bytes = ends[2] - ends[1];
    let expected = left_out("log.0.1", ends[1]..ends[1] + 2 * part_bytes, 2, Why::Parts);
    assert_eq!(folder.left_out(), [expected]);
    assert_eq!(folder.plan().generations[0].logs[0].records(), 3);
}

#[test]
fn whole_logs_leave_nothing_out() {
    for (keys, policy) in variants().into_iter().zip([Policy::Always, Policy::Everysec]) {
        let folder = Folder::new(&keys);
        let segments = [0, 1].map(|shard| segment(shard, 1, policy, &keys, &[Step::Set, Step::Part(1)]).0);
        folder.write(&[(0, 1, &segments[0]), (1, 1, &segments[1])]);
        assert_eq!(folder.left_out(), []);
    }
}

/// Whoever watches sees a large file pass by, a window at a time.
#[test]
fn what_is_read_is_counted_on_the_way() {
    for keys in variants() {
        let mut log = ShardLog::new(0, 1, 1, FileNumber(1), Policy::Everysec).sealed(&keys);
        let mut content = log.file_header().to_vec();
        let value = vec![b'v'; 50_000];
        while content.len() < 2 << 20 {
            log.effect(0, [&b"SET"[..], b"key", &value].into_iter());
            log.end_record();
            let now_us = log.next_action_us().expect("there is something to write");
            let Some(Action::Write { bytes, .. }) = log.next_action(now_us) else { panic!("a write") };
            content.extend_from_slice(&bytes);
            log.write_ended(Ok(bytes.len()));
            // Behind the record are zeros, where the next one goes.
            content.truncate(log.file_bytes() as usize);
        }
        let folder = Folder::new(&keys);
        let (other, _) = segment(1, 1, Policy::Everysec, &keys, &[]);
        folder.write(&[(0, 1, &content), (1, 1, &other)]);
        let plan = folder.plan();
        let log = &plan.generations[0].logs[0];
        let read = Arc::new(AtomicU64::new(0));
        let store = folder.store().counting(&read);
        let mut seen = Vec::new();
        load::replay(&store, log, &log.files[0], |_| seen.push(read.load(Ordering::Relaxed)))
            .expect("it can be replayed");
        seen.dedup();
        assert!(seen.len() >= 6 && seen[0] <= 512 << 10, "{seen:?}");
        assert_eq!(read.load(Ordering::Relaxed), content.len() as u64);
    }
}
