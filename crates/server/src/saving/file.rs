//! The thread that writes a snapshot: parts of all shards, as they come, into one file.
//!
//! A record that goes on in another part holds the parts of other shards up, which then soon send no more. Long strings are
//! compressed here. Owns the temporary file and the steps by which it takes the place of the old one: sync, rename, sync of the folder.
//! Never touches a keyspace.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;

use torc_datatypes::rdb::code;
use torc_keyspace::SavedPart;
use torc_persist::rdb::FileWriter;
use torc_persist::seal::Keys;
use torc_runtime::beside::{self, PacedFile};

use crate::config::os_error_text;
use crate::packet::ShardId;
use crate::process::REDIS_VERSION;
use crate::shard_loop::LoopShared;

use super::{SaveJob, lock};

/// Bytes of small pieces that are written together.
const BUFFER_BYTES: usize = 64 * 1024;

/// What a shard tells the file's thread.
#[derive(Debug)]
pub enum Message {
    /// All shards have made their cut.
    CutIsDone,
    Part {
        shard: ShardId,
        part: SavedPart,
    },
    /// This shard has handed over everything.
    Through,
}

/// How the file is to be written.
pub struct FilePlan {
    pub path: PathBuf,
    pub keys: Keys,
    pub shards: usize,
    /// The shard that waits for the end.
    pub owner: ShardId,
    pub sums: bool,
    pub syncs_often: bool,
    pub functions: Vec<Vec<u8>>,
    pub used_bytes: usize,
    pub server: Option<Arc<LoopShared>>,
    /// The file is the base of a log.
    pub is_base: bool,
    /// What is left to do when the file is in its place.
    pub at_end: Option<AtEnd>,
}

pub(crate) type AtEnd = Box<dyn FnOnce() -> io::Result<()> + Send>;

/// Writes one file; ends when all shards are through, whatever happens on the way.
pub fn write(job: &SaveJob, mut plan: FilePlan, messages: &Receiver<Message>) {
    let at_end = plan.at_end.take();
    let mut result = write_parts(job, &plan, messages);
    if let (Ok(()), Some(at_end), false) = (&result, at_end, job.is_cancelled()) {
        result = at_end().map_err(|error| os_error_text(&error));
    }
    if job.is_cancelled() {
        result = Err("it was cancelled".to_owned());
    }
    if result.is_err() {
        let _ = fs::remove_file(&job.temporary);
    }
    *lock(&job.outcome) = Some(result);
    if let Some(server) = &plan.server {
        server.wake(plan.owner);
    }
}

fn write_parts(job: &SaveJob, plan: &FilePlan, messages: &Receiver<Message>) -> Result<(), String> {
    let mut file = Written::begin(job, plan);
    let mut waiting = Waiting::default();
    let (mut through, mut cut_is_done) = (0, false);
    while through < plan.shards || !cut_is_done {
        match messages.recv().map_err(|_| "the shards are gone".to_owned())? {
            Message::CutIsDone => {
                cut_is_done = true;
                file.go_on(|file| file.begin_keys(job, plan));
            }
            Message::Part { shard, part } => waiting.parts.push_back((shard, part)),
            Message::Through => through += 1,
        }
        // Before the last shard has made its cut nothing is written.
        while cut_is_done && let Some((shard, part)) = waiting.next() {
            file.go_on(|file| file.part(&part));
            if job.part_is_written(shard)
                && let Some(server) = &plan.server
            {
                server.wake(shard);
            }
        }
        if file.0.is_err() {
            job.is_over.store(true, Ordering::Release);
        }
    }
    let written = file.0.and_then(|written| written.finish(plan.sums));
    if job.is_cancelled() {
        return Ok(());
    }
    written.and_then(|()| put_in_place(&job.temporary, &plan.path)).map_err(|error| os_error_text(&error))
}

/// Parts that are not written yet: as many as shards may send ahead ([`super::PARTS_IN_FLIGHT_MAX`]).
#[derive(Default)]
struct Waiting {
    parts: VecDeque<(ShardId, SavedPart)>,
    /// The shard whose last part ended within a record.
    open: Option<ShardId>,
}

impl Waiting {
    /// The part that comes next, if it is there.
    fn next(&mut self) -> Option<(ShardId, SavedPart)> {
        let may_come = |(shard, _): &(ShardId, SavedPart)| self.open.is_none_or(|open| open == *shard);
        let (shard, part) = self.parts.remove(self.parts.iter().position(may_come)?)?;
        self.open = part.is_open.then_some(shard);
        Some((shard, part))
    }
}

fn put_in_place(temporary: &Path, path: &Path) -> io::Result<()> {
    fs::rename(temporary, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// The file, or why it is not going to be one.
struct Written(io::Result<Open>);

struct Open {
    /// The one that was asked for.
    version: u16,
    writer: FileWriter<BufWriter<PacedFile>>,
}

impl Written {
    fn begin(job: &SaveJob, plan: &FilePlan) -> Written {
        let open = File::create(&job.temporary).and_then(|file| {
            let file = BufWriter::with_capacity(BUFFER_BYTES, PacedFile::new(file, plan.syncs_often));
            Ok(Open { version: job.version, writer: FileWriter::begin_with(file, &plan.keys, job.version)? })
        });
        Written(open)
    }

    /// Does the next thing, unless an earlier one failed.
    fn go_on(&mut self, act: impl FnOnce(&mut Open) -> io::Result<()>) {
        if let Ok(file) = &mut self.0
            && let Err(error) = act(file)
        {
            self.0 = Err(error);
        }
    }
}

impl Open {
    fn begin_keys(&mut self, job: &SaveJob, plan: &FilePlan) -> io::Result<()> {
        let created_s = (job.started_ms / 1000).to_string();
        let notes = [
            ("redis-ver", REDIS_VERSION),
            ("redis-bits", "64"),
            ("ctime", &created_s),
            ("used-mem", &plan.used_bytes.to_string()),
            ("aof-base", if plan.is_base { "1" } else { "0" }),
        ];
        self.writer.notes(&notes, &plan.functions)?;
        self.writer.databases(&job.databases())
    }

    fn part(&mut self, part: &SavedPart) -> io::Result<()> {
        // Whoever asks for an older version wants a file for servers that read no newer one.
        if self.version < code::VERSION && part.version > self.version {
            return Err(io::Error::other(format!(
                "RDB version {} (rdb-version) cannot express a hash with fields that expire",
                self.version
            )));
        }
        self.writer.part(&part.bytes, &part.later, part.compresses, part.version)?;
        // Its checksum has taken time, too.
        beside::yield_core();
        Ok(())
    }

    fn finish(self, sums: bool) -> io::Result<()> {
        self.writer.finish(sums)?.into_inner().map_err(io::IntoInnerError::into_error)?.finish()
    }
}
