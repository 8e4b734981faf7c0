//! Access to the arguments of one request, borrowed or owned.
//!
//! Arguments are spans into one buffer; those of [`BIG_BYTES`] and more are `Bytes` of their own, so that they can be
//! handed over without a copy. Knows nothing of commands; never allocates for reading.

use std::ops::Range;

use bytes::Bytes;

use crate::error::CommandError;
use crate::{BIG_BYTES, number};

/// Where one argument lies: a range of the buffer, or the index of a blob.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    start: u32,
    len: u32,
}

/// The `len` of a span that is a blob; its `start` is then the blob's index.
const BLOB: u32 = u32::MAX;

impl Span {
    /// Panics when the end lies beyond what 32 bits address; the parser's and the arena's bounds exclude that.
    #[inline]
    pub(crate) fn new(start: usize, len: usize) -> Span {
        debug_assert!(start + len < BLOB as usize, "span beyond 4 GiB");
        Span { start: start as u32, len: len as u32 }
    }

    pub(crate) fn blob(index: usize) -> Span {
        Span { start: index as u32, len: BLOB }
    }
}

/// The arguments of one request, the command's name first.
#[derive(Clone, Copy)]
pub struct Args<'a> {
    buf: &'a [u8],
    spans: &'a [Span],
    blobs: &'a [Bytes],
}

impl<'a> Args<'a> {
    #[inline]
    pub fn new(buf: &'a [u8], spans: &'a [Span], blobs: &'a [Bytes]) -> Args<'a> {
        Args { buf, spans, blobs }
    }

    #[inline]
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Panics when there is no argument `index`: arity is checked before handlers run.
    #[inline]
    pub fn get(&self, index: usize) -> &'a [u8] {
        self.resolve(self.spans[index])
    }

    #[inline]
    pub fn opt(&self, index: usize) -> Option<&'a [u8]> {
        self.spans.get(index).map(|span| self.resolve(*span))
    }

    /// The argument as shared bytes, when it is big enough to be held as such.
    #[inline]
    pub fn blob(&self, index: usize) -> Option<&'a Bytes> {
        let span = self.spans[index];
        (span.len == BLOB).then(|| &self.blobs[span.start as usize])
    }

    #[inline]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + DoubleEndedIterator + 'a {
        let args = *self;
        args.spans.iter().map(move |span| args.resolve(*span))
    }

    /// The arguments from `index` on; none when there are fewer.
    #[inline]
    pub fn from(&self, index: usize) -> Args<'a> {
        Args { spans: self.spans.get(index..).unwrap_or(&[]), ..*self }
    }

    /// The arguments of `range`. Panics when it reaches beyond the last one.
    #[inline]
    pub fn range(&self, range: Range<usize>) -> Args<'a> {
        Args { spans: &self.spans[range], ..*self }
    }

    /// Whether argument `index` is this word, ignoring ASCII case.
    #[inline]
    pub fn is(&self, index: usize, word: &[u8]) -> bool {
        self.get(index).eq_ignore_ascii_case(word)
    }

    /// A signed 64-bit integer in Redis's strict form (no sign `+`, no spaces, no leading zeros).
    #[inline]
    pub fn int(&self, index: usize) -> Result<i64, CommandError> {
        number::parse_i64(self.get(index)).ok_or(CommandError::NotInteger)
    }

    /// An unsigned 64-bit integer in the same strict form.
    #[inline]
    pub fn uint(&self, index: usize) -> Result<u64, CommandError> {
        number::parse_u64(self.get(index)).ok_or(CommandError::NotInteger)
    }

    /// A double as Redis reads it: infinities yes, NaN and hexadecimal no.
    #[inline]
    pub fn float(&self, index: usize) -> Result<f64, CommandError> {
        number::parse_f64(self.get(index)).ok_or(CommandError::NotFloat)
    }

    /// Where the arguments stand in the buffer (and among the blobs).
    #[inline]
    pub fn spans(&self) -> &'a [Span] {
        self.spans
    }

    /// Bytes of all arguments together.
    pub fn total_bytes(&self) -> usize {
        self.iter().map(<[u8]>::len).sum()
    }

    #[inline]
    fn resolve(&self, span: Span) -> &'a [u8] {
        if span.len == BLOB {
            &self.blobs[span.start as usize]
        } else {
            let start = span.start as usize;
            &self.buf[start..start + span.len as usize]
        }
    }
}

impl std::fmt::Debug for Args<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter().map(|arg| arg.escape_ascii().to_string())).finish()
    }
}

/// Arguments that own their bytes: one request kept for later, or an arena of many requests.
#[derive(Clone, Debug, Default)]
pub struct OwnedArgs {
    buf: Vec<u8>,
    spans: Vec<Span>,
    blobs: Vec<Bytes>,
}

impl OwnedArgs {
    pub fn new() -> OwnedArgs {
        OwnedArgs::default()
    }

    /// Big arguments are shared, all others copied.
    pub fn copy_of(args: &Args<'_>) -> OwnedArgs {
        let mut owned = OwnedArgs::new();
        owned.append(args);
        owned
    }

    /// Adds a copy of `args` behind those already held and says which ones they are (see [`OwnedArgs::range`]).
    /// Big arguments are shared, not copied.
    pub fn append(&mut self, args: &Args<'_>) -> Range<usize> {
        let first = self.spans.len();
        self.spans.reserve(args.len());
        for (index, span) in args.spans.iter().enumerate() {
            match args.blob(index) {
                Some(blob) => self.push_bytes(blob.clone()),
                None => self.push_copy(args.resolve(*span)),
            }
        }
        first..self.spans.len()
    }

    /// Adds one argument, copied.
    pub fn push(&mut self, arg: &[u8]) {
        if arg.len() >= BIG_BYTES {
            self.push_bytes(Bytes::copy_from_slice(arg));
        } else {
            self.push_copy(arg);
        }
    }

    /// Adds one argument; a big one is kept as it is.
    pub fn push_bytes(&mut self, arg: Bytes) {
        if arg.len() >= BIG_BYTES {
            self.spans.push(Span::blob(self.blobs.len()));
            self.blobs.push(arg);
        } else {
            self.push_copy(&arg);
        }
    }

    #[inline]
    pub fn as_args(&self) -> Args<'_> {
        Args::new(&self.buf, &self.spans, &self.blobs)
    }

    /// The arguments of `range`, as [`OwnedArgs::append`] returned it.
    #[inline]
    pub fn range(&self, range: Range<usize>) -> Args<'_> {
        Args::new(&self.buf, &self.spans[range], &self.blobs)
    }

    pub fn len(&self) -> usize {
        self.spans.len()
    }

    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Keeps capacity up to `keep_bytes` for reuse.
    pub fn clear(&mut self, keep_bytes: usize) {
        self.buf.clear();
        self.spans.clear();
        self.blobs.clear();
        self.buf.shrink_to(keep_bytes);
        self.spans.shrink_to(keep_bytes / size_of::<Span>());
    }

    /// Memory held, blobs included although they may be shared.
    pub fn heap_bytes(&self) -> usize {
        self.buf.capacity()
            + self.spans.capacity() * size_of::<Span>()
            + self.blobs.iter().map(Bytes::len).sum::<usize>()
    }

    #[inline]
    fn push_copy(&mut self, arg: &[u8]) {
        let start = self.buf.len();
        assert!(start + arg.len() < BLOB as usize, "argument arena beyond 4 GiB");
        self.spans.push(Span::new(start, arg.len()));
        self.buf.extend_from_slice(arg);
    }
}

impl<A: AsRef<[u8]>> FromIterator<A> for OwnedArgs {
    fn from_iter<I: IntoIterator<Item = A>>(args: I) -> OwnedArgs {
        let mut owned = OwnedArgs::new();
        for arg in args {
            owned.push(arg.as_ref());
        }
        owned
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> OwnedArgs {
        [b"SET".to_vec(), b"key".to_vec(), vec![b'v'; BIG_BYTES], b"Ex".to_vec(), b"-12".to_vec()]
            .into_iter()
            .collect()
    }

    #[test]
    fn reads_small_and_big_arguments() {
        let owned = sample();
        let args = owned.as_args();
        assert_eq!(args.len(), 5);
        assert_eq!(args.get(0), b"SET");
        assert_eq!(args.get(2).len(), BIG_BYTES);
        assert!(args.blob(2).is_some());
        assert!(args.blob(1).is_none());
        assert!(args.is(3, b"EX"));
        assert!(!args.is(3, b"EXAT"));
        assert_eq!(args.int(4), Ok(-12));
        assert_eq!(args.uint(4), Err(CommandError::NotInteger));
        assert_eq!(args.float(4), Ok(-12.0));
        assert_eq!(args.opt(5), None);
        assert_eq!(args.from(3).get(0), b"Ex");
        assert!(args.from(9).is_empty());
        assert_eq!(args.range(1..2).iter().collect::<Vec<_>>(), [b"key"]);
        assert_eq!(args.total_bytes(), 3 + 3 + BIG_BYTES + 2 + 3);
    }

    #[test]
    fn an_arena_keeps_requests_apart_and_shares_blobs() {
        let request = sample();
        let mut arena = OwnedArgs::new();
        let first = arena.append(&request.as_args());
        let second = arena.append(&request.as_args().from(3));
        assert_eq!(arena.range(second).iter().collect::<Vec<_>>(), [b"Ex".as_slice(), b"-12"]);
        let blob = arena.range(first).blob(2).map(|blob| blob.as_ptr());
        assert_eq!(blob, request.as_args().blob(2).map(|blob| blob.as_ptr()));
        arena.clear(64);
        assert!(arena.is_empty());
        assert!(arena.heap_bytes() <= 128);
    }
}
