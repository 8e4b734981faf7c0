//! LPUSH, RPUSH, LPUSHX and RPUSHX.

use torc_datatypes::list::End;
use torc_keyspace::Class;
use torc_resp::{Args, CommandError, Reply};

use super::{element, limits, push_at, push_event};
use crate::{Access, Arity, Command, Context, Docs, Flags, Group, Handler, KeySpec, Run, Spec};

const SEVERAL_ELEMENTS: &str = "Takes several `element` arguments.";

const KEYS: &[KeySpec] = &[KeySpec::at(1, Access::RW_INSERT)];

const fn push_command(name: &'static str, docs: &'static Docs, handler: Handler) -> Command {
    Command {
        spec: Spec {
            name,
            arity: Arity::at_least(3),
            flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST),
            keys: KEYS,
            docs,
            ..Spec::DEFAULT
        },
        run: Run::OnShard(handler),
        subcommands: &[],
    }
}

pub(super) const LPUSH: Command = push_command(
    "lpush",
    &Docs {
        syntax: "LPUSH key element [element ...]",
        summary: "Adds elements at the front of a list, one before the other; a missing list is created.",
        since: "1.0.0",
        complexity: "O(1) per element",
        group: Group::List,
        history: &[("2.4.0", SEVERAL_ELEMENTS)],
        ..Docs::DEFAULT
    },
    |cx, args, reply| push(cx, args, reply, End::Front),
);

pub(super) const RPUSH: Command = push_command(
    "rpush",
    &Docs {
        syntax: "RPUSH key element [element ...]",
        summary: "Adds elements at the back of a list, one behind the other; a missing list is created.",
        since: "1.0.0",
        complexity: "O(1) per element",
        group: Group::List,
        history: &[("2.4.0", SEVERAL_ELEMENTS)],
        ..Docs::DEFAULT
    },
    |cx, args, reply| push(cx, args, reply, End::Back),
);

pub(super) const LPUSHX: Command = push_command(
    "lpushx",
    &Docs {
        syntax: "LPUSHX key element [element ...]",
        summary: "Adds elements at the front of a list, if it exists.",
        since: "2.2.0",
        complexity: "O(1) per element",
        group: Group::List,
        history: &[("4.0.0", SEVERAL_ELEMENTS)],
        ..Docs::DEFAULT
    },
    |cx, args, reply| push_if_exists(cx, args, reply, End::Front),
);

pub(super) const RPUSHX: Command = push_command(
    "rpushx",
    &Docs {
        syntax: "RPUSHX key element [element ...]",
        summary: "Adds elements at the back of a list, if it exists.",
        since: "2.2.0",
        complexity: "O(1) per element",
        group: Group::List,
        history: &[("4.0.0", SEVERAL_ELEMENTS)],
        ..Docs::DEFAULT
    },
    |cx, args, reply| push_if_exists(cx, args, reply, End::Back),
);

fn push(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>, end: End) -> Result<(), CommandError> {
    let limits = limits(cx);
    let mut at = cx.at(args.get(1), cx.writing());
    let elements = (2..args.len()).map(|index| element(args, index));
    let len = push_at(&mut at, end, elements, limits)?;
    at.changed(Class::LIST, push_event(end));
    at.changed_more(args.len() as u64 - 3);
    reply.int(len as i64);
    Ok(())
}

fn push_if_exists(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
    end: End,
) -> Result<(), CommandError> {
    if !cx.at(args.get(1), cx.writing()).exists() {
        reply.int(0);
        return Ok(());
    }
    push(cx, args, reply, end)
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    #[test]
    fn elements_stand_in_the_order_of_their_pushes() {
        let mut bench = Bench::new();
        bench.check_changes("LPUSH k a", ":1", 1, &["l lpush k"]);
        bench.check_changes("LPUSH k b c", ":3", 2, &["l lpush k"]);
        bench.check_changes("RPUSH k 1 2 3", ":6", 3, &["l rpush k"]);
        bench.check("LRANGE k 0 -1", "*6\n$1\nc\n$1\nb\n$1\na\n$1\n1\n$1\n2\n$1\n3");
        bench.check("TYPE k", "+list");
        for name in ["LPUSH", "RPUSH", "LPUSHX", "RPUSHX"] {
            let arity = format!("-ERR wrong number of arguments for '{}' command", name.to_lowercase());
            bench.check(&format!("{name} k"), &arity);
        }
    }

    #[test]
    fn pushx_creates_nothing() {
        let mut bench = Bench::new();
        bench.check_changes("LPUSHX k a", ":0", 0, &[]);
        bench.check_changes("RPUSHX k a", ":0", 0, &[]);
        bench.check("EXISTS k", ":0");
        bench.run("RPUSH k a");
        bench.check_changes("LPUSHX k b c", ":3", 2, &["l lpush k"]);
        bench.check_changes("RPUSHX k d", ":4", 1, &["l rpush k"]);
        bench.check("LRANGE k 0 -1", "*4\n$1\nc\n$1\nb\n$1\na\n$1\nd");
    }

    #[test]
    fn other_types_are_refused() {
        let mut bench = Bench::new();
        bench.run("SET s v");
        for name in ["LPUSH", "RPUSH", "LPUSHX", "RPUSHX"] {
            let wrong = "-WRONGTYPE Operation against a key holding the wrong kind of value";
            bench.check_changes(&format!("{name} s a"), wrong, 0, &[]);
        }
    }

    #[test]
    fn expired_lists_begin_anew() {
        let mut bench = Bench::new();
        bench.run("RPUSH k a");
        bench.run("PEXPIRE k 10");
        bench.now_ms += 11;
        bench.check("LPUSHX k b", ":0");
        bench.check("RPUSH k b", ":1");
        bench.check("TTL k", ":-1");
        bench.run("PEXPIRE k 10");
        bench.check("RPUSH k c", ":2");
        bench.check("PTTL k", ":10");
    }

    #[test]
    fn huge_elements_come_back() {
        let mut bench = Bench::new();
        let big = "x".repeat(100_000);
        bench.check(&format!("RPUSH k a {big} b"), ":3");
        bench.check("OBJECT ENCODING k", "$9\nquicklist");
        bench.check("LINDEX k 1", &format!("$100000\n{big}"));
        bench.check("LRANGE k 0 -1", &format!("*3\n$1\na\n$100000\n{big}\n$1\nb"));
        bench.check("RPOPLPUSH k k", "$1\nb");
        bench.check("RPOP k", &format!("$100000\n{big}"));
        bench.check("OBJECT ENCODING k", "$8\nlistpack");
    }
}
