//! Writing replies in RESP2 or RESP3.
//!
//! One method per reply type; each picks the form of the connection's protocol, with the downgrades of Redis 7.2 for
//! RESP2. Never decides what to reply, and keeps no state but the buffer and the protocol.

use bytes::Bytes;

use crate::error::{CommandError, ProtocolError};
use crate::reply_buf::{Mark, ReplyBuf};
use crate::{BIG_BYTES, number};

/// The protocol version a connection speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Proto {
    #[default]
    Resp2,
    Resp3,
}

/// Writes replies of one connection behind what its buffer holds.
pub struct Reply<'a> {
    buf: &'a mut ReplyBuf,
    proto: Proto,
}

/// A collection whose size is not known yet; see [`Reply::finish`].
#[derive(Debug)]
#[must_use = "a deferred collection has no header until it is finished"]
pub struct Deferred {
    mark: Mark,
    prefix: u8,
    /// Elements on the wire per counted element.
    factor: usize,
}

impl<'a> Reply<'a> {
    #[inline]
    pub fn new(buf: &'a mut ReplyBuf, proto: Proto) -> Reply<'a> {
        Reply { buf, proto }
    }

    #[inline]
    pub fn proto(&self) -> Proto {
        self.proto
    }

    /// The buffer behind this writer, for marks and lengths.
    #[inline]
    pub fn buf(&mut self) -> &mut ReplyBuf {
        self.buf
    }

    #[inline]
    pub fn ok(&mut self) {
        self.raw(b"+OK\r\n");
    }

    /// A status. `text` holds no line end.
    #[inline]
    pub fn simple(&mut self, text: &str) {
        debug_assert!(!text.contains(['\r', '\n']), "line end in a status");
        let tail = self.buf.tail();
        tail.push(b'+');
        tail.extend_from_slice(text.as_bytes());
        tail.extend_from_slice(b"\r\n");
    }

    #[inline]
    pub fn bulk(&mut self, bytes: &[u8]) {
        let tail = self.buf.tail();
        tail.reserve(bytes.len() + HEADER_MAX_BYTES + 2);
        header(tail, b'$', bytes.len());
        tail.extend_from_slice(bytes);
        tail.extend_from_slice(b"\r\n");
    }

    /// A bulk; from [`BIG_BYTES`] on it is shared, not copied.
    #[inline]
    pub fn bulk_bytes(&mut self, bytes: &Bytes) {
        if bytes.len() < BIG_BYTES {
            return self.bulk(bytes);
        }
        header(self.buf.tail(), b'$', bytes.len());
        self.buf.push_blob(bytes.clone());
        self.raw(b"\r\n");
    }

    /// An integer as a bulk: what GET replies for a string held as integer.
    #[inline]
    pub fn bulk_int(&mut self, number: i64) {
        self.bulk(itoa::Buffer::new().format(number).as_bytes());
    }

    #[inline]
    pub fn int(&mut self, number: i64) {
        let tail = self.buf.tail();
        if let Some(line) = usize::try_from(number).ok().and_then(|small| LINES.get(small)) {
            return quick_line(tail, b':', line);
        }
        tail.push(b':');
        tail.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
        tail.extend_from_slice(b"\r\n");
    }

    /// No value: `$-1` or `_`.
    #[inline]
    pub fn null(&mut self) {
        self.raw(match self.proto {
            Proto::Resp2 => b"$-1\r\n",
            Proto::Resp3 => b"_\r\n",
        });
    }

    /// No array: `*-1` or `_`.
    pub fn null_array(&mut self) {
        self.raw(match self.proto {
            Proto::Resp2 => b"*-1\r\n",
            Proto::Resp3 => b"_\r\n",
        });
    }

    #[inline]
    pub fn array(&mut self, count: usize) {
        header(self.buf.tail(), b'*', count);
    }

    /// `count` pairs; RESP2: an array of twice as many elements.
    pub fn map(&mut self, count: usize) {
        match self.proto {
            Proto::Resp2 => self.array(2 * count),
            Proto::Resp3 => header(self.buf.tail(), b'%', count),
        }
    }

    /// RESP2: an array.
    pub fn set(&mut self, count: usize) {
        self.collection(b'~', count);
    }

    /// Out-of-band data; RESP2: an array.
    pub fn push(&mut self, count: usize) {
        self.collection(b'>', count);
    }

    /// Says whether `count` pairs may follow: RESP2 has no attributes, and then nothing is written.
    #[must_use = "without attributes the pairs must not be written"]
    pub fn attribute(&mut self, count: usize) -> bool {
        let has_attributes = self.proto == Proto::Resp3;
        if has_attributes {
            header(self.buf.tail(), b'|', count);
        }
        has_attributes
    }

    /// RESP2: a bulk of the same text.
    pub fn double(&mut self, number: f64) {
        let tail = self.buf.tail();
        match self.proto {
            Proto::Resp2 => {
                // The length stands in front of the text, and is known when the text is written.
                let start = tail.len();
                tail.extend_from_slice(b"$??\r\n");
                let text = tail.len();
                number::format_f64(number, tail);
                let len = tail.len() - text;
                if len < 10 {
                    tail.copy_within(text - 2.., text - 3);
                    tail.pop();
                    tail[start + 1] = b'0' + len as u8;
                } else {
                    tail[start + 1] = b'0' + (len / 10) as u8;
                    tail[start + 2] = b'0' + (len % 10) as u8;
                }
            }
            Proto::Resp3 => {
                tail.push(b',');
                number::format_f64(number, tail);
            }
        }
        tail.extend_from_slice(b"\r\n");
    }

    /// RESP2: the integers 0 and 1.
    pub fn boolean(&mut self, value: bool) {
        self.raw(match (self.proto, value) {
            (Proto::Resp2, false) => b":0\r\n",
            (Proto::Resp2, true) => b":1\r\n",
            (Proto::Resp3, false) => b"#f\r\n",
            (Proto::Resp3, true) => b"#t\r\n",
        });
    }

    /// Decimal digits of any length; RESP2: a bulk.
    pub fn big_number(&mut self, digits: &str) {
        match self.proto {
            Proto::Resp2 => self.bulk(digits.as_bytes()),
            Proto::Resp3 => {
                let tail = self.buf.tail();
                tail.push(b'(');
                tail.extend_from_slice(digits.as_bytes());
                tail.extend_from_slice(b"\r\n");
            }
        }
    }

    /// Text with a format of three letters (`txt`, `mkd`); RESP2: a bulk without the format.
    pub fn verbatim(&mut self, format: &str, text: &[u8]) {
        match self.proto {
            Proto::Resp2 => self.bulk(text),
            Proto::Resp3 => {
                debug_assert_eq!(format.len(), 3, "verbatim formats have three letters");
                let tail = self.buf.tail();
                header(tail, b'=', text.len() + 4);
                tail.extend_from_slice(format.as_bytes());
                tail.push(b':');
                tail.extend_from_slice(text);
                tail.extend_from_slice(b"\r\n");
            }
        }
    }

    #[cold]
    pub fn error(&mut self, error: &CommandError) {
        self.error_line(|text| error.write_to(text));
    }

    /// An error with its code, as in `ERR syntax error`.
    #[cold]
    pub fn error_text(&mut self, text: &str) {
        self.error_line(|line| line.extend_from_slice(text.as_bytes()));
    }

    /// The last reply of a connection whose bytes are no request.
    #[cold]
    pub fn protocol_error(&mut self, error: &ProtocolError) {
        self.error_line(|text| {
            text.extend_from_slice(b"ERR ");
            error.write_to(text);
        });
    }

    /// Bytes that are already a reply in this protocol.
    #[inline]
    pub fn raw(&mut self, bytes: &[u8]) {
        self.buf.push_bytes(bytes);
    }

    /// An array whose size [`Reply::finish`] tells. Elements are written in between.
    pub fn deferred_array(&mut self) -> Deferred {
        Deferred { mark: self.buf.mark(), prefix: b'*', factor: 1 }
    }

    /// The same for a map; `finish` counts pairs.
    pub fn deferred_map(&mut self) -> Deferred {
        let (prefix, factor) = if self.proto == Proto::Resp3 { (b'%', 1) } else { (b'*', 2) };
        Deferred { mark: self.buf.mark(), prefix, factor }
    }

    /// The same for a set.
    pub fn deferred_set(&mut self) -> Deferred {
        let prefix = if self.proto == Proto::Resp3 { b'~' } else { b'*' };
        Deferred { mark: self.buf.mark(), prefix, factor: 1 }
    }

    /// Puts the header in front of what was written since. Inner deferred collections are finished before outer ones.
    pub fn finish(&mut self, deferred: Deferred, count: usize) {
        let mut line = Vec::with_capacity(HEADER_MAX_BYTES);
        header(&mut line, deferred.prefix, count * deferred.factor);
        self.buf.insert(deferred.mark, &line);
    }

    fn collection(&mut self, resp3: u8, count: usize) {
        let prefix = if self.proto == Proto::Resp3 { resp3 } else { b'*' };
        header(self.buf.tail(), prefix, count);
    }

    /// Line ends inside the text become spaces, as in Redis, so that the reply stays one line.
    fn error_line(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let tail = self.buf.tail();
        tail.push(b'-');
        let start = tail.len();
        write(tail);
        for byte in &mut tail[start..] {
            if matches!(byte, b'\r' | b'\n') {
                *byte = b' ';
            }
        }
        tail.extend_from_slice(b"\r\n");
    }
}

/// A prefix, up to 20 digits, and the line end.
const HEADER_MAX_BYTES: usize = 23;

/// Numbers whose header lines are prepared.
const LINES_COUNT: usize = 1024;

/// `?<number>\r\n`, the rest unused, and in the last byte how many are unused.
static LINES: [[u8; 8]; LINES_COUNT] = lines();

const fn lines() -> [[u8; 8]; LINES_COUNT] {
    let mut lines = [[0; 8]; LINES_COUNT];
    let mut number = 0;
    while number < LINES_COUNT {
        let digits = if number < 10 {
            1
        } else if number < 100 {
            2
        } else if number < 1000 {
            3
        } else {
            4
        };
        let (mut at, mut rest) = (digits, number);
        while at > 0 {
            lines[number][at] = b'0' + (rest % 10) as u8;
            rest /= 10;
            at -= 1;
        }
        lines[number][digits + 1] = b'\r';
        lines[number][digits + 2] = b'\n';
        lines[number][7] = (5 - digits) as u8;
        number += 1;
    }
    lines
}

#[inline]
fn header(out: &mut Vec<u8>, prefix: u8, count: usize) {
    if let Some(line) = LINES.get(count) {
        return quick_line(out, prefix, line);
    }
    out.push(prefix);
    out.extend_from_slice(itoa::Buffer::new().format(count).as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// One store of fixed size and a shorter length instead of a copy of variable size.
#[inline]
fn quick_line(out: &mut Vec<u8>, prefix: u8, line: &[u8; 8]) {
    let mut line = *line;
    line[0] = prefix;
    out.extend_from_slice(&line);
    out.truncate(out.len() - usize::from(line[7]));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(write: impl Fn(&mut Reply), resp2: &str, resp3: &str) {
        for (proto, expected) in [(Proto::Resp2, resp2), (Proto::Resp3, resp3)] {
            let mut buf = ReplyBuf::new();
            write(&mut Reply::new(&mut buf, proto));
            assert_eq!(String::from_utf8_lossy(&buf.to_vec()), expected, "{proto:?}");
            assert_eq!(buf.len(), expected.len());
        }
    }

    #[test]
    fn forms_of_both_protocols() {
        check(|r| r.ok(), "+OK\r\n", "+OK\r\n");
        check(|r| r.simple("PONG"), "+PONG\r\n", "+PONG\r\n");
        check(|r| r.bulk(b""), "$0\r\n\r\n", "$0\r\n\r\n");
        check(|r| r.bulk(b"hello"), "$5\r\nhello\r\n", "$5\r\nhello\r\n");
        check(|r| r.bulk_int(-42), "$3\r\n-42\r\n", "$3\r\n-42\r\n");
        check(|r| r.null(), "$-1\r\n", "_\r\n");
        check(|r| r.null_array(), "*-1\r\n", "_\r\n");
        check(|r| r.array(3), "*3\r\n", "*3\r\n");
        check(|r| r.map(2), "*4\r\n", "%2\r\n");
        check(|r| r.set(2), "*2\r\n", "~2\r\n");
        check(|r| r.push(3), "*3\r\n", ">3\r\n");
        check(
            |r| {
                if r.attribute(1) {
                    r.bulk(b"ttl");
                    r.int(5);
                }
                r.int(1);
            },
            ":1\r\n",
            "|1\r\n$3\r\nttl\r\n:5\r\n:1\r\n",
        );
        check(|r| r.double(1.5), "$3\r\n1.5\r\n", ",1.5\r\n");
        check(|r| r.double(12345678.0), "$8\r\n12345678\r\n", ",12345678\r\n");
        check(|r| r.double(0.12345678), "$10\r\n0.12345678\r\n", ",0.12345678\r\n");
        check(
            |r| r.double(-2.2250738585072014e-308),
            "$24\r\n-2.2250738585072014e-308\r\n",
            ",-2.2250738585072014e-308\r\n",
        );
        check(|r| r.double(f64::INFINITY), "$3\r\ninf\r\n", ",inf\r\n");
        check(|r| r.double(f64::NEG_INFINITY), "$4\r\n-inf\r\n", ",-inf\r\n");
        check(|r| r.boolean(true), ":1\r\n", "#t\r\n");
        check(|r| r.boolean(false), ":0\r\n", "#f\r\n");
        check(
            |r| r.big_number("12345678901234567890"),
            "$20\r\n12345678901234567890\r\n",
            "(12345678901234567890\r\n",
        );
        check(|r| r.verbatim("txt", b"a\nb"), "$3\r\na\nb\r\n", "=7\r\ntxt:a\nb\r\n");
        check(|r| r.error(&CommandError::Syntax), "-ERR syntax error\r\n", "-ERR syntax error\r\n");
        check(|r| r.error_text("BUSY a\r\nb"), "-BUSY a  b\r\n", "-BUSY a  b\r\n");
        check(
            |r| r.protocol_error(&ProtocolError::ExpectedBulk(b'x')),
            "-ERR Protocol error: expected '$', got 'x'\r\n",
            "-ERR Protocol error: expected '$', got 'x'\r\n",
        );
    }

    #[test]
    fn integers_of_all_lengths() {
        let edges = [0, 1, 9, 10, 99, 100, 999, 1000, 1023, 1024, 1025, 10_000, -1, i64::MAX, i64::MIN];
        for number in edges {
            let line = format!(":{number}\r\n");
            check(|r| r.int(number), &line, &line);
            if let Ok(count) = usize::try_from(number) {
                let line = format!("*{count}\r\n");
                check(|r| r.array(count), &line, &line);
            }
        }
    }

    #[test]
    fn big_bulks_are_shared() {
        let value = Bytes::from(vec![b'v'; BIG_BYTES]);
        let mut buf = ReplyBuf::new();
        Reply::new(&mut buf, Proto::Resp2).bulk_bytes(&value);
        let mut slices = Vec::new();
        buf.io_slices(0, &mut slices);
        assert_eq!(slices.len(), 3);
        assert_eq!(slices[1].as_ptr(), value.as_ptr());
        assert!(buf.bytes().len() < 16);

        let small = value.slice(..BIG_BYTES - 1);
        buf.clear();
        Reply::new(&mut buf, Proto::Resp2).bulk_bytes(&small);
        assert!(buf.contiguous().is_some());
    }

    #[test]
    fn deferred_collections_nest() {
        check(
            |r| {
                r.ok();
                let outer = r.deferred_array();
                r.int(1);
                let map = r.deferred_map();
                r.bulk(b"k");
                r.bulk(b"v");
                r.finish(map, 1);
                let set = r.deferred_set();
                r.finish(set, 0);
                r.finish(outer, 3);
                r.ok();
            },
            "+OK\r\n*3\r\n:1\r\n*2\r\n$1\r\nk\r\n$1\r\nv\r\n*0\r\n+OK\r\n",
            "+OK\r\n*3\r\n:1\r\n%1\r\n$1\r\nk\r\n$1\r\nv\r\n~0\r\n+OK\r\n",
        );
    }
}
