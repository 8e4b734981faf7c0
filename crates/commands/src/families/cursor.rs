//! What SCAN, SSCAN, HSCAN and ZSCAN share: cursors, options and the head of the reply. Never walks anything itself.

use torc_datatypes::Kind;
use torc_datatypes::glob::glob_match;
use torc_resp::{Args, CommandError, Reply, number};

/// Elements that a call looks at when it does not say how many.
const COUNT_DEFAULT: usize = 10;

/// Which elements are wanted, and how much work a call may do.
pub(super) struct ScanOptions<'a> {
    pub(super) count: usize,
    pattern: Option<&'a [u8]>,
    /// Keys of this type only.
    pub(super) kind: Option<Kind>,
    /// Fields without their values, members without their scores.
    pub(super) no_values: bool,
}

impl<'a> ScanOptions<'a> {
    /// Reads the arguments from `first` on. `of` is the type of the value that is walked over; `None` for all keys.
    pub(super) fn parse(
        args: Args<'a>,
        first: usize,
        of: Option<Kind>,
    ) -> Result<ScanOptions<'a>, CommandError> {
        let mut options = ScanOptions { count: COUNT_DEFAULT, pattern: None, kind: None, no_values: false };
        let mut index = first;
        while index < args.len() {
            if args.is(index, b"NOVALUES") {
                if of != Some(Kind::Hash) {
                    return Err(CommandError::Text("ERR NOVALUES option can only be used in HSCAN"));
                }
                options.no_values = true;
                index += 1;
                continue;
            }
            if args.is(index, b"NOSCORES") {
                if of != Some(Kind::ZSet) {
                    return Err(CommandError::Text("ERR NOSCORES option can only be used in ZSCAN"));
                }
                options.no_values = true;
                index += 1;
                continue;
            }
            if index + 1 == args.len() {
                return Err(CommandError::Syntax);
            }
            if args.is(index, b"COUNT") {
                let count = args.int(index + 1)?;
                options.count =
                    usize::try_from(count).ok().filter(|&count| count > 0).ok_or(CommandError::Syntax)?;
            } else if args.is(index, b"MATCH") {
                options.pattern = Some(args.get(index + 1)).filter(|pattern| *pattern != b"*");
            } else if of.is_none() && args.is(index, b"TYPE") {
                options.kind = Some(parse_kind(args.get(index + 1))?);
            } else {
                return Err(CommandError::Syntax);
            }
            index += 2;
        }
        Ok(options)
    }

    /// Whether MATCH lets an element of this name through.
    #[inline]
    pub(super) fn matches(&self, name: &[u8]) -> bool {
        self.pattern.is_none_or(|pattern| glob_match(pattern, name, false))
    }
}

fn parse_kind(name: &[u8]) -> Result<Kind, CommandError> {
    Kind::from_name(name).ok_or_else(|| {
        let text = format!("ERR unknown type name '{}'", String::from_utf8_lossy(name));
        CommandError::Owned(text.into())
    })
}

/// As `strtoull` reads it: spaces and a sign `+` in front are allowed.
pub(super) fn parse_cursor(text: &[u8]) -> Result<u64, CommandError> {
    let digits = text.trim_ascii_start();
    let digits = digits.strip_prefix(b"+").unwrap_or(digits);
    let significant = &digits[digits.iter().take_while(|&&digit| digit == b'0').count()..];
    let all_digits = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    match number::parse_u64(significant) {
        Some(cursor) => Ok(cursor),
        None if significant.is_empty() && all_digits => Ok(0),
        None => Err(CommandError::InvalidCursor),
    }
}

/// All of a reply but its elements.
pub(super) fn write_head(reply: &mut Reply<'_>, cursor: u64, elements: usize) {
    reply.array(2);
    reply.bulk(cursor.to_string().as_bytes());
    reply.array(elements);
}
