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
    let (count, header_bytes) = header(part.bytes(), b'*')?;
    Some((usize::try_from(count).ok()?, Mark::default().skip(header_bytes)))
}

/// The number in a line with that prefix, and the length of the line.
fn header(bytes: &[u8], prefix: u8) -> Option<(i64, usize)> {
    let end = bytes.iter().position(|&byte| byte == b'\r')?;
    let digits = bytes[..end].strip_prefix(&[prefix])?;
    Some((number::parse_i64(digits)?, end + 2))
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
    let numbers = parts.iter().map(|part| header(part.bytes(), b':').map(|(number, _)| number));
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
        flags: Flags::READONLY,
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
    let Some(sizes) = parts.iter().map(|part| header(part.bytes(), b':')).collect::<Option<Vec<_>>>() else {
        return fold_first_error(parts, out);
    };
    let total: i64 = sizes.iter().map(|(size, _)| size).sum();
    let mut place = ((u128::from(rng) * total as u128) >> u64::BITS) as i64;
    for (part, (size, line_bytes)) in parts.iter().zip(sizes) {
        if place < size {
            return out.copy_range(part, Mark::default().skip(line_bytes), part.mark());
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
