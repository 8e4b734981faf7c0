//! A disk whose power can fail: what was not synced is lost, torn, reordered, or replaced by what a block held before; names
//! that were not synced may be there or not. Owns the files and what of them is durable.

use std::collections::BTreeMap;
use std::io;

use torc_persist::seal::{KEY_BLOCK_BYTES, Keys, sealed_bytes};
use torc_persist::store::Store;

const SECTOR_BYTES: usize = 512;
const SEGMENT_HEADER_BYTES: usize = torc_persist::segment::HEADER_BYTES;

pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }

    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// A file: what is on the platter, and the writes that only the cache knows, oldest first.
#[derive(Clone, Default)]
pub(crate) struct SimFile {
    pub(crate) durable: Vec<u8>,
    pub(crate) cached: Vec<(usize, Vec<u8>)>,
}

impl SimFile {
    fn content(&self) -> Vec<u8> {
        let mut content = self.durable.clone();
        self.cached.iter().for_each(|(at, bytes)| overwrite(&mut content, *at, bytes));
        content
    }
}

/// Zeros that a file is written ahead with are all the same: some sectors of them are enough.
fn without_far_zeros(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    &bytes[..bytes.len().min(end + 3 * SECTOR_BYTES)]
}

pub(crate) fn overwrite(content: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if content.len() < at + bytes.len() {
        content.resize(at + bytes.len(), 0);
    }
    content[at..at + bytes.len()].copy_from_slice(bytes);
}

/// A directory on a disk whose power can fail.
#[derive(Clone, Default)]
pub(crate) struct SimDisk {
    files: BTreeMap<String, SimFile>,
    /// The directory as it is on the platter: names of files, which keep their content when renamed.
    durable_names: BTreeMap<String, String>,
    names: BTreeMap<String, String>,
    next_inode: usize,
    pub(crate) keys: Keys,
    /// Operations on files that still succeed: then the power is off. `None`: all do.
    pub(crate) fuse: Option<usize>,
    /// The first operation that did not.
    pub(crate) interrupted: Option<String>,
    /// The error that operations on files end with for now.
    pub(crate) fault: Option<i32>,
    /// Sealed chunks that ever went to the disk: (key block, number) to content.
    chunks: BTreeMap<(Vec<u8>, u64), Vec<u8>>,
}

impl SimDisk {
    fn file(&mut self, name: &str) -> io::Result<&mut SimFile> {
        let inode = self.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(self.files.get_mut(inode).expect("a name leads to a file"))
    }

    /// Opens a file: it can be written to even when it has lost its name.
    pub(crate) fn open(&self, name: &str) -> String {
        self.names[name].clone()
    }

    pub(crate) fn opened(&mut self, inode: &str) -> &mut SimFile {
        self.files.get_mut(inode).expect("an open file")
    }

    pub(crate) fn write(&mut self, inode: &str, at: usize, bytes: &[u8]) {
        let bytes = without_far_zeros(bytes);
        self.opened(inode).cached.push((at, bytes.to_vec()));
    }

    /// This is about to be written, as a whole or in part: sealed chunks are never sealed anew.
    pub(crate) fn note_write(&mut self, inode: &str, at: usize, bytes: &[u8]) {
        if self.keys.seals() {
            let mut content = self.files[inode].content();
            overwrite(&mut content, at, without_far_zeros(bytes));
            let (block, chunks) = content[SEGMENT_HEADER_BYTES..].split_at(KEY_BLOCK_BYTES);
            self.note_chunks(block, chunks);
        }
    }

    /// Whether the power is still on for an operation on the files, and the disk works.
    fn operate(&mut self, what: &str, name: &str) -> io::Result<()> {
        if let Some(error) = self.fault {
            return Err(io::Error::from_raw_os_error(error));
        }
        match &mut self.fuse {
            None => Ok(()),
            Some(0) => {
                let kind = name.split('.').next().unwrap_or_default();
                self.interrupted.get_or_insert(format!("{what} {kind}"));
                Err(io::Error::other("the power is off"))
            }
            Some(left) => {
                *left -= 1;
                Ok(())
            }
        }
    }

    /// What is sealed with one key and one number is always the same. Zeros may follow.
    fn note_chunks(&mut self, block: &[u8], mut chunks: &[u8]) {
        while chunks.len() >= 16 && chunks[..16] != [0; 16] {
            let content_bytes = u32::from_le_bytes(chunks[4..8].try_into().expect("four bytes")) as usize;
            let number = u64::from_le_bytes(chunks[8..16].try_into().expect("eight bytes"));
            let (chunk, rest) = chunks.split_at(sealed_bytes(content_bytes).min(chunks.len()));
            let content = self.chunks.entry((block.to_vec(), number)).or_insert_with(|| chunk.to_vec());
            assert!(*content == chunk, "chunk {number} is sealed twice");
            chunks = rest;
        }
    }

    /// The power fails: of what was not synced, any subset of sectors has reached the platter.
    pub(crate) fn crash(&mut self, random: &mut Random) {
        for file in self.files.values_mut() {
            for (at, bytes) in std::mem::take(&mut file.cached) {
                let mut start = 0;
                // One write in three is torn, one is lost, one has made it.
                let fate = random.below(3);
                while start < bytes.len() {
                    let sector_end = ((at + start) / SECTOR_BYTES + 1) * SECTOR_BYTES - at;
                    let end = sector_end.min(bytes.len());
                    let survives = match fate {
                        0 => false,
                        1 => true,
                        _ => random.one_in(2),
                    };
                    if survives {
                        overwrite(&mut file.durable, at + start, &bytes[start..end]);
                    } else if fate == 2 && random.one_in(4) {
                        // The file had grown, but the block holds what was there before: zeros, or an old file's bytes.
                        let stale = if random.one_in(2) { 0 } else { 0x5a };
                        let from = (at + start).max(file.durable.len());
                        if from < at + end {
                            overwrite(&mut file.durable, from, &vec![stale; at + end - from]);
                        }
                    }
                    start = end;
                }
            }
        }
        // Names that were not synced may or may not be there.
        let mut names = self.durable_names.clone();
        for (name, inode) in &self.names {
            if random.one_in(2) {
                names.insert(name.clone(), inode.clone());
            }
        }
        names.retain(|name, _| self.names.contains_key(name) || random.one_in(2));
        self.names = names.clone();
        self.durable_names = names;
    }
}

impl Store for SimDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.names.keys().cloned().collect())
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let inode = self.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(self.files[inode].content())
    }

    fn open_file(&self, name: &str) -> io::Result<impl io::Read> {
        self.read(name).map(io::Cursor::new)
    }

    fn create(&mut self, name: &str, content: &[u8]) -> io::Result<()> {
        if self.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let outcome = self.operate("create", name);
        // Room for a name and for half of the content: that stays.
        let content = match (&outcome, self.fault) {
            (Err(_), Some(_)) => &content[..content.len() / 2],
            (Err(_), None) => return outcome,
            (Ok(()), _) => content,
        };
        self.next_inode += 1;
        let inode = format!("inode{}", self.next_inode);
        self.files
            .insert(inode.clone(), SimFile { durable: Vec::new(), cached: vec![(0, content.to_vec())] });
        self.names.insert(name.into(), inode);
        if self.keys.seals()
            && content.len() > SEGMENT_HEADER_BYTES + KEY_BLOCK_BYTES
            && name.starts_with("log.")
        {
            let (block, chunks) = content[SEGMENT_HEADER_BYTES..].split_at(KEY_BLOCK_BYTES);
            self.note_chunks(block, chunks);
        }
        outcome
    }

    fn keys(&self) -> &Keys {
        &self.keys
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        let outcome = self.operate("sync", name);
        if outcome.is_err() {
            // The error is told once, and the pages count as clean.
            let is_fault = self.fault.is_some();
            self.file(name)?.cached.retain(|_| !is_fault);
            return outcome;
        }
        let file = self.file(name)?;
        file.durable = file.content();
        file.cached.clear();
        Ok(())
    }

    fn sync_directory(&mut self) -> io::Result<()> {
        self.operate("sync", "directory")?;
        self.durable_names = self.names.clone();
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.operate("rename", from)?;
        let inode = self.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        self.names.insert(to.into(), inode);
        Ok(())
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        if !self.names.contains_key(name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.operate("remove", name)?;
        self.names.remove(name);
        Ok(())
    }

    fn truncate(&mut self, name: &str, len: u64) -> io::Result<()> {
        let file = self.file(name)?;
        file.durable = file.content();
        file.durable.truncate(len as usize);
        file.cached.clear();
        Ok(())
    }
}
