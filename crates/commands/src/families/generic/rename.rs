//! RENAME and RENAMENX.

use torc_keyspace::{Class, Lookup};
use torc_resp::{Args, CommandError, Reply};

use crate::{
    Access, Arity, Command, Context, Docs, Flags, Group, KeySpec, Run, Spec,
    families::generic::{KEYSPACE, delete::release},
};

/// RENAME
pub const RENAME: Command = Command {
    spec: Spec {
        name: "rename",
        arity: Arity::exactly(3),
        flags: Flags::WRITE,
        keys: &[KeySpec::at(1, Access::RW_ACCESS_DELETE), KeySpec::at(2, Access::OW_UPDATE)],
        categories: KEYSPACE,
        tips: &[],
        docs: &Docs {
            syntax: "RENAME key newkey",
            summary: "Gives a key another name. A key that has that name already is replaced.",
            since: "1.0.0",
            complexity: "O(1)",
            group: Group::Generic,
            ..Docs::DEFAULT
        },
    },
    run: Run::OnShard(rename),
    subcommands: &[],
};

fn rename(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    rename_key(cx, args, true)?;
    reply.ok();
    Ok(())
}

/// RENAMENX
pub const RENAMENX: Command = Command {
    spec: Spec {
        name: "renamenx",
        arity: Arity::exactly(3),
        flags: Flags::WRITE.and(Flags::FAST),
        keys: &[KeySpec::at(1, Access::RW_ACCESS_DELETE), KeySpec::at(2, Access::OW.and(Access::INSERT))],
        categories: KEYSPACE,
        tips: &[],
        docs: &Docs {
            syntax: "RENAMENX key newkey",
            summary: "Gives a key another name, unless a key has that name already.",
            since: "1.0.0",
            complexity: "O(1)",
            group: Group::Generic,
            history: &[("3.2.0", "Equal names are no error any more.")],
            ..Docs::DEFAULT
        },
    },
    run: Run::OnShard(renamenx),
    subcommands: &[],
};

fn renamenx(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let renamed = rename_key(cx, args, false)?;
    reply.int(i64::from(renamed));
    Ok(())
}

/// Returns whether the key has got a new name.
fn rename_key(cx: &mut Context<'_>, args: Args<'_>, replace: bool) -> Result<bool, CommandError> {
    let (from, to) = (cx.key(args.get(1)), cx.key(args.get(2)));
    if cx.keyspace.get(cx.db, &from, cx.now_ms, Lookup::WRITE, cx.changes).is_none() {
        return Err(CommandError::NoSuchKey);
    }
    if from.bytes == to.bytes || !replace && cx.keyspace.contains(cx.db, &to, cx.now_ms) {
        return Ok(false);
    }
    let Some(mut entry) = cx.keyspace.remove(cx.db, &from, cx.now_ms, cx.changes) else {
        return Err(CommandError::NoSuchKey);
    };
    if let Some(replaced) = cx.keyspace.remove(cx.db, &to, cx.now_ms, cx.changes) {
        release(cx, replaced);
    }
    entry.rename(to.bytes);
    cx.keyspace.insert(cx.db, &to, entry, cx.now_ms, cx.changes);
    cx.keyspace.changed(cx.db, from.bytes, Class::GENERIC, "rename_from", cx.changes);
    cx.keyspace.touched(cx.db, to.bytes);
    cx.changes.event(Class::GENERIC, "rename_to", cx.db, to.bytes);
    Ok(true)
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    #[test]
    fn value_and_expiry_move() {
        let mut bench = Bench::new();
        bench.run("SET a 1 EX 100");
        bench.run("SET b 2");
        bench.check_changes("RENAME a b", "+OK", 1, &["g rename_from a", "g rename_to b"]);
        bench.check("GET b", "$1\n1");
        bench.check("TTL b", ":100");
        bench.check("EXISTS a", ":0");
        bench.check_changes("RENAMENX b c", ":1", 1, &["g rename_from b", "g rename_to c"]);
        bench.check("TTL c", ":100");
    }

    #[test]
    fn what_stands_in_the_way() {
        let mut bench = Bench::new();
        bench.run("MSET a 1 b 2");
        for (line, expected) in [
            ("RENAME nokey b", "-ERR no such key"),
            ("RENAME nokey nokey", "-ERR no such key"),
            ("RENAMENX nokey b", "-ERR no such key"),
            ("RENAME a a", "+OK"),
            ("RENAMENX a a", ":0"),
            ("RENAMENX a b", ":0"),
        ] {
            bench.check_changes(line, expected, 0, &[]);
        }
        bench.run("PEXPIRE b 10");
        bench.now_ms += 11;
        bench.check_changes("RENAMENX a b", ":1", 1, &["x expired b", "g rename_from a", "g rename_to b"]);
        bench.check("TTL b", ":-1");
    }
}
