//! The recovery rule: which records of all shards' logs become the state after a crash.
//!
//! A shard's log is valid up to its first damaged record. A transaction is complete when the part of every participant lies
//! inside that participant's valid prefix. An incomplete one:
//!
//! - written under `always`, is dropped alone: its locks were held until all parts were durable, so nothing depends on it,
//!   and later acknowledged records stay;
//! - written under `everysec` or `no`, ends the prefix of every log that holds a part of it, because what follows may
//!   have seen it. That may make further transactions incomplete: repeated until nothing changes.
//!
//! The result is the greatest consistent cut of all shards. Pure functions over what [`crate::segment::scan`] found.

use std::collections::{BTreeMap, BTreeSet};

use crate::record::Transaction;

/// What the rule has to know of a shard's log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogView {
    /// Number of records in the valid prefix.
    pub records: usize,
    /// Those among them that are parts of transactions, in ascending order.
    pub parts: Vec<PartView>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartView {
    /// Number of the record in its log, from 0.
    pub record: usize,
    pub transaction: Transaction,
    /// Written under `always`.
    pub always: bool,
}

/// What is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// Per log: how many records from its beginning.
    pub keep: Vec<usize>,
    /// Of those, parts of incomplete transactions, which are skipped: (log, record).
    pub skip: BTreeSet<(usize, usize)>,
}

#[derive(Default)]
struct Parts {
    participants: BTreeSet<u16>,
    /// (log, record) of each part that was found.
    found: Vec<(usize, usize)>,
    /// All parts that were found were written under `always`.
    always: bool,
}

/// The cut of these logs, all of one generation. `logs[n]` is the valid prefix of shard `n`'s.
pub fn consistent_cut(logs: &[LogView]) -> Cut {
    let mut cut = Cut { keep: logs.iter().map(|log| log.records).collect(), skip: BTreeSet::new() };
    let mut transactions: BTreeMap<u64, Parts> = BTreeMap::new();
    for (log, view) in logs.iter().enumerate() {
        for part in &view.parts {
            let parts = transactions
                .entry(part.transaction.ticket)
                .or_insert_with(|| Parts { always: true, ..Parts::default() });
            parts.participants.extend(&part.transaction.participants);
            parts.always &= part.always;
            parts.found.push((log, part.record));
        }
    }
    // Shortening a log can only make further transactions incomplete, so this ends after as many rounds at most.
    loop {
        let mut changed = false;
        for parts in transactions.values() {
            let held: Vec<(usize, usize)> =
                parts.found.iter().copied().filter(|&(log, at)| at < cut.keep[log]).collect();
            let holders: BTreeSet<u16> = held.iter().map(|&(log, _)| log as u16).collect();
            if parts.participants.is_subset(&holders) {
                continue;
            }
            if parts.always {
                cut.skip.extend(held);
                continue;
            }
            for (log, at) in held {
                cut.keep[log] = cut.keep[log].min(at);
                changed = true;
            }
        }
        if !changed {
            break;
        }
    }
    cut.skip.retain(|(log, at)| *at < cut.keep[*log]);
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone)]
    struct CutRecord {
        transaction: Option<Transaction>,
        always: bool,
    }

    fn view(records: &[CutRecord]) -> LogView {
        let part = |(record, CutRecord { transaction, always }): (usize, &CutRecord)| {
            Some(PartView { record, transaction: transaction.clone()?, always: *always })
        };
        LogView { records: records.len(), parts: records.iter().enumerate().filter_map(part).collect() }
    }

    fn cut_of(logs: &[Vec<CutRecord>]) -> Cut {
        consistent_cut(&logs.iter().map(|log| view(log)).collect::<Vec<_>>())
    }

    fn plain() -> CutRecord {
        CutRecord { transaction: None, always: false }
    }

    fn part(ticket: u64, participants: &[u16], always: bool) -> CutRecord {
        CutRecord { transaction: Some(Transaction { ticket, participants: participants.to_vec() }), always }
    }

    fn check(logs: &[Vec<CutRecord>], keep: &[usize], skip: &[(usize, usize)]) {
        let cut = cut_of(logs);
        assert_eq!(cut.keep, keep);
        assert_eq!(cut.skip.into_iter().collect::<Vec<_>>(), skip);
    }

    #[test]
    fn complete_transactions_stay() {
        let both = part(1, &[0, 1], false);
        check(&[vec![plain(), both.clone(), plain()], vec![both, plain()]], &[3, 2], &[]);
    }

    #[test]
    fn an_incomplete_one_ends_the_logs_that_hold_it() {
        let lost = part(1, &[0, 1], false);
        check(&[vec![plain(), lost, plain()], vec![plain()]], &[1, 1], &[]);
    }

    #[test]
    fn under_always_it_is_dropped_alone() {
        let lost = part(1, &[0, 1], true);
        check(&[vec![plain(), lost, plain()], vec![plain()]], &[3, 1], &[(0, 1)]);
    }

    /// Cutting shard 0 takes its part of the second transaction away, which cuts shard 1, which cuts shard 2.
    #[test]
    fn cuts_spread_to_what_depends_on_them() {
        let logs = [
            vec![part(1, &[0, 3], false), part(2, &[0, 1], false)],
            vec![plain(), part(2, &[0, 1], false), part(3, &[1, 2], false)],
            vec![plain(), plain(), part(3, &[1, 2], false), plain()],
            vec![],
        ];
        check(&logs, &[0, 1, 2, 0], &[]);
    }

    #[test]
    fn a_policy_that_changed_in_between_counts_as_the_weaker_one() {
        let logs =
            [vec![plain(), part(1, &[0, 1, 2], true)], vec![part(1, &[0, 1, 2], false), plain()], vec![]];
        check(&logs, &[1, 0, 0], &[]);
    }

    /// The cut is consistent, and no longer one is: against all cuts of small random logs.
    #[test]
    fn is_the_greatest_consistent_cut() {
        for seed in 1..=3_000u64 {
            let mut state = seed;
            let mut random = move |below: u64| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state % below
            };
            // Three logs of up to four records; parts may have been lost at the end of each.
            let mut logs: Vec<Vec<CutRecord>> = vec![Vec::new(); 3];
            for ticket in 0..5 {
                let members: Vec<u16> = (0..3).filter(|_| random(2) == 0).collect();
                match members.as_slice() {
                    [] => {}
                    [one] => logs[usize::from(*one)].push(plain()),
                    several => several
                        .iter()
                        .for_each(|log| logs[usize::from(*log)].push(part(ticket, several, false))),
                }
            }
            for log in &mut logs {
                log.truncate(log.len() - random(3).min(log.len() as u64) as usize);
            }
            let cut = cut_of(&logs);
            assert!(cut.skip.is_empty());
            assert!(is_consistent(&logs, &cut.keep), "seed {seed}");
            let longest = (0..=logs[0].len())
                .flat_map(|a| (0..=logs[1].len()).map(move |b| (a, b)))
                .flat_map(|(a, b)| (0..=logs[2].len()).map(move |c| [a, b, c]))
                .filter(|keep| is_consistent(&logs, keep))
                .map(|keep| keep.iter().sum::<usize>())
                .max();
            assert_eq!(Some(cut.keep.iter().sum()), longest, "seed {seed}");
        }
    }

    fn is_consistent(logs: &[Vec<CutRecord>], keep: &[usize]) -> bool {
        let holds = |log: usize, ticket: u64| {
            logs[log][..keep[log]].iter().any(|record| {
                record.transaction.as_ref().is_some_and(|transaction| transaction.ticket == ticket)
            })
        };
        logs.iter().zip(keep).all(|(log, &keep)| {
            log[..keep].iter().filter_map(|record| record.transaction.as_ref()).all(|transaction| {
                transaction.participants.iter().all(|&log| holds(usize::from(log), transaction.ticket))
            })
        })
    }
}
