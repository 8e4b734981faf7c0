//! SCAN: all keys of a database, a few per call.
//!
//! A cursor names a slot and a place in it, so that it leads to the shard with that slot. A call stays on its shard;
//! when the shard's slots are done, the cursor goes on at the next shard's first slot.

use torc_datatypes::Kind;
use torc_datatypes::glob::glob_match;
use torc_keyspace::{SLOTS, cursor_at_slot, slot_of_cursor};
use torc_resp::{Args, CommandError, Reply, ReplyBuf, number};

use crate::{Arity, Command, Context, Docs, Flags, Group, Run, Spec, families::generic::KEYSPACE};

/// Keys that a call looks at when it does not say how many.
const COUNT_DEFAULT: usize = 10;

/// SCAN
pub const SCAN: Command = Command {
    spec: Spec {
        name: "scan",
        arity: Arity::at_least(2),
        flags: Flags::READONLY,
        keys: &[],
        categories: KEYSPACE,
        tips: &["nondeterministic_output", "request_policy:special", "response_policy:special"],
        docs: &Docs {
            syntax: "SCAN cursor:int [MATCH pattern:pattern] [COUNT count:int] [TYPE type]",
            summary: "Walks over the keys of the database, a few per call. Start with cursor 0 and pass the cursor of \
                      each reply on, until it is 0 again.",
            since: "2.8.0",
            complexity: "O(1) per call, O(N) for the whole walk with N the number of keys.",
            group: Group::Generic,
            history: &[("6.0.0", "Keys of one `TYPE` only.")],
            ..Docs::DEFAULT
        },
    },
    run: Run::ByCursor(scan),
    subcommands: &[],
};

/// Which keys are wanted, and how much work a call may do.
struct Options<'a> {
    count: usize,
    pattern: Option<&'a [u8]>,
    kind: Option<Kind>,
}

impl<'a> Options<'a> {
    fn parse(args: Args<'a>) -> Result<Options<'a>, CommandError> {
        let mut options = Options { count: COUNT_DEFAULT, pattern: None, kind: None };
        let mut index = 2;
        while index < args.len() {
            if args.is(index, b"NOVALUES") {
                return Err(CommandError::Text("ERR NOVALUES option can only be used in HSCAN"));
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
            } else if args.is(index, b"TYPE") {
                options.kind = Some(parse_kind(args.get(index + 1))?);
            } else {
                return Err(CommandError::Syntax);
            }
            index += 2;
        }
        Ok(options)
    }
}

fn parse_kind(name: &[u8]) -> Result<Kind, CommandError> {
    Kind::from_name(name).ok_or_else(|| {
        let text = format!("ERR unknown type name '{}'", String::from_utf8_lossy(name));
        CommandError::Owned(text.into())
    })
}

/// As `strtoull` reads it: spaces and a sign `+` in front are allowed.
fn parse_cursor(text: &[u8]) -> Result<u64, CommandError> {
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

fn scan(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let cursor = parse_cursor(args.get(1))?;
    let Options { count, pattern, kind } = Options::parse(args)?;
    let mut names = ReplyBuf::new();
    let mut found = 0;
    let mut list = Reply::new(&mut names, reply.proto());
    let next = scan_shard(cx, cursor, count, |entry| {
        let wanted = kind.is_none_or(|kind| entry.kind() == kind)
            && pattern.is_none_or(|pattern| glob_match(pattern, entry.key(), false));
        if wanted {
            list.bulk(entry.key());
            found += 1;
        }
    });
    reply.array(2);
    reply.bulk(next.to_string().as_bytes());
    reply.array(found);
    reply.buf().append(&names);
    Ok(())
}

/// Visits keys of this shard from `cursor` on; returns the cursor to go on with, which may be another shard's.
fn scan_shard(
    cx: &mut Context<'_>,
    cursor: u64,
    count: usize,
    visit: impl FnMut(&torc_datatypes::Entry),
) -> u64 {
    // A number that no SCAN replied ends the walk, and is no error.
    let Some(slot) = slot_of_cursor(cursor) else { return 0 };
    if cx.slots.owner(slot) != cx.shard {
        // The cursor was spelled in a way that the router does not read; its plain form will lead to the owner.
        return cursor;
    }
    let end = cx.slots.next_range(slot);
    let slot_end = end.map_or(SLOTS, usize::from);
    cx.keyspace
        .scan_until(cx.db, cursor, slot_end, count, cx.now_ms, cx.changes, visit)
        .unwrap_or_else(|| end.map_or(0, cursor_at_slot))
}
