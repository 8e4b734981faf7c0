//! Which arguments of a request are keys.
//!
//! Owns the interpretation of key specs. Routing, COMMAND GETKEYS, ACL and the lock table all ask here. Never looks
//! at a keyspace.

use torc_resp::Args;

use crate::spec::{Access, Begin, Find, KeySpec, Spec};

/// A request whose keys cannot be found, because a count or keyword among its arguments is wrong. The command itself
/// will say what is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidKeys;

/// Call `found(index, access)` for every key of the request, in the order of the key specs. What other specs find is
/// told also when one makes no sense: `PFMERGE key` has a key, though the second spec begins behind the last argument.
pub fn for_each(
    spec: &Spec,
    args: Args<'_>,
    mut found: impl FnMut(usize, Access),
) -> Result<(), InvalidKeys> {
    let mut outcome = Ok(());
    for key in spec.keys {
        if let Find::Argument(argument) = key.find {
            argument(args).into_iter().for_each(|index| found(index, key.access_of(args)));
            continue;
        }
        if let Find::Rest(first) = key.find {
            let first = first(args).unwrap_or(args.len());
            (first..args.len()).for_each(|index| found(index, key.access_of(args)));
            continue;
        }
        match begin_of(key, args) {
            Some(begin) => outcome = outcome.and(find(key, begin, args, &mut found)),
            // A keyword that is not there may be one of several ways to name keys, if the spec says so.
            None if matches!(key.begin, Begin::Keyword { .. }) && !key.access.has(Access::INCOMPLETE) => {
                outcome = Err(InvalidKeys);
            }
            None => {}
        }
    }
    outcome
}

fn find(
    key: &KeySpec,
    begin: usize,
    args: Args<'_>,
    found: &mut impl FnMut(usize, Access),
) -> Result<(), InvalidKeys> {
    if begin >= args.len() {
        return Err(InvalidKeys);
    }
    let access = key.access_of(args);
    match key.find {
        Find::Range { last, step, limit } => {
            let last = last_of_range(begin, last, limit, args.len()).ok_or(InvalidKeys)?;
            (begin..=last).step_by(step).for_each(|index| found(index, access));
        }
        Find::Count { count_at, first, step } => {
            let count = args.opt(begin + count_at).ok_or(InvalidKeys)?;
            let count = torc_resp::number::parse_i64(count).ok_or(InvalidKeys)?;
            let count = usize::try_from(count).map_err(|_| InvalidKeys)?;
            let end = count.checked_mul(step).and_then(|width| width.checked_add(begin + first));
            if count == 0 || end.is_none_or(|end| end > args.len() + step - 1) {
                return Err(InvalidKeys);
            }
            (0..count).for_each(|nth| found(begin + first + nth * step, access));
        }
        Find::Argument(_) | Find::Rest(_) | Find::Unknown => {}
    }
    Ok(())
}

fn begin_of(key: &KeySpec, args: Args<'_>) -> Option<usize> {
    match key.begin {
        Begin::Index(index) => Some(index),
        Begin::Keyword { word, from } => {
            let mut indices: Box<dyn Iterator<Item = usize>> = if from >= 0 {
                Box::new(from as usize..args.len())
            } else {
                Box::new((1..(args.len() + 1).saturating_sub(from.unsigned_abs() as usize)).rev())
            };
            indices.find(|&index| args.is(index, word.as_bytes())).map(|index| index + 1)
        }
        Begin::Unknown => None,
    }
}

fn last_of_range(begin: usize, last: i32, limit: usize, count: usize) -> Option<usize> {
    let index = if last >= 0 {
        begin + last as usize
    } else if limit > 1 {
        begin + (count - begin) / limit - 1
    } else {
        count.checked_sub(last.unsigned_abs() as usize)?
    };
    (index < count && index >= begin).then_some(index)
}
