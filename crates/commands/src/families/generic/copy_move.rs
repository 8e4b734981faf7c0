//! COPY and MOVE: a key at a second place, or in another database.

use torc_datatypes::ValueMut;
use torc_keyspace::{Class, Lookup};
use torc_resp::{Args, CommandError, Reply};

use crate::effects::tell_value;
use crate::{
    Access, Arity, Command, Context, Docs, Flags, Group, KeySpec, Run, Spec,
    families::generic::{KEYSPACE, database, delete::release},
};

/// COPY
pub const COPY: Command = Command {
    spec: Spec {
        name: "copy",
        arity: Arity::at_least(3),
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: &[KeySpec::at(1, Access::RO_ACCESS), KeySpec::at(2, Access::OW_UPDATE)],
        categories: KEYSPACE,
        tips: &[],
        docs: &Docs {
            syntax: "COPY source:key destination:key [DB destination-db:int] [REPLACE]",
            summary: "Copies a key's value and expiry to another key, in this or another database.",
            since: "6.2.0",
            complexity: "O(N) with N the number of elements; O(1) for strings.",
            group: Group::Generic,
            ..Docs::DEFAULT
        },
    },
    run: Run::OnShard(copy),
    subcommands: &[],
};

fn copy(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let (mut db_to, mut replace) = (cx.db, false);
    let mut index = 3;
    while index < args.len() {
        if args.is(index, b"REPLACE") {
            replace = true;
            index += 1;
        } else if args.is(index, b"DB") && index + 1 < args.len() {
            db_to = database(cx, args, index + 1)?;
            index += 2;
        } else {
            return Err(CommandError::Syntax);
        }
    }
    let (from, to) = (cx.key(args.get(1)), cx.key(args.get(2)));
    if db_to == cx.db && from.bytes == to.bytes {
        return Err(CommandError::SameObject);
    }
    let lookup = Lookup { touch: !cx.no_touch, ..Lookup::READ };
    let found = cx.keyspace.get(cx.db, &from, cx.now_ms, lookup, cx.changes).is_some();
    if !found || !replace && cx.keyspace.contains(db_to, &to, cx.now_ms) {
        reply.int(0);
        return Ok(());
    }
    let source = cx.keyspace.peek(cx.db, &from, cx.now_ms).expect("found above");
    let mut entry = source.duplicate(to.bytes);
    // Fields that have expired are not copied (Valkey 9.0), unless nothing else is there: no hash is empty.
    let at_ms = cx.fields_at_ms();
    if let Some(ValueMut::Hash(hash)) = entry.value_mut()
        && hash.expires_from().is_some_and(|first| first <= at_ms)
        && hash.live_len(at_ms) > 0
    {
        hash.take_expired(at_ms, usize::MAX, |_| {});
    }
    if let Some(replaced) = cx.keyspace.remove(db_to, &to, cx.now_ms, cx.changes) {
        release(cx, replaced);
    }
    // A copy counts as used now, not when its source was used last.
    entry.set_clock(0);
    cx.keyspace.insert(db_to, &to, entry, cx.now_ms, cx.changes);
    cx.keyspace.changed(db_to, to.bytes, Class::GENERIC, "copy_to", cx.changes);
    tell_value(cx, db_to, to.bytes);
    reply.int(1);
    Ok(())
}

/// MOVE
pub const MOVE: Command = Command {
    spec: Spec {
        name: "move",
        arity: Arity::exactly(3),
        flags: Flags::WRITE.and(Flags::FAST),
        keys: &[KeySpec::at(1, Access::RW_ACCESS_UPDATE)],
        categories: KEYSPACE,
        tips: &[],
        docs: &Docs {
            syntax: "MOVE key db:int",
            summary: "Moves a key to another database, unless it has a key of that name already.",
            since: "1.0.0",
            complexity: "O(1)",
            group: Group::Generic,
            ..Docs::DEFAULT
        },
    },
    run: Run::OnShard(move_key),
    subcommands: &[],
};

fn move_key(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let db_to = database(cx, args, 2)?;
    if db_to == cx.db {
        return Err(CommandError::SameObject);
    }
    let key = cx.key(args.get(1));
    let found = cx.keyspace.get(cx.db, &key, cx.now_ms, Lookup::WRITE, cx.changes).is_some();
    if !found || cx.keyspace.contains(db_to, &key, cx.now_ms) {
        reply.int(0);
        return Ok(());
    }
    if let Some(entry) = cx.keyspace.remove(cx.db, &key, cx.now_ms, cx.changes) {
        cx.keyspace.insert(db_to, &key, entry, cx.now_ms, cx.changes);
        cx.keyspace.changed(cx.db, key.bytes, Class::GENERIC, "move_from", cx.changes);
        cx.keyspace.touched(db_to, key.bytes);
        cx.changes.event(Class::GENERIC, "move_to", db_to, key.bytes);
    }
    reply.int(1);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    #[test]
    fn copies_do_not_depend_on_their_source() {
        let mut bench = Bench::new();
        bench.run("SET a 1 EX 100");
        bench.check_changes("COPY a b", ":1", 1, &["g copy_to b"]);
        bench.run("SET a 2");
        bench.check("GET b", "$1\n1");
        bench.check("TTL b", ":100");
        bench.check_changes("COPY a b", ":0", 0, &[]);
        bench.check("COPY a b replace", ":1");
        bench.check("GET b", "$1\n2");
        bench.check("TTL b", ":-1");
        bench.check("COPY a a DB 3", ":1");
        bench.check("COPY a c DB 2 REPLACE DB 3", ":1");
        bench.db = 3;
        bench.check("MGET a c", "*2\n$1\n2\n$1\n2");
    }

    #[test]
    fn a_copy_counts_as_used_now() {
        let mut bench = Bench::new();
        bench.run("SET a 1");
        bench.now_ms += 50_000;
        bench.no_touch = true;
        bench.run("COPY a b");
        bench.check("OBJECT IDLETIME a", ":50");
        bench.check("OBJECT IDLETIME b", ":0");
    }

    #[test]
    fn copy_refuses() {
        let mut bench = Bench::new();
        bench.run("SET a 1");
        for (line, expected) in [
            ("COPY a a", "-ERR source and destination objects are the same"),
            ("COPY nokey nokey", "-ERR source and destination objects are the same"),
            ("COPY a a DB 0", "-ERR source and destination objects are the same"),
            ("COPY a a DB 16", "-ERR DB index is out of range"),
            ("COPY a a DB -1", "-ERR DB index is out of range"),
            ("COPY a b DB abc", "-ERR value is not an integer or out of range"),
            ("COPY a b DB 4294967296", "-ERR value is not an integer or out of range"),
            ("COPY a b DB", "-ERR syntax error"),
            ("COPY a b foo", "-ERR syntax error"),
            ("COPY nokey b", ":0"),
        ] {
            bench.check_changes(line, expected, 0, &[]);
        }
    }

    #[test]
    fn move_to_another_database() {
        let mut bench = Bench::new();
        bench.run("SET a 1 EX 100");
        for (line, expected) in [
            ("MOVE a 0", "-ERR source and destination objects are the same"),
            ("MOVE nokey 0", "-ERR source and destination objects are the same"),
            ("MOVE a 16", "-ERR DB index is out of range"),
            ("MOVE a -1", "-ERR DB index is out of range"),
            ("MOVE a abc", "-ERR value is not an integer or out of range"),
            ("MOVE nokey 1", ":0"),
        ] {
            bench.check_changes(line, expected, 0, &[]);
        }
        bench.check_changes("MOVE a 1", ":1", 1, &["g move_from a", "g move_to a"]);
        bench.check("EXISTS a", ":0");
        bench.run("SET a 2");
        bench.check("MOVE a 1", ":0");
        bench.db = 1;
        bench.check("GET a", "$1\n1");
        bench.check("TTL a", ":100");
    }
}
