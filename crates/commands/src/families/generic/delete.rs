//! DEL and UNLINK.

use torc_datatypes::{Entry, Value};
use torc_keyspace::Class;
use torc_resp::{Args, CommandError, Reply};

use crate::{
    Access, Arity, Command, Context, Docs, Flags, Fold, Group, KeySpec, Run, Spec,
    families::generic::KEYSPACE,
};

/// DEL
pub const DEL: Command = Command {
    spec: Spec {
        name: "del",
        arity: Arity::at_least(2),
        flags: Flags::WRITE,
        keys: &[KeySpec::range(1, -1, 1, Access::RM_DELETE)],
        categories: KEYSPACE,
        tips: &["request_policy:multi_shard", "response_policy:agg_sum"],
        docs: &Docs {
            syntax: "DEL key [key ...]",
            summary: "Removes keys; keys that do not exist are ignored. Replies how many were removed.",
            since: "1.0.0",
            complexity: "O(N) with N the number of keys; memory of large values is released in the background.",
            group: Group::Generic,
            ..Docs::DEFAULT
        },
    },
    run: Run::Split { handler: delete, step: 1, fold: Fold::Sum },
    subcommands: &[],
};

/// UNLINK
pub const UNLINK: Command = Command {
    spec: Spec {
        name: "unlink",
        arity: Arity::at_least(2),
        flags: Flags::WRITE.and(Flags::FAST),
        keys: &[KeySpec::range(1, -1, 1, Access::RM_DELETE)],
        categories: KEYSPACE,
        tips: &["request_policy:multi_shard", "response_policy:agg_sum"],
        docs: &Docs {
            syntax: "UNLINK key [key ...]",
            summary: "Removes keys like DEL, and never waits for the memory of large values to be released.",
            since: "4.0.0",
            complexity: "O(1) per key; memory of large values is released in the background.",
            group: Group::Generic,
            ..Docs::DEFAULT
        },
    },
    run: Run::Split { handler: delete, step: 1, fold: Fold::Sum },
    subcommands: &[],
};

fn delete(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let mut deleted = 0;
    for bytes in args.iter().skip(1) {
        let key = cx.key(bytes);
        if let Some(entry) = cx.keyspace.remove(cx.db, &key, cx.now_ms, cx.changes) {
            release(cx, entry);
            cx.keyspace.changed(cx.db, bytes, Class::GENERIC, "del", cx.changes);
            deleted += 1;
        }
    }
    reply.int(deleted);
    Ok(())
}

/// Puts a result in place of whatever was under a key; `None`, an empty result, removes the key.
pub(in crate::families) fn replace(
    cx: &mut Context<'_>,
    key: &[u8],
    result: Option<Value>,
    class: Class,
    event: &'static str,
) {
    let mut at = cx.at(key, cx.writing());
    let replaced = match result {
        Some(value) => {
            let replaced = at.put(value);
            at.changed(class, event);
            replaced
        }
        None => {
            let removed = at.remove();
            if removed.is_some() {
                at.changed(Class::GENERIC, "del");
            }
            removed
        }
    };
    if let Some(entry) = replaced {
        release(cx, entry);
    }
}

/// Frees an entry that was taken out: now if that is quick, otherwise in the background.
pub(in crate::families) fn release(cx: &mut Context<'_>, entry: Entry) {
    cx.keyspace.graveyard.release(entry);
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    #[test]
    fn keys_are_counted_once_and_reported() {
        for name in ["DEL", "UNLINK"] {
            let mut bench = Bench::new();
            bench.check(&format!("{name} a"), ":0");
            bench.run("MSET a 1 b 2 c 3");
            bench.check_changes(&format!("{name} a nokey b a"), ":2", 2, &["g del a", "g del b"]);
            bench.check("EXISTS a b c", ":1");
            bench.check(
                name,
                &format!("-ERR wrong number of arguments for '{}' command", name.to_lowercase()),
            );
        }
    }

    #[test]
    fn an_expired_key_is_not_there_to_be_deleted() {
        let mut bench = Bench::new();
        bench.run("SET a 1 PX 100");
        bench.now_ms += 101;
        bench.check_changes("DEL a", ":0", 0, &["x expired a"]);
    }
}
