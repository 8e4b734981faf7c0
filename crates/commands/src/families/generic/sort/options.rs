//! What a SORT asks for. Never touches a keyspace.

use smallvec::SmallVec;
use torc_resp::{Args, CommandError};

/// The options of one request.
pub(super) struct Options<'a> {
    /// The last BY.
    pub(super) by: Option<Pattern<'a>>,
    /// A BY without a `*`: elements stay in the order in which they are.
    pub(super) unsorted: bool,
    /// Elements to skip, and how many to return (all when negative).
    limit: (i64, i64),
    pub(super) gets: SmallVec<[Pattern<'a>; 4]>,
    pub(super) descending: bool,
    pub(super) alpha: bool,
    pub(super) store: Option<&'a [u8]>,
}

/// How a key, or a field of a hash, is named after an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pattern<'a> {
    /// `#`: the element itself.
    Element,
    /// Without a `*` there is nothing to look up.
    Nothing,
    /// The element goes between prefix and suffix.
    Key { prefix: &'a [u8], suffix: &'a [u8], field: Option<&'a [u8]> },
}

impl<'a> Pattern<'a> {
    pub(super) fn new(text: &'a [u8]) -> Pattern<'a> {
        if text == b"#" {
            return Pattern::Element;
        }
        let Some(star) = text.iter().position(|&byte| byte == b'*') else { return Pattern::Nothing };
        let (prefix, rest) = (&text[..star], &text[star + 1..]);
        let arrow = rest.windows(2).position(|pair| pair == b"->").filter(|at| at + 2 < rest.len());
        match arrow {
            Some(at) => Pattern::Key { prefix, suffix: &rest[..at], field: Some(&rest[at + 2..]) },
            None => Pattern::Key { prefix, suffix: rest, field: None },
        }
    }
}

impl<'a> Options<'a> {
    /// Reads the arguments behind the key.
    pub(super) fn parse(args: Args<'a>, may_store: bool) -> Result<Options<'a>, CommandError> {
        let mut options = Options {
            by: None,
            unsorted: false,
            limit: (0, -1),
            gets: SmallVec::new(),
            descending: false,
            alpha: false,
            store: None,
        };
        let mut index = 2;
        while index < args.len() {
            let more = args.len() - index - 1;
            if args.is(index, b"ASC") {
                options.descending = false;
            } else if args.is(index, b"DESC") {
                options.descending = true;
            } else if args.is(index, b"ALPHA") {
                options.alpha = true;
            } else if args.is(index, b"LIMIT") && more >= 2 {
                options.limit = (args.int(index + 1)?, args.int(index + 2)?);
                index += 2;
            } else if may_store && args.is(index, b"STORE") && more >= 1 {
                options.store = Some(args.get(index + 1));
                index += 1;
            } else if args.is(index, b"BY") && more >= 1 {
                let text = args.get(index + 1);
                options.unsorted |= !text.contains(&b'*');
                options.by = Some(Pattern::new(text));
                index += 1;
            } else if args.is(index, b"GET") && more >= 1 {
                options.gets.push(Pattern::new(args.get(index + 1)));
                index += 1;
            } else {
                return Err(CommandError::Syntax);
            }
            index += 1;
        }
        Ok(options)
    }

    /// Whether keys besides the arguments are read.
    pub(super) fn reaches(&self) -> bool {
        let is_key = |pattern: &Pattern<'_>| matches!(pattern, Pattern::Key { .. });
        !self.unsorted && self.by.as_ref().is_some_and(is_key) || self.gets.iter().any(is_key)
    }

    /// Which of `len` elements are returned.
    pub(super) fn window(&self, len: usize) -> std::ops::Range<usize> {
        let (skip, count) = self.limit;
        let start = usize::try_from(skip).unwrap_or(0).min(len);
        let count = usize::try_from(count).unwrap_or(len);
        start..start.saturating_add(count).min(len)
    }
}

/// Where the key behind the last STORE stands, as COMMAND GETKEYS tells it.
pub(super) fn store_key(args: Args<'_>) -> Option<usize> {
    let (mut index, mut found) = (2, None);
    while index < args.len() {
        let follow = match () {
            () if args.is(index, b"LIMIT") => 2,
            () if args.is(index, b"GET") || args.is(index, b"BY") => 1,
            () if args.is(index, b"STORE") && index + 1 < args.len() => {
                found = Some(index + 1);
                1
            }
            () => 0,
        };
        index += 1 + follow;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use torc_resp::split_line;

    #[test]
    fn patterns_name_keys_and_fields() {
        let key = |prefix, suffix, field| Pattern::Key { prefix, suffix, field };
        for (text, expected) in [
            ("#", Pattern::Element),
            ("##", Pattern::Nothing),
            ("", Pattern::Nothing),
            ("key->field", Pattern::Nothing),
            ("*", key(&b""[..], &b""[..], None)),
            ("a:*", key(b"a:", b"", None)),
            ("a*b*c", key(b"a", b"b*c", None)),
            ("a:*->f", key(b"a:", b"", Some(&b"f"[..]))),
            ("a:*:b->f->g", key(b"a:", b":b", Some(b"f->g"))),
            ("a->b*", key(b"a->b", b"", None)),
            ("a:*->", key(b"a:", b"->", None)),
            ("a:*->->", key(b"a:", b"", Some(b"->"))),
        ] {
            assert_eq!(Pattern::new(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn limits_make_a_window() {
        for (limit, expected) in [
            ("0 -1", 0..10),
            ("0 0", 0..0),
            ("3 4", 3..7),
            ("-5 4", 0..4),
            ("8 100", 8..10),
            ("10 1", 10..10),
            ("100 -1", 10..10),
            ("1 -9223372036854775808", 1..10),
            ("9223372036854775807 9223372036854775807", 10..10),
            ("5 9223372036854775807", 5..10),
        ] {
            let args = split_line(format!("SORT k LIMIT {limit}").as_bytes()).unwrap();
            assert_eq!(Options::parse(args.as_args(), true).unwrap().window(10), expected, "{limit}");
        }
    }

    #[test]
    fn the_last_store_counts() {
        for (line, expected) in [
            ("SORT k", None),
            ("SORT k STORE", None),
            ("SORT k store to", Some(3)),
            ("SORT k STORE a DESC STORE b", Some(6)),
            ("SORT k BY STORE GET STORE", None),
            ("SORT k LIMIT STORE x STORE to", Some(6)),
            ("SORT k STORE STORE", Some(3)),
        ] {
            let args = split_line(line.as_bytes()).unwrap();
            assert_eq!(store_key(args.as_args()), expected, "{line}");
        }
    }

    #[test]
    fn only_patterns_with_a_star_reach_other_keys() {
        for (rest, expected) in [
            ("", false),
            ("BY nosort GET #", false),
            ("GET fixed", false),
            ("BY w_*", true),
            ("BY nosort BY w_*", false),
            ("BY nosort GET *", true),
            ("GET # GET h_*->f", true),
        ] {
            let args = split_line(format!("SORT k {rest}").as_bytes()).unwrap();
            assert_eq!(Options::parse(args.as_args(), true).unwrap().reaches(), expected, "{rest}");
        }
    }
}
