//! Writing a file from parts: header and notes first, then keys as they come, then the checksum.
//!
//! Owns the order of the file and its checksum. The version is the one asked for, or the lowest above it that can express
//! all keys, so the header is written anew at the end where they needed more. Never knows what a key looks like.

use std::io::{self, Seek, SeekFrom, Write};

use torc_datatypes::rdb::crc64::crc64;
use torc_datatypes::rdb::{Later, Writer, code};

use super::HEADER_BYTES;
use crate::seal::{CHUNK_BYTES_MAX, Keys, RDB_MAGIC, Reserved, Sealer, sealed_bytes};

/// Longer strings are never compressed: that would take their length in memory.
const COMPRESSED_BYTES_MAX: usize = 32 << 20;
/// Bytes of a long string that are written at once.
const PIECE_BYTES: usize = 1 << 20;

/// How many keys a database has, for readers that make room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Database {
    pub keys: u64,
    /// Those with an expiry.
    pub volatile: u64,
}

/// Writes a file.
pub struct FileWriter<W> {
    out: W,
    crc: u64,
    len: u64,
    /// In the header as it was written first.
    begun: u16,
    version: u16,
    sealing: Option<Sealing>,
}

/// What a sealed file needs.
struct Sealing {
    sealer: Sealer,
    /// For the header, which stands at `header_at`.
    header: Reserved,
    header_at: u64,
    /// Content of the chunk that is not full yet.
    pending: Vec<u8>,
}

impl<W: Write + Seek> FileWriter<W> {
    /// Begins with the header.
    pub fn begin(out: W) -> io::Result<FileWriter<W>> {
        FileWriter::begin_with(out, Keys::none(), code::VERSION)
    }

    /// As [`FileWriter::begin`], with this version or a higher one; the file is sealed if these keys seal.
    pub fn begin_with(out: W, keys: &Keys, version: u16) -> io::Result<FileWriter<W>> {
        let mut writer = FileWriter { out, crc: 0, len: 0, begun: version, version, sealing: None };
        match keys.sealer(RDB_MAGIC) {
            None => writer.append(&header(version))?,
            Some(sealer) => writer.begin_sealed(sealer)?,
        }
        Ok(writer)
    }

    fn begin_sealed(&mut self, mut sealer: Sealer) -> io::Result<()> {
        let mut head = [&RDB_MAGIC[..], sealer.block()].concat();
        let header_at = head.len() as u64;
        head.resize(head.len() + sealed_bytes(HEADER_BYTES), 0);
        self.out.write_all(&head)?;
        let reserved = sealer.reserve();
        self.sealing = Some(Sealing { sealer, header: reserved, header_at, pending: Vec::new() });
        self.crc = crc64(0, &header(self.begun));
        self.len = HEADER_BYTES as u64;
        Ok(())
    }

    /// Notes about the file; `functions`: sources of libraries.
    pub fn notes(&mut self, notes: &[(&str, &str)], functions: &[Vec<u8>]) -> io::Result<()> {
        let mut bytes = Vec::new();
        let mut writer = Writer::new(&mut bytes, false);
        for (name, text) in notes {
            writer.byte(code::AUX);
            writer.string(name.as_bytes());
            writer.string(text.as_bytes());
        }
        for source in functions {
            writer.byte(code::FUNCTION_2);
            writer.string(source);
        }
        self.append(&bytes)
    }

    /// How much there will be in each database.
    pub fn databases(&mut self, databases: &[Database]) -> io::Result<()> {
        let mut bytes = Vec::new();
        let mut writer = Writer::new(&mut bytes, false);
        for (db, counts) in databases.iter().enumerate().filter(|(_, counts)| counts.keys > 0) {
            writer.byte(code::SELECT_DB);
            writer.length(db as u64);
            writer.byte(code::RESIZE_DB);
            writer.length(counts.keys);
            writer.length(counts.volatile);
        }
        self.append(&bytes)
    }

    /// Keys behind a selection of their database, or a part of a key's record, which need this version; `later`: strings
    /// among the bytes that are not packed yet.
    pub fn part(&mut self, bytes: &[u8], later: &[Later], compresses: bool, version: u16) -> io::Result<()> {
        self.version = self.version.max(version);
        let mut from = 0;
        for Later { at, text } in later {
            self.append(&bytes[from..*at])?;
            self.string(text, compresses)?;
            from = *at;
        }
        self.append(&bytes[from..])
    }

    fn string(&mut self, text: &[u8], compresses: bool) -> io::Result<()> {
        let mut packed = Vec::new();
        let mut writer = Writer::new(&mut packed, compresses);
        if text.len() <= COMPRESSED_BYTES_MAX {
            writer.string(text);
            return self.append(&packed);
        }
        writer.count(text.len());
        self.append(&packed)?;
        text.chunks(PIECE_BYTES).try_for_each(|piece| self.append(piece))
    }

    /// Bytes so far.
    pub fn len(&self) -> u64 {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The end, with a checksum or without. Nothing is synced.
    pub fn finish(mut self, sums: bool) -> io::Result<W> {
        self.append(&[code::EOF])?;
        if self.version != self.begun {
            self.crc ^= self.header_difference();
        }
        let crc = if sums { self.crc } else { 0 };
        self.append(&crc.to_le_bytes())?;
        let (header_at, bytes) = match self.sealing.take() {
            None => (0, header(self.version).to_vec()),
            Some(mut sealing) => {
                self.out.write_all(&sealing.seal_pending())?;
                let Sealing { sealer, header: reserved, header_at, .. } = sealing;
                let mut chunk = Vec::new();
                sealer.seal_reserved(reserved, &header(self.version), &mut chunk);
                (header_at, chunk)
            }
        };
        if header_at > 0 || self.version != self.begun {
            self.out.seek(SeekFrom::Start(header_at))?;
            self.out.write_all(&bytes)?;
            self.out.seek(SeekFrom::End(0))?;
        }
        self.out.flush()?;
        Ok(self.out)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.crc = crc64(self.crc, bytes);
        self.len += bytes.len() as u64;
        let Some(sealing) = &mut self.sealing else { return self.out.write_all(bytes) };
        sealing.pending.extend_from_slice(bytes);
        if sealing.pending.len() >= CHUNK_BYTES_MAX {
            let sealed = sealing.seal_pending();
            self.out.write_all(&sealed)?;
        }
        Ok(())
    }

    /// The checksum is linear: that of the changed file is the old one, XOR that of the difference, which is zeros from
    /// the header on.
    fn header_difference(&self) -> u64 {
        let new = header(self.version);
        let difference: Vec<u8> = header(self.begun).iter().zip(&new).map(|(old, new)| old ^ new).collect();
        let mut crc = crc64(0, &difference);
        let zeros = [0; 64 * 1024];
        let mut left = self.len - HEADER_BYTES as u64;
        while left > 0 {
            let count = left.min(zeros.len() as u64);
            crc = crc64(crc, &zeros[..count as usize]);
            left -= count;
        }
        crc
    }
}

impl Sealing {
    fn seal_pending(&mut self) -> Vec<u8> {
        let mut sealed = Vec::new();
        self.sealer.seal(&self.pending, &mut sealed);
        self.pending.clear();
        sealed
    }
}

/// Valkey's versions are above all of Redis's.
fn header(version: u16) -> [u8; HEADER_BYTES] {
    let text = match version {
        code::VERSION_FIELD_EXPIRY.. => format!("VALKEY{version:03}"),
        _ => format!("REDIS{version:04}"),
    };
    text.into_bytes().try_into().expect("both forms are of one length")
}
