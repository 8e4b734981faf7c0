//! LCS: what two strings have in common.

use bytes::Bytes;
use torc_datatypes::lcs::{self, Match};
use torc_resp::{Args, CommandError, Reply};

use crate::{Access, Arity, Command, Context, Docs, Flags, Group, KeySpec, Run, Spec};

pub(super) const LCS: Command = Command {
    spec: Spec {
        name: "lcs",
        arity: Arity::at_least(3),
        flags: Flags::READONLY,
        keys: &[KeySpec::range(1, 1, 1, Access::RO_ACCESS)],
        docs: &Docs {
            syntax: "LCS key1 key2 [LEN] [IDX] [MINMATCHLEN min-match-len:int] [WITHMATCHLEN]",
            summary: "Finds the longest common subsequence of the strings stored at two keys.",
            since: "7.0.0",
            complexity: "O(N*M) where N and M are the lengths of the strings",
            group: Group::String,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(lcs),
    subcommands: &[],
};

#[derive(Default)]
struct Options {
    len: bool,
    idx: bool,
    with_match_len: bool,
    match_len_min: i64,
}

impl Options {
    fn parse(args: Args<'_>) -> Result<Options, CommandError> {
        let mut options = Options::default();
        let mut index = 3;
        while index < args.len() {
            if args.is(index, b"LEN") {
                options.len = true;
            } else if args.is(index, b"IDX") {
                options.idx = true;
            } else if args.is(index, b"WITHMATCHLEN") {
                options.with_match_len = true;
            } else if args.is(index, b"MINMATCHLEN") && index + 1 < args.len() {
                index += 1;
                options.match_len_min = args.int(index)?;
            } else {
                return Err(CommandError::Syntax);
            }
            index += 1;
        }
        if options.len && options.idx {
            let text = "ERR If you want both the length and indexes, please just use IDX.";
            return Err(CommandError::Text(text));
        }
        Ok(options)
    }
}

fn lcs(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    // Redis looks at the keys before it reads the options.
    let (a, b) = (string_of_key(cx, args.get(1)), string_of_key(cx, args.get(2)));
    let (Some(a), Some(b)) = (a, b) else {
        return Err(CommandError::Text("ERR The specified keys must contain string values"));
    };
    let options = Options::parse(args)?;
    // The same bound for LEN, which needs no table, because it bounds the time too.
    if lcs::table_bytes(a.len(), b.len()) > cx.settings.max_string_bytes as u128 {
        let text = "ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len";
        return Err(CommandError::Text(text));
    }
    if options.len {
        reply.int(lcs::lcs_len(&a, &b) as i64);
        return Ok(());
    }
    let found = lcs::lcs(&a, &b);
    if !options.idx {
        reply.bulk(&found.bytes);
        return Ok(());
    }
    let is_long = |run: &&Match| run.len_bytes() as i64 >= options.match_len_min;
    reply.map(2);
    reply.bulk(b"matches");
    reply.array(found.matches.iter().filter(is_long).count());
    for run in found.matches.iter().filter(is_long) {
        reply.array(2 + usize::from(options.with_match_len));
        for (first, last) in [(run.a_first, run.a_last), (run.b_first, run.b_last)] {
            reply.array(2);
            reply.int(first as i64);
            reply.int(last as i64);
        }
        if options.with_match_len {
            reply.int(run.len_bytes() as i64);
        }
    }
    reply.bulk(b"len");
    reply.int(found.bytes.len() as i64);
    Ok(())
}

/// The string at a key, empty where there is none; `None` for other types.
fn string_of_key(cx: &mut Context<'_>, key: &[u8]) -> Option<Bytes> {
    match cx.read(key) {
        Some(entry) => Some(entry.str_ref()?.to_bytes()),
        None => Some(Bytes::new()),
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    #[test]
    fn finds_what_is_common() {
        let mut bench = Bench::new();
        bench.check("MSET a ohmytext b mynewtext", "+OK");
        bench.check("LCS a b", "$6\nmytext");
        bench.check("LCS a b LEN", ":6");
        bench.check("LCS a none", "$0\n");
        bench.check("LCS none a LEN", ":0");
        let runs = "*2\n*2\n*2\n:4\n:7\n*2\n:5\n:8\n*2\n*2\n:2\n:3\n*2\n:0\n:1";
        bench.check_both(
            "LCS a b IDX",
            &format!("*4\n$7\nmatches\n{runs}\n$3\nlen\n:6"),
            &format!("%2\n$7\nmatches\n{runs}\n$3\nlen\n:6"),
        );
        let long_run = "*1\n*3\n*2\n:4\n:7\n*2\n:5\n:8\n:4";
        bench.check_both(
            "LCS a b idx minmatchlen 4 withmatchlen",
            &format!("*4\n$7\nmatches\n{long_run}\n$3\nlen\n:6"),
            &format!("%2\n$7\nmatches\n{long_run}\n$3\nlen\n:6"),
        );
        let none = "\n$7\nmatches\n*0\n$3\nlen\n:0";
        bench.check_both("LCS a none IDX", &format!("*4{none}"), &format!("%2{none}"));
        bench.check("LCS a b WITHMATCHLEN MINMATCHLEN -5", "$6\nmytext");
    }

    #[test]
    fn errors() {
        let mut bench = Bench::new();
        bench.check("MSET a aaaa b bbbb", "+OK");
        bench.check("LCS a b LEN IDX", "-ERR If you want both the length and indexes, please just use IDX.");
        for options in ["foo", "MINMATCHLEN", "LEN IDX foo"] {
            bench.check(&format!("LCS a b {options}"), "-ERR syntax error");
        }
        bench.check("LCS a b MINMATCHLEN x", "-ERR value is not an integer or out of range");
        bench.settings.max_string_bytes = 99;
        let text = "-ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len";
        bench.check("LCS a b", text);
        bench.check("LCS a b LEN", text);
    }
}
