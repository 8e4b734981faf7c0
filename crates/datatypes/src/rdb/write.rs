//! Writing RDB bytes: lengths, strings, times and scores.
//!
//! Owns which of several forms is written: the one that Redis 7.2 writes, and that long strings may be left to somebody
//! who packs them later. Never knows types of values.

use bytes::Bytes;

use super::lzf;
use super::read::{ENCODED, INT8, INT16, INT32, LENGTH_14, LENGTH_32, LENGTH_64, LZF};
use crate::StrRef;
use crate::listpack::Item;
use crate::number::parse_i64;

/// Longest text that may become an integer of 32 bits.
const INT_TEXT_BYTES_MAX: usize = 11;
/// Longest string that is never compressed.
const PLAIN_BYTES_MAX: usize = 20;
/// What compression must gain at least.
const GAIN_BYTES_MIN: usize = 4;

/// Strings of this length and more are left for later by a writer that may do so.
const LATER_BYTES_MIN: usize = 1024;

/// A string that belongs between bytes that are written already: whoever hands those on packs it.
#[derive(Debug)]
pub struct Later {
    /// How many bytes come before it.
    pub at: usize,
    /// Big strings of values are shared with them.
    pub text: Bytes,
}

/// Appends RDB bytes to a buffer.
pub struct Writer<'a> {
    out: &'a mut Vec<u8>,
    /// `rdbcompression`: long strings are compressed where that makes them shorter.
    compresses: bool,
    later: Option<&'a mut Vec<Later>>,
    later_bytes: usize,
    packed_bytes: usize,
}

impl<'a> Writer<'a> {
    pub fn new(out: &'a mut Vec<u8>, compresses: bool) -> Writer<'a> {
        Writer { out, compresses, later: None, later_bytes: 0, packed_bytes: 0 }
    }

    /// As [`Writer::new`]; long strings are left for later.
    pub fn leaving(out: &'a mut Vec<u8>, compresses: bool, later: &'a mut Vec<Later>) -> Writer<'a> {
        Writer { later: Some(later), ..Writer::new(out, compresses) }
    }

    pub fn compresses(&self) -> bool {
        self.compresses
    }

    /// Bytes in the buffer, and those of strings that this writer has left for later.
    pub fn len(&self) -> usize {
        self.out.len() + self.later_bytes
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that this writer has tried to compress: what takes its time.
    pub fn packed_bytes(&self) -> usize {
        self.packed_bytes
    }

    pub fn byte(&mut self, byte: u8) {
        self.out.push(byte);
    }

    pub fn bytes(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// A time in milliseconds.
    pub fn i64(&mut self, time: i64) {
        self.bytes(&time.to_le_bytes());
    }

    /// A score in binary form.
    pub fn f64(&mut self, score: f64) {
        self.bytes(&score.to_le_bytes());
    }

    pub fn length(&mut self, len: u64) {
        match len {
            0..=0x3f => self.byte(len as u8),
            0x40..=0x3fff => self.bytes(&[LENGTH_14 | (len >> 8) as u8, len as u8]),
            0x4000..=0xffff_ffff => {
                self.byte(LENGTH_32);
                self.bytes(&(len as u32).to_be_bytes());
            }
            _ => {
                self.byte(LENGTH_64);
                self.bytes(&len.to_be_bytes());
            }
        }
    }

    pub fn count(&mut self, count: usize) {
        self.length(count as u64);
    }

    /// A string in its shortest form.
    pub fn string(&mut self, bytes: &[u8]) {
        if bytes.len() <= INT_TEXT_BYTES_MAX
            && let Some(int) = parse_i64(bytes)
            && self.small_int(int)
        {
            return;
        }
        self.text(bytes);
    }

    /// A string that is the text of an integer.
    pub fn int(&mut self, int: i64) {
        if !self.small_int(int) {
            self.text(itoa::Buffer::new().format(int).as_bytes());
        }
    }

    /// An element of a collection, as a string.
    pub fn item(&mut self, item: Item<'_>) {
        match item {
            Item::Bytes(bytes) => self.string(bytes),
            Item::Int(int) => self.int(int),
        }
    }

    /// A string in the form in which a value holds it.
    pub fn str_ref(&mut self, string: StrRef<'_>) {
        match string {
            StrRef::Bytes(bytes) => self.string(bytes),
            StrRef::Shared(bytes) => self.shared(bytes),
            StrRef::Int(int) => self.int(int),
        }
    }

    /// A string that somebody shares: it is left for later without a copy.
    pub fn shared(&mut self, bytes: &Bytes) {
        if !self.leaves(bytes.len(), || bytes.clone()) {
            self.string(bytes);
        }
    }

    /// Leaves a string of this length for later, if that is done.
    fn leaves(&mut self, len: usize, text: impl FnOnce() -> Bytes) -> bool {
        let Some(later) = self.later.as_deref_mut().filter(|_| len >= LATER_BYTES_MIN) else { return false };
        later.push(Later { at: self.out.len(), text: text() });
        self.later_bytes += len;
        true
    }

    /// An integer of up to 32 bits; false if it is wider.
    fn small_int(&mut self, int: i64) -> bool {
        let (encoding, len) = match int {
            -0x80..=0x7f => (INT8, 1),
            -0x8000..=0x7fff => (INT16, 2),
            -0x8000_0000..=0x7fff_ffff => (INT32, 4),
            _ => return false,
        };
        self.byte(ENCODED | encoding);
        self.bytes(&int.to_le_bytes()[..len]);
        true
    }

    /// A string as it is, or compressed.
    fn text(&mut self, bytes: &[u8]) {
        if self.leaves(bytes.len(), || Bytes::copy_from_slice(bytes)) {
            return;
        }
        if self.compresses && bytes.len() > PLAIN_BYTES_MAX && self.compressed(bytes) {
            return;
        }
        self.count(bytes.len());
        self.bytes(bytes);
    }

    fn compressed(&mut self, bytes: &[u8]) -> bool {
        self.packed_bytes += bytes.len();
        let mut short = Vec::new();
        let is_shorter = lzf::compress(bytes, bytes.len() - GAIN_BYTES_MIN, &mut short);
        if is_shorter {
            self.byte(ENCODED | LZF);
            self.count(short.len());
            self.count(bytes.len());
            self.bytes(&short);
        }
        is_shorter
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Error, Reader};
    use super::*;

    fn written(write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut Writer::new(&mut out, true));
        out
    }

    #[test]
    fn lengths() {
        let cases: &[(u64, &[u8])] = &[
            (0, &[0]),
            (63, &[63]),
            (64, &[0x40, 64]),
            (16_383, &[0x7f, 0xff]),
            (16_384, &[0x80, 0, 0, 0x40, 0]),
            (u64::from(u32::MAX), &[0x80, 0xff, 0xff, 0xff, 0xff]),
            (1 << 32, &[0x81, 0, 0, 0, 1, 0, 0, 0, 0]),
            (u64::MAX, &[0x81, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        ];
        for (len, bytes) in cases {
            assert_eq!(&written(|writer| writer.length(*len)), bytes);
            let mut reader = Reader::new(bytes);
            assert_eq!((reader.length(), reader.remaining()), (Ok(*len), 0));
            for cut in 0..bytes.len() {
                assert_eq!(Reader::new(&bytes[..cut]).length(), Err(Error::Truncated));
            }
        }
        assert!(matches!(Reader::new(&[0x82, 0, 0]).length(), Err(Error::Corrupt(_))));
        assert!(matches!(Reader::new(&[0xc0, 0]).length(), Err(Error::Corrupt(_))));
    }

    #[test]
    fn strings() {
        let a = [b'a'; 100];
        let cases: &[(&[u8], &[u8])] = &[
            (b"", b"\x00"),
            (b"abc", b"\x03abc"),
            (b"12", b"\xc0\x0c"),
            (b"-128", b"\xc0\x80"),
            (b"128", b"\xc1\x80\x00"),
            (b"-32769", b"\xc2\xff\x7f\xff\xff"),
            (b"2147483647", b"\xc2\xff\xff\xff\x7f"),
            (b"2147483648", b"\x0a2147483648"),
            (b"012", b"\x03012"),
            (b"+1", b"\x02+1"),
            (b"aaaaaaaaaaaaaaaaaaaa", b"\x14aaaaaaaaaaaaaaaaaaaa"),
        ];
        for (string, bytes) in cases {
            assert_eq!(&written(|writer| writer.string(string)), bytes);
            assert_eq!(Reader::new(bytes).string().as_deref(), Ok(*string));
        }
        let compressed = written(|writer| writer.string(&a));
        assert!(compressed.len() < 20 && compressed[0] == 0xc3);
        assert_eq!(Reader::new(&compressed).string().as_deref(), Ok(a.as_slice()));
        let mut plain = Vec::new();
        Writer::new(&mut plain, false).string(&a);
        assert_eq!(plain.len(), 102);
        for int in [0, -1, 200, i64::from(i32::MIN), i64::MAX, i64::MIN] {
            let text = int.to_string();
            assert_eq!(written(|writer| writer.int(int)), written(|writer| writer.string(text.as_bytes())));
        }
    }

    /// Whoever packs what was left for later gets the bytes that would have been written at once.
    #[test]
    fn strings_may_be_left_for_later() {
        let (short, long, shared) = ([b'a'; 1_000], vec![b'b'; 5_000], Bytes::from(vec![b'c'; 20_000]));
        let write = |writer: &mut Writer<'_>| {
            writer.string(&long);
            writer.string(&short);
            writer.str_ref(StrRef::Shared(&shared));
            writer.byte(7);
        };
        for compresses in [false, true] {
            let mut at_once = Vec::new();
            write(&mut Writer::new(&mut at_once, compresses));
            let (mut out, mut later) = (Vec::new(), Vec::new());
            let mut writer = Writer::leaving(&mut out, compresses, &mut later);
            write(&mut writer);
            assert_eq!(writer.len(), 25_000 + out.len());
            assert_eq!(later.iter().map(|later| later.text.len()).collect::<Vec<_>>(), [5_000, 20_000]);
            assert_eq!(later[1].text.as_ptr(), shared.as_ptr());
            let (mut packed, mut from) = (Vec::new(), 0);
            for Later { at, text } in later {
                packed.extend_from_slice(&out[from..at]);
                Writer::new(&mut packed, compresses).string(&text);
                from = at;
            }
            packed.extend_from_slice(&out[from..]);
            assert_eq!(packed, at_once);
        }
    }

    #[test]
    fn claims_beyond_the_end_are_truncation() {
        let cases: [&[u8]; 5] =
            [b"\x05abc", b"\x81\xff\xff\xff\xff\xff\xff\xff\xff", b"\xc1\x00", b"\xc3\x10\x20a", b""];
        for bytes in cases {
            assert_eq!(Reader::new(bytes).string(), Err(Error::Truncated));
        }
        assert!(matches!(Reader::new(b"\xc4").string(), Err(Error::Corrupt(_))));
        assert!(matches!(Reader::new(b"\xc3\x02\x05\x00a").string(), Err(Error::Corrupt(_))));
        assert_eq!(Reader::new(b"\x05abcde").count(1), Ok(5));
        assert_eq!(Reader::new(b"\x05abcde").count(2), Err(Error::Truncated));
    }
}
