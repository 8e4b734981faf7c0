//! Ranges of ranks, scores and members as requests spell them, and the ranks that they cover. Never looks a key up.

use std::ops::Range;

use torc_datatypes::ZSet;
use torc_datatypes::zset::{LexBound, LexRange, ScoreBound, ScoreRange};
use torc_resp::{Args, CommandError, number};

const NOT_A_SCORE: CommandError = CommandError::Text("ERR min or max is not a float");
const NOT_A_MEMBER: CommandError = CommandError::Text("ERR min or max not valid string range item");

/// What the ends of a range are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    Rank,
    Score,
    Lex,
}

/// A range of members of a sorted set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Bounds<'a> {
    /// Both ends inside; negative ranks count from the end.
    Ranks(i64, i64),
    Scores(ScoreRange),
    Lex(LexRange<'a>),
}

impl<'a> Bounds<'a> {
    /// Reads the arguments `min` and `max`.
    pub(super) fn parse(by: By, args: Args<'a>, min: usize, max: usize) -> Result<Bounds<'a>, CommandError> {
        match by {
            By::Rank => Ok(Bounds::Ranks(args.int(min)?, args.int(max)?)),
            By::Score => Bounds::scores(args.get(min), args.get(max)),
            By::Lex => Bounds::lex(args.get(min), args.get(max)),
        }
    }

    pub(super) fn scores(min: &[u8], max: &[u8]) -> Result<Bounds<'a>, CommandError> {
        let bound = |text| score_bound(text).ok_or(NOT_A_SCORE);
        Ok(Bounds::Scores(ScoreRange { min: bound(min)?, max: bound(max)? }))
    }

    pub(super) fn lex(min: &'a [u8], max: &'a [u8]) -> Result<Bounds<'a>, CommandError> {
        let bound = |text| lex_bound(text).ok_or(NOT_A_MEMBER);
        Ok(Bounds::Lex(LexRange { min: bound(min)?, max: bound(max)? }))
    }

    /// The ranks of the members inside. Ranks count from the other end when they are taken in `reverse`.
    pub(super) fn ranks(&self, zset: &ZSet, reverse: bool) -> Range<usize> {
        match self {
            Bounds::Ranks(start, end) => {
                let len = zset.len();
                let ranks = clamp_ranks(*start, *end, len);
                if reverse { len - ranks.end..len - ranks.start } else { ranks }
            }
            Bounds::Scores(range) => zset.ranks_by_score(range),
            Bounds::Lex(range) => zset.ranks_by_lex(range),
        }
    }
}

/// The ranks from `start` to `end`, both inside, among so many; negative ones count from the end.
fn clamp_ranks(start: i64, end: i64, len: usize) -> Range<usize> {
    let from_end = |rank: i64| if rank < 0 { rank.saturating_add(len as i64) } else { rank };
    let (start, end) = (from_end(start).max(0), from_end(end));
    if start > end || start >= len as i64 {
        return 0..0;
    }
    start as usize..(end as usize).min(len - 1) + 1
}

/// An end of a range of scores: a double as `strtod` reads it, outside of the range with a `(` in front. Contract (Redis
/// 7.2): spaces in front are skipped, no digits at all are 0, and what is too great is infinite.
fn score_bound(text: &[u8]) -> Option<ScoreBound> {
    let (open, text) = match text {
        [b'(', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    let score = match text.trim_ascii_start() {
        _ if text.is_empty() => Some(0.0),
        digits => number::parse_f64_of_any_size(digits),
    };
    score.map(|score| ScoreBound { score, open })
}

fn lex_bound(text: &[u8]) -> Option<LexBound<'_>> {
    match text {
        b"-" => Some(LexBound::Lowest),
        b"+" => Some(LexBound::Highest),
        [b'[', member @ ..] => Some(LexBound::Closed(member)),
        [b'(', member @ ..] => Some(LexBound::Open(member)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_clamped() {
        for (start, end, expected) in [
            (0, -1, 0..5),
            (1, 3, 1..4),
            (-2, -1, 3..5),
            (-100, 1, 0..2),
            (3, 100, 3..5),
            (5, 6, 0..0),
            (3, 2, 0..0),
            (0, -6, 0..0),
            (i64::MIN, i64::MAX, 0..5),
            (i64::MAX, i64::MIN, 0..0),
        ] {
            assert_eq!(clamp_ranks(start, end, 5), expected, "{start} {end}");
        }
        assert_eq!(clamp_ranks(0, -1, 0), 0..0);
    }

    #[test]
    fn ends_of_score_ranges() {
        for (text, expected) in [
            ("1.5", Some((1.5, false))),
            ("(1.5", Some((1.5, true))),
            ("-inf", Some((f64::NEG_INFINITY, false))),
            ("(+inf", Some((f64::INFINITY, true))),
            ("", Some((0.0, false))),
            ("(", Some((0.0, true))),
            (" 1", Some((1.0, false))),
            ("( 0x10", Some((16.0, true))),
            ("-1e400", Some((f64::NEG_INFINITY, false))),
            ("1e-400", Some((0.0, false))),
            (" ", None),
            ("1 ", None),
            ("[1", None),
            ("((1", None),
            ("nan", None),
            ("1x", None),
        ] {
            let bound = score_bound(text.as_bytes()).map(|bound| (bound.score, bound.open));
            assert_eq!(bound, expected, "{text:?}");
        }
    }

    #[test]
    fn ends_of_member_ranges() {
        for (text, expected) in [
            ("-", Some(LexBound::Lowest)),
            ("+", Some(LexBound::Highest)),
            ("[a", Some(LexBound::Closed(b"a"))),
            ("(", Some(LexBound::Open(b""))),
            ("", None),
            ("a", None),
            ("--", None),
            ("+1", None),
        ] {
            assert_eq!(lex_bound(text.as_bytes()), expected, "{text:?}");
        }
    }
}
