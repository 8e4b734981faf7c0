//! TTL, PTTL, EXPIRETIME and PEXPIRETIME: how long a key lives.

use torc_keyspace::Lookup;
use torc_resp::{Args, CommandError, Reply};

use crate::{
    Access, Arity, Command, Context, Docs, Flags, Group, KeySpec, Run, Spec, families::generic::KEYSPACE,
};

/// What the four commands reply for a key that does not exist.
const NO_KEY: i64 = -2;
/// And for one that does not expire.
const NO_EXPIRY: i64 = -1;

const HISTORY: &[(&str, &str)] = &[("2.8.0", "-2 tells a missing key from one that does not expire.")];

/// TTL
pub const TTL: Command = Command {
    spec: Spec {
        name: "ttl",
        arity: Arity::exactly(2),
        flags: Flags::READONLY.and(Flags::FAST),
        keys: &[KeySpec::at(1, Access::RO_ACCESS)],
        categories: KEYSPACE,
        tips: &["nondeterministic_output"],
        docs: &Docs {
            syntax: "TTL key",
            summary: "Replies how many seconds a key has left to live: -1 without an expiry, -2 without a key.",
            since: "1.0.0",
            complexity: "O(1)",
            group: Group::Generic,
            history: HISTORY,
            ..Docs::DEFAULT
        },
    },
    run: Run::OnShard(ttl),
    subcommands: &[],
};

fn ttl(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let now_ms = cx.now_ms;
    reply_expiry(cx, args, reply, |at| to_seconds((at - now_ms).max(0)));
    Ok(())
}

/// PTTL
pub const PTTL: Command = Command {
    spec: Spec {
        name: "pttl",
        arity: Arity::exactly(2),
        flags: Flags::READONLY.and(Flags::FAST),
        keys: &[KeySpec::at(1, Access::RO_ACCESS)],
        categories: KEYSPACE,
        tips: &["nondeterministic_output"],
        docs: &Docs {
            syntax: "PTTL key",
            summary: "Replies how many milliseconds a key has left to live: -1 without an expiry, -2 without a key.",
            since: "2.6.0",
            complexity: "O(1)",
            group: Group::Generic,
            history: HISTORY,
            ..Docs::DEFAULT
        },
    },
    run: Run::OnShard(pttl),
    subcommands: &[],
};

fn pttl(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let now_ms = cx.now_ms;
    reply_expiry(cx, args, reply, |at| (at - now_ms).max(0));
    Ok(())
}

/// EXPIRETIME
pub const EXPIRETIME: Command = Command {
    spec: Spec {
        name: "expiretime",
        arity: Arity::exactly(2),
        flags: Flags::READONLY.and(Flags::FAST),
        keys: &[KeySpec::at(1, Access::RO_ACCESS)],
        categories: KEYSPACE,
        tips: &[],
        docs: &Docs {
            syntax: "EXPIRETIME key",
            summary: "Replies the moment at which a key expires, in seconds of Unix time.",
            since: "7.0.0",
            complexity: "O(1)",
            group: Group::Generic,
            ..Docs::DEFAULT
        },
    },
    run: Run::OnShard(expiretime),
    subcommands: &[],
};

fn expiretime(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    reply_expiry(cx, args, reply, to_seconds);
    Ok(())
}

/// PEXPIRETIME
pub const PEXPIRETIME: Command = Command {
    spec: Spec {
        name: "pexpiretime",
        arity: Arity::exactly(2),
        flags: Flags::READONLY.and(Flags::FAST),
        keys: &[KeySpec::at(1, Access::RO_ACCESS)],
        categories: KEYSPACE,
        tips: &[],
        docs: &Docs {
            syntax: "PEXPIRETIME key",
            summary: "Replies the moment at which a key expires, in milliseconds of Unix time.",
            since: "7.0.0",
            complexity: "O(1)",
            group: Group::Generic,
            ..Docs::DEFAULT
        },
    },
    run: Run::OnShard(pexpiretime),
    subcommands: &[],
};

fn pexpiretime(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    reply_expiry(cx, args, reply, |at| at);
    Ok(())
}

fn reply_expiry(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>, shown: impl FnOnce(i64) -> i64) {
    let key = cx.key(args.get(1));
    let entry = cx.keyspace.get(cx.db, &key, cx.now_ms, Lookup::READ_NO_TOUCH, cx.changes);
    reply.int(match entry {
        None => NO_KEY,
        Some(entry) => entry.expire_at().map_or(NO_EXPIRY, shown),
    });
}

/// Whole seconds, rounded to the nearest; `ms` is not negative.
fn to_seconds(ms: i64) -> i64 {
    ms / 1000 + i64::from(ms % 1000 >= 500)
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    #[test]
    fn keys_without_and_with_an_expiry() {
        let mut bench = Bench::new();
        bench.run("SET k v");
        for name in ["TTL", "PTTL", "EXPIRETIME", "PEXPIRETIME"] {
            bench.check(&format!("{name} k"), ":-1");
            bench.check(&format!("{name} nokey"), ":-2");
        }
        bench.run("PEXPIREAT k 9223372036854775807");
        bench.check("EXPIRETIME k", ":9223372036854776");
        bench.check("PEXPIRETIME k", ":9223372036854775807");
        bench.check("PTTL k", ":9223370336854775807");
        bench.check("TTL k", ":9223370336854776");
    }

    #[test]
    fn seconds_are_rounded_to_the_nearest() {
        let mut bench = Bench::new();
        for (left_ms, left_s) in [(1, 0), (499, 0), (500, 1), (1499, 1), (1500, 2), (10_000, 10)] {
            bench.run(&format!("SET k v PX {left_ms}"));
            bench.check("TTL k", &format!(":{left_s}"));
            bench.check("PTTL k", &format!(":{left_ms}"));
        }
    }
}
