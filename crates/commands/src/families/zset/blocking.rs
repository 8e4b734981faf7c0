//! Sorted sets that commands wait for: BZPOPMIN, BZPOPMAX and BZMPOP. How they wait is in [`crate::Wait`].

use torc_datatypes::Kind;
use torc_resp::{Args, CommandError, Reply};

use super::Show;
use super::pop::{End, MultiPop, pop};
use crate::{
    Access, Arity, Command, Context, Docs, Flags, Group, Handler, KeySpec, Run, Spec, Wait,
    timeout_in_seconds,
};

const KEYS: &[KeySpec] = &[KeySpec::range(1, -2, 1, Access::RW_ACCESS_DELETE)];

const DOUBLE_TIMEOUT: &[(&str, &str)] = &[("6.0.0", "The `timeout` may have a fraction.")];

const fn pop_command(name: &'static str, docs: &'static Docs, handler: Handler) -> Command {
    Command {
        spec: Spec {
            name,
            arity: Arity::at_least(3),
            flags: Flags::WRITE.and(Flags::FAST).and(Flags::BLOCKING),
            keys: KEYS,
            docs,
            ..Spec::DEFAULT
        },
        run: Run::MayWait { handler, waits: |_| true },
        subcommands: &[],
    }
}

pub(super) const BZPOPMIN: Command = pop_command(
    "bzpopmin",
    &Docs {
        syntax: "BZPOPMIN key [key ...] timeout:double",
        summary: "Takes the member with the lowest score out of the first of several sorted sets that is not empty, and \
                  returns it with its key; waits for one if there is none.",
        since: "5.0.0",
        complexity: "O(log(N)) where N is the number of members in the sorted set",
        group: Group::SortedSet,
        history: DOUBLE_TIMEOUT,
        ..Docs::DEFAULT
    },
    |cx, args, reply| pop_first(cx, args, reply, End::Min),
);

pub(super) const BZPOPMAX: Command = pop_command(
    "bzpopmax",
    &Docs {
        syntax: "BZPOPMAX key [key ...] timeout:double",
        summary: "Takes the member with the highest score out of the first of several sorted sets that is not empty, and \
                  returns it with its key; waits for one if there is none.",
        since: "5.0.0",
        complexity: "O(log(N)) where N is the number of members in the sorted set",
        group: Group::SortedSet,
        history: DOUBLE_TIMEOUT,
        ..Docs::DEFAULT
    },
    |cx, args, reply| pop_first(cx, args, reply, End::Max),
);

fn pop_first(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
    end: End,
) -> Result<(), CommandError> {
    let last = args.len() - 1;
    let timeout_ms = timeout_in_seconds(args, last, cx.now_ms)?;
    for key in args.range(1..last).iter() {
        let popped = pop(cx, key, end, 1, Show::InLine, reply, |reply| {
            reply.array(3);
            reply.bulk(key);
        })?;
        if popped {
            return Ok(());
        }
    }
    if !cx.wait(Wait::new(1..last, Kind::ZSet, timeout_ms)) {
        reply.null_array();
    }
    Ok(())
}

pub(super) const BZMPOP: Command = Command {
    spec: Spec {
        name: "bzmpop",
        arity: Arity::at_least(5),
        flags: Flags::WRITE.and(Flags::BLOCKING),
        keys: &[KeySpec::counted(2, Access::RW_ACCESS_DELETE)],
        docs: &Docs {
            syntax: "BZMPOP timeout:double numkeys:int key [key ...] (MIN | MAX) [COUNT count:int]",
            summary: "Takes the members with the lowest or highest scores out of the first of several sorted sets that \
                      is not empty, and returns them with its key; waits for one if there is none.",
            since: "7.0.0",
            complexity: "O(K)+O(M*log(N)) where K is the number of keys, N the number of members in the sorted set and \
                         M the number of members taken out",
            group: Group::SortedSet,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::MayWait { handler: bzmpop, waits: |_| true },
    subcommands: &[],
};

fn bzmpop(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    const FIRST: usize = 3;
    let query = MultiPop::parse(args.from(FIRST - 1))?;
    let timeout_ms = timeout_in_seconds(args, 1, cx.now_ms)?;
    for key in query.keys.iter() {
        if query.pop(cx, key, reply)? {
            return Ok(());
        }
    }
    if !cx.wait(Wait::new(FIRST..FIRST + query.keys.len(), Kind::ZSet, timeout_ms)) {
        reply.null_array();
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
        bench.run("ZADD a 1 x 2 y 3 z");
        bench.run("ZADD b 1.5 x");
        let lowest = "*3\n$1\na\n$1\nx\n";
        bench.check_both("BZPOPMIN none a b 0", &format!("{lowest}$1\n1"), &format!("{lowest},1"));
        let highest = "*3\n$1\nb\n$1\nx\n";
        bench.check_both("BZPOPMAX b a 0", &format!("{highest}$3\n1.5"), &format!("{highest},1.5"));
        bench.check("EXISTS b", ":0");
        bench.check_both(
            "BZMPOP 0 2 b a MAX COUNT 5",
            "*2\n$1\na\n*2\n*2\n$1\nz\n$1\n3\n*2\n$1\ny\n$1\n2",
            "*2\n$1\na\n*2\n*2\n$1\nz\n,3\n*2\n$1\ny\n,2",
        );
    }

    #[test]
    fn what_finds_nothing_waits_or_is_null() {
        let mut bench = Bench::new();
        bench.check("BZPOPMIN a b 0", "waits for a b");
        bench.check("BZPOPMAX a 0.5", "waits for a, 500 ms");
        bench.check("BZMPOP 1 2 a b MIN", "waits for a b, 1000 ms");
        bench.may_wait = false;
        for line in ["BZPOPMIN a b 0", "BZPOPMAX a 0.5", "BZMPOP 1 2 a b MIN"] {
            bench.check(line, "*-1");
        }
    }

    #[test]
    fn arguments_and_types_are_checked() {
        let mut bench = Bench::new();
        bench.run("SET s x");
        bench.run("ZADD z 1 a");
        for line in ["BZPOPMIN s z 0", "BZPOPMAX none s 0", "BZMPOP 0 1 s MIN"] {
            bench.check_changes(line, WRONG_TYPE, 0, &[]);
        }
        bench.check("BZPOPMIN s x", "-ERR timeout is not a float or out of range");
        bench.check("BZPOPMAX z -1", "-ERR timeout is negative");
        bench.check("BZMPOP x 1 z MID", "-ERR syntax error");
        bench.check("BZMPOP x 1 z MIN", "-ERR timeout is not a float or out of range");
        bench.check("BZMPOP 0 0 z MIN", "-ERR numkeys should be greater than 0");
    }
}
