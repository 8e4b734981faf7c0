//! Reading a file of unknown origin, item by item, through a window that grows only where one item needs it.
//!
//! Owns the position in the file: every error says where and why. Never allocates what a length claims before its bytes
//! have been read.

use std::fmt;
use std::io::{self, Chain, Cursor, Read};

use torc_datatypes::Entry;
use torc_datatypes::rdb::code::{self, is_known_version};
use torc_datatypes::rdb::crc64::crc64;
use torc_datatypes::rdb::{Error, Limits, Reader, read_value};

use super::{CHECKSUM_BYTES, HEADER_BYTES};
use crate::seal::{Keys, Source};

/// Bytes that are read at once, and that the window has as long as no item needs more.
const WINDOW_BYTES: usize = 256 * 1024;
/// Since this version a file ends with a checksum.
const CHECKSUM_SINCE: u16 = 5;

/// Why a file cannot be loaded.
#[derive(Debug)]
pub struct FileError {
    pub file: String,
    pub offset: u64,
    pub reason: String,
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, offset {}: {}", self.file, self.offset, self.reason)
    }
}

impl std::error::Error for FileError {}

/// What a file holds.
#[derive(Debug)]
pub enum Item {
    Key(LoadedKey),
    /// A note of the server that wrote it.
    Aux {
        name: Vec<u8>,
        text: Vec<u8>,
    },
    /// The source of a library of functions.
    Function(Vec<u8>),
}

#[derive(Debug)]
pub struct LoadedKey {
    pub db: usize,
    /// With its expiry, over or not.
    pub entry: Entry,
    /// Seconds since the last access, if the file knows.
    pub idle_seconds: Option<u64>,
    /// The access counter, if the file knows.
    pub frequency: Option<u8>,
}

/// What stands before a key and belongs to it.
#[derive(Default)]
struct Prefix {
    expire_at: Option<i64>,
    idle_seconds: Option<u64>,
    frequency: Option<u8>,
}

/// Reads the items of a file in order.
pub struct FileReader<R> {
    source: R,
    name: String,
    limits: Limits,
    checks_sum: bool,
    version: u16,
    db: usize,
    /// Bytes of the file from `offset` on.
    window: Vec<u8>,
    /// How many of those are done with.
    at: usize,
    offset: u64,
    source_ended: bool,
    crc: u64,
    is_done: bool,
}

impl<R: Read> FileReader<Source<R>> {
    /// As [`FileReader::open`], for a file that may be sealed. Offsets are then those of its content.
    pub fn open_with(
        source: R,
        name: &str,
        limits: Limits,
        checks_sum: bool,
        keys: &Keys,
    ) -> Result<FileReader<Source<R>>, FileError> {
        let failed = |reason| FileError { file: name.to_owned(), offset: 0, reason };
        let source =
            Source::open(source, keys).map_err(|error| failed(format!("cannot be read: {error}")))?;
        let source = source.map_err(|error| failed(error.to_string()))?;
        FileReader::open(source, name, limits, checks_sum)
    }
}

impl<R: Read> FileReader<R> {
    /// Begins with the header. `name`: for errors. `checks_sum`: the checksum at the end must be right.
    pub fn open(source: R, name: &str, limits: Limits, checks_sum: bool) -> Result<FileReader<R>, FileError> {
        let mut reader = FileReader {
            source,
            name: name.to_owned(),
            limits,
            checks_sum,
            version: 0,
            db: 0,
            window: Vec::new(),
            at: 0,
            offset: 0,
            source_ended: false,
            crc: 0,
            is_done: false,
        };
        reader.version = reader.decode(|bytes, _| {
            let header: [u8; HEADER_BYTES] =
                bytes.bytes(HEADER_BYTES)?.try_into().expect("as many as asked for");
            let digits = header.strip_prefix(b"REDIS").or_else(|| header.strip_prefix(b"VALKEY"));
            let version = digits.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
            let version: u16 = version.ok_or(Error::Corrupt("no RDB file: it does not begin as one"))?;
            if version == 0 || !is_known_version(version) {
                return Err(Error::Unsupported("this version of RDB"));
            }
            Ok(version)
        })?;
        Ok(reader)
    }

    /// The version in the header.
    pub fn version(&self) -> u16 {
        self.version
    }

    /// The next item; `None` behind the last one, when the checksum was right too.
    pub fn next_item(&mut self) -> Result<Option<Item>, FileError> {
        let mut prefix = Prefix::default();
        while !self.is_done {
            let kind = self.decode(|bytes, _| bytes.byte())?;
            match kind {
                code::EXPIRE_TIME => {
                    let seconds = self.decode(|bytes, _| Ok(i32::from_le_bytes(array(bytes)?)))?;
                    prefix.expire_at = Some(i64::from(seconds) * 1000);
                }
                code::EXPIRE_TIME_MS => prefix.expire_at = Some(self.decode(|bytes, _| bytes.i64())?),
                code::IDLE => prefix.idle_seconds = Some(self.decode(|bytes, _| bytes.length())?),
                code::FREQ => prefix.frequency = Some(self.decode(|bytes, _| bytes.byte())?),
                code::SELECT_DB => {
                    self.db = self.decode(|bytes, _| {
                        usize::try_from(bytes.length()?).map_err(|_| Error::Corrupt("no such database"))
                    })?;
                }
                code::RESIZE_DB => self.decode(|bytes, _| {
                    bytes.length()?;
                    bytes.length().map(drop)
                })?,
                code::SLOT_INFO => self.decode(|bytes, _| {
                    bytes.length()?;
                    bytes.length()?;
                    bytes.length().map(drop)
                })?,
                code::AUX => {
                    let (name, text) = self.decode(|bytes, _| {
                        let name = bytes.string()?.into_owned();
                        Ok((name, bytes.string()?.into_owned()))
                    })?;
                    return Ok(Some(Item::Aux { name, text }));
                }
                code::FUNCTION_2 => {
                    let source = self.decode(|bytes, _| Ok(bytes.string()?.into_owned()))?;
                    return Ok(Some(Item::Function(source)));
                }
                code::FUNCTION_PRE_GA => {
                    return Err(self.error(0, Error::Unsupported("functions of release candidates")));
                }
                code::MODULE_AUX => return Err(self.error(0, Error::Unsupported("data of modules"))),
                code::EOF => self.end()?,
                kind => return self.key(kind, prefix).map(|key| Some(Item::Key(key))),
            }
        }
        Ok(None)
    }

    /// What stands behind the end of the snapshot in the same file, and where that is.
    pub fn into_rest(mut self) -> (Chain<Cursor<Vec<u8>>, R>, u64) {
        let offset = self.offset + self.at as u64;
        self.window.drain(..self.at);
        (Cursor::new(self.window).chain(self.source), offset)
    }

    /// Bytes that were read.
    pub fn offset(&self) -> u64 {
        self.offset + self.at as u64
    }

    /// An error of whoever cannot take the last item.
    pub fn complaint(&self, reason: &str) -> FileError {
        FileError { file: self.name.clone(), offset: self.offset(), reason: reason.to_owned() }
    }

    fn key(&mut self, kind: u8, prefix: Prefix) -> Result<LoadedKey, FileError> {
        let (version, expire_at) = (self.version, prefix.expire_at);
        let entry = self.decode(|bytes, limits| {
            let key = bytes.string()?;
            Ok(read_value(kind, version, bytes, limits)?.into_entry(&key, expire_at))
        })?;
        let Prefix { idle_seconds, frequency, .. } = prefix;
        Ok(LoadedKey { db: self.db, entry, idle_seconds, frequency })
    }

    fn end(&mut self) -> Result<(), FileError> {
        self.is_done = true;
        if self.version < CHECKSUM_SINCE {
            return Ok(());
        }
        let expected = self.crc;
        let found = self.decode(|bytes, _| Ok(u64::from_le_bytes(array::<CHECKSUM_BYTES>(bytes)?)))?;
        // A file without a checksum has 0 there.
        if self.checks_sum && found != 0 && found != expected {
            return Err(self.error(0, Error::Corrupt("the checksum is wrong")));
        }
        Ok(())
    }

    /// Decodes something at the current position, with as much of the file in the window as it takes.
    fn decode<T>(
        &mut self,
        decode: impl Fn(&mut Reader<'_>, &Limits) -> Result<T, Error>,
    ) -> Result<T, FileError> {
        loop {
            let mut reader = Reader::new(&self.window[self.at..]);
            let result = decode(&mut reader, &self.limits);
            let position = reader.position();
            match result {
                Ok(value) => {
                    self.crc = crc64(self.crc, &self.window[self.at..self.at + position]);
                    self.at += position;
                    return Ok(value);
                }
                Err(Error::Truncated) if !self.source_ended => self.read_more()?,
                Err(error) => return Err(self.error(position, error)),
            }
        }
    }

    /// Makes the window at least as long again from the current position on: what is decoded anew each time is no more
    /// than twice the file.
    fn read_more(&mut self) -> Result<(), FileError> {
        self.window.drain(..self.at);
        self.offset += self.at as u64;
        self.at = 0;
        self.window.shrink_to(2 * self.window.len().max(WINDOW_BYTES));
        let wanted = self.window.len().max(WINDOW_BYTES) as u64;
        let read = (&mut self.source).take(wanted).read_to_end(&mut self.window);
        match read {
            Ok(count) => self.source_ended = (count as u64) < wanted,
            Err(error) => return Err(self.io_error(&error)),
        }
        Ok(())
    }

    fn io_error(&self, error: &io::Error) -> FileError {
        FileError { file: self.name.clone(), offset: self.offset, reason: format!("cannot read on: {error}") }
    }

    fn error(&self, position: usize, error: Error) -> FileError {
        let offset = self.offset + (self.at + position) as u64;
        FileError { file: self.name.clone(), offset, reason: error.to_string() }
    }
}

fn array<const LEN: usize>(bytes: &mut Reader<'_>) -> Result<[u8; LEN], Error> {
    Ok(bytes.bytes(LEN)?.try_into().expect("as many as were asked for"))
}
