//! Files on a shard's ring: appends and syncs of a log, without a thread and without waiting.
//!
//! Owns the descriptors, and the bytes of writes until the kernel is done with them. One write and one sync of a file are
//! under way at most. Never opens, creates or deletes a file, and never knows what is in it.
//!
//! What a sync has made durable is dropped from the page cache: nobody reads it before the next start. Otherwise a log takes
//! new memory for every page, which costs several times the copy where a hypervisor has to find it, and displaces what others read.
//!
//! Where much is appended through the page cache, room is found on the disk ahead of it, which makes each page cheaper. What is left of
//! that when nothing is appended any more stays with the file, behind its end.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use super::ring::{FileWrite, Ring};
use super::{Event, Kind, Tag};

/// The kernel drops whole folios only, which may begin or end anywhere: each time a little more is told to go than is new.
const FOLIO_BYTES_MAX: u64 = 2 << 20;
/// The end of what was written stays in the page cache: it may be zeros, and the next write goes into those pages.
const KEPT_BYTES: u64 = 128 << 10;
/// Length of an operation, as the kernel takes it.
const FORGET_BYTES_MAX: u64 = 1 << 31;

/// A write of so many bytes is followed by others soon.
const BUSY_BYTES: usize = 32 << 10;
/// Room that is found at once, when less than half of it is left.
const RESERVE_BYTES: u32 = 2 << 20;

/// A file on this ring. The index is used again when the file is closed and nothing of it is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileId(u32);

struct OpenFile {
    fd: OwnedFd,
    /// What the kernel reads from.
    writing: Option<Arc<Vec<u8>>>,
    /// Where the write under way ends.
    writing_to: u64,
    /// The write under way is a sync as well.
    writes_durably: bool,
    is_syncing: bool,
    is_closing: bool,
    /// The end of what was written.
    written_to: u64,
    /// How much of it the sync under way makes durable.
    syncing_to: u64,
    /// Up to here pages were dropped.
    forgotten_to: u64,
    is_forgetting: bool,
    /// Up to here there is room on the disk, or was looked for.
    reserved_to: u64,
    is_reserving: bool,
    /// The file system has refused it.
    refuses_to_reserve: bool,
}

impl OpenFile {
    fn is_done(&self) -> bool {
        let is_busy = self.writing.is_some() || self.is_syncing || self.is_forgetting || self.is_reserving;
        self.is_closing && !is_busy
    }

    /// The room to find before a write through the page cache that ends where `writing_to` is.
    fn room_to_find(&mut self, bytes: usize) -> Option<u64> {
        let is_near = self.writing_to + u64::from(RESERVE_BYTES / 2) > self.reserved_to;
        if bytes < BUSY_BYTES || !is_near || self.is_reserving || self.refuses_to_reserve {
            return None;
        }
        let from = self.reserved_to.max(self.writing_to);
        self.reserved_to = from + u64::from(RESERVE_BYTES);
        self.is_reserving = true;
        Some(from)
    }
}

#[derive(Default)]
pub(super) struct Files {
    open: Vec<Option<OpenFile>>,
}

impl Files {
    pub(super) fn add(&mut self, fd: OwnedFd) -> FileId {
        let file = OpenFile {
            fd,
            writing: None,
            writing_to: 0,
            writes_durably: false,
            is_syncing: false,
            is_closing: false,
            written_to: 0,
            syncing_to: 0,
            forgotten_to: 0,
            is_forgetting: false,
            reserved_to: 0,
            is_reserving: false,
            refuses_to_reserve: false,
        };
        let index = self.open.iter().position(Option::is_none).unwrap_or(self.open.len());
        if index == self.open.len() {
            self.open.push(None);
        }
        self.open[index] = Some(file);
        FileId(index as u32)
    }

    fn get(&mut self, id: FileId) -> &mut OpenFile {
        self.open[id.0 as usize].as_mut().expect("a file id is used while the file is open")
    }

    /// Closes the file when what is under way has ended; its events still come.
    pub(super) fn close(&mut self, id: FileId) {
        self.get(id).is_closing = true;
        self.release_if_done(id);
    }

    pub(super) fn write(
        &mut self,
        ring: &mut Ring,
        id: FileId,
        offset: u64,
        bytes: Arc<Vec<u8>>,
        start: usize,
        then_sync: bool,
    ) -> io::Result<()> {
        let file = self.get(id);
        assert!(file.writing.is_none(), "one write of a file at a time");
        assert!(!(then_sync && file.is_syncing), "one sync of a file at a time");
        let bytes = file.writing.insert(bytes);
        let len = bytes.len() - start;
        file.writing_to = offset + len as u64;
        file.is_syncing |= then_sync;
        file.writes_durably = then_sync;
        let write = FileWrite {
            fd: file.fd.as_raw_fd(),
            offset,
            bytes: bytes[start..].as_ptr(),
            len: u32::try_from(len).expect("a write is shorter than 4 GiB"),
            user_data: Tag::file(Kind::FileWrite, id).encode(),
            is_durable: then_sync,
        };
        // SAFETY: the bytes are kept in `writing`, unchanged, until the completion has come (see also `abandon`).
        unsafe { ring.push_file_write(write) }?;
        let file = self.get(id);
        let room = if then_sync { None } else { file.room_to_find(len) };
        let Some(offset) = room else { return Ok(()) };
        let reserve = super::Op::Reserve { fd: file.fd.as_raw_fd(), offset, len: RESERVE_BYTES };
        ring.push(reserve, Tag::file(Kind::FileReserve, id).encode())
    }

    pub(super) fn sync(&mut self, ring: &mut Ring, id: FileId) -> io::Result<()> {
        let file = self.get(id);
        assert!(!file.is_syncing, "one sync of a file at a time");
        file.is_syncing = true;
        file.syncing_to = file.written_to;
        ring.push(super::Op::SyncData { fd: file.fd.as_raw_fd() }, Tag::file(Kind::FileSync, id).encode())
    }

    pub(super) fn write_ended(&mut self, id: FileId, result: i32, sink: &mut impl FnMut(Event<'_>)) {
        let file = self.get(id);
        file.writing = None;
        file.written_to = file.writing_to;
        let was_durable = std::mem::take(&mut file.writes_durably);
        file.is_syncing &= !was_durable;
        sink(Event::Written { file: id, result: outcome(result).map(|count| count as usize) });
        if was_durable {
            sink(Event::Synced { file: id, result: outcome(result).map(drop) });
        }
        self.release_if_done(id);
    }

    pub(super) fn sync_ended(
        &mut self,
        ring: &mut Ring,
        id: FileId,
        result: i32,
        sink: &mut impl FnMut(Event<'_>),
    ) -> io::Result<()> {
        let file = self.get(id);
        file.is_syncing = false;
        let (from, to) =
            (file.forgotten_to.saturating_sub(FOLIO_BYTES_MAX), file.syncing_to.saturating_sub(KEPT_BYTES));
        if result == 0 && to > file.forgotten_to && !file.is_forgetting {
            file.is_forgetting = true;
            file.forgotten_to = to;
            let len = (to - from).min(FORGET_BYTES_MAX) as u32;
            let forget = super::Op::Forget { fd: file.fd.as_raw_fd(), offset: to - u64::from(len), len };
            ring.push(forget, Tag::file(Kind::FileForget, id).encode())?;
        }
        sink(Event::Synced { file: id, result: outcome(result).map(drop) });
        self.release_if_done(id);
        Ok(())
    }

    /// Whether pages were dropped or not makes no difference to anybody.
    pub(super) fn forget_ended(&mut self, id: FileId) {
        self.get(id).is_forgetting = false;
        self.release_if_done(id);
    }

    /// What was not found is missed by nobody: the write that needs it will say so.
    pub(super) fn reserve_ended(&mut self, id: FileId, result: i32) {
        let file = self.get(id);
        file.is_reserving = false;
        file.refuses_to_reserve |= result < 0;
        self.release_if_done(id);
    }

    fn release_if_done(&mut self, id: FileId) {
        let slot = &mut self.open[id.0 as usize];
        if slot.as_ref().is_some_and(OpenFile::is_done) {
            *slot = None;
        }
    }

    /// The ring is going away: what the kernel may still read stays allocated for ever.
    pub(super) fn abandon(&mut self) {
        for file in self.open.iter_mut().flatten() {
            std::mem::forget(file.writing.take());
        }
    }
}

fn outcome(result: i32) -> io::Result<u32> {
    u32::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result))
}

impl Tag {
    fn file(kind: Kind, id: FileId) -> Tag {
        Tag::plain(kind, id.0)
    }

    pub(super) fn file_id(self) -> FileId {
        FileId(self.index)
    }
}
