//! Changes inside lists: LSET, LINSERT and LREM.

use torc_datatypes::list::{End, Needle, Side};
use torc_keyspace::Class;
use torc_resp::{Args, CommandError, Reply};

use super::{change, element, limits, list_at, negatable, removed};
use crate::{Access, Arity, Command, Context, Docs, Flags, Group, KeySpec, Run, Spec};

pub(super) const LSET: Command = Command {
    spec: Spec {
        name: "lset",
        arity: Arity::exactly(4),
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: &[KeySpec::at(1, Access::RW_UPDATE)],
        docs: &Docs {
            syntax: "LSET key index:int element",
            summary: "Replaces the element of a list with this index; negative ones are counted from the back.",
            since: "1.0.0",
            complexity: "O(1) at both ends; in between as for LINDEX",
            group: Group::List,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(lset),
    subcommands: &[],
};

fn lset(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let limits = limits(cx);
    let mut at = cx.at(args.get(1), cx.writing());
    list_at(at.entry())?.ok_or(CommandError::NoSuchKey)?;
    let index = args.int(2)?;
    match change(&mut at, |list| list.replace(index, element(args, 3), limits))? {
        Some(true) => at.changed(Class::LIST, "lset"),
        _ => return Err(CommandError::IndexOutOfRange),
    }
    reply.ok();
    Ok(())
}

pub(super) const LINSERT: Command = Command {
    spec: Spec {
        name: "linsert",
        arity: Arity::exactly(5),
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: &[KeySpec::at(1, Access::RW_INSERT)],
        docs: &Docs {
            syntax: "LINSERT key (BEFORE | AFTER) pivot element",
            summary: "Inserts an element into a list, beside the first one that equals the pivot.",
            since: "2.2.0",
            complexity: "O(N) where N is the number of elements up to the pivot",
            group: Group::List,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(linsert),
    subcommands: &[],
};

fn linsert(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let side = if args.is(2, b"AFTER") {
        Side::After
    } else if args.is(2, b"BEFORE") {
        Side::Before
    } else {
        return Err(CommandError::Syntax);
    };
    let limits = limits(cx);
    let mut at = cx.at(args.get(1), cx.writing());
    let pivot = Needle::new(args.get(3));
    let len = change(&mut at, |list| {
        list.insert(side, &pivot, element(args, 4), limits).then(|| list.len() as i64)
    })?;
    if let Some(Some(_)) = len {
        at.changed(Class::LIST, "linsert");
    }
    reply.int(len.map_or(0, |len| len.unwrap_or(-1)));
    Ok(())
}

pub(super) const LREM: Command = Command {
    spec: Spec {
        name: "lrem",
        arity: Arity::exactly(4),
        flags: Flags::WRITE,
        keys: &[KeySpec::at(1, Access::RW.and(Access::DELETE))],
        docs: &Docs {
            syntax: "LREM key count:int element",
            summary: "Removes elements that equal this one from a list: the first of them, the last with a negative \
                      count, all with 0. A list without elements goes away.",
            since: "1.0.0",
            complexity: "O(N) where N is the length of the list",
            group: Group::List,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(lrem),
    subcommands: &[],
};

fn lrem(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let count = negatable(args, 2)?;
    let from = if count < 0 { End::Back } else { End::Front };
    let max = if count == 0 { usize::MAX } else { count.unsigned_abs() as usize };
    let limits = limits(cx);
    let mut at = cx.at(args.get(1), cx.writing());
    let needle = Needle::new(args.get(3));
    let outcome =
        change(&mut at, |list| (list.remove_matching(&needle, max, from, limits), list.is_empty()))?;
    let (count, is_empty) = outcome.unwrap_or((0, false));
    if count > 0 {
        removed(&mut at, "lrem", count, is_empty);
    }
    reply.int(count as i64);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    const WRONG_TYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value";
    const NOT_INTEGER: &str = "-ERR value is not an integer or out of range";

    #[test]
    fn lset() {
        let mut bench = Bench::new();
        bench.check("LSET k x a", "-ERR no such key");
        bench.run("RPUSH k a b c");
        bench.check_changes("LSET k 1 5", "+OK", 1, &["l lset k"]);
        bench.check_changes("LSET k -1 z", "+OK", 1, &["l lset k"]);
        for index in ["3", "-4"] {
            bench.check_changes(&format!("LSET k {index} a"), "-ERR index out of range", 0, &[]);
        }
        bench.check("LSET k x a", NOT_INTEGER);
        bench.check("LRANGE k 0 -1", "*3\n$1\na\n$1\n5\n$1\nz");
        bench.run("SET s v");
        bench.check("LSET s x a", WRONG_TYPE);
    }

    #[test]
    fn linsert() {
        let mut bench = Bench::new();
        bench.check("LINSERT k BEFORE a b", ":0");
        bench.run("RPUSH k a 12 a");
        bench.check_changes("LINSERT k before a x", ":4", 1, &["l linsert k"]);
        bench.check_changes("LINSERT k AFTER 12 y", ":5", 1, &["l linsert k"]);
        bench.check_changes("LINSERT k AFTER none y", ":-1", 0, &[]);
        bench.check("LRANGE k 0 -1", "*5\n$1\nx\n$1\na\n$2\n12\n$1\ny\n$1\na");
        bench.check("LINSERT nokey BESIDE a b", "-ERR syntax error");
        bench.run("SET s v");
        bench.check("LINSERT s AFTER a b", WRONG_TYPE);
    }

    #[test]
    fn lrem() {
        let mut bench = Bench::new();
        bench.check("LREM k 0 a", ":0");
        bench.run("RPUSH k a 1 a b a 1 a");
        bench.check_changes("LREM k 1 a", ":1", 1, &["l lrem k"]);
        bench.check_changes("LREM k -2 a", ":2", 2, &["l lrem k"]);
        bench.check("LRANGE k 0 -1", "*4\n$1\n1\n$1\na\n$1\nb\n$1\n1");
        bench.check_changes("LREM k 0 none", ":0", 0, &[]);
        bench.check_changes("LREM k 9 1", ":2", 2, &["l lrem k"]);
        bench.run("LREM k 0 a");
        bench.check_changes("LREM k 0 b", ":1", 1, &["l lrem k", "g del k"]);
        bench.check("LREM k x a", NOT_INTEGER);
        bench.check(
            "LREM k -9223372036854775808 a",
            "-ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
        );
        bench.run("SET s v");
        bench.check("LREM s 0 a", WRONG_TYPE);
    }
}
