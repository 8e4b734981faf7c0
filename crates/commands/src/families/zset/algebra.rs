//! Several sorted sets at once: ZUNION, ZINTER, ZINTERCARD, ZDIFF, and the forms that store the result.

use torc_datatypes::zset::{ZSetBuilder, ZSetLimits};
use torc_resp::{Args, CommandError, Reply};

use super::inputs::{Inputs, Known, number_or_zero};
use super::{Show, limits, store};
use crate::{Access, Arity, Command, Context, Docs, Flags, Group, KeySpec, Run, Spec};

const STORE_KEYS: &[KeySpec] = &[KeySpec::at(1, Access::OW_UPDATE), KeySpec::counted(2, Access::RO_ACCESS)];
const UNION_COMPLEXITY: &str = "O(N)+O(M*log(M)) where N is the number of members of all inputs and M the number of \
                                members of the result";
const INTER_COMPLEXITY: &str = "O(N*K)+O(M*log(M)) at worst where N is the number of members of the smallest input, K \
                                the number of inputs and M the number of members of the result";
const DIFF_COMPLEXITY: &str = "O(L+M*log(M)) at worst where L is the number of members of all inputs and M the number of \
                               members of the result";

const SHOWN: Known = Known { weights: true, with_scores: true, limit: false };
const STORED: Known = Known { weights: true, with_scores: false, limit: false };

/// A result that is only shown has no use for a compact form.
const NOT_COMPACT: ZSetLimits = ZSetLimits { listpack_entries: 0, listpack_value: 0 };

pub(super) const ZUNION: Command = Command {
    spec: Spec {
        name: "zunion",
        arity: Arity::at_least(3),
        flags: Flags::READONLY,
        keys: &[KeySpec::counted(1, Access::RO_ACCESS)],
        docs: &Docs {
            syntax: "ZUNION numkeys:int key [key ...] [WEIGHTS weight:int [weight:int ...]] \
                     [AGGREGATE (SUM | MIN | MAX)] [WITHSCORES]",
            summary: "Returns the members that any of several sorted sets has, in the order of their scores together.",
            since: "6.2.0",
            complexity: UNION_COMPLEXITY,
            group: Group::SortedSet,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(zunion),
    subcommands: &[],
};

fn zunion(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let inputs = Inputs::read(cx, args, 1, "zunion", SHOWN)?;
    let with_scores = inputs.with_scores;
    show(union(inputs), with_scores, reply);
    Ok(())
}

pub(super) const ZUNIONSTORE: Command = Command {
    spec: Spec {
        name: "zunionstore",
        arity: Arity::at_least(4),
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: STORE_KEYS,
        docs: &Docs {
            syntax: "ZUNIONSTORE destination:key numkeys:int key [key ...] [WEIGHTS weight:int [weight:int ...]] \
                     [AGGREGATE (SUM | MIN | MAX)]",
            summary: "Stores the members that any of several sorted sets has, and replies how many there are.",
            since: "2.0.0",
            complexity: UNION_COMPLEXITY,
            group: Group::SortedSet,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(zunionstore),
    subcommands: &[],
};

fn zunionstore(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let limits = limits(cx);
    let result = union(Inputs::read(cx, args, 2, "zunionstore", STORED)?).finish(&limits);
    store(cx, args.get(1), result, "zunionstore", reply);
    Ok(())
}

pub(super) const ZINTER: Command = Command {
    spec: Spec {
        name: "zinter",
        arity: Arity::at_least(3),
        flags: Flags::READONLY,
        keys: &[KeySpec::counted(1, Access::RO_ACCESS)],
        docs: &Docs {
            syntax: "ZINTER numkeys:int key [key ...] [WEIGHTS weight:int [weight:int ...]] \
                     [AGGREGATE (SUM | MIN | MAX)] [WITHSCORES]",
            summary: "Returns the members that all of several sorted sets have, in the order of their scores together.",
            since: "6.2.0",
            complexity: INTER_COMPLEXITY,
            group: Group::SortedSet,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(zinter),
    subcommands: &[],
};

fn zinter(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let inputs = Inputs::read(cx, args, 1, "zinter", SHOWN)?;
    let with_scores = inputs.with_scores;
    show(intersection(inputs), with_scores, reply);
    Ok(())
}

pub(super) const ZINTERSTORE: Command = Command {
    spec: Spec {
        name: "zinterstore",
        arity: Arity::at_least(4),
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: STORE_KEYS,
        docs: &Docs {
            syntax: "ZINTERSTORE destination:key numkeys:int key [key ...] [WEIGHTS weight:int [weight:int ...]] \
                     [AGGREGATE (SUM | MIN | MAX)]",
            summary: "Stores the members that all of several sorted sets have, and replies how many there are.",
            since: "2.0.0",
            complexity: INTER_COMPLEXITY,
            group: Group::SortedSet,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(zinterstore),
    subcommands: &[],
};

fn zinterstore(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let limits = limits(cx);
    let result = intersection(Inputs::read(cx, args, 2, "zinterstore", STORED)?).finish(&limits);
    store(cx, args.get(1), result, "zinterstore", reply);
    Ok(())
}

pub(super) const ZINTERCARD: Command = Command {
    spec: Spec {
        name: "zintercard",
        arity: Arity::at_least(3),
        flags: Flags::READONLY,
        keys: &[KeySpec::counted(1, Access::RO_ACCESS)],
        docs: &Docs {
            syntax: "ZINTERCARD numkeys:int key [key ...] [LIMIT limit:int]",
            summary: "Returns how many members all of several sorted sets have in common, counting no further than a \
                      limit.",
            since: "7.0.0",
            complexity: "O(N*K) at worst where N is the number of members of the smallest input and K the number of \
                         inputs",
            group: Group::SortedSet,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(zintercard),
    subcommands: &[],
};

fn zintercard(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let known = Known { limit: true, ..Known::default() };
    let inputs = Inputs::read(cx, args, 1, "zintercard", known)?;
    let (limit, mut count) = (inputs.limit, 0);
    intersect(inputs, |_, _| {
        count += 1;
        count != limit
    });
    reply.int(count as i64);
    Ok(())
}

pub(super) const ZDIFF: Command = Command {
    spec: Spec {
        name: "zdiff",
        arity: Arity::at_least(3),
        flags: Flags::READONLY,
        keys: &[KeySpec::counted(1, Access::RO_ACCESS)],
        docs: &Docs {
            syntax: "ZDIFF numkeys:int key [key ...] [WITHSCORES]",
            summary: "Returns the members of the first sorted set that none of the others has.",
            since: "6.2.0",
            complexity: DIFF_COMPLEXITY,
            group: Group::SortedSet,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(zdiff),
    subcommands: &[],
};

fn zdiff(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let inputs = Inputs::read(cx, args, 1, "zdiff", Known { with_scores: true, ..Known::default() })?;
    show(difference(&inputs), inputs.with_scores, reply);
    Ok(())
}

pub(super) const ZDIFFSTORE: Command = Command {
    spec: Spec {
        name: "zdiffstore",
        arity: Arity::at_least(4),
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: STORE_KEYS,
        docs: &Docs {
            syntax: "ZDIFFSTORE destination:key numkeys:int key [key ...]",
            summary: "Stores the members of the first sorted set that none of the others has, and replies how many \
                      there are.",
            since: "6.2.0",
            complexity: DIFF_COMPLEXITY,
            group: Group::SortedSet,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(zdiffstore),
    subcommands: &[],
};

fn zdiffstore(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let limits = limits(cx);
    let result = difference(&Inputs::read(cx, args, 2, "zdiffstore", Known::default())?).finish(&limits);
    store(cx, args.get(1), result, "zdiffstore", reply);
    Ok(())
}

fn show(result: ZSetBuilder, with_scores: bool, reply: &mut Reply<'_>) {
    let result = result.finish(&NOT_COMPACT);
    let show = Show::with_scores(with_scores, reply);
    show.head(reply, result.len());
    result.for_each(|member, score| show.member(reply, member, score));
}

/// The smaller inputs come first, so that scores are added up in Redis's order.
fn union(mut inputs: Inputs<'_>) -> ZSetBuilder {
    inputs.list.sort_by_key(|(input, _)| input.len());
    let mut result = ZSetBuilder::default();
    for (input, weight) in &inputs.list {
        input.for_each(|member, score| {
            let score = number_or_zero(weight * score);
            result.add(member, |old| old.map_or(score, |old| inputs.aggregate.combine(old, score)));
            true
        });
    }
    result
}

fn intersection(inputs: Inputs<'_>) -> ZSetBuilder {
    let mut result = ZSetBuilder::default();
    intersect(inputs, |member, score| {
        result.add(member, |_| score);
        true
    });
    result
}

/// Shows `found` what all inputs have in common, until it says no: goes through the smallest and asks the others.
fn intersect(mut inputs: Inputs<'_>, mut found: impl FnMut(&[u8], f64) -> bool) {
    inputs.list.sort_by_key(|(input, _)| input.len());
    let (smallest, weight) = inputs.list[0];
    let others = &inputs.list[1..];
    smallest.for_each(|member, own| {
        let mut all = number_or_zero(weight * own);
        for (input, weight) in others {
            let score = if input.is(&smallest) { Some(own) } else { input.score(member) };
            let Some(score) = score else { return true };
            all = inputs.aggregate.combine(all, weight * score);
        }
        found(member, all)
    });
}

/// Picks what is less work: to look each member of the first input up in the others, or to take the members of the
/// others away from a copy of it. A lookup counts half: most end early (Redis 7.2).
fn difference(inputs: &Inputs<'_>) -> ZSetBuilder {
    let mut result = ZSetBuilder::default();
    let (first, _) = inputs.list[0];
    let mut others: Vec<_> = inputs.list[1..].iter().map(|(input, _)| *input).collect();
    if others.iter().any(|input| input.is(&first)) {
        return result;
    }
    let to_filter = first.len() * inputs.list.len() / 2;
    let to_subtract = inputs.list.iter().map(|(input, _)| input.len()).sum();
    if to_filter <= to_subtract {
        others.sort_by_key(|input| std::cmp::Reverse(input.len()));
        first.for_each(|member, score| {
            if others.iter().all(|input| input.score(member).is_none()) {
                result.add(member, |_| score);
            }
            true
        });
        return result;
    }
    first.for_each(|member, score| {
        result.add(member, |_| score);
        true
    });
    for input in others {
        input.for_each(|member, _| {
            result.remove(member);
            !result.is_empty()
        });
    }
    result
}

#[cfg(test)]
mod tests;
