//! Requests from a connection's bytes: multibulk and inline, incremental and without copying.
//!
//! The parser owns where it stopped and the spans of the arguments; the bytes stay in the caller's buffer, except
//! bulks of [`BIG_BYTES`] and more, which go straight into a buffer of their own. Never reads sockets. Memory follows
//! what has arrived, not what was announced: see [`BLOB_AHEAD_BYTES`] and [`SPANS_AHEAD`].
//!
//! Limits, leniencies and error texts are those of Redis 7.2 (`networking.c` behaviour as observed on the wire): the
//! byte behind a header's `\r` and the two bytes behind a bulk are skipped, whatever they are. One difference: Redis
//! does not see a line end behind a NUL byte and waits for more; here the line counts.

use bytes::Bytes;

use crate::BIG_BYTES;
use crate::args::{Args, Span};
use crate::error::ProtocolError;
use crate::{inline, number};

/// A blob's buffer is reserved exactly up to this size; beyond, only this much (or as much as has already arrived)
/// ahead of the data.
pub const BLOB_AHEAD_BYTES: usize = 1024 * 1024;

/// Spans reserved on the word of a multibulk header alone.
pub const SPANS_AHEAD: usize = 1024;

/// A request's bytes without its blobs; Redis's default `client-query-buffer-limit`.
pub const MAX_REQUEST_BYTES: usize = 1 << 30;

/// Multibulk count allowed before authentication.
pub const UNAUTHENTICATED_MAX_MULTIBULK: usize = 10;

/// Bulk size allowed before authentication.
pub const UNAUTHENTICATED_MAX_BULK_BYTES: usize = 16384;

/// Capacity of the inline buffer that is kept between requests.
const INLINE_KEPT_BYTES: usize = 4096;

/// What a client may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `proto-max-bulk-len`.
    pub max_bulk_bytes: usize,
    pub max_multibulk: usize,
    /// Inline requests, and the lines of multibulk and bulk headers.
    pub max_inline_bytes: usize,
    /// Before AUTH the two `UNAUTHENTICATED_…` bounds hold too.
    pub authenticated: bool,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            max_bulk_bytes: 512 * 1024 * 1024,
            max_multibulk: i32::MAX as usize,
            max_inline_bytes: 64 * 1024,
            authenticated: true,
        }
    }
}

/// What [`RequestParser::parse`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// A request of `consumed` bytes; read it through [`RequestParser::args`].
    Request { consumed: usize },
    /// `consumed` bytes that ask for nothing: an empty line, or a multibulk of zero or fewer elements.
    Empty { consumed: usize },
    /// Call again with the same bytes and more behind them.
    NeedMore,
    /// A blob is being received. The bytes from `keep` on are absorbed: truncate the buffer to `keep`, and pass what
    /// arrives to [`RequestParser::fill`] until [`RequestParser::filling`] is false, the rest behind the kept bytes.
    NeedBlob { keep: usize },
}

/// The state of one connection's request stream.
#[derive(Debug, Default)]
pub struct RequestParser {
    limits: Limits,
    stage: Stage,
    /// Where to go on in the unfinished request.
    pos: usize,
    /// Arguments that are still to come.
    remaining: usize,
    spans: Vec<Span>,
    blobs: Vec<Bytes>,
    /// The decoded words of an inline request.
    inline: Vec<u8>,
    blob: Option<PartialBlob>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// Nothing of the request is decided. `pos` counts the bytes of an inline line that hold no newline.
    #[default]
    Start,
    Arguments,
    /// The arguments of a whole request can be read.
    Multibulk,
    Inline,
}

#[derive(Debug)]
struct PartialBlob {
    buf: Vec<u8>,
    len: usize,
}

impl RequestParser {
    pub fn new(limits: Limits) -> RequestParser {
        RequestParser { limits, ..RequestParser::default() }
    }

    /// Holds from the next header on.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// `input` starts at the first byte of the unfinished request and holds the same bytes as in the previous call
    /// (or those kept after [`Parsed::NeedBlob`]) plus more. After an error the stream cannot be used any more.
    #[inline]
    pub fn parse(&mut self, input: &[u8]) -> Result<Parsed, ProtocolError> {
        if self.stage != Stage::Arguments {
            match input.first() {
                Some(b'*') => {
                    self.start();
                    let Some((count, pos)) = self.multibulk_header(input)? else {
                        return Ok(Parsed::NeedMore);
                    };
                    if count == 0 {
                        return Ok(Parsed::Empty { consumed: pos });
                    }
                    self.spans.reserve(count.min(SPANS_AHEAD));
                    (self.stage, self.pos, self.remaining) = (Stage::Arguments, pos, count);
                }
                Some(_) => return self.inline_request(input),
                None => return Ok(Parsed::NeedMore),
            }
        }
        self.arguments(input)
    }

    /// The arguments of the request that `parse` just completed; `input` is the slice given to it.
    #[inline]
    pub fn args<'a>(&'a self, input: &'a [u8]) -> Args<'a> {
        match self.stage {
            Stage::Multibulk => Args::new(input, &self.spans, &self.blobs),
            Stage::Inline => Args::new(&self.inline, &self.spans, &self.blobs),
            Stage::Start | Stage::Arguments => Args::new(&[], &[], &[]),
        }
    }

    /// Takes bytes of the blob that is being received; returns how many of `chunk` belonged to it.
    pub fn fill(&mut self, chunk: &[u8]) -> usize {
        let Some(blob) = &mut self.blob else { return 0 };
        let taken = chunk.len().min(blob.len - blob.buf.len());
        blob.extend(&chunk[..taken]);
        if blob.buf.len() == blob.len
            && let Some(blob) = self.blob.take()
        {
            self.push_blob(Bytes::from(blob.buf));
            self.remaining -= 1;
            self.pos += 2;
        }
        taken
    }

    /// Whether what arrives next belongs to [`RequestParser::fill`].
    #[inline]
    pub fn filling(&self) -> bool {
        self.blob.is_some()
    }

    /// Bytes of the newest large argument of a request that has not arrived as a whole; 0 when it has none.
    pub fn newest_blob_bytes(&self) -> usize {
        let finished = || self.blobs.last().filter(|_| self.is_mid_request()).map_or(0, Bytes::len);
        self.blob.as_ref().map_or_else(finished, |blob| blob.buf.len())
    }

    /// Bytes of the blob in reception that are still to come: a receive of that size can be passed to `fill` whole.
    pub fn missing_blob_bytes(&self) -> usize {
        self.blob.as_ref().map_or(0, |blob| blob.len - blob.buf.len())
    }

    /// Whether a request is received in part.
    #[inline]
    pub fn is_mid_request(&self) -> bool {
        self.stage == Stage::Arguments || (self.stage == Stage::Start && self.pos > 0)
    }

    /// Whether finished blobs of the last request are still shared with the parser.
    #[inline]
    pub fn holds_blobs(&self) -> bool {
        !self.blobs.is_empty()
    }

    /// Memory the parser holds apart from the caller's buffer.
    pub fn buffered_bytes(&self) -> usize {
        self.blobs.iter().map(Bytes::len).sum::<usize>()
            + self.blob.as_ref().map_or(0, |blob| blob.buf.capacity())
            + self.spans.capacity() * size_of::<Span>()
            + self.inline.capacity()
    }

    /// Forgets the request, finished or not. Called after a request ran, it lets go of shared blobs early.
    pub fn reset(&mut self) {
        self.start();
        self.blob = None;
    }

    #[inline]
    fn start(&mut self) {
        self.spans.clear();
        self.blobs.clear();
        if self.spans.capacity() > SPANS_AHEAD {
            self.spans.shrink_to(SPANS_AHEAD);
        }
        (self.stage, self.pos, self.remaining) = (Stage::Start, 0, 0);
    }

    /// The element count (0 for zero and fewer) and the position behind the header.
    #[inline]
    fn multibulk_header(&self, input: &[u8]) -> Result<Option<(usize, usize)>, ProtocolError> {
        let (count, pos) = match quick_header(input, 0) {
            Some(header) => header,
            None => {
                let Some(end) = self.header_end(input, 0, ProtocolError::BigMultibulkCount)? else {
                    return Ok(None);
                };
                match number::parse_i64(&input[1..end]) {
                    Some(count) => (usize::try_from(count).unwrap_or(0), end + 2),
                    None => return Err(ProtocolError::InvalidMultibulkLength),
                }
            }
        };
        if count > self.limits.max_multibulk {
            return Err(ProtocolError::InvalidMultibulkLength);
        }
        if !self.limits.authenticated && count > UNAUTHENTICATED_MAX_MULTIBULK {
            return Err(ProtocolError::UnauthenticatedMultibulkLength);
        }
        Ok(Some((count, pos)))
    }

    fn arguments(&mut self, input: &[u8]) -> Result<Parsed, ProtocolError> {
        assert!(self.blob.is_none(), "a blob in reception is filled before parsing goes on");
        let whole = input.len();
        let input = &input[..whole.min(MAX_REQUEST_BYTES)];
        let (mut pos, mut remaining) = (self.pos, self.remaining);
        while remaining > 0 {
            let header = match quick_header(input, pos) {
                Some((len, body)) if input[pos] == b'$' => Some((len, body)),
                _ => self.bulk_header(input, pos)?,
            };
            let Some((len, body)) = header else { break };
            if len >= BIG_BYTES {
                self.check_bulk(len)?;
                if input.len() - body < len {
                    (self.pos, self.remaining) = (body, remaining);
                    self.blob = Some(PartialBlob::new(len, &input[body..]));
                    return Ok(Parsed::NeedBlob { keep: body });
                }
                if input.len() - body < len + 2 {
                    break;
                }
                self.push_blob(Bytes::copy_from_slice(&input[body..body + len]));
            } else {
                if len > self.limits.max_bulk_bytes {
                    return Err(ProtocolError::InvalidBulkLength);
                }
                if input.len() - body < len + 2 {
                    break;
                }
                self.spans.push(Span::new(body, len));
            }
            pos = body + len + 2;
            remaining -= 1;
        }
        (self.pos, self.remaining) = (pos, remaining);
        if remaining == 0 && pos <= input.len() {
            self.stage = Stage::Multibulk;
            return Ok(Parsed::Request { consumed: pos });
        }
        if whole > MAX_REQUEST_BYTES { Err(ProtocolError::BigRequest) } else { Ok(Parsed::NeedMore) }
    }

    /// The general form of a bulk header at `pos`: its length and the position of the body.
    #[cold]
    fn bulk_header(&self, input: &[u8], pos: usize) -> Result<Option<(usize, usize)>, ProtocolError> {
        let Some(end) = self.header_end(input, pos, ProtocolError::BigBulkCount)? else {
            return Ok(None);
        };
        if input[pos] != b'$' {
            return Err(ProtocolError::ExpectedBulk(input[pos]));
        }
        let len = number::parse_i64(&input[pos + 1..end]).and_then(|len| usize::try_from(len).ok());
        let len = len.ok_or(ProtocolError::InvalidBulkLength)?;
        self.check_bulk(len)?;
        Ok(Some((len, end + 2)))
    }

    fn check_bulk(&self, len: usize) -> Result<(), ProtocolError> {
        if len > self.limits.max_bulk_bytes {
            Err(ProtocolError::InvalidBulkLength)
        } else if !self.limits.authenticated && len > UNAUTHENTICATED_MAX_BULK_BYTES {
            Err(ProtocolError::UnauthenticatedBulkLength)
        } else {
            Ok(())
        }
    }

    /// Where the `\r` of the header line at `pos` is, once the byte behind it is there too.
    fn header_end(
        &self,
        input: &[u8],
        pos: usize,
        too_big: ProtocolError,
    ) -> Result<Option<usize>, ProtocolError> {
        let line = input.get(pos..).unwrap_or(&[]);
        let reach = line.len().min(self.limits.max_inline_bytes + 1);
        // Redis looks for line ends as C does: behind a NUL it finds none.
        match memchr::memchr2(b'\r', 0, &line[..reach]).filter(|&at| line[at] == b'\r') {
            Some(at) => Ok((at + 1 < line.len()).then_some(pos + at)),
            None if reach > self.limits.max_inline_bytes => Err(too_big),
            None => Ok(None),
        }
    }

    #[cold]
    fn inline_request(&mut self, input: &[u8]) -> Result<Parsed, ProtocolError> {
        if self.stage != Stage::Start {
            self.start();
        }
        let reach = input.len().min(self.limits.max_inline_bytes + 1);
        let from = self.pos.min(reach);
        let found = memchr::memchr2(b'\n', 0, &input[from..reach]);
        let Some(at) = found.filter(|&at| input[from + at] == b'\n') else {
            // Redis looks for line ends as C does: behind a NUL it finds none.
            self.pos = found.map_or(reach, |nul| from + nul);
            if reach > self.limits.max_inline_bytes {
                return Err(ProtocolError::BigInlineRequest);
            }
            return Ok(Parsed::NeedMore);
        };
        let newline = from + at;
        let line = &input[..newline];
        self.start();
        self.inline.clear();
        self.inline.shrink_to(INLINE_KEPT_BYTES);
        inline::split_into(line.strip_suffix(b"\r").unwrap_or(line), &mut self.inline, &mut self.spans)?;
        if self.spans.is_empty() {
            return Ok(Parsed::Empty { consumed: newline + 1 });
        }
        for span in &mut self.spans {
            let word = Args::new(&self.inline, std::slice::from_ref(span), &[]).get(0);
            if word.len() >= BIG_BYTES {
                let blob = Bytes::copy_from_slice(word);
                *span = Span::blob(self.blobs.len());
                self.blobs.push(blob);
            }
        }
        self.stage = Stage::Inline;
        Ok(Parsed::Request { consumed: newline + 1 })
    }

    fn push_blob(&mut self, blob: Bytes) {
        self.spans.push(Span::blob(self.blobs.len()));
        self.blobs.push(blob);
    }
}

impl PartialBlob {
    fn new(len: usize, received: &[u8]) -> PartialBlob {
        let mut blob = PartialBlob { buf: Vec::with_capacity(len.min(BLOB_AHEAD_BYTES)), len };
        blob.extend(received);
        blob
    }

    /// Doubles, so that the copies stay linear, and ends at exactly `len`.
    fn extend(&mut self, chunk: &[u8]) {
        if self.buf.capacity() - self.buf.len() < chunk.len() {
            let ahead = self.buf.len().max(BLOB_AHEAD_BYTES).max(chunk.len());
            self.buf.reserve_exact(ahead.min(self.len - self.buf.len()));
        }
        self.buf.extend_from_slice(chunk);
    }
}

/// Digits that [`quick_header`] reads; more go the general way.
const QUICK_DIGITS: usize = 8;

/// A header in its usual form at `pos`, whatever its first byte: a canonical number of few digits, `\r`, any byte.
/// Gives the number and the position behind the line; `None` says nothing but that the form is not usual.
#[inline(always)]
fn quick_header(input: &[u8], pos: usize) -> Option<(usize, usize)> {
    let line = input.get(pos + 1..)?;
    let first = line.first()?.wrapping_sub(b'0');
    if first > 9 {
        return None;
    }
    let mut number = usize::from(first);
    let mut digits = 1;
    loop {
        let digit = line.get(digits)?.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        if first == 0 || digits == QUICK_DIGITS {
            return None;
        }
        number = number * 10 + usize::from(digit);
        digits += 1;
    }
    (line[digits] == b'\r' && line.len() > digits + 1).then_some((number, pos + digits + 3))
}

#[cfg(test)]
mod tests;
