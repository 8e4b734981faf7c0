//! KEYS, RANDOMKEY and DBSIZE: what a database holds.
//!
//! Each runs on every shard; the folds below make one reply of the parts.

use torc_datatypes::glob::glob_match;
use torc_resp::{Args, CommandError, Mark, Proto, Reply, ReplyBuf, number};

use crate::{
    Arity, Command, Context, Docs, Flags, Group, Run, Spec,
    families::generic::{KEYSPACE, KEYSPACE_DANGEROUS},
};

/// KEYS
pub const KEYS: Command = Command {
    spec: Spec {
        name: "keys",
        arity: Arity::exactly(2),
        flags: Flags::READONLY,
        keys: &[],
        categories: KEYSPACE_DANGEROUS,
        tips: &["request_policy:all_shards", "nondeterministic_output_order"],
        docs: &Docs {
            syntax: "KEYS pattern:pattern",
            summary: "Replies the names of all keys that match a glob pattern. Looks at every key: prefer SCAN.",
            since: "1.0.0",
            complexity: "O(N) with N the number of keys in the database.",
            group: Group::Generic,
            ..Docs::DEFAULT
        },
    },
    run: Run::EveryShard { handler: keys, fold: fold_arrays, writes: false },
    subcommands: &[],
};

fn keys(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let pattern = args.get(1);
    let matches_all = pattern == b"*";
    let names = reply.deferred_array();
    let mut count = 0;
    cx.keyspace.for_each(cx.db, cx.now_ms, cx.changes, |entry| {
        if matches_all || glob_match(pattern, entry.key(), false) {
            reply.bulk(entry.key());
            count += 1;
        }
    });
    reply.finish(names, count);
    Ok(())
}

/// One array with the elements of all parts.
fn fold_arrays(parts: &[ReplyBuf], _rng: u64, proto: Proto, out: &mut ReplyBuf) {
    let Some(arrays) = parts.iter().map(array_header).collect::<Option<Vec<_>>>() else {
        return fold_first_error(parts, out);
    };
    Reply::new(out, proto).array(arrays.iter().map(|(count, _)| count).sum());
    for (part, (_, elements)) in parts.iter().zip(arrays) {
        out.copy_range(part, elements, part.mark());
    }
}

/// The count in `*<count>\r\n`, and where the elements start.
fn array_header(part: &ReplyBuf) -> Option<(usize, Mark)> {
    let (count, elements) = header(part, Mark::default(), b'*')?;
    Some((usize::try_from(count).ok()?, elements))
}

/// The number in the line at `mark`, which has that prefix, and the place behind the line.
pub(super) fn header(part: &ReplyBuf, mark: Mark, prefix: u8) -> Option<(i64, Mark)> {
    let (line, behind) = part.line_at(mark)?;
    Some((number::parse_i64(line.strip_prefix(&[prefix])?)?, behind))
}

/// DBSIZE
pub const DBSIZE: Command = Command {
    spec: Spec {
        name: "dbsize",
        arity: Arity::exactly(1),
        flags: Flags::READONLY.and(Flags::FAST),
        keys: &[],
        categories: KEYSPACE,
        tips: &["request_policy:all_shards", "response_policy:agg_sum"],
        docs: &Docs {
            syntax: "DBSIZE",
            summary: "Replies how many keys the database has.",
            since: "1.0.0",
            complexity: "O(1)",
            group: Group::Server,
            ..Docs::DEFAULT
        },
    },
    run: Run::EveryShard { handler: dbsize, fold: fold_sum, writes: false },
    subcommands: &[],
};

fn dbsize(cx: &mut Context<'_>, _args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    reply.int(cx.keyspace.len(cx.db) as i64);
    Ok(())
}

fn fold_sum(parts: &[ReplyBuf], _rng: u64, proto: Proto, out: &mut ReplyBuf) {
    let numbers = parts.iter().map(|part| header(part, Mark::default(), b':').map(|(number, _)| number));
    match numbers.sum::<Option<i64>>() {
        Some(sum) => Reply::new(out, proto).int(sum),
        None => fold_first_error(parts, out),
    }
}

/// RANDOMKEY
pub const RANDOMKEY: Command = Command {
    spec: Spec {
        name: "randomkey",
        arity: Arity::exactly(1),
        flags: Flags::READONLY.and(Flags::TOUCHES_ARBITRARY_KEYS),
        keys: &[],
        categories: KEYSPACE,
        tips: &["request_policy:all_shards", "response_policy:special", "nondeterministic_output"],
        docs: &Docs {
            syntax: "RANDOMKEY",
            summary: "Replies the name of a key drawn at random; nothing if the database is empty.",
            since: "1.0.0",
            complexity: "O(1)",
            group: Group::Generic,
            ..Docs::DEFAULT
        },
    },
    run: Run::EveryShard { handler: randomkey, fold: fold_random, writes: false },
    subcommands: &[],
};

/// A part: how many keys this shard has, and one of them.
fn randomkey(cx: &mut Context<'_>, _args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let drawn = cx.keyspace.random_key(cx.db, cx.now_ms, cx.rng, cx.changes);
    let drawn: Option<Box<[u8]>> = drawn.map(|entry| entry.key().into());
    reply.int(cx.keyspace.len(cx.db) as i64);
    match drawn {
        Some(key) => reply.bulk(&key),
        None => reply.null(),
    }
    Ok(())
}

/// The candidate of one part; a part's chance is its share of all keys.
fn fold_random(parts: &[ReplyBuf], rng: u64, proto: Proto, out: &mut ReplyBuf) {
    let Some(sizes) =
        parts.iter().map(|part| header(part, Mark::default(), b':')).collect::<Option<Vec<_>>>()
    else {
        return fold_first_error(parts, out);
    };
    let total: i64 = sizes.iter().map(|(size, _)| size).sum();
    let mut place = ((u128::from(rng) * total as u128) >> u64::BITS) as i64;
    for (part, (size, candidate)) in parts.iter().zip(sizes) {
        if place < size {
            return out.copy_range(part, candidate, part.mark());
        }
        place -= size;
    }
    Reply::new(out, proto).null();
}

/// All parts answered `+OK`; otherwise the first error.
pub(super) fn fold_ok(parts: &[ReplyBuf], _rng: u64, proto: Proto, out: &mut ReplyBuf) {
    if parts.iter().any(|part| part.bytes().first() == Some(&b'-')) {
        return fold_first_error(parts, out);
    }
    Reply::new(out, proto).ok();
}

fn fold_first_error(parts: &[ReplyBuf], out: &mut ReplyBuf) {
    let error = parts.iter().find(|part| part.bytes().first() == Some(&b'-'));
    out.append(error.expect("a part that is no result is an error"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Bench;

    #[test]
    fn keys_match_patterns() {
        let mut bench = Bench::new();
        bench.check("KEYS *", "*0");
        bench.run("MSET foo 1 bar 2 gone 3");
        bench.run("PEXPIRE gone 1");
        bench.now_ms += 2;
        bench.check("KEYS f*", "*1\n$3\nfoo");
        bench.check("KEYS b[^x-z]?", "*1\n$3\nbar");
        bench.check("KEYS bar", "*1\n$3\nbar");
        bench.check("KEYS g*", "*0");
        let [all, _] = bench.run("KEYS *");
        assert!(all == "*2\n$3\nfoo\n$3\nbar" || all == "*2\n$3\nbar\n$3\nfoo", "{all}");
    }

    #[test]
    fn size_and_random_key() {
        let mut bench = Bench::new();
        bench.check("DBSIZE", ":0");
        bench.check("RANDOMKEY", "$-1");
        bench.run("MSET foo 1 gone 3");
        bench.check("DBSIZE", ":2");
        bench.run("PEXPIRE gone 1");
        bench.now_ms += 2;
        for _ in 0..20 {
            bench.check("RANDOMKEY", "$3\nfoo");
        }
        bench.check("DBSIZE", ":1");
        bench.run("PEXPIRE foo 1");
        bench.now_ms += 2;
        bench.check("RANDOMKEY", "$-1");
        bench.check("DBSIZE", ":0");
    }

    fn folded(fold: crate::FoldFn, rng: u64, parts: &[&str]) -> String {
        let part = |text: &&str| {
            let mut part = ReplyBuf::new();
            Reply::new(&mut part, Proto::Resp2).raw(text.as_bytes());
            part
        };
        let parts: Vec<ReplyBuf> = parts.iter().map(part).collect();
        let mut out = ReplyBuf::new();
        fold(&parts, rng, Proto::Resp2, &mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn parts_of_several_shards_become_one_reply() {
        const ERROR: &str = "-ERR no\r\n";
        let one = "*1\r\n$1\r\na\r\n";
        let two = "*2\r\n$2\r\nbb\r\n$1\r\nc\r\n";
        let all = "*3\r\n$1\r\na\r\n$2\r\nbb\r\n$1\r\nc\r\n";
        assert_eq!(folded(fold_arrays, 0, &[one, "*0\r\n", two]), all);
        assert_eq!(folded(fold_arrays, 0, &[one, ERROR]), ERROR);
        assert_eq!(folded(fold_sum, 0, &[":2\r\n", ":0\r\n", ":40\r\n"]), ":42\r\n");
        assert_eq!(folded(fold_sum, 0, &[":2\r\n", ERROR]), ERROR);
        assert_eq!(folded(fold_ok, 0, &["+OK\r\n", "+OK\r\n"]), "+OK\r\n");
        assert_eq!(folded(fold_ok, 0, &["+OK\r\n", ERROR]), ERROR);
    }

    #[test]
    fn a_big_key_is_shared_not_copied_into_the_fold() {
        let blob = bytes::Bytes::from(vec![b'k'; torc_resp::BIG_BYTES]);
        let part = || {
            let mut part = ReplyBuf::new();
            let mut reply = Reply::new(&mut part, Proto::Resp2);
            reply.array(2);
            reply.bulk_bytes(&blob);
            reply.bulk(b"x");
            part
        };
        let mut out = ReplyBuf::new();
        fold_arrays(&[part(), part()], 0, Proto::Resp2, &mut out);
        assert!(out.contiguous().is_none());
        assert_eq!(out.len(), b"*4\r\n".len() + 2 * (part().len() - b"*2\r\n".len()));
    }

    #[test]
    fn the_chance_of_a_part_is_its_share() {
        let parts = [":1\r\n$1\r\na\r\n", ":0\r\n$-1\r\n", ":3\r\n$1\r\nb\r\n"];
        let mut drawn_a = 0;
        for step in 0..400u64 {
            let key = folded(fold_random, step * (u64::MAX / 400), &parts);
            drawn_a += u32::from(key == "$1\r\na\r\n");
            assert_ne!(key, "$-1\r\n");
        }
        assert!((99..=101).contains(&drawn_a), "{drawn_a}");
        assert_eq!(folded(fold_random, u64::MAX, &parts), "$1\r\nb\r\n");
        assert_eq!(folded(fold_random, 7, &[":0\r\n$-1\r\n"; 3]), "$-1\r\n");
    }
}
