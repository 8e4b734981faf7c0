//! A disk that fails for a while: it is full (ENOSPC), or broken (EIO), and works again.
//!
//! Owns when errors begin and end, what they do to a write and to a sync, and the segments in place of those that failed.
//! Under `always` the server ends with the first error of its log; otherwise it refuses writes, which then have no effect,
//! until everything that may be lost is in a new segment, and goes on by itself when the disk works again.

use std::io;

use torc_persist::log::FileNumber;
use torc_persist::manifest::SegmentFile;
use torc_persist::rewrite;
use torc_persist::segment::SegmentHeader;
use torc_persist::store::Store as _;

use super::{ALWAYS, EVERYSEC, Options, World, check, run};
use crate::aof::SegmentFd;

/// Steps that a server needs at most to be well when its disk is.
const HEALING_STEPS_MAX: usize = 300;

impl World<'_> {
    /// Errors begin and end, and segments are made in place of those that failed.
    pub(super) fn faults_step(&mut self) {
        let calm = if self.options.is_always { 80 } else { 25 };
        self.disk.fault = match self.disk.fault {
            None if self.random.one_in(calm) => {
                Some(if self.random.one_in(2) { libc::ENOSPC } else { libc::EIO })
            }
            Some(_) if self.random.one_in(10) => None,
            fault => fault,
        };
        if self.random.one_in(3) {
            self.mend();
        }
    }

    /// Bytes of a write that reach the system, and what the shard is told.
    pub(super) fn outcome_of_write(&mut self, len: usize) -> (usize, io::Result<usize>) {
        let Some(error) = self.disk.fault.filter(|_| self.random.one_in(2)) else { return (len, Ok(len)) };
        let taken = self.random.below(len);
        match error {
            _ if self.options.hides_errors => (taken, Ok(len)),
            // As much as there was room for.
            libc::ENOSPC if taken > 0 => (taken, Ok(taken)),
            error => (taken, Err(io::Error::from_raw_os_error(error))),
        }
    }

    pub(super) fn sync_fails(&mut self) -> bool {
        self.disk.fault.is_some() && self.random.one_in(2)
    }

    /// The system tells of the error once, and takes the pages that it could not write for clean.
    pub(super) fn fail_sync(&mut self, shard: usize, file: FileNumber, covers: usize) {
        let content = self.disk.opened(&self.inodes[&file]);
        content.cached.drain(..covers.min(content.cached.len()));
        let error = self.disk.fault.filter(|_| !self.options.hides_errors);
        let outcome = error.map_or(Ok(()), |error| Err(io::Error::from_raw_os_error(error)));
        self.bench.shard(shard).log_sync_ended(file, outcome);
    }

    /// Whether the process would have ended.
    pub(super) fn has_ended(&mut self) -> bool {
        (0..self.shards).any(|id| {
            let simulated = self.bench.shard(id).logging.simulated.as_ref();
            simulated.is_some_and(|simulated| simulated.has_ended)
        })
    }

    /// Makes the segments that shards want in place of those that failed.
    fn mend(&mut self) {
        for id in 0..self.shards {
            let simulated = self.bench.shard(id).logging.simulated.as_mut();
            let Some((header, content, send)) = simulated.and_then(|simulated| simulated.wanted.pop()) else {
                continue;
            };
            // Nobody listens when the log was switched off meanwhile.
            let _ = send.send(self.replace_segment(&header, &content));
            self.bench.shard(id).mend_log();
            self.bench.settle();
        }
    }

    fn replace_segment(
        &mut self,
        header: &SegmentHeader,
        content: &[u8],
    ) -> io::Result<(FileNumber, SegmentFd)> {
        self.replacements += 1;
        let SegmentHeader { shard, generation, first_sequence, .. } = *header;
        let name = format!("log.{generation}.{shard}.{}", self.replacements);
        rewrite::make_file(&mut self.disk, &name, content)?;
        let inode = self.disk.open(&name);
        self.disk.sync_directory()?;
        let mut manifest = self.manifest.clone();
        // What belongs to a generation that a base has replaced is in the base.
        if let Some(listed) = manifest.generations.iter_mut().find(|one| one.number == generation) {
            listed.segments.push(SegmentFile { shard, first_sequence, name });
            manifest.publish(&mut self.disk)?;
            self.manifest = manifest;
        }
        let file = FileNumber(1 << 32 | self.replacements);
        self.inodes.insert(file, inode);
        Ok((file, SegmentFd::nowhere()))
    }

    /// The disk works again: so does the server, by itself.
    pub(super) fn heal(&mut self) -> Result<(), String> {
        if self.has_ended() {
            return Ok(());
        }
        self.disk.fault = None;
        for _ in 0..HEALING_STEPS_MAX {
            self.disk_step();
            self.mend();
            (0..self.shards).for_each(|shard| self.hand_over(shard));
            self.hear();
        }
        // Shards look at each other's logs at their ticks.
        self.bench.pass_ms(100);
        self.known.elapsed_ms += 100;
        self.hear();
        let mut failing = (0..self.shards).filter_map(|id| self.bench.shard(id).state.log_failure.clone());
        failing.next().map_or(Ok(()), |reason| Err(format!("writes are still refused: {reason}")))
    }
}

const FAULTS: Options = Options { has_faults: true, ..EVERYSEC };

#[test]
fn a_failing_disk_loses_nothing_that_was_durable() {
    check(500, FAULTS);
}

#[test]
fn a_failing_disk_ends_a_server_that_may_lose_nothing() {
    check(400, Options { has_faults: true, ..ALWAYS });
}

#[test]
fn encrypted_logs_on_a_failing_disk() {
    check(150, Options { is_encrypted: true, ..FAULTS });
    check(150, Options { is_encrypted: true, has_faults: true, ..ALWAYS });
}

/// A server that is not told of an error goes on as if nothing had happened, and is caught.
#[test]
fn errors_that_are_hidden_are_noticed() {
    for options in [FAULTS, Options { has_faults: true, ..ALWAYS }] {
        let options = Options { hides_errors: true, ..options };
        assert!((1..=300).any(|seed| run(seed, options).is_err()), "{options:?}");
    }
}
