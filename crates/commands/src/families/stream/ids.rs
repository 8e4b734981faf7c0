//! Ids as clients write them.
//!
//! Owns the forms `ms-seq`, `ms`, `ms-*`, `-`, `+` and the bounds of ranges. Never knows a stream.

use torc_datatypes::stream::StreamId;
use torc_resp::{CommandError, number};

/// Longest text that Redis looks at.
const ID_BYTES_MAX: usize = 127;

const INVALID: CommandError =
    CommandError::Text("ERR Invalid stream ID specified as stream command argument");

/// The id of an entry to add.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NewId {
    /// `*`
    Auto,
    /// `ms-*`
    AutoSeq(u64),
    Given(StreamId),
}

/// An id; the sequence number is 0 unless it is given.
pub(super) fn parse(text: &[u8]) -> Result<StreamId, CommandError> {
    parse_or(text, 0)
}

/// An id, or one of the names `-` and `+` of the smallest and the largest one.
pub(super) fn parse_or_edge(text: &[u8]) -> Result<StreamId, CommandError> {
    parse_bound(text, 0)
}

/// An id to add an entry under, other than `*`.
pub(super) fn parse_new(text: &[u8]) -> Result<NewId, CommandError> {
    match split(text)? {
        (ms, Some(b"*")) => Ok(NewId::AutoSeq(parse_part(ms)?)),
        _ => parse(text).map(NewId::Given),
    }
}

/// The first id of a range; behind `(` the one before it.
pub(super) fn parse_start(text: &[u8]) -> Result<StreamId, CommandError> {
    match exclusive(text) {
        Some(text) => {
            let invalid = CommandError::Text("ERR invalid start ID for the interval");
            parse(text)?.next().ok_or(invalid)
        }
        None => parse_bound(text, 0),
    }
}

/// The last id of a range; behind `(` the one after it.
pub(super) fn parse_end(text: &[u8]) -> Result<StreamId, CommandError> {
    match exclusive(text) {
        Some(text) => {
            let invalid = CommandError::Text("ERR invalid end ID for the interval");
            parse_or(text, u64::MAX)?.prev().ok_or(invalid)
        }
        None => parse_bound(text, u64::MAX),
    }
}

fn exclusive(text: &[u8]) -> Option<&[u8]> {
    text.strip_prefix(b"(").filter(|text| !text.is_empty())
}

fn parse_bound(text: &[u8], missing_seq: u64) -> Result<StreamId, CommandError> {
    match text {
        b"-" => Ok(StreamId::MIN),
        b"+" => Ok(StreamId::MAX),
        _ => parse_or(text, missing_seq),
    }
}

fn parse_or(text: &[u8], missing_seq: u64) -> Result<StreamId, CommandError> {
    let (ms, seq) = split(text)?;
    Ok(StreamId { ms: parse_part(ms)?, seq: seq.map_or(Ok(missing_seq), parse_part)? })
}

/// Milliseconds and sequence number.
fn split(text: &[u8]) -> Result<(&[u8], Option<&[u8]>), CommandError> {
    if text.len() > ID_BYTES_MAX {
        return Err(INVALID);
    }
    // Contract (Redis 7.2): a NUL ends the text.
    let text = text.split(|&byte| byte == 0).next().unwrap_or(text);
    Ok(match text.iter().position(|&byte| byte == b'-') {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    })
}

/// Contract (Redis 7.2): what is no canonical integer is read as C's `strtoull` does, so `007` and ` 7` are numbers.
fn parse_part(text: &[u8]) -> Result<u64, CommandError> {
    if let Some(number) = number::parse_u64(text) {
        return Ok(number);
    }
    let digits = text.trim_ascii_start();
    let digits = digits.strip_prefix(b"+").unwrap_or(digits);
    let zeros = digits.iter().take_while(|&&byte| byte == b'0').count();
    match &digits[zeros..] {
        [] if zeros > 0 => Ok(0),
        digits => number::parse_u64(digits).filter(|number| *number > 0).ok_or(INVALID),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_ids() {
        let id = StreamId::new;
        for (text, expected) in [
            ("5-3", Some(id(5, 3))),
            ("5", Some(id(5, 0))),
            ("007-01", Some(id(7, 1))),
            ("18446744073709551615-18446744073709551615", Some(StreamId::MAX)),
            ("00", Some(id(0, 0))),
            ("+5-1", Some(id(5, 1))),
            ("18446744073709551616", None),
            ("5-", None),
            ("-5", None),
            ("-", None),
            ("+", None),
            ("", None),
            ("5-3-1", None),
            ("5-*", None),
            ("*", None),
            ("a-1", None),
            ("1-1 ", None),
            ("1\0-", Some(id(1, 0))),
            (&"0".repeat(128), None),
        ] {
            assert_eq!(parse(text.as_bytes()).ok(), expected, "{text}");
        }
        assert_eq!(parse_new(b"5-*"), Ok(NewId::AutoSeq(5)));
        assert_eq!(parse_new(b"5"), Ok(NewId::Given(id(5, 0))));
        assert_eq!(parse_new(b"*-*"), Err(INVALID));
        assert_eq!(parse_or_edge(b"+"), Ok(StreamId::MAX));
    }

    #[test]
    fn bounds_of_ranges() {
        let id = StreamId::new;
        assert_eq!(parse_start(b"-"), Ok(StreamId::MIN));
        assert_eq!(parse_start(b"5"), Ok(id(5, 0)));
        assert_eq!(parse_start(b"(5"), Ok(id(5, 1)));
        assert_eq!(parse_end(b"+"), Ok(StreamId::MAX));
        assert_eq!(parse_end(b"5"), Ok(id(5, u64::MAX)));
        assert_eq!(parse_end(b"(5"), Ok(id(5, u64::MAX - 1)));
        assert_eq!(parse_end(b"(5-0"), Ok(id(4, u64::MAX)));
        for (text, is_start) in [
            ("(-", true),
            ("(", true),
            ("(+", false),
            ("(18446744073709551615-18446744073709551615", true),
            ("(0-0", false),
        ] {
            let parsed = if is_start { parse_start(text.as_bytes()) } else { parse_end(text.as_bytes()) };
            assert!(parsed.is_err(), "{text}");
        }
    }
}
