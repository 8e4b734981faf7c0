//! Members get scores: ZADD and ZINCRBY. Hot path.

use smallvec::SmallVec;
use torc_datatypes::zset::{Change, ZSetLimits};
use torc_datatypes::{Value, ZSet};
use torc_keyspace::Class;
use torc_resp::{Args, CommandError, Reply};

use super::{limits, zset_at, zset_mut};
use crate::{Access, Arity, Command, Context, Docs, Flags, Group, KeySpec, Run, Spec};

const NAN: CommandError = CommandError::Text("ERR resulting score is not a number (NaN)");

pub(super) const ZADD: Command = Command {
    spec: Spec {
        name: "zadd",
        arity: Arity::at_least(4),
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST),
        keys: &[KeySpec::at(1, Access::RW_UPDATE)],
        docs: &Docs {
            syntax: "ZADD key [NX | XX] [GT | LT] [CH] [INCR] score:double member [score:double member ...]",
            summary: "Gives members of a sorted set their scores, adding those that are not there; a missing key counts \
                      as empty. Replies how many were new.",
            since: "1.2.0",
            complexity: "O(log(N)) for each member where N is the number of members in the sorted set",
            group: Group::SortedSet,
            history: &[
                ("2.4.0", "Several members in one call."),
                ("3.0.2", "`XX`, `NX`, `CH` and `INCR`."),
                ("6.2.0", "`GT` and `LT`."),
            ],
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(zadd),
    subcommands: &[],
};

fn zadd(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let (rule, pairs) = Rule::parse(args)?;
    let count_updates = rule.count_updates;
    let outcome = set_scores(cx, args.get(1), rule, pairs)?;
    match (rule.incr, outcome.score) {
        (true, Some(score)) => reply.double(score),
        (true, None) => reply.null(),
        (false, _) if count_updates => reply.int((outcome.added + outcome.updated) as i64),
        (false, _) => reply.int(outcome.added as i64),
    }
    Ok(())
}

pub(super) const ZINCRBY: Command = Command {
    spec: Spec {
        name: "zincrby",
        arity: Arity::exactly(4),
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST),
        keys: &[KeySpec::at(1, Access::RW_ACCESS_UPDATE)],
        docs: &Docs {
            syntax: "ZINCRBY key increment:double member",
            summary: "Adds a number to the score of a member of a sorted set; a missing one has the score 0. Replies the \
                      new score.",
            since: "1.2.0",
            complexity: "O(log(N)) where N is the number of members in the sorted set",
            group: Group::SortedSet,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(zincrby),
    subcommands: &[],
};

fn zincrby(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let rule = Rule { incr: true, ..Rule::default() };
    let outcome = set_scores(cx, args.get(1), rule, args.from(2))?;
    reply.double(outcome.score.expect("without a condition the score is set"));
    Ok(())
}

/// Which members get a score, and which score.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::families) struct Rule {
    /// Only members that are not there.
    pub(in crate::families) nx: bool,
    /// Only members that are there.
    pub(in crate::families) xx: bool,
    /// A member that is there gets a greater score only.
    gt: bool,
    /// A member that is there gets a smaller score only.
    lt: bool,
    /// The number is added to the score that is there.
    incr: bool,
    /// The reply counts changed scores too.
    pub(in crate::families) count_updates: bool,
}

impl Rule {
    /// The options, and the pairs of a score and a member behind them. The checks come in Redis's order.
    fn parse(args: Args<'_>) -> Result<(Rule, Args<'_>), CommandError> {
        let mut rule = Rule::default();
        let mut index = 2;
        while index < args.len() {
            match args.get(index) {
                word if word.eq_ignore_ascii_case(b"NX") => rule.nx = true,
                word if word.eq_ignore_ascii_case(b"XX") => rule.xx = true,
                word if word.eq_ignore_ascii_case(b"GT") => rule.gt = true,
                word if word.eq_ignore_ascii_case(b"LT") => rule.lt = true,
                word if word.eq_ignore_ascii_case(b"CH") => rule.count_updates = true,
                word if word.eq_ignore_ascii_case(b"INCR") => rule.incr = true,
                _ => break,
            }
            index += 1;
        }
        let pairs = args.from(index);
        if pairs.is_empty() || !pairs.len().is_multiple_of(2) {
            return Err(CommandError::Syntax);
        }
        if rule.nx && rule.xx {
            return Err(CommandError::Text("ERR XX and NX options at the same time are not compatible"));
        }
        if rule.gt && rule.lt || rule.nx && (rule.gt || rule.lt) {
            return Err(CommandError::Text(
                "ERR GT, LT, and/or NX options at the same time are not compatible",
            ));
        }
        if rule.incr && pairs.len() > 2 {
            return Err(CommandError::Text("ERR INCR option supports a single increment-element pair"));
        }
        Ok((rule, pairs))
    }

    /// The score that a member gets, if any.
    #[inline]
    fn decide(&self, old: Option<f64>, score: f64) -> Option<f64> {
        let Some(old) = old else { return (!self.xx).then_some(score) };
        let new = if self.incr { old + score } else { score };
        let refused = self.nx || self.gt && new <= old || self.lt && new >= old;
        (!refused).then_some(new)
    }
}

/// What came of giving scores.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::families) struct Outcome {
    pub(in crate::families) added: usize,
    /// Members that were there and have another score now.
    pub(in crate::families) updated: usize,
    /// The last score that was set, be it the one that was there.
    score: Option<f64>,
}

/// Gives members their scores; `pairs` are scores and members by turns.
fn set_scores(
    cx: &mut Context<'_>,
    key: &[u8],
    rule: Rule,
    pairs: Args<'_>,
) -> Result<Outcome, CommandError> {
    let mut members: SmallVec<[(f64, &[u8]); 4]> = SmallVec::with_capacity(pairs.len() / 2);
    for index in (0..pairs.len()).step_by(2) {
        members.push((pairs.float(index)?, pairs.get(index + 1)));
    }
    insert_all(cx, key, rule, &members)
}

/// Gives members their scores.
pub(in crate::families) fn insert_all(
    cx: &mut Context<'_>,
    key: &[u8],
    rule: Rule,
    members: &[(f64, &[u8])],
) -> Result<Outcome, CommandError> {
    let limits = limits(cx);
    let longest = members.iter().map(|(_, member)| member.len()).max().unwrap_or(0);
    let mut at = cx.at(key, cx.writing());
    let outcome = if zset_at(at.entry())?.is_some() {
        let mut entry = at.entry_mut().expect("a sorted set is there");
        let zset = zset_mut(&mut entry);
        zset.expect(members.len(), longest, &limits);
        apply(zset, rule, members, &limits)?
    } else if rule.xx {
        Outcome::default()
    } else {
        let mut zset = ZSet::with_expected(members.len(), longest, &limits);
        let outcome = apply(&mut zset, rule, members, &limits)?;
        at.put(Value::ZSet(zset));
        outcome
    };
    let changes = outcome.added + outcome.updated;
    if changes > 0 {
        at.changed(Class::ZSET, if rule.incr { "zincr" } else { "zadd" });
        at.changed_more(changes as u64 - 1);
    }
    Ok(outcome)
}

/// A score that is no number ends it; that happens to a single member only, so that nothing has changed then.
fn apply(
    zset: &mut ZSet,
    rule: Rule,
    members: &[(f64, &[u8])],
    limits: &ZSetLimits,
) -> Result<Outcome, CommandError> {
    let mut outcome = Outcome::default();
    for (score, member) in members {
        let mut set_to = None;
        let change = zset.edit(member, limits, |old| {
            set_to = rule.decide(old, *score);
            set_to.filter(|score| !score.is_nan())
        });
        match change {
            Change::Nothing if set_to.is_some_and(f64::is_nan) => return Err(NAN),
            Change::Nothing => {}
            Change::Added => outcome.added += 1,
            Change::Updated => outcome.updated += 1,
        }
        outcome.score = set_to.or(outcome.score);
    }
    Ok(outcome)
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    const WRONG_TYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value";
    const SYNTAX: &str = "-ERR syntax error";
    const NOT_COMPATIBLE: &str = "-ERR GT, LT, and/or NX options at the same time are not compatible";

    #[test]
    fn zadd_counts_new_members() {
        let mut bench = Bench::new();
        bench.check_changes("ZADD z 1 a 2 b", ":2", 2, &["z zadd z"]);
        bench.check_changes("ZADD z 1 a 3 b 4 c", ":1", 2, &["z zadd z"]);
        bench.check_changes("ZADD z 1 a", ":0", 0, &[]);
        bench.check_changes("ZADD z CH 1 a 5 b 6 d", ":2", 2, &["z zadd z"]);
        bench.check_changes("ZADD z 7 e 8 e", ":1", 2, &["z zadd z"]);
        bench.check("TYPE z", "+zset");
        bench.run("SET k v");
        bench.check_changes("ZADD k 1 a", WRONG_TYPE, 0, &[]);
        bench.check("ZADD k x a", "-ERR value is not a valid float");
        bench.check("ZADD k 1 a nan b", "-ERR value is not a valid float");
        bench.check("ZADD z inf i -inf j", ":2");
        bench.check("ZSCORE z missing", "$-1");
        bench.check_both("ZSCORE z i", "$3\ninf", ",inf");
    }

    #[test]
    fn zadd_under_conditions() {
        let mut bench = Bench::new();
        bench.check_changes("ZADD z XX 1 a", ":0", 0, &[]);
        bench.check("EXISTS z", ":0");
        bench.check("ZADD z GT 5 a", ":1");
        bench.check("ZADD z NX 6 a 6 b", ":1");
        bench.check_both("ZSCORE z a", "$1\n5", ",5");
        bench.check("ZADD z XX CH 6 a 7 new", ":1");
        bench.check("ZADD z GT CH 5 a 9 b", ":1");
        bench.check("ZADD z LT CH 7 a 8 b 1 c", ":2");
        bench.check("ZADD z XX GT CH 9 b 1 d", ":1");
        bench.check_both("ZMSCORE z a b c d", "*4\n$1\n6\n$1\n9\n$1\n1\n$-1", "*4\n,6\n,9\n,1\n_");
        for (line, expected) in [
            ("ZADD z NX CH", SYNTAX),
            ("ZADD z 1 a 2", SYNTAX),
            ("ZADD z NX XX 1 a", "-ERR XX and NX options at the same time are not compatible"),
            ("ZADD z GT LT 1 a", NOT_COMPATIBLE),
            ("ZADD z NX GT 1 a", NOT_COMPATIBLE),
            ("ZADD z LT NX 1 a", NOT_COMPATIBLE),
            ("ZADD z INCR 1 a 2 b", "-ERR INCR option supports a single increment-element pair"),
            ("ZADD z a 1", "-ERR value is not a valid float"),
        ] {
            bench.check_changes(line, expected, 0, &[]);
        }
    }

    #[test]
    fn increments() {
        let mut bench = Bench::new();
        bench.check_both("ZINCRBY z 1.5 a", "$3\n1.5", ",1.5");
        bench.check_changes("ZADD z INCR XX 1 b", "$-1", 0, &[]);
        bench.check("ZADD z INCR NX 1 a", "$-1");
        bench.check("ZADD z INCR GT -1 a", "$-1");
        bench.check("ZADD z INCR LT 0 a", "$-1");
        bench.check_both("ZADD z INCR 2 a", "$3\n3.5", ",3.5");
        for (line, resp2, resp3, dirty, events) in [
            ("ZINCRBY z -0.5 a", "$1\n3", ",3", 1, &["z zincr z"][..]),
            ("ZINCRBY z 0 a", "$1\n3", ",3", 0, &[]),
            ("ZADD z INCR 0 a", "$1\n3", ",3", 0, &[]),
            ("ZINCRBY z inf a", "$3\ninf", ",inf", 1, &["z zincr z"]),
        ] {
            let changes = bench.changes_of(|bench| bench.check_both(line, resp2, resp3));
            assert_eq!(changes, (dirty, events.iter().map(|event| event.to_string()).collect()), "{line}");
        }
        bench.check_changes("ZINCRBY z -inf a", "-ERR resulting score is not a number (NaN)", 0, &[]);
        bench.check_both("ZSCORE z a", "$3\ninf", ",inf");
        bench.check("ZINCRBY z x a", "-ERR value is not a valid float");
        bench.check("ZINCRBY z nan a", "-ERR value is not a valid float");
        bench.run("SET k v");
        bench.check("ZINCRBY k 1 a", WRONG_TYPE);
    }

    #[test]
    fn encodings_follow_the_settings() {
        let mut bench = Bench::new();
        bench.run("ZADD z 1 a");
        bench.check("OBJECT ENCODING z", "$8\nlistpack");
        bench.run(&format!("ZADD z 1 {}", "x".repeat(65)));
        bench.check("OBJECT ENCODING z", "$8\nskiplist");
        bench.settings.encodings.zset_max_listpack_entries = 2;
        bench.run("ZADD two 1 a 2 b 3 b");
        bench.check("OBJECT ENCODING two", "$8\nskiplist");
        bench.run("ZADD one 1 a 2 b");
        bench.check("OBJECT ENCODING one", "$8\nlistpack");
        bench.run("ZADD one 1 c");
        bench.check("OBJECT ENCODING one", "$8\nskiplist");
        bench.run("ZREM one a b");
        bench.check("OBJECT ENCODING one", "$8\nskiplist");
    }
}
