//! Lists that commands wait for: BLPOP, BRPOP, BLMPOP, BLMOVE and BRPOPLPUSH. What they do when something is there is the
//! same as without the B; how they wait is in [`crate::Wait`].

use torc_datatypes::Kind;
use torc_datatypes::list::End;
use torc_resp::{Args, CommandError, Reply};

use super::moves::move_element;
use super::pop::{MultiPop, pop_one_with_key, pop_with_key};
use super::{end, list_at};
use crate::{
    Access, Arity, Command, Context, Docs, Flags, Group, Handler, KeySpec, Run, Spec, Status, Wait,
    timeout_in_seconds,
};

const DOUBLE_TIMEOUT: &[(&str, &str)] = &[("6.0.0", "The `timeout` may have a fraction.")];

const POP_KEYS: &[KeySpec] = &[KeySpec::range(1, -2, 1, Access::RW_ACCESS_DELETE)];

const MOVE_KEYS: &[KeySpec] = &[KeySpec::at(1, Access::RW_ACCESS_DELETE), KeySpec::at(2, Access::RW_INSERT)];

const fn pop_command(name: &'static str, docs: &'static Docs, handler: Handler) -> Command {
    Command {
        spec: Spec {
            name,
            arity: Arity::at_least(3),
            flags: Flags::WRITE.and(Flags::BLOCKING),
            keys: POP_KEYS,
            docs,
            ..Spec::DEFAULT
        },
        run: Run::MayWait { handler, waits: |_| true },
        subcommands: &[],
    }
}

pub(super) const BLPOP: Command = pop_command(
    "blpop",
    &Docs {
        syntax: "BLPOP key [key ...] timeout:double",
        summary: "Removes and returns the element at the front of the first of several lists that exists, or waits for \
                  one.",
        since: "2.0.0",
        complexity: "O(N) where N is the number of keys",
        group: Group::List,
        history: DOUBLE_TIMEOUT,
        ..Docs::DEFAULT
    },
    |cx, args, reply| pop(cx, args, reply, End::Front),
);

pub(super) const BRPOP: Command = pop_command(
    "brpop",
    &Docs {
        syntax: "BRPOP key [key ...] timeout:double",
        summary: "Removes and returns the element at the back of the first of several lists that exists, or waits for \
                  one.",
        since: "2.0.0",
        complexity: "O(N) where N is the number of keys",
        group: Group::List,
        history: DOUBLE_TIMEOUT,
        ..Docs::DEFAULT
    },
    |cx, args, reply| pop(cx, args, reply, End::Back),
);

fn pop(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>, end: End) -> Result<(), CommandError> {
    let last = args.len() - 1;
    let timeout_ms = timeout_in_seconds(args, last, cx.now_ms)?;
    for key in args.range(1..last).iter() {
        if pop_one_with_key(cx, key, reply, end)? {
            return Ok(());
        }
    }
    if !cx.wait(Wait::new(1..last, Kind::List, timeout_ms)) {
        reply.null_array();
    }
    Ok(())
}

pub(super) const BLMPOP: Command = Command {
    spec: Spec {
        name: "blmpop",
        arity: Arity::at_least(5),
        flags: Flags::WRITE.and(Flags::BLOCKING),
        keys: &[KeySpec::counted(2, Access::RW_ACCESS_DELETE)],
        docs: &Docs {
            syntax: "BLMPOP timeout:double numkeys:int key [key ...] (LEFT | RIGHT) [COUNT count:int]",
            summary: "Removes and returns elements at an end of the first of several lists that exists, or waits for \
                      one.",
            since: "7.0.0",
            complexity: "O(N+M) where N is the number of keys and M the number of elements returned",
            group: Group::List,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::MayWait { handler: blmpop, waits: |_| true },
    subcommands: &[],
};

fn blmpop(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    const FIRST: usize = 3;
    let MultiPop { keys, end, count } = MultiPop::parse(args, FIRST - 1)?;
    let timeout_ms = timeout_in_seconds(args, 1, cx.now_ms)?;
    for key in keys.iter() {
        if pop_with_key(cx, key, reply, end, count)? {
            return Ok(());
        }
    }
    if !cx.wait(Wait::new(FIRST..FIRST + keys.len(), Kind::List, timeout_ms)) {
        reply.null_array();
    }
    Ok(())
}

const fn move_command(name: &'static str, arity: Arity, docs: &'static Docs, handler: Handler) -> Command {
    Command {
        spec: Spec {
            name,
            arity,
            flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::BLOCKING),
            keys: MOVE_KEYS,
            docs,
            ..Spec::DEFAULT
        },
        run: Run::MayWait { handler, waits: |_| true },
        subcommands: &[],
    }
}

pub(super) const BLMOVE: Command = move_command(
    "blmove",
    Arity::exactly(6),
    &Docs {
        syntax: "BLMOVE source:key destination:key (LEFT | RIGHT) (LEFT | RIGHT) timeout:double",
        summary: "Moves an element from an end of a list to an end of the same or another list, and returns it; waits for \
                  one if there is none.",
        since: "6.2.0",
        complexity: "O(1)",
        group: Group::List,
        ..Docs::DEFAULT
    },
    |cx, args, reply| {
        let (from, to) = (end(args, 3)?, end(args, 4)?);
        move_or_wait(cx, args, from, to, 5, reply)
    },
);

pub(super) const BRPOPLPUSH: Command = move_command(
    "brpoplpush",
    Arity::exactly(4),
    &Docs {
        syntax: "BRPOPLPUSH source:key destination:key timeout:double",
        summary: "Moves the element at the back of a list to the front of the same or another list, and returns it; waits \
                  for one if there is none.",
        since: "2.2.0",
        complexity: "O(1)",
        group: Group::List,
        status: Status::Deprecated {
            since: "6.2.0",
            replaced_by: "`BLMOVE` with the `RIGHT` and `LEFT` arguments",
        },
        history: DOUBLE_TIMEOUT,
    },
    |cx, args, reply| move_or_wait(cx, args, End::Back, End::Front, 3, reply),
);

fn move_or_wait(
    cx: &mut Context<'_>,
    args: Args<'_>,
    from: End,
    to: End,
    timeout_at: usize,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    let timeout_ms = timeout_in_seconds(args, timeout_at, cx.now_ms)?;
    let source = cx.at(args.get(1), cx.writing());
    if list_at(source.entry())?.is_some() {
        return move_element(cx, args.get(1), args.get(2), from, to, reply);
    }
    // It waits for the source alone, and takes the destination as it is then.
    if !cx.wait(Wait::new(1..2, Kind::List, timeout_ms)) {
        reply.null();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    const WRONG_TYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value";

    #[test]
    fn what_is_there_is_popped_at_once() {
        let mut bench = Bench::new();
        bench.run("RPUSH a 1 2 3");
        bench.run("RPUSH b 4");
        bench.check_changes("BLPOP none a b 0", "*2\n$1\na\n$1\n1", 1, &["l lpop a"]);
        bench.check_changes("BRPOP b a 0", "*2\n$1\nb\n$1\n4", 1, &["l rpop b", "g del b"]);
        bench.check_changes("BLMPOP 0 2 b a RIGHT COUNT 1", "*2\n$1\na\n*1\n$1\n3", 1, &["l rpop a"]);
        bench.check_changes("BLMPOP 0 1 a LEFT COUNT 9", "*2\n$1\na\n*1\n$1\n2", 1, &["l lpop a", "g del a"]);
    }

    #[test]
    fn what_is_there_is_moved_at_once() {
        let mut bench = Bench::new();
        bench.run("RPUSH s 1 2 3");
        bench.check_changes("BLMOVE s d LEFT RIGHT 0", "$1\n1", 1, &["l rpush d", "l lpop s"]);
        bench.check_changes("BRPOPLPUSH s d 0", "$1\n3", 1, &["l lpush d", "l rpop s"]);
        bench.check("LRANGE d 0 -1", "*2\n$1\n3\n$1\n1");
    }

    #[test]
    fn what_finds_nothing_waits() {
        let mut bench = Bench::new();
        bench.check("BLPOP a b 0", "waits for a b");
        bench.check("BRPOP a 1.5", "waits for a, 1500 ms");
        bench.check("BLMPOP 0.01 2 a b LEFT COUNT 3", "waits for a b, 10 ms");
        bench.check("BLMOVE a b LEFT RIGHT 0", "waits for a");
        bench.check("BRPOPLPUSH a b 1", "waits for a, 1000 ms");
        bench.run("SET b x");
        bench.check("BRPOPLPUSH a b 0", "waits for a");
    }

    #[test]
    fn where_nobody_waits_the_answer_is_null() {
        let mut bench = Bench::new();
        bench.may_wait = false;
        bench.check("BLPOP a b 0", "*-1");
        bench.check("BRPOP a 1", "*-1");
        bench.check("BLMPOP 0 2 a b LEFT", "*-1");
        bench.check("BLMOVE a b LEFT RIGHT 0", "$-1");
        bench.check("BRPOPLPUSH a b 0", "$-1");
    }

    #[test]
    fn arguments_and_types_are_checked() {
        let mut bench = Bench::new();
        bench.run("SET s x");
        bench.run("RPUSH l 1");
        for line in ["BLPOP s l 0", "BRPOP none s 0", "BLMPOP 0 1 s LEFT", "BLMOVE s l LEFT LEFT 0"] {
            bench.check(line, WRONG_TYPE);
        }
        for line in ["BLMOVE l s LEFT LEFT 0", "BRPOPLPUSH l s 0", "BRPOPLPUSH s l 0"] {
            bench.check_changes(line, WRONG_TYPE, 0, &[]);
        }
        let timeout = "-ERR timeout is not a float or out of range";
        for line in
            ["BLPOP s x", "BRPOP l x", "BLMPOP x 1 l LEFT", "BLMOVE l d LEFT LEFT x", "BRPOPLPUSH l d x"]
        {
            bench.check(line, timeout);
        }
        bench.check("BLPOP l -1", "-ERR timeout is negative");
        bench.check("BLMOVE l d LEFT UP x", "-ERR syntax error");
        bench.check("BLMPOP x 1 l UP", "-ERR syntax error");
        bench.check("BLMPOP x 0 l LEFT", "-ERR numkeys should be greater than 0");
        bench.check("LLEN l", ":1");
    }
}
