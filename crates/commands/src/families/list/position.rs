//! LPOS: where elements stand.

use torc_datatypes::list::{End, Needle};
use torc_resp::number::parse_i64;
use torc_resp::{Args, CommandError, Reply};

use super::{list_at, negatable};
use crate::{Access, Arity, Command, Context, Docs, Flags, Group, KeySpec, Run, Spec};

pub(super) const LPOS: Command = Command {
    spec: Spec {
        name: "lpos",
        arity: Arity::at_least(3),
        flags: Flags::READONLY,
        keys: &[KeySpec::at(1, Access::RO_ACCESS)],
        docs: &Docs {
            syntax: "LPOS key element [RANK rank:int] [COUNT num-matches:int] [MAXLEN len:int]",
            summary: "Returns the indices of the elements of a list that equal this one.",
            since: "6.0.6",
            complexity: "O(N) where N is the number of elements compared",
            group: Group::List,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(lpos),
    subcommands: &[],
};

/// LPOS's options.
struct Options {
    from: End,
    /// Matches to pass over.
    skipped: usize,
    /// Matches to return, as an array; without it one, as an integer.
    count: Option<usize>,
    /// Elements to compare.
    elements_max: usize,
}

impl Options {
    fn parse(args: Args<'_>) -> Result<Options, CommandError> {
        const RANK: CommandError = CommandError::Text(
            "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use negative to \
             start from the end of the list",
        );
        const COUNT: CommandError = CommandError::Text("ERR COUNT can't be negative");
        const MAXLEN: CommandError = CommandError::Text("ERR MAXLEN can't be negative");
        // For both, 0 means no limit.
        let limit = |index: usize, error: CommandError| match parse_i64(args.get(index)) {
            Some(0) => Ok(usize::MAX),
            Some(limit) if limit > 0 => Ok(limit as usize),
            _ => Err(error),
        };
        let mut options = Options { from: End::Front, skipped: 0, count: None, elements_max: usize::MAX };
        for index in (3..args.len()).step_by(2) {
            let value = index + 1;
            if value == args.len() {
                return Err(CommandError::Syntax);
            } else if args.is(index, b"RANK") {
                let rank = negatable(args, value)?;
                options.from = if rank < 0 { End::Back } else { End::Front };
                options.skipped = (rank.unsigned_abs() as usize).checked_sub(1).ok_or(RANK)?;
            } else if args.is(index, b"COUNT") {
                options.count = Some(limit(value, COUNT)?);
            } else if args.is(index, b"MAXLEN") {
                options.elements_max = limit(value, MAXLEN)?;
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok(options)
    }
}

fn lpos(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let Options { from, skipped, count, elements_max } = Options::parse(args)?;
    let Some(list) = list_at(cx.read(args.get(1)))? else {
        if count.is_some() {
            reply.array(0)
        } else {
            reply.null()
        }
        return Ok(());
    };
    let len = list.len();
    let needle = Needle::new(args.get(2));
    let start = if from == End::Front { 0 } else { len - 1 };
    let mut matches = list
        .elements(start, len.min(elements_max), from)
        .enumerate()
        .filter(|(_, element)| needle.equals(*element))
        .map(|(passed, _)| if from == End::Front { passed } else { len - 1 - passed })
        .skip(skipped);
    match count {
        None => match matches.next() {
            Some(index) => reply.int(index as i64),
            None => reply.null(),
        },
        Some(count) => {
            let array = reply.deferred_array();
            let found = matches.take(count).map(|index| reply.int(index as i64)).count();
            reply.finish(array, found);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    #[test]
    fn finds_positions() {
        let mut bench = Bench::new();
        bench.check("LPOS k c", "$-1");
        bench.check("LPOS k c COUNT 0", "*0");
        bench.run("RPUSH k a b c 1 2 3 c c");
        for (line, expected) in [
            ("c", ":2"),
            ("3", ":5"),
            ("none", "$-1"),
            ("c RANK 2", ":6"),
            ("c RANK 4", "$-1"),
            ("c RANK -1", ":7"),
            ("c rank -3", ":2"),
            ("c COUNT 2", "*2\n:2\n:6"),
            ("c COUNT 0 RANK -1", "*3\n:7\n:6\n:2"),
            ("c COUNT 1 RANK 2", "*1\n:6"),
            ("none COUNT 1", "*0"),
            ("c MAXLEN 2", "$-1"),
            ("c MAXLEN 3", ":2"),
            ("c MAXLEN 0 COUNT 9", "*3\n:2\n:6\n:7"),
            ("c MAXLEN 2 RANK -1 COUNT 0", "*2\n:7\n:6"),
            ("c RANK 9223372036854775807", "$-1"),
            ("c RANK 1 RANK 2", ":6"),
        ] {
            bench.check(&format!("LPOS k {line}"), expected);
        }
    }

    #[test]
    fn refuses() {
        let mut bench = Bench::new();
        bench.run("SET s v");
        bench.check("LPOS s v", "-WRONGTYPE Operation against a key holding the wrong kind of value");
        let range =
            "-ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807";
        for (options, expected) in [
            ("RANK", "-ERR syntax error"),
            ("FOO 1", "-ERR syntax error"),
            ("RANK 1 COUNT", "-ERR syntax error"),
            (
                "RANK 0",
                "-ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use negative \
                 to start from the end of the list",
            ),
            ("RANK x", "-ERR value is not an integer or out of range"),
            ("RANK -9223372036854775808", range),
            ("COUNT -1", "-ERR COUNT can't be negative"),
            ("COUNT x", "-ERR COUNT can't be negative"),
            ("MAXLEN -1", "-ERR MAXLEN can't be negative"),
        ] {
            bench.check(&format!("LPOS s v {options}"), expected);
        }
    }
}
