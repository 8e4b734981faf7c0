//! What ZUNION, ZINTER, ZDIFF and their kin read: sorted sets and sets, whose members all have the score 1, with the
//! weights and the options of the request. Never combines them.

use smallvec::SmallVec;
use torc_datatypes::{Entry, Set, ValueRef, ZSet};
use torc_resp::{Args, CommandError};

use crate::{Context, KEYS_AHEAD};

/// Members of a sorted set that are looked at before the caller is asked whether to go on.
const CHUNK: usize = 64;

/// One input.
#[derive(Clone, Copy, Debug)]
pub(super) enum Input<'c> {
    Nothing,
    ZSet(&'c ZSet),
    Set(&'c Set),
}

impl<'c> Input<'c> {
    fn of(entry: Option<&'c Entry>) -> Result<Input<'c>, CommandError> {
        let Some(entry) = entry else { return Ok(Input::Nothing) };
        match entry.value() {
            Some(ValueRef::ZSet(zset)) => Ok(Input::ZSet(zset)),
            Some(ValueRef::Set(set)) => Ok(Input::Set(set)),
            _ => Err(CommandError::WrongType),
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Input::Nothing => 0,
            Input::ZSet(zset) => zset.len(),
            Input::Set(set) => set.len(),
        }
    }

    /// Whether both are the value of one key.
    pub(super) fn is(&self, other: &Input<'_>) -> bool {
        match (self, other) {
            (Input::ZSet(one), Input::ZSet(other)) => std::ptr::eq(*one, *other),
            (Input::Set(one), Input::Set(other)) => std::ptr::eq(*one, *other),
            _ => false,
        }
    }

    pub(super) fn score(&self, member: &[u8]) -> Option<f64> {
        match self {
            Input::Nothing => None,
            Input::ZSet(zset) => zset.score(member),
            Input::Set(set) => set.contains(member).then_some(1.0),
        }
    }

    /// Visits members with their scores until `visit` says no, and perhaps a few more.
    pub(super) fn for_each(&self, mut visit: impl FnMut(&[u8], f64) -> bool) {
        match self {
            Input::Nothing => {}
            Input::ZSet(zset) => {
                let (mut start, mut goes_on) = (0, true);
                while goes_on && start < zset.len() {
                    let end = zset.len().min(start + CHUNK);
                    zset.visit(start..end, false, |member, score| goes_on = goes_on && visit(member, score));
                    start = end;
                }
            }
            Input::Set(set) => {
                let mut text = torc_datatypes::value::IntText::new();
                for member in set.iter() {
                    if !visit(member.as_bytes(&mut text), 1.0) {
                        return;
                    }
                }
            }
        }
    }
}

/// How the scores of one member are combined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Aggregate {
    #[default]
    Sum,
    Min,
    Max,
}

impl Aggregate {
    /// Contract (Redis 7.2): infinities that cancel each other out are 0.
    pub(super) fn combine(self, one: f64, other: f64) -> f64 {
        match self {
            Aggregate::Sum => number_or_zero(one + other),
            Aggregate::Min if other < one => other,
            Aggregate::Max if other > one => other,
            Aggregate::Min | Aggregate::Max => one,
        }
    }
}

/// What is no number counts as 0 (Redis 7.2).
pub(super) fn number_or_zero(score: f64) -> f64 {
    if score.is_nan() { 0.0 } else { score }
}

/// Which options a command knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) weights: bool,
    pub(super) with_scores: bool,
    pub(super) limit: bool,
}

/// Inputs with their weights, in the order of their keys, and options.
#[derive(Debug)]
pub(super) struct Inputs<'c> {
    pub(super) list: SmallVec<[(Input<'c>, f64); KEYS_AHEAD]>,
    pub(super) aggregate: Aggregate,
    pub(super) with_scores: bool,
    /// 0 for none.
    pub(super) limit: usize,
}

impl<'c> Inputs<'c> {
    /// Reads the arguments from the number of keys (at `first`) on. Contract (Redis 7.2): wrong types come before wrong
    /// options.
    pub(super) fn read(
        cx: &'c mut Context<'_>,
        args: Args<'_>,
        first: usize,
        name: &str,
        known: Known,
    ) -> Result<Inputs<'c>, CommandError> {
        let numkeys = args.int(first)?;
        if numkeys < 1 {
            let text = format!("ERR at least 1 input key is needed for '{name}' command");
            return Err(CommandError::Owned(text.into()));
        }
        let (keys, options) = (args.from(first + 1), numkeys as usize);
        if options > keys.len() {
            return Err(CommandError::Syntax);
        }
        let (keys, options) = (keys.range(0..options), keys.from(options));
        let lookup = cx.reading();
        for first in (0..keys.len()).step_by(KEYS_AHEAD) {
            for key in cx.keys_ahead(keys.from(first), 1) {
                Input::of(cx.keyspace.get(cx.db, &key, cx.now_ms, lookup, cx.changes))?;
            }
        }
        // All of them can be borrowed together only when no lookup changes anything any more.
        let cx = &*cx;
        let mut list = SmallVec::with_capacity(keys.len());
        for key in keys.iter() {
            list.push((Input::of(cx.keyspace.peek(cx.db, &cx.key(key), cx.now_ms))?, 1.0));
        }
        let mut inputs = Inputs { list, aggregate: Aggregate::Sum, with_scores: false, limit: 0 };
        inputs.read_options(options, known)?;
        Ok(inputs)
    }

    fn read_options(&mut self, args: Args<'_>, known: Known) -> Result<(), CommandError> {
        let mut index = 0;
        while index < args.len() {
            let behind = args.len() - index - 1;
            if known.weights && behind >= self.list.len() && args.is(index, b"WEIGHTS") {
                for (_, weight) in &mut self.list {
                    index += 1;
                    *weight = args
                        .float(index)
                        .map_err(|_| CommandError::Text("ERR weight value is not a float"))?;
                }
            } else if known.weights && behind >= 1 && args.is(index, b"AGGREGATE") {
                index += 1;
                self.aggregate = match args.get(index) {
                    word if word.eq_ignore_ascii_case(b"SUM") => Aggregate::Sum,
                    word if word.eq_ignore_ascii_case(b"MIN") => Aggregate::Min,
                    word if word.eq_ignore_ascii_case(b"MAX") => Aggregate::Max,
                    _ => return Err(CommandError::Syntax),
                };
            } else if known.with_scores && args.is(index, b"WITHSCORES") {
                self.with_scores = true;
            } else if known.limit && behind >= 1 && args.is(index, b"LIMIT") {
                index += 1;
                let limit = args.int(index).ok().and_then(|limit| usize::try_from(limit).ok());
                self.limit = limit.ok_or(CommandError::Text("ERR LIMIT can't be negative"))?;
            } else {
                return Err(CommandError::Syntax);
            }
            index += 1;
        }
        Ok(())
    }
}
