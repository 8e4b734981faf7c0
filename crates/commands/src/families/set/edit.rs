//! Members come and go: SADD, SREM and SMOVE. Hot path.

use torc_datatypes::{Set, Value};
use torc_keyspace::{At, Class, Lookup};
use torc_resp::{Args, CommandError, Reply};

use super::{limits, set_at, set_mut};
use crate::{Access, Arity, Command, Context, Docs, Flags, Group, KeySpec, Run, Spec};

pub(super) const SADD: Command = Command {
    spec: Spec {
        name: "sadd",
        arity: Arity::at_least(3),
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST),
        keys: &[KeySpec::at(1, Access::RW_INSERT)],
        docs: &Docs {
            syntax: "SADD key member [member ...]",
            summary: "Adds members to a set; a missing key counts as empty. Replies how many were new.",
            since: "1.0.0",
            complexity: "O(N) where N is the number of members to add",
            group: Group::Set,
            history: &[("2.4.0", "Several members in one call.")],
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(sadd),
    subcommands: &[],
};

fn sadd(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let limits = limits(cx);
    let members = args.from(2);
    let add_all = |set: &mut Set| members.iter().filter(|member| set.add(member, &limits)).count();
    let mut at = cx.at(args.get(1), cx.writing());
    let added = if set_at(at.entry())?.is_some() {
        let mut entry = at.entry_mut().expect("a set is there");
        let set = set_mut(&mut entry);
        set.expect(members.len(), &limits);
        add_all(set)
    } else {
        let mut set = Set::with_expected(members.get(0), members.len(), &limits);
        let added = add_all(&mut set);
        at.put(Value::Set(set));
        added
    };
    if added > 0 {
        at.changed(Class::SET, "sadd");
        at.changed_more(added as u64 - 1);
    }
    reply.int(added as i64);
    Ok(())
}

pub(super) const SREM: Command = Command {
    spec: Spec {
        name: "srem",
        arity: Arity::at_least(3),
        flags: Flags::WRITE.and(Flags::FAST),
        keys: &[KeySpec::at(1, Access::RW.and(Access::DELETE))],
        docs: &Docs {
            syntax: "SREM key member [member ...]",
            summary: "Takes members out of a set, and removes the key with the last one. Replies how many there were.",
            since: "1.0.0",
            complexity: "O(N) where N is the number of members to take out",
            group: Group::Set,
            history: &[("2.4.0", "Several members in one call.")],
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(srem),
    subcommands: &[],
};

fn srem(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let mut at = cx.at(args.get(1), cx.writing());
    let mut removed = 0;
    if set_at(at.entry())?.is_some() {
        removed = remove_all(&mut at, args.from(2));
    }
    reply.int(removed as i64);
    Ok(())
}

/// Takes members out of the set that is there, and the key away with the last one; returns how many there were.
fn remove_all(at: &mut At<'_>, members: Args<'_>) -> usize {
    let mut entry = at.entry_mut().expect("the caller has seen a set");
    let set = set_mut(&mut entry);
    let removed = members.iter().filter(|member| set.remove(member)).count();
    let is_empty = set.is_empty();
    drop(entry);
    if removed > 0 {
        if is_empty {
            at.discard();
        }
        at.changed(Class::SET, "srem");
        at.changed_more(removed as u64 - 1);
        if is_empty {
            at.event(Class::GENERIC, "del");
        }
    }
    removed
}

pub(super) const SMOVE: Command = Command {
    spec: Spec {
        name: "smove",
        arity: Arity::exactly(4),
        flags: Flags::WRITE.and(Flags::FAST),
        keys: &[KeySpec::at(1, Access::RW_ACCESS_DELETE), KeySpec::at(2, Access::RW_INSERT)],
        docs: &Docs {
            syntax: "SMOVE source:key destination:key member",
            summary: "Moves a member from one set to another. Replies whether it was there.",
            since: "1.0.0",
            complexity: "O(1)",
            group: Group::Set,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(smove),
    subcommands: &[],
};

fn smove(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let (limits, lookup) = (limits(cx), cx.writing());
    let (from, to, member) = (args.get(1), args.get(2), args.get(3));
    let source = set_at(cx.at(from, lookup).entry()).map(|set| set.map(|set| set.contains(member)));
    let target = set_at(cx.at(to, lookup).entry()).map(|set| set.is_some());
    // A missing source is told before a wrong type at the destination.
    if source == Ok(None) {
        reply.int(0);
        return Ok(());
    }
    let (is_there, has_target) = (source?.is_some_and(|is_there| is_there), target?);
    if is_there && from != to {
        cx.changes.effects.tell(cx.db, &[b"SREM", from, args.get(3)]);
        cx.changes.effects.tell(cx.db, &[b"SADD", to, args.get(3)]);
        remove_all(&mut cx.at(from, Lookup::PEEK), args.range(3..4));
        let mut at = cx.at(to, Lookup::PEEK);
        let is_new = if has_target {
            set_mut(&mut at.entry_mut().expect("a set was there")).add(member, &limits)
        } else {
            let mut set = Set::with_expected(member, 1, &limits);
            set.add(member, &limits);
            at.put(Value::Set(set));
            true
        };
        if is_new {
            at.changed(Class::SET, "sadd");
        }
    }
    reply.int(i64::from(is_there));
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    const WRONG_TYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value";

    #[test]
    fn sadd_counts_new_members() {
        let mut bench = Bench::new();
        bench.check_changes("SADD s a b a", ":2", 2, &["s sadd s"]);
        bench.check_changes("SADD s b", ":0", 0, &[]);
        bench.check_changes("SADD s b c 1", ":2", 2, &["s sadd s"]);
        bench.check("SCARD s", ":4");
        bench.check("TYPE s", "+set");
        bench.run("SET k v");
        bench.check_changes("SADD k a", WRONG_TYPE, 0, &[]);
        bench.run("PEXPIRE s 100");
        bench.now_ms += 101;
        bench.check_changes("SADD s x", ":1", 1, &["x expired s", "s sadd s"]);
        bench.check("SCARD s", ":1");
        bench.check("TTL s", ":-1");
    }

    #[test]
    fn srem_removes_the_key_with_the_last_member() {
        let mut bench = Bench::new();
        bench.check_changes("SREM s a", ":0", 0, &[]);
        bench.run("SADD s a b c 1 2");
        bench.check_changes("SREM s x", ":0", 0, &[]);
        bench.check_changes("SREM s a b a 1", ":3", 3, &["s srem s"]);
        bench.check_changes("SREM s c 2 x", ":2", 2, &["s srem s", "g del s"]);
        bench.check("EXISTS s", ":0");
        bench.run("SET k v");
        bench.check_changes("SREM k a", WRONG_TYPE, 0, &[]);
    }

    #[test]
    fn smove_is_two_changes() {
        let mut bench = Bench::new();
        bench.run("SADD a 1 x");
        bench.run("SADD b x");
        bench.run("SET k v");
        bench.check_changes("SMOVE nokey k x", ":0", 0, &[]);
        bench.check_changes("SMOVE a k x", WRONG_TYPE, 0, &[]);
        bench.check_changes("SMOVE k a x", WRONG_TYPE, 0, &[]);
        bench.check_changes("SMOVE a b nobody", ":0", 0, &[]);
        bench.check_changes("SMOVE a a x", ":1", 0, &[]);
        bench.check_changes("SMOVE a a nobody", ":0", 0, &[]);
        bench.check_changes("SMOVE a b x", ":1", 1, &["s srem a"]);
        bench.check_changes("SMOVE a c 1", ":1", 2, &["s srem a", "g del a", "s sadd c"]);
        bench.check("EXISTS a", ":0");
        bench.check("OBJECT ENCODING c", "$6\nintset");
        bench.check_both("SMEMBERS c", "*1\n$1\n1", "~1\n$1\n1");
    }
}
