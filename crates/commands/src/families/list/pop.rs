//! LPOP, RPOP and LMPOP.

use torc_datatypes::List;
use torc_datatypes::list::{End, NodeLimits};
use torc_datatypes::value::IntText;
use torc_resp::number::parse_i64;
use torc_resp::{Args, CommandError, Reply};

use super::{change, end, limits, list_at, pop_event, pop_word, removed};
use crate::families::string::write_string;
use crate::{Access, Arity, Command, Context, Docs, Flags, Group, Handler, KeySpec, Run, Spec};

const KEYS: &[KeySpec] = &[KeySpec::at(1, Access::RW_ACCESS_DELETE)];

const fn pop_command(name: &'static str, docs: &'static Docs, handler: Handler) -> Command {
    Command {
        spec: Spec {
            name,
            arity: Arity::at_least(2),
            flags: Flags::WRITE.and(Flags::FAST),
            keys: KEYS,
            docs,
            ..Spec::DEFAULT
        },
        run: Run::OnShard(handler),
        subcommands: &[],
    }
}

pub(super) const LPOP: Command = pop_command(
    "lpop",
    &Docs {
        syntax: "LPOP key [count:int]",
        summary: "Removes and returns elements at the front of a list. A list without elements goes away.",
        since: "1.0.0",
        complexity: "O(N) where N is the number of elements returned",
        group: Group::List,
        history: &[("6.2.0", "Takes a `count`.")],
        ..Docs::DEFAULT
    },
    |cx, args, reply| pop(cx, args, reply, End::Front, "lpop"),
);

pub(super) const RPOP: Command = pop_command(
    "rpop",
    &Docs {
        syntax: "RPOP key [count:int]",
        summary: "Removes and returns elements at the back of a list. A list without elements goes away.",
        since: "1.0.0",
        complexity: "O(N) where N is the number of elements returned",
        group: Group::List,
        history: &[("6.2.0", "Takes a `count`.")],
        ..Docs::DEFAULT
    },
    |cx, args, reply| pop(cx, args, reply, End::Back, "rpop"),
);

fn pop(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
    end: End,
    name: &'static str,
) -> Result<(), CommandError> {
    match args.len() {
        2 => pop_one(cx, args.get(1), reply, end),
        3 => {
            let count = parse_i64(args.get(2)).and_then(|count| usize::try_from(count).ok());
            let count = count.ok_or(CommandError::NotPositive)?;
            pop_many(cx, args.get(1), reply, end, count)
        }
        _ => Err(CommandError::WrongArity(name)),
    }
}

fn pop_one(cx: &mut Context<'_>, key: &[u8], reply: &mut Reply<'_>, end: End) -> Result<(), CommandError> {
    let limits = limits(cx);
    let mut at = cx.at(key, cx.writing());
    let is_empty = change(&mut at, |list| {
        write_string(reply, list.peek(end).expect("no list is empty"));
        // The last one goes with the key.
        let is_last = list.len() == 1;
        if !is_last {
            list.drop_end(end, limits);
        }
        is_last
    })?;
    match is_empty {
        Some(is_empty) => removed(&mut at, pop_event(end), 1, is_empty),
        None => reply.null(),
    }
    Ok(())
}

fn pop_many(
    cx: &mut Context<'_>,
    key: &[u8],
    reply: &mut Reply<'_>,
    end: End,
    count: usize,
) -> Result<(), CommandError> {
    let limits = limits(cx);
    let mut at = cx.at(key, cx.writing());
    match list_at(at.entry())? {
        None => reply.null_array(),
        Some(_) if count == 0 => reply.array(0),
        Some(_) => {
            let popped = change(&mut at, |list| take(list, reply, end, count, limits))?;
            let (count, is_empty) = popped.expect("the list is there");
            removed(&mut at, pop_event(end), count, is_empty);
        }
    }
    Ok(())
}

/// Replies up to `count` elements from an end on, and removes them. Returns how many, and whether the list is empty now.
fn take(list: &mut List, reply: &mut Reply<'_>, end: End, count: usize, limits: NodeLimits) -> (usize, bool) {
    let len = list.len();
    let count = count.min(len);
    let (start, first) = match end {
        End::Front => (0, 0),
        End::Back => (len - 1, len - count),
    };
    reply.array(count);
    list.elements(start, count, end).for_each(|element| write_string(reply, element));
    list.remove_range(first, count, limits);
    (count, count == len)
}

pub(super) const LMPOP: Command = Command {
    spec: Spec {
        name: "lmpop",
        arity: Arity::at_least(4),
        flags: Flags::WRITE,
        keys: &[KeySpec::counted(1, Access::RW_ACCESS_DELETE)],
        docs: &Docs {
            syntax: "LMPOP numkeys:int key [key ...] (LEFT | RIGHT) [COUNT count:int]",
            summary: "Removes and returns elements at an end of the first of several lists that exists.",
            since: "7.0.0",
            complexity: "O(N+M) where N is the number of keys and M the number of elements returned",
            group: Group::List,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(lmpop),
    subcommands: &[],
};

fn lmpop(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let MultiPop { keys, end, count } = MultiPop::parse(args, 1)?;
    for key in keys.iter() {
        if pop_with_key(cx, key, reply, end, count)? {
            return Ok(());
        }
    }
    reply.null_array();
    Ok(())
}

/// What LMPOP pops: its arguments from the number of keys on.
pub(super) struct MultiPop<'a> {
    pub(super) keys: Args<'a>,
    pub(super) end: End,
    pub(super) count: usize,
}

impl<'a> MultiPop<'a> {
    pub(super) fn parse(args: Args<'a>, numkeys_at: usize) -> Result<MultiPop<'a>, CommandError> {
        const NUMKEYS: CommandError = CommandError::Text("ERR numkeys should be greater than 0");
        const COUNT: CommandError = CommandError::Text("ERR count should be greater than 0");
        let positive = |index: usize| parse_i64(args.get(index)).filter(|int| *int > 0);
        let numkeys = positive(numkeys_at).ok_or(NUMKEYS)? as usize;
        let first = numkeys_at + 1;
        let end_at = first.checked_add(numkeys).filter(|end_at| *end_at < args.len());
        let end_at = end_at.ok_or(CommandError::Syntax)?;
        let end = end(args, end_at)?;
        let (mut count, mut index) = (None, end_at + 1);
        while index < args.len() {
            if count.is_some() || !args.is(index, b"COUNT") || index + 1 == args.len() {
                return Err(CommandError::Syntax);
            }
            count = Some(positive(index + 1).ok_or(COUNT)? as usize);
            index += 2;
        }
        Ok(MultiPop { keys: args.range(first..end_at), end, count: count.unwrap_or(1) })
    }
}

/// Replies a key and one element, and removes that; false if there is no list.
pub(super) fn pop_one_with_key(
    cx: &mut Context<'_>,
    key: &[u8],
    reply: &mut Reply<'_>,
    end: End,
) -> Result<bool, CommandError> {
    let limits = limits(cx);
    let mut at = cx.at(key, cx.writing());
    let is_empty = change(&mut at, |list| {
        reply.array(2);
        reply.bulk(key);
        write_string(reply, list.peek(end).expect("no list is empty"));
        list.drop_end(end, limits);
        list.is_empty()
    })?;
    if let Some(is_empty) = is_empty {
        at.tell(&[pop_word(end), key]);
        removed(&mut at, pop_event(end), 1, is_empty);
    }
    Ok(is_empty.is_some())
}

/// Replies a key and up to `count` elements, and removes them; false if there is no list.
pub(super) fn pop_with_key(
    cx: &mut Context<'_>,
    key: &[u8],
    reply: &mut Reply<'_>,
    end: End,
    count: usize,
) -> Result<bool, CommandError> {
    let limits = limits(cx);
    let mut at = cx.at(key, cx.writing());
    let popped = change(&mut at, |list| {
        reply.array(2);
        reply.bulk(key);
        take(list, reply, end, count, limits)
    })?;
    if let Some((count, is_empty)) = popped {
        at.tell(&[pop_word(end), key, IntText::new().format(count as i64).as_bytes()]);
        removed(&mut at, pop_event(end), count, is_empty);
    }
    Ok(popped.is_some())
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    #[test]
    fn pops_from_both_ends() {
        let mut bench = Bench::new();
        bench.check("LPOP k", "$-1");
        bench.run("RPUSH k a 2 c");
        bench.check_changes("LPOP k", "$1\na", 1, &["l lpop k"]);
        bench.check_changes("RPOP k", "$1\nc", 1, &["l rpop k"]);
        bench.check_changes("RPOP k", "$1\n2", 1, &["l rpop k", "g del k"]);
        bench.check("EXISTS k", ":0");
        bench.run("SET s v");
        bench.check("LPOP s", "-WRONGTYPE Operation against a key holding the wrong kind of value");
    }

    #[test]
    fn pops_several() {
        let mut bench = Bench::new();
        bench.check("LPOP k 1", "*-1");
        bench.check("LPOP k 0", "*-1");
        bench.run("RPUSH k a b c d e");
        bench.check_changes("LPOP k 0", "*0", 0, &[]);
        bench.check_changes("LPOP k 2", "*2\n$1\na\n$1\nb", 2, &["l lpop k"]);
        bench.check_changes("RPOP k 2", "*2\n$1\ne\n$1\nd", 2, &["l rpop k"]);
        bench.check_changes("RPOP k 9223372036854775807", "*1\n$1\nc", 1, &["l rpop k", "g del k"]);
        bench.check("LPOP k -1", "-ERR value is out of range, must be positive");
        bench.check("LPOP k x", "-ERR value is out of range, must be positive");
        bench.check("LPOP k 1 2", "-ERR wrong number of arguments for 'lpop' command");
        bench.check("RPOP k 1 2", "-ERR wrong number of arguments for 'rpop' command");
        bench.run("SET s v");
        bench.check("RPOP s 0", "-WRONGTYPE Operation against a key holding the wrong kind of value");
    }

    #[test]
    fn lmpop_takes_the_first_list_there_is() {
        let mut bench = Bench::new();
        bench.check("LMPOP 2 a b LEFT", "*-1");
        bench.run("RPUSH b 1 2 3");
        bench.run("RPUSH c 4");
        bench.check_changes("LMPOP 3 a b c left", "*2\n$1\nb\n*1\n$1\n1", 1, &["l lpop b"]);
        bench.check_changes(
            "LMPOP 3 a b c RIGHT COUNT 5",
            "*2\n$1\nb\n*2\n$1\n3\n$1\n2",
            2,
            &["l rpop b", "g del b"],
        );
        bench.run("SET s v");
        let wrong = "-WRONGTYPE Operation against a key holding the wrong kind of value";
        bench.check("LMPOP 2 s c LEFT", wrong);
        bench.check("LMPOP 2 c s LEFT", "*2\n$1\nc\n*1\n$1\n4");
    }

    #[test]
    fn lmpop_errors() {
        let mut bench = Bench::new();
        for numkeys in ["0", "-1", "x", "9223372036854775808"] {
            bench.check(&format!("LMPOP {numkeys} k LEFT"), "-ERR numkeys should be greater than 0");
        }
        for line in [
            "2 k LEFT",
            "1 k UP",
            "1 k LEFT COUNT",
            "1 k LEFT x",
            "1 k LEFT COUNT 1 COUNT 2",
            "9223372036854775807 k LEFT",
        ] {
            bench.check(&format!("LMPOP {line}"), "-ERR syntax error");
        }
        for count in ["0", "-1", "x"] {
            bench.check(&format!("LMPOP 1 k LEFT COUNT {count}"), "-ERR count should be greater than 0");
        }
    }
}
