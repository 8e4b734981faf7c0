//! Members go: ZREM, ZREMRANGEBYRANK, ZREMRANGEBYSCORE and ZREMRANGEBYLEX.

use torc_datatypes::ZSet;
use torc_keyspace::{At, Class};
use torc_resp::{Args, CommandError, Reply};

use super::bounds::{Bounds, By};
use super::{zset_at, zset_mut};
use crate::{Access, Arity, Command, Context, Docs, Flags, Group, KeySpec, Run, Spec};

const RANGE_COMPLEXITY: &str =
    "O(log(N)+M) where N is the number of members in the sorted set and M the number of members removed";

pub(super) const ZREM: Command = Command {
    spec: Spec {
        name: "zrem",
        arity: Arity::at_least(3),
        flags: Flags::WRITE.and(Flags::FAST),
        keys: &[KeySpec::at(1, Access::RW.and(Access::DELETE))],
        docs: &Docs {
            syntax: "ZREM key member [member ...]",
            summary: "Takes members out of a sorted set, and removes the key with the last one. Replies how many there \
                      were.",
            since: "1.2.0",
            complexity: "O(M*log(N)) where N is the number of members in the sorted set and M the number to take out",
            group: Group::SortedSet,
            history: &[("2.4.0", "Several members in one call.")],
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(zrem),
    subcommands: &[],
};

fn zrem(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let mut at = cx.at(args.get(1), cx.writing());
    let mut removed = 0;
    if zset_at(at.entry())?.is_some() {
        let members = args.from(2);
        let remove_all =
            |zset: &mut ZSet| members.iter().filter(|member| zset.remove(member).is_some()).count();
        removed = take(&mut at, "zrem", remove_all);
    }
    reply.int(removed as i64);
    Ok(())
}

/// Takes members out of the sorted set that is there, as `remove` does, and the key away with the last one. Returns how
/// many there were, as `remove` says.
pub(super) fn take(at: &mut At<'_>, event: &'static str, remove: impl FnOnce(&mut ZSet) -> usize) -> usize {
    let mut entry = at.entry_mut().expect("the caller has seen a sorted set");
    let zset = zset_mut(&mut entry);
    let removed = remove(zset);
    let is_empty = zset.is_empty();
    drop(entry);
    if removed == 0 {
        return 0;
    }
    if is_empty {
        at.discard();
    }
    tell(at, event, removed, is_empty);
    removed
}

/// Takes the whole sorted set away.
pub(super) fn take_all(at: &mut At<'_>, event: &'static str, members: usize) {
    at.discard();
    tell(at, event, members, true);
}

fn tell(at: &mut At<'_>, event: &'static str, removed: usize, is_empty: bool) {
    at.changed(Class::ZSET, event);
    at.changed_more(removed as u64 - 1);
    if is_empty {
        at.event(Class::GENERIC, "del");
    }
}

pub(super) const ZREMRANGEBYRANK: Command = Command {
    spec: Spec {
        name: "zremrangebyrank",
        arity: Arity::exactly(4),
        flags: Flags::WRITE,
        keys: &[KeySpec::at(1, Access::RW.and(Access::DELETE))],
        docs: &Docs {
            syntax: "ZREMRANGEBYRANK key start:int stop:int",
            summary: "Takes the members in a range of ranks out of a sorted set. Replies how many there were.",
            since: "2.0.0",
            complexity: RANGE_COMPLEXITY,
            group: Group::SortedSet,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(zremrangebyrank),
    subcommands: &[],
};

fn zremrangebyrank(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    remove_range(cx, args, By::Rank, "zremrangebyrank", reply)
}

pub(super) const ZREMRANGEBYSCORE: Command = Command {
    spec: Spec {
        name: "zremrangebyscore",
        arity: Arity::exactly(4),
        flags: Flags::WRITE,
        keys: &[KeySpec::at(1, Access::RW.and(Access::DELETE))],
        docs: &Docs {
            syntax: "ZREMRANGEBYSCORE key min:double max:double",
            summary: "Takes the members in a range of scores out of a sorted set. Replies how many there were.",
            since: "1.2.0",
            complexity: RANGE_COMPLEXITY,
            group: Group::SortedSet,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(zremrangebyscore),
    subcommands: &[],
};

fn zremrangebyscore(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    remove_range(cx, args, By::Score, "zremrangebyscore", reply)
}

pub(super) const ZREMRANGEBYLEX: Command = Command {
    spec: Spec {
        name: "zremrangebylex",
        arity: Arity::exactly(4),
        flags: Flags::WRITE,
        keys: &[KeySpec::at(1, Access::RW.and(Access::DELETE))],
        docs: &Docs {
            syntax: "ZREMRANGEBYLEX key min max",
            summary: "Takes the members between two strings out of a sorted set all of whose members have the same \
                      score. Replies how many there were.",
            since: "2.8.9",
            complexity: RANGE_COMPLEXITY,
            group: Group::SortedSet,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(zremrangebylex),
    subcommands: &[],
};

fn zremrangebylex(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    remove_range(cx, args, By::Lex, "zremrangebylex", reply)
}

fn remove_range(
    cx: &mut Context<'_>,
    args: Args<'_>,
    by: By,
    event: &'static str,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    let bounds = Bounds::parse(by, args, 2, 3)?;
    let mut at = cx.at(args.get(1), cx.writing());
    let mut removed = 0;
    if let Some(zset) = zset_at(at.entry())? {
        let (len, ranks) = (zset.len(), bounds.ranks(zset, false));
        removed = ranks.len();
        if removed == len {
            take_all(&mut at, event, len);
        } else if removed > 0 {
            take(&mut at, event, |zset| {
                zset.remove_ranks(ranks);
                removed
            });
        }
    }
    reply.int(removed as i64);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    const WRONG_TYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value";

    #[test]
    fn zrem_removes_the_key_with_the_last_member() {
        let mut bench = Bench::new();
        bench.check_changes("ZREM z a", ":0", 0, &[]);
        bench.run("ZADD z 1 a 2 b 3 c");
        bench.check_changes("ZREM z x", ":0", 0, &[]);
        bench.check_changes("ZREM z a b a x", ":2", 2, &["z zrem z"]);
        bench.check_changes("ZREM z c", ":1", 1, &["z zrem z", "g del z"]);
        bench.check("EXISTS z", ":0");
        bench.run("SET k v");
        bench.check_changes("ZREM k a", WRONG_TYPE, 0, &[]);
    }

    #[test]
    fn ranges_go_at_once() {
        for entries in [0, 128] {
            let mut bench = Bench::new();
            bench.settings.encodings.zset_max_listpack_entries = entries;
            for (line, left, events) in [
                ("ZREMRANGEBYRANK z 1 -2", "*2\n$1\na\n$1\ne", "z zremrangebyrank z"),
                ("ZREMRANGEBYSCORE z (1 3", "*3\n$1\na\n$1\nd\n$1\ne", "z zremrangebyscore z"),
                ("ZREMRANGEBYLEX z [c +", "*2\n$1\na\n$1\nb", "z zremrangebylex z"),
            ] {
                bench.run("DEL z");
                bench.run("ZADD z 1 a 2 b 3 c 4 d 5 e");
                let removed = 5 - left[1..2].parse::<u64>().unwrap();
                bench.check_changes(line, &format!(":{removed}"), removed, &[events]);
                bench.check("ZRANGE z 0 -1", left);
            }
            bench.check_changes("ZREMRANGEBYRANK z 5 6", ":0", 0, &[]);
            bench.check_changes("ZREMRANGEBYSCORE z -inf inf", ":2", 2, &["z zremrangebyscore z", "g del z"]);
            bench.check_changes("ZREMRANGEBYLEX z - +", ":0", 0, &[]);
        }
        let mut bench = Bench::new();
        bench.run("SET k v");
        bench.check("ZREMRANGEBYRANK k 0 1", WRONG_TYPE);
        bench.check("ZREMRANGEBYRANK k 0 x", "-ERR value is not an integer or out of range");
        bench.check("ZREMRANGEBYSCORE k 0 x", "-ERR min or max is not a float");
        bench.check("ZREMRANGEBYLEX k 0 +", "-ERR min or max not valid string range item");
    }
}
