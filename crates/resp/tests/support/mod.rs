//! Drives a request parser as a connection does: a buffer, pieces of input, blobs filled aside.
//!
//! Shared by the tests of this crate and by the fuzz target. Checks on the way what must hold at every step.

use torc_resp::parse::{BLOB_AHEAD_BYTES, SPANS_AHEAD};
use torc_resp::{BIG_BYTES, Limits, Parsed, ProtocolError, RequestParser};

/// What a stream of bytes came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// In order; a request without arguments is one that asks for nothing.
    pub(crate) requests: Vec<Vec<Vec<u8>>>,
    pub(crate) error: Option<ProtocolError>,
}

/// Feeds `stream` in pieces that end at `cuts` (ascending) and at its end.
pub(crate) fn drive(limits: Limits, stream: &[u8], cuts: impl IntoIterator<Item = usize>) -> Outcome {
    let mut connection = Connection::new(limits);
    let mut start = 0;
    for end in cuts.into_iter().chain([stream.len()]) {
        if connection.outcome.error.is_none() {
            connection.receive(&stream[start..end]);
            connection.check_memory();
        }
        start = end;
    }
    connection.outcome
}

/// The outcome must not depend on how the stream was cut.
pub(crate) fn check_cut(limits: Limits, stream: &[u8], whole: &Outcome, cuts: &[usize]) {
    let cut = drive(limits, stream, cuts.iter().copied());
    assert_eq!(&cut, whole, "cut at {cuts:?}: {}", stream[..stream.len().min(300)].escape_ascii());
}

struct Connection {
    parser: RequestParser,
    buffer: Vec<u8>,
    /// Bytes received since the last finished request.
    unfinished: usize,
    outcome: Outcome,
}

impl Connection {
    fn new(limits: Limits) -> Connection {
        Connection {
            parser: RequestParser::new(limits),
            buffer: Vec::new(),
            unfinished: 0,
            outcome: Outcome { requests: Vec::new(), error: None },
        }
    }

    fn receive(&mut self, mut piece: &[u8]) {
        self.unfinished += piece.len();
        let taken = self.parser.fill(piece);
        piece = &piece[taken..];
        if self.parser.filling() {
            assert!(piece.is_empty(), "a blob in reception takes everything");
            return;
        }
        self.buffer.extend_from_slice(piece);
        let mut start = 0;
        loop {
            let input = &self.buffer[start..];
            match self.parser.parse(input) {
                Ok(Parsed::Request { consumed }) => {
                    let args = self.parser.args(input);
                    assert!(!args.is_empty(), "a request has a name");
                    for index in 0..args.len() {
                        assert_eq!(args.blob(index).is_some(), args.get(index).len() >= BIG_BYTES);
                    }
                    self.outcome.requests.push(args.iter().map(<[u8]>::to_vec).collect());
                    start += consumed;
                }
                Ok(Parsed::Empty { consumed }) => {
                    assert!(consumed > 0);
                    self.outcome.requests.push(Vec::new());
                    start += consumed;
                }
                Ok(Parsed::NeedMore) => break,
                Ok(Parsed::NeedBlob { keep }) => {
                    assert!(self.parser.filling());
                    self.buffer.truncate(start + keep);
                    break;
                }
                Err(error) => {
                    self.outcome.error = Some(error);
                    return;
                }
            }
            self.unfinished = self.buffer.len() - start;
        }
        self.buffer.drain(..start);
    }

    /// Memory follows what arrived, whatever was announced.
    fn check_memory(&self) {
        /// The inline buffer and the least capacities of vectors.
        const SLACK_BYTES: usize = 128 * 1024;
        let bound = 4 * self.unfinished + BLOB_AHEAD_BYTES + SPANS_AHEAD * 8 + SLACK_BYTES;
        let held = self.parser.buffered_bytes();
        // The parser keeps the blobs of the last request until the next one.
        let finished: usize = self.outcome.requests.last().map_or(0, |args| args.iter().map(Vec::len).sum());
        assert!(held <= bound + 4 * finished, "{held} bytes held after {} received", self.unfinished);
    }
}
