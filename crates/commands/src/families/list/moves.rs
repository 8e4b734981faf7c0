//! From list to list: LMOVE and RPOPLPUSH.

use torc_datatypes::list::{Element, End};
use torc_datatypes::value::IntText;
use torc_keyspace::{Class, Lookup};
use torc_resp::{Args, CommandError, Reply};

use super::{
    change, end, end_word, limits, list_at, pop_event, pop_word, push_at, push_event, push_word, removed,
};
use crate::families::string::write_string;
use crate::{Access, Arity, Command, Context, Docs, Flags, Group, KeySpec, Run, Spec, Status};

pub(super) const LMOVE: Command = Command {
    spec: Spec {
        name: "lmove",
        arity: Arity::exactly(5),
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: &[KeySpec::at(1, Access::RW_ACCESS_DELETE), KeySpec::at(2, Access::RW_INSERT)],
        docs: &Docs {
            syntax: "LMOVE source:key destination:key (LEFT | RIGHT) (LEFT | RIGHT)",
            summary: "Moves an element from an end of a list to an end of the same or another list, and returns it.",
            since: "6.2.0",
            complexity: "O(1)",
            group: Group::List,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(lmove),
    subcommands: &[],
};

fn lmove(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let (from, to) = (end(args, 3)?, end(args, 4)?);
    move_element(cx, args.get(1), args.get(2), from, to, reply)
}

pub(super) const RPOPLPUSH: Command = Command {
    spec: Spec {
        name: "rpoplpush",
        arity: Arity::exactly(3),
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: &[KeySpec::at(1, Access::RW_ACCESS_DELETE), KeySpec::at(2, Access::RW_INSERT)],
        docs: &Docs {
            syntax: "RPOPLPUSH source:key destination:key",
            summary: "Moves the element at the back of a list to the front of the same or another list, and returns it.",
            since: "1.2.0",
            complexity: "O(1)",
            group: Group::List,
            status: Status::Deprecated {
                since: "6.2.0",
                replaced_by: "`LMOVE` with the `RIGHT` and `LEFT` arguments",
            },
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(rpoplpush),
    subcommands: &[],
};

fn rpoplpush(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    move_element(cx, args.get(1), args.get(2), End::Back, End::Front, reply)
}

/// Moves an element and replies it; null if there is no source.
pub(super) fn move_element(
    cx: &mut Context<'_>,
    source: &[u8],
    destination: &[u8],
    from: End,
    to: End,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    let limits = limits(cx);
    let mut at = cx.at(source, cx.writing());
    let Some(list) = list_at(at.entry())? else {
        reply.null();
        return Ok(());
    };
    let element = Element::of(list.peek(from).expect("no list is empty"));
    let is_empty = if source == destination {
        change(&mut at, |list| list.rotate(from, to, limits))?;
        at.tell(&[b"LMOVE", source, source, end_word(from), end_word(to)]);
        false
    } else {
        let mut at = cx.at(destination, cx.writing());
        push_at(&mut at, to, std::iter::once(element.str_ref()), limits)?;
        at.tell(&[push_word(to), destination, element.str_ref().as_bytes(&mut IntText::new())]);
        let mut at = cx.at(source, Lookup { touch: false, count: false });
        let is_empty = change(&mut at, |list| {
            list.drop_end(from, limits);
            list.is_empty()
        })?;
        at.tell(&[pop_word(from), source]);
        is_empty.expect("the source is there")
    };
    write_string(reply, element.str_ref());
    // One change, as of the source; the destination's event comes first (Redis 7.2).
    cx.keyspace.touched(cx.db, destination);
    cx.changes.event(Class::LIST, push_event(to), cx.db, destination);
    let mut at = cx.at(source, Lookup { touch: false, count: false });
    removed(&mut at, pop_event(from), 1, is_empty);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    const WRONG_TYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value";

    #[test]
    fn moves_between_all_ends() {
        for (from, popped, rest) in [("LEFT", "a", "b"), ("RIGHT", "b", "a")] {
            for (to, expected) in [("LEFT", [popped, "x"]), ("RIGHT", ["x", popped])] {
                let mut bench = Bench::new();
                bench.run("RPUSH s a b");
                bench.run("RPUSH d x");
                let events = [
                    format!("l {} d", if to == "LEFT" { "lpush" } else { "rpush" }),
                    format!("l {} s", if from == "LEFT" { "lpop" } else { "rpop" }),
                ];
                let events: Vec<&str> = events.iter().map(String::as_str).collect();
                bench.check_changes(&format!("LMOVE s d {from} {to}"), &format!("$1\n{popped}"), 1, &events);
                bench.check("LRANGE s 0 -1", &format!("*1\n$1\n{rest}"));
                bench.check("LRANGE d 0 -1", &format!("*2\n$1\n{}\n$1\n{}", expected[0], expected[1]));
            }
        }
    }

    #[test]
    fn the_source_goes_away_and_the_destination_comes() {
        let mut bench = Bench::new();
        bench.run("RPUSH s a");
        bench.check_changes("RPOPLPUSH s d", "$1\na", 1, &["l lpush d", "l rpop s", "g del s"]);
        bench.check("EXISTS s d", ":1");
        bench.check("LMOVE s d LEFT LEFT", "$-1");
        bench.check("RPOPLPUSH s d", "$-1");
    }

    #[test]
    fn a_list_is_turned_round() {
        let mut bench = Bench::new();
        bench.run("RPUSH k 1 b c");
        bench.check_changes("LMOVE k k LEFT RIGHT", "$1\n1", 1, &["l rpush k", "l lpop k"]);
        bench.check_changes("RPOPLPUSH k k", "$1\n1", 1, &["l lpush k", "l rpop k"]);
        bench.check("LMOVE k k LEFT LEFT", "$1\n1");
        bench.check("LRANGE k 0 -1", "*3\n$1\n1\n$1\nb\n$1\nc");
        bench.run("RPUSH one a");
        bench.check("RPOPLPUSH one one", "$1\na");
        bench.check("LLEN one", ":1");
    }

    #[test]
    fn types_are_checked_before_anything_is_moved() {
        let mut bench = Bench::new();
        bench.run("SET s v");
        bench.run("RPUSH k a");
        bench.check_changes("LMOVE s k LEFT LEFT", WRONG_TYPE, 0, &[]);
        bench.check_changes("LMOVE k s LEFT LEFT", WRONG_TYPE, 0, &[]);
        bench.check("RPOPLPUSH nokey s", "$-1");
        bench.check("LMOVE k d UP LEFT", "-ERR syntax error");
        bench.check("LMOVE k d LEFT UP", "-ERR syntax error");
        bench.check("LLEN k", ":1");
    }
}
