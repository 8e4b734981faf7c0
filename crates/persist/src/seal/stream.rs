//! Reading and copying files of one run, sealed or not: snapshots.

use std::io::{self, Chain, Cursor, Read, Write};

use super::chunk::{CHUNK_BYTES_MAX, CHUNK_HEADER_BYTES, Header, Opener, TAG_BYTES};
use super::keys::{KEY_BLOCK_BYTES, KeyError, Keys};

/// The beginning of a sealed snapshot, with the version of the format.
pub const RDB_MAGIC: &[u8; 12] = b"TORCRDB\n\x01\0\0\0";

/// The content of a file, sealed or not.
#[derive(Debug)]
pub enum Source<R> {
    Plain(Chain<Cursor<Vec<u8>>, R>),
    Sealed(Box<Sealed<R>>),
}

/// The content of a sealed file.
#[derive(Debug)]
pub struct Sealed<R> {
    source: R,
    opener: Opener,
    /// Number of the next chunk.
    next: u64,
    /// Where it begins.
    offset: u64,
    content: Vec<u8>,
    at: usize,
}

impl<R: Read> Source<R> {
    /// Looks at the beginning of the file. The inner error is about keys.
    pub fn open(mut source: R, keys: &Keys) -> io::Result<Result<Source<R>, KeyError>> {
        let mut head = Vec::new();
        (&mut source).take((RDB_MAGIC.len() + KEY_BLOCK_BYTES) as u64).read_to_end(&mut head)?;
        if !head.starts_with(RDB_MAGIC) {
            return Ok(Ok(Source::Plain(Cursor::new(head).chain(source))));
        }
        let Ok(block) = head[RDB_MAGIC.len()..].try_into() else { return Ok(Err(KeyError::Damaged)) };
        Ok(keys.opener(RDB_MAGIC, block).map(|opener| {
            let offset = head.len() as u64;
            let content = Vec::new();
            Source::Sealed(Box::new(Sealed { source, opener, next: 0, offset, content, at: 0 }))
        }))
    }
}

/// Copies a file of one run, sealed or not, to one that is sealed if these keys seal.
pub fn copy<R: Read, W: Write>(from: R, mut to: W, keys: &Keys) -> io::Result<W> {
    let invalid = |error: KeyError| io::Error::new(io::ErrorKind::InvalidData, error.to_string());
    let mut source = Source::open(from, keys)?.map_err(invalid)?;
    let Some(mut sealer) = keys.sealer(RDB_MAGIC) else {
        io::copy(&mut source, &mut to)?;
        return Ok(to);
    };
    to.write_all(RDB_MAGIC)?;
    to.write_all(sealer.block())?;
    let (mut content, mut sealed) = (Vec::with_capacity(CHUNK_BYTES_MAX), Vec::new());
    while (&mut source).take(CHUNK_BYTES_MAX as u64).read_to_end(&mut content)? > 0 {
        sealed.clear();
        sealer.seal(&content, &mut sealed);
        to.write_all(&sealed)?;
        content.clear();
    }
    Ok(to)
}

impl<R: Read> Sealed<R> {
    /// Opens the next chunk; at the end of the file there is none.
    fn next_chunk(&mut self) -> io::Result<()> {
        self.at = 0;
        self.content.clear();
        let mut sealed = Vec::new();
        (&mut self.source).take(CHUNK_HEADER_BYTES as u64).read_to_end(&mut sealed)?;
        if sealed.is_empty() {
            return Ok(());
        }
        if let Some(header) = Header::read(&sealed) {
            (&mut self.source).take((header.bytes + TAG_BYTES) as u64).read_to_end(&mut sealed)?;
        }
        let bytes = self.opener.open(&sealed, self.next, &mut self.content).ok_or_else(|| {
            let (number, offset) = (self.next, self.offset);
            let text = format!("the encrypted chunk {number} at offset {offset} of the file is damaged");
            io::Error::new(io::ErrorKind::InvalidData, text)
        })?;
        self.next += 1;
        self.offset += bytes as u64;
        Ok(())
    }
}

impl<R: Read> Read for Source<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Source::Plain(source) => source.read(buffer),
            Source::Sealed(sealed) => {
                if sealed.at == sealed.content.len() {
                    sealed.next_chunk()?;
                }
                let count = buffer.len().min(sealed.content.len() - sealed.at);
                buffer[..count].copy_from_slice(&sealed.content[sealed.at..sealed.at + count]);
                sealed.at += count;
                Ok(count)
            }
        }
    }
}
