//! Several sets at once: SINTER, SINTERCARD, SUNION, SDIFF, and the forms that store the result.

use smallvec::SmallVec;
use torc_datatypes::listpack::Item;
use torc_datatypes::set::SetLimits;
use torc_datatypes::{Encoding, Set, Value};
use torc_keyspace::Class;
use torc_resp::{Args, CommandError, Reply};

use super::{limits, set_at, write_member, write_set};
use crate::families::generic::delete::replace;
use crate::{Access, Arity, Command, Context, Docs, Flags, Group, KEYS_AHEAD, KeySpec, Run, Spec};

/// Sets of one command, in the order of their keys.
type Sets<'c> = SmallVec<[Option<&'c Set>; KEYS_AHEAD]>;

const STORE_KEYS: &[KeySpec] =
    &[KeySpec::at(1, Access::OW_UPDATE), KeySpec::range(2, -1, 1, Access::RO_ACCESS)];

pub(super) const SINTER: Command = Command {
    spec: Spec {
        name: "sinter",
        arity: Arity::at_least(2),
        flags: Flags::READONLY,
        keys: &[KeySpec::range(1, -1, 1, Access::RO_ACCESS)],
        tips: &["nondeterministic_output_order"],
        docs: &Docs {
            syntax: "SINTER key [key ...]",
            summary: "Returns the members that all of several sets have.",
            since: "1.0.0",
            complexity: "O(N*M) at worst where N is the size of the smallest set and M the number of sets",
            group: Group::Set,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(sinter),
    subcommands: &[],
};

fn sinter(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let sets = read_sets(cx, args.from(1))?;
    let header = reply.deferred_set();
    let mut count = 0;
    intersect(sets, |member| {
        write_member(reply, member);
        count += 1;
        true
    });
    reply.finish(header, count);
    Ok(())
}

pub(super) const SINTERCARD: Command = Command {
    spec: Spec {
        name: "sintercard",
        arity: Arity::at_least(3),
        flags: Flags::READONLY,
        keys: &[KeySpec::counted(1, Access::RO_ACCESS)],
        docs: &Docs {
            syntax: "SINTERCARD numkeys:int key [key ...] [LIMIT limit:int]",
            summary: "Returns how many members all of several sets have in common, counting no further than a limit.",
            since: "7.0.0",
            complexity: "O(N*M) at worst where N is the size of the smallest set and M the number of sets",
            group: Group::Set,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(sintercard),
    subcommands: &[],
};

fn sintercard(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let numkeys = args.int(1).ok().and_then(|count| usize::try_from(count).ok()).filter(|&count| count > 0);
    let numkeys = numkeys.ok_or(CommandError::Text("ERR numkeys should be greater than 0"))?;
    if numkeys > args.len() - 2 {
        return Err(CommandError::Text("ERR Number of keys can't be greater than number of args"));
    }
    let mut limit = 0;
    let mut index = 2 + numkeys;
    while index < args.len() {
        if !args.is(index, b"LIMIT") || index + 1 == args.len() {
            return Err(CommandError::Syntax);
        }
        let number = args.int(index + 1).ok().and_then(|limit| usize::try_from(limit).ok());
        limit = number.ok_or(CommandError::Text("ERR LIMIT can't be negative"))?;
        index += 2;
    }
    let sets = read_sets(cx, args.range(2..2 + numkeys))?;
    let mut count = 0;
    intersect(sets, |_| {
        count += 1;
        count != limit
    });
    reply.int(count as i64);
    Ok(())
}

pub(super) const SINTERSTORE: Command = Command {
    spec: Spec {
        name: "sinterstore",
        arity: Arity::at_least(3),
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: STORE_KEYS,
        docs: &Docs {
            syntax: "SINTERSTORE destination:key key [key ...]",
            summary: "Stores the members that all of several sets have, and replies how many there are.",
            since: "1.0.0",
            complexity: "O(N*M) at worst where N is the size of the smallest set and M the number of sets",
            group: Group::Set,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(sinterstore),
    subcommands: &[],
};

fn sinterstore(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let limits = limits(cx);
    let sets = read_sets(cx, args.from(2))?;
    let smallest = sets.iter().flatten().min_by_key(|set| set.len());
    let mut result = match smallest.map(|set| set.encoding()) {
        Some(Encoding::Intset) => Set::default(),
        _ => Set::new_listpack(),
    };
    intersect(sets, |member| {
        result.add_item(member, &limits);
        true
    });
    result.compact_ints(&limits);
    store(cx, args.get(1), result, "sinterstore", reply);
    Ok(())
}

pub(super) const SUNION: Command = Command {
    spec: Spec {
        name: "sunion",
        arity: Arity::at_least(2),
        flags: Flags::READONLY,
        keys: &[KeySpec::range(1, -1, 1, Access::RO_ACCESS)],
        tips: &["nondeterministic_output_order"],
        docs: &Docs {
            syntax: "SUNION key [key ...]",
            summary: "Returns the members that any of several sets has.",
            since: "1.0.0",
            complexity: "O(N) where N is the number of members of all sets",
            group: Group::Set,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(sunion),
    subcommands: &[],
};

fn sunion(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let limits = limits(cx);
    let sets: Sets<'_> = read_sets(cx, args.from(1))?.into_iter().filter(Option::is_some).collect();
    if let [Some(set)] = sets[..] {
        write_set(reply, set);
        return Ok(());
    }
    let mut union = Set::new_table();
    sets.iter().flatten().for_each(|set| add_all(&mut union, set, &limits));
    write_set(reply, &union);
    Ok(())
}

pub(super) const SUNIONSTORE: Command = Command {
    spec: Spec {
        name: "sunionstore",
        arity: Arity::at_least(3),
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: STORE_KEYS,
        docs: &Docs {
            syntax: "SUNIONSTORE destination:key key [key ...]",
            summary: "Stores the members that any of several sets has, and replies how many there are.",
            since: "1.0.0",
            complexity: "O(N) where N is the number of members of all sets",
            group: Group::Set,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(sunionstore),
    subcommands: &[],
};

fn sunionstore(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let limits = limits(cx);
    let sets = read_sets(cx, args.from(2))?;
    let largest = sets.iter().flatten().copied().max_by_key(|set| set.len());
    let mut union = largest.map_or_else(Set::default, |set| copy_as_new(set, &limits));
    for set in
        sets.into_iter().flatten().filter(|set| !largest.is_some_and(|largest| std::ptr::eq(largest, *set)))
    {
        add_all(&mut union, set, &limits);
    }
    store(cx, args.get(1), union, "sunionstore", reply);
    Ok(())
}

pub(super) const SDIFF: Command = Command {
    spec: Spec {
        name: "sdiff",
        arity: Arity::at_least(2),
        flags: Flags::READONLY,
        keys: &[KeySpec::range(1, -1, 1, Access::RO_ACCESS)],
        tips: &["nondeterministic_output_order"],
        docs: &Docs {
            syntax: "SDIFF key [key ...]",
            summary: "Returns the members of the first set that none of the others has.",
            since: "1.0.0",
            complexity: "O(N) where N is the number of members of all sets",
            group: Group::Set,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(sdiff),
    subcommands: &[],
};

fn sdiff(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let limits = limits(cx);
    let sets = read_sets(cx, args.from(1))?;
    match Difference::plan(sets) {
        Difference::Nothing => reply.set(0),
        Difference::Filter { first, others } => {
            let header = reply.deferred_set();
            let mut count = 0;
            for member in filter(first, &others) {
                write_member(reply, member);
                count += 1;
            }
            reply.finish(header, count);
        }
        Difference::Subtract { first, others } => {
            let mut rest = Set::new_table();
            add_all(&mut rest, first, &limits);
            subtract(&mut rest, &others);
            write_set(reply, &rest);
        }
    }
    Ok(())
}

pub(super) const SDIFFSTORE: Command = Command {
    spec: Spec {
        name: "sdiffstore",
        arity: Arity::at_least(3),
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: STORE_KEYS,
        docs: &Docs {
            syntax: "SDIFFSTORE destination:key key [key ...]",
            summary: "Stores the members of the first set that none of the others has, and replies how many there are.",
            since: "1.0.0",
            complexity: "O(N) where N is the number of members of all sets",
            group: Group::Set,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(sdiffstore),
    subcommands: &[],
};

fn sdiffstore(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let limits = limits(cx);
    let sets = read_sets(cx, args.from(2))?;
    let mut rest = Set::default();
    match Difference::plan(sets) {
        Difference::Nothing => {}
        Difference::Filter { first, others } => {
            for member in filter(first, &others) {
                rest.add_item(member, &limits);
            }
        }
        Difference::Subtract { first, others } => {
            rest = copy_as_new(first, &limits);
            subtract(&mut rest, &others);
        }
    }
    store(cx, args.get(1), rest, "sdiffstore", reply);
    Ok(())
}

/// The sets under these keys. Each key counts as read, and the first one of another type ends the command.
fn read_sets<'c>(cx: &'c mut Context<'_>, keys: Args<'_>) -> Result<Sets<'c>, CommandError> {
    let lookup = cx.reading();
    for first in (0..keys.len()).step_by(KEYS_AHEAD) {
        for key in cx.keys_ahead(keys.from(first), 1) {
            set_at(cx.keyspace.get(cx.db, &key, cx.now_ms, lookup, cx.changes))?;
        }
    }
    // All of them can be borrowed together only when no lookup changes anything any more.
    let cx = &*cx;
    keys.iter().map(|key| set_at(cx.keyspace.peek(cx.db, &cx.key(key), cx.now_ms))).collect()
}

/// Shows `found` what all sets have in common, until it says no: goes through the smallest set and asks the others.
fn intersect(mut sets: Sets<'_>, mut found: impl FnMut(Item<'_>) -> bool) {
    if sets.iter().any(Option::is_none) {
        return;
    }
    sets.sort_by_key(|set| set.map_or(0, Set::len));
    let mut sets = sets.into_iter().flatten();
    let Some(smallest) = sets.next() else { return };
    let others: SmallVec<[&Set; KEYS_AHEAD]> = sets.filter(|set| !std::ptr::eq(*set, smallest)).collect();
    for member in smallest.iter() {
        if others.iter().all(|set| set.contains_item(member)) && !found(member) {
            return;
        }
    }
}

fn add_all(to: &mut Set, from: &Set, limits: &SetLimits) {
    for member in from.iter() {
        to.add_item(member, limits);
    }
}

/// A copy of a set, in the encoding that a new set with its members would have.
fn copy_as_new(set: &Set, limits: &SetLimits) -> Set {
    if set.len() > limits.intset_entries.max(limits.listpack_entries) {
        let mut copy = set.clone();
        copy.expect(copy.len(), limits);
        return copy;
    }
    let mut copy = Set::default();
    add_all(&mut copy, set, limits);
    copy
}

/// How a difference is computed.
enum Difference<'c> {
    /// There is no first set, or it is among the others too.
    Nothing,
    /// Each member of the first set is looked up in the others, the largest of which come first.
    Filter { first: &'c Set, others: SmallVec<[&'c Set; KEYS_AHEAD]> },
    /// The members of the others are taken away from a copy of the first set.
    Subtract { first: &'c Set, others: SmallVec<[&'c Set; KEYS_AHEAD]> },
}

impl<'c> Difference<'c> {
    /// Picks what is less work. A lookup per member of the first set counts half: most end early (Redis 7.2).
    fn plan(sets: Sets<'c>) -> Difference<'c> {
        let Some(first) = sets[0] else { return Difference::Nothing };
        let mut others: SmallVec<[&Set; KEYS_AHEAD]> = sets[1..].iter().flatten().copied().collect();
        if others.iter().any(|set| std::ptr::eq(*set, first)) {
            return Difference::Nothing;
        }
        let to_filter = first.len() * (others.len() + 1) / 2;
        let to_subtract = first.len() + others.iter().map(|set| set.len()).sum::<usize>();
        if to_filter <= to_subtract {
            others.sort_by_key(|set| std::cmp::Reverse(set.len()));
            Difference::Filter { first, others }
        } else {
            Difference::Subtract { first, others }
        }
    }
}

/// The members of a set that none of the others has.
fn filter<'c>(first: &'c Set, others: &[&Set]) -> impl Iterator<Item = Item<'c>> {
    first.iter().filter(|member| !others.iter().any(|set| set.contains_item(*member)))
}

/// Takes the members of other sets away.
fn subtract(from: &mut Set, others: &[&Set]) {
    for set in others {
        for member in set.iter() {
            from.remove_item(member);
        }
        if from.is_empty() {
            return;
        }
    }
}

/// Stores a result under a key, whatever was there, and replies how many members it has; an empty one removes the key.
fn store(cx: &mut Context<'_>, key: &[u8], result: Set, event: &'static str, reply: &mut Reply<'_>) {
    let len = result.len();
    replace(cx, key, (len > 0).then_some(Value::Set(result)), Class::SET, event);
    reply.int(len as i64);
}

#[cfg(test)]
mod tests;
