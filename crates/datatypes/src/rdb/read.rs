//! Reading RDB bytes of unknown origin: lengths, strings, times and scores.
//!
//! Owns the position, and that no length is believed before its bytes are there. Never knows types of values.

use std::borrow::Cow;

use super::{Error, lzf};

/// Encodings of a string that is not stored as it is.
pub(super) const INT8: u8 = 0;
pub(super) const INT16: u8 = 1;
pub(super) const INT32: u8 = 2;
pub(super) const LZF: u8 = 3;
/// Upper bits of a first byte: such an encoding follows in the lower ones.
pub(super) const ENCODED: u8 = 0xc0;
pub(super) const LENGTH_14: u8 = 0x40;
pub(super) const LENGTH_32: u8 = 0x80;
pub(super) const LENGTH_64: u8 = 0x81;

/// A length, or the way in which a string is encoded instead.
enum Length {
    Plain(u64),
    Encoded(u8),
}

/// A cursor over RDB bytes.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes, at: 0 }
    }

    /// Bytes read so far.
    pub fn position(&self) -> usize {
        self.at
    }

    /// Bytes that are left.
    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    pub fn bytes(&mut self, len: usize) -> Result<&'a [u8], Error> {
        let bytes = self.bytes[self.at..].get(..len).ok_or(Error::Truncated)?;
        self.at += len;
        Ok(bytes)
    }

    fn array<const LEN: usize>(&mut self) -> Result<[u8; LEN], Error> {
        Ok(self.bytes(LEN)?.try_into().expect("as many as were asked for"))
    }

    pub fn byte(&mut self) -> Result<u8, Error> {
        Ok(self.array::<1>()?[0])
    }

    /// A time in milliseconds, or anything else of eight little-endian bytes.
    pub fn i64(&mut self) -> Result<i64, Error> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    /// A score in binary form.
    pub fn f64(&mut self) -> Result<f64, Error> {
        Ok(f64::from_le_bytes(self.array()?))
    }

    /// A score in text form (sorted sets before RDB version 8).
    pub fn f64_text(&mut self) -> Result<f64, Error> {
        match self.byte()? {
            253 => Ok(f64::NAN),
            254 => Ok(f64::INFINITY),
            255 => Ok(f64::NEG_INFINITY),
            len => {
                let text = std::str::from_utf8(self.bytes(usize::from(len))?).ok();
                text.and_then(|text| text.parse().ok()).ok_or(Error::Corrupt("a score is no number"))
            }
        }
    }

    fn length_or_encoding(&mut self) -> Result<Length, Error> {
        let first = self.byte()?;
        Ok(match first {
            ..LENGTH_14 => Length::Plain(u64::from(first)),
            LENGTH_14..LENGTH_32 => Length::Plain(u64::from(first & 0x3f) << 8 | u64::from(self.byte()?)),
            LENGTH_32 => Length::Plain(u64::from(u32::from_be_bytes(self.array()?))),
            LENGTH_64 => Length::Plain(u64::from_be_bytes(self.array()?)),
            ENCODED.. => Length::Encoded(first & !ENCODED),
            _ => return Err(Error::Corrupt("no such form of length")),
        })
    }

    /// A length, or any other number that is written as one.
    pub fn length(&mut self) -> Result<u64, Error> {
        match self.length_or_encoding()? {
            Length::Plain(len) => Ok(len),
            Length::Encoded(_) => Err(Error::Corrupt("an encoded string where a length was due")),
        }
    }

    /// How many elements follow, each of which takes at least `bytes_min` bytes.
    pub fn count(&mut self, bytes_min: usize) -> Result<usize, Error> {
        let count = usize::try_from(self.length()?).map_err(|_| Error::Truncated)?;
        if count > self.remaining() / bytes_min { Err(Error::Truncated) } else { Ok(count) }
    }

    fn bytes_of_length(&mut self) -> Result<usize, Error> {
        usize::try_from(self.length()?).map_err(|_| Error::Truncated)
    }

    /// A string in any encoding; integers become their text.
    pub fn string(&mut self) -> Result<Cow<'a, [u8]>, Error> {
        let int = match self.length_or_encoding()? {
            Length::Plain(len) => {
                let len = usize::try_from(len).map_err(|_| Error::Truncated)?;
                return self.bytes(len).map(Cow::Borrowed);
            }
            Length::Encoded(INT8) => i64::from(i8::from_le_bytes(self.array()?)),
            Length::Encoded(INT16) => i64::from(i16::from_le_bytes(self.array()?)),
            Length::Encoded(INT32) => i64::from(i32::from_le_bytes(self.array()?)),
            Length::Encoded(LZF) => {
                let (compressed_len, len) = (self.bytes_of_length()?, self.bytes_of_length()?);
                let compressed = self.bytes(compressed_len)?;
                let bytes = lzf::decompress(compressed, len).ok_or(Error::Corrupt("a compressed string"))?;
                return Ok(Cow::Owned(bytes));
            }
            Length::Encoded(_) => return Err(Error::Corrupt("no such encoding of strings")),
        };
        Ok(Cow::Owned(itoa::Buffer::new().format(int).as_bytes().to_vec()))
    }
}
