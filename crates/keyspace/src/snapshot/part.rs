//! What was saved, in pieces that a file takes one after the other. Never knows which keys are in them.

use torc_datatypes::rdb::{Later, Writer, code};

/// Saved keys of one database, as a file holds them, behind a selection of the database; or a part of one key's record.
#[derive(Debug)]
pub struct SavedPart {
    pub bytes: Vec<u8>,
    /// Long strings among the bytes, which whoever writes the file packs.
    pub later: Vec<Later>,
    later_bytes: usize,
    /// Whether strings are compressed.
    pub compresses: bool,
    /// The RDB version that a reader must know for it.
    pub version: u16,
    /// Its last record goes on in the next part from here.
    pub is_open: bool,
}

impl SavedPart {
    pub(super) fn new(compresses: bool) -> SavedPart {
        let (bytes, later) = (Vec::new(), Vec::new());
        SavedPart { bytes, later, later_bytes: 0, compresses, version: 0, is_open: false }
    }

    pub(super) fn select(&mut self, db: usize) {
        self.write(|writer| {
            writer.byte(code::SELECT_DB);
            writer.length(db as u64);
        });
    }

    /// Writes behind what is there; returns how many bytes were compressed, too.
    pub(super) fn write<R>(&mut self, write: impl FnOnce(&mut Writer<'_>) -> R) -> (R, usize) {
        let mut writer = Writer::leaving(&mut self.bytes, self.compresses, &mut self.later);
        let result = write(&mut writer);
        let (len, packed_bytes) = (writer.len(), writer.packed_bytes());
        self.later_bytes += len - self.bytes.len();
        (result, packed_bytes)
    }

    /// A reader must know this version for what was written.
    pub(super) fn needs(&mut self, version: u16) {
        self.version = self.version.max(version);
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len() + self.later_bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Memory that it takes; strings that values share count too.
    pub(super) fn held_bytes(&self) -> usize {
        self.bytes.capacity() + self.later_bytes + self.later.capacity() * size_of::<Later>()
    }

    /// Leaves an empty part.
    pub(super) fn take(&mut self) -> SavedPart {
        std::mem::replace(self, SavedPart::new(self.compresses))
    }
}
