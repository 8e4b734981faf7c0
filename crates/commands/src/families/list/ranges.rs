//! Parts of lists by index: LLEN, LINDEX, LRANGE and LTRIM.

use std::ops::Range;

use torc_datatypes::list::End;
use torc_keyspace::Class;
use torc_resp::{Args, CommandError, Reply};

use super::{change, limits, list_at};
use crate::families::string::write_string;
use crate::{Access, Arity, Command, Context, Docs, Flags, Group, KeySpec, Run, Spec};

pub(super) const LLEN: Command = Command {
    spec: Spec {
        name: "llen",
        arity: Arity::exactly(2),
        flags: Flags::READONLY.and(Flags::FAST),
        keys: &[KeySpec::at(1, Access::RO)],
        docs: &Docs {
            syntax: "LLEN key",
            summary: "Returns the number of elements of a list.",
            since: "1.0.0",
            complexity: "O(1)",
            group: Group::List,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(llen),
    subcommands: &[],
};

fn llen(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let list = list_at(cx.read(args.get(1)))?;
    reply.int(list.map_or(0, |list| list.len()) as i64);
    Ok(())
}

pub(super) const LINDEX: Command = Command {
    spec: Spec {
        name: "lindex",
        arity: Arity::exactly(3),
        flags: Flags::READONLY,
        keys: &[KeySpec::at(1, Access::RO_ACCESS)],
        docs: &Docs {
            syntax: "LINDEX key index:int",
            summary: "Returns the element of a list with this index; negative ones are counted from the back.",
            since: "1.0.0",
            complexity: "O(1) at both ends; in between the list's nodes are counted, in steps of many, from the nearer end",
            group: Group::List,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(lindex),
    subcommands: &[],
};

fn lindex(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let Some(list) = list_at(cx.read(args.get(1)))? else {
        reply.null();
        return Ok(());
    };
    match list.get(args.int(2)?) {
        Some(element) => write_string(reply, element),
        None => reply.null(),
    }
    Ok(())
}

pub(super) const LRANGE: Command = Command {
    spec: Spec {
        name: "lrange",
        arity: Arity::exactly(4),
        flags: Flags::READONLY,
        keys: &[KeySpec::at(1, Access::RO_ACCESS)],
        docs: &Docs {
            syntax: "LRANGE key start:int stop:int",
            summary: "Returns the elements of a list from one index to another.",
            since: "1.0.0",
            complexity: "O(S+N) where S is what finding the first element takes (see LINDEX) and N the number of elements",
            group: Group::List,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(lrange),
    subcommands: &[],
};

fn lrange(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let (start, stop) = (args.int(2)?, args.int(3)?);
    let Some(list) = list_at(cx.read(args.get(1)))? else {
        reply.array(0);
        return Ok(());
    };
    let range = index_range(start, stop, list.len());
    reply.array(range.len());
    list.elements(range.start, range.len(), End::Front).for_each(|element| write_string(reply, element));
    Ok(())
}

/// The indices from `start` to `stop`, both inclusive, in something of length `len`; negative ones count from the end.
fn index_range(start: i64, stop: i64, len: usize) -> Range<usize> {
    let len = len as i64;
    let start = if start < 0 { len.saturating_add(start).max(0) } else { start };
    let stop = if stop < 0 { len.saturating_add(stop) } else { stop.min(len - 1) };
    if start > stop { 0..0 } else { start as usize..stop as usize + 1 }
}

pub(super) const LTRIM: Command = Command {
    spec: Spec {
        name: "ltrim",
        arity: Arity::exactly(4),
        flags: Flags::WRITE,
        keys: &[KeySpec::at(1, Access::RW.and(Access::DELETE))],
        docs: &Docs {
            syntax: "LTRIM key start:int stop:int",
            summary: "Removes the elements of a list outside a range of indices. A list without elements goes away.",
            since: "1.0.0",
            complexity: "O(N) where N is the number of elements removed",
            group: Group::List,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(ltrim),
    subcommands: &[],
};

fn ltrim(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let (start, stop) = (args.int(2)?, args.int(3)?);
    let limits = limits(cx);
    let mut at = cx.at(args.get(1), cx.writing());
    let Some(len) = list_at(at.entry())?.map(|list| list.len()) else {
        reply.ok();
        return Ok(());
    };
    let kept = index_range(start, stop, len);
    // Removed elements are counted, and there may be none.
    at.touched();
    at.event(Class::LIST, "ltrim");
    at.changed_more((len - kept.len()) as u64);
    if kept.is_empty() {
        at.discard();
        at.event(Class::GENERIC, "del");
    } else {
        change(&mut at, |list| {
            list.remove_range(kept.end, len - kept.end, limits);
            list.remove_range(0, kept.start, limits);
        })?;
    }
    reply.ok();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Bench;

    const WRONG_TYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value";
    const NOT_INTEGER: &str = "-ERR value is not an integer or out of range";

    #[test]
    fn index_ranges() {
        let (min, max) = (i64::MIN, i64::MAX);
        for (start, stop, expected) in [
            (0, -1, 0..5),
            (0, 0, 0..1),
            (-2, -1, 3..5),
            (1, -2, 1..4),
            (-100, 100, 0..5),
            (min, max, 0..5),
            (5, 10, 0..0),
            (3, 2, 0..0),
            (0, -6, 0..0),
            (min, min, 0..0),
            (max, max, 0..0),
            (-1, -2, 0..0),
        ] {
            assert_eq!(index_range(start, stop, 5), expected, "{start} {stop}");
        }
    }

    #[test]
    fn elements_by_index() {
        let mut bench = Bench::new();
        bench.check("LLEN k", ":0");
        bench.check("LINDEX k x", "$-1");
        bench.check("LRANGE k 0 -1", "*0");
        bench.run("RPUSH k a 2 c");
        bench.check("LLEN k", ":3");
        for (index, expected) in [
            ("0", "$1\na"),
            ("1", "$1\n2"),
            ("-1", "$1\nc"),
            ("-3", "$1\na"),
            ("3", "$-1"),
            ("-4", "$-1"),
            ("x", NOT_INTEGER),
        ] {
            bench.check(&format!("LINDEX k {index}"), expected);
        }
        bench.check("LRANGE k 1 9", "*2\n$1\n2\n$1\nc");
        bench.check("LRANGE k 2 1", "*0");
        bench.check("LRANGE k x 1", NOT_INTEGER);
        bench.run("SET s v");
        bench.check("LLEN s", WRONG_TYPE);
        bench.check("LINDEX s x", WRONG_TYPE);
        bench.check("LRANGE s 0 x", NOT_INTEGER);
        bench.check("LRANGE s 0 1", WRONG_TYPE);
    }

    #[test]
    fn ltrim() {
        let mut bench = Bench::new();
        bench.check_changes("LTRIM k 0 1", "+OK", 0, &[]);
        bench.run("RPUSH k a b c d e");
        bench.check_changes("LTRIM k 0 -1", "+OK", 0, &["l ltrim k"]);
        bench.check_changes("LTRIM k 1 -2", "+OK", 2, &["l ltrim k"]);
        bench.check("LRANGE k 0 -1", "*3\n$1\nb\n$1\nc\n$1\nd");
        bench.check_changes("LTRIM k 2 100", "+OK", 2, &["l ltrim k"]);
        bench.check_changes("LTRIM k 5 10", "+OK", 1, &["l ltrim k", "g del k"]);
        bench.check("EXISTS k", ":0");
        bench.check("LTRIM k x 1", NOT_INTEGER);
        bench.run("SET s v");
        bench.check("LTRIM s 0 0", WRONG_TYPE);
    }

    /// Also when the list is so long that its memory is released in the background.
    #[test]
    fn a_long_list_is_trimmed_away() {
        let mut bench = Bench::new();
        let element = "x".repeat(3000);
        (0..200).for_each(|_| drop(bench.run(&format!("RPUSH k {element} {element}"))));
        bench.check("LTRIM k 1 -2", "+OK");
        bench.check("LLEN k", ":398");
        bench.check_changes("LTRIM k 1 0", "+OK", 398, &["l ltrim k", "g del k"]);
        assert_eq!(bench.keyspace().graveyard.pending(), 1);
        while bench.keyspace().graveyard.dig(10) {}
        assert_eq!(bench.keyspace().graveyard.freed(), 1);
    }
}
