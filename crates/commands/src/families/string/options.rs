//! The options that SET, GETEX, MSETEX, HSETEX and HGETEX share: when to write, and when the key or field expires.
//!
//! Owns their syntax and their errors (Redis 7.2, IFEQ from Valkey 8.1, FNX and FXX from Valkey 9.0). Never touches a
//! keyspace.

use torc_keyspace::SetExpire;
use torc_resp::{Args, CommandError};

/// When to write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::families) enum Condition {
    #[default]
    Always,
    /// NX
    Missing,
    /// XX
    Exists,
    /// IFEQ: the value equals this argument.
    Equals(usize),
}

/// What happens to the expiry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::families) enum Expiry {
    /// Not mentioned.
    #[default]
    Unspecified,
    /// KEEPTTL
    Keep,
    /// PERSIST
    Persist,
    Time {
        unit: Unit,
        /// Which argument is the time.
        index: usize,
    },
}

/// How a time is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::families) enum Unit {
    /// EX: seconds from now.
    Seconds,
    /// PX: milliseconds from now.
    Millis,
    /// EXAT: Unix time in seconds.
    UnixSeconds,
    /// PXAT: Unix time in milliseconds.
    UnixMillis,
}

/// Which options a command knows, beside the four times.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::families) struct Known {
    /// NX and XX.
    pub(in crate::families) conditions: bool,
    pub(in crate::families) ifeq: bool,
    /// FNX and FXX.
    pub(in crate::families) field_conditions: bool,
    pub(in crate::families) get: bool,
    pub(in crate::families) keepttl: bool,
    pub(in crate::families) persist: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::families) struct Options {
    pub(in crate::families) condition: Condition,
    /// What FNX and FXX ask of fields.
    pub(in crate::families) field_condition: Condition,
    pub(in crate::families) expiry: Expiry,
    pub(in crate::families) get: bool,
}

impl Options {
    /// Reads the options from argument `from` on. The same option may come again; a different one of its kind may not.
    pub(in crate::families) fn parse(
        args: Args<'_>,
        from: usize,
        known: Known,
    ) -> Result<Options, CommandError> {
        let mut options = Options::default();
        let mut index = from;
        while index < args.len() {
            index += options.parse_one(args, index, known).ok_or(CommandError::Syntax)?;
        }
        Ok(options)
    }

    /// Reads the option at `index` and returns how many arguments it takes.
    fn parse_one(&mut self, args: Args<'_>, index: usize, known: Known) -> Option<usize> {
        let word = args.get(index);
        let has_next = index + 1 < args.len();
        let is = |option: &[u8]| word.eq_ignore_ascii_case(option);
        if known.conditions && is(b"NX") {
            return set_condition(&mut self.condition, Condition::Missing).then_some(1);
        }
        if known.conditions && is(b"XX") {
            return set_condition(&mut self.condition, Condition::Exists).then_some(1);
        }
        if known.ifeq && is(b"IFEQ") && has_next {
            return set_condition(&mut self.condition, Condition::Equals(index + 1)).then_some(2);
        }
        if known.field_conditions && is(b"FNX") {
            return set_condition(&mut self.field_condition, Condition::Missing).then_some(1);
        }
        if known.field_conditions && is(b"FXX") {
            return set_condition(&mut self.field_condition, Condition::Exists).then_some(1);
        }
        if known.get && is(b"GET") {
            self.get = true;
            return Some(1);
        }
        if known.keepttl && is(b"KEEPTTL") {
            return self.expiry(Expiry::Keep).then_some(1);
        }
        if known.persist && is(b"PERSIST") {
            return self.expiry(Expiry::Persist).then_some(1);
        }
        let unit = Unit::from_name(word)?;
        (has_next && self.expiry(Expiry::Time { unit, index: index + 1 })).then_some(2)
    }

    fn expiry(&mut self, expiry: Expiry) -> bool {
        let fits = match (self.expiry, expiry) {
            (Expiry::Unspecified, _) => true,
            (Expiry::Time { unit: before, .. }, Expiry::Time { unit, .. }) => before == unit,
            (before, _) => before == expiry,
        };
        self.expiry = expiry;
        fits
    }

    /// What the options mean for a string that is stored at `now_ms` by the command `name`.
    pub(super) fn set_expire(
        &self,
        args: Args<'_>,
        now_ms: i64,
        name: &'static str,
    ) -> Result<SetExpire, CommandError> {
        Ok(match self.expiry {
            Expiry::Unspecified | Expiry::Persist => SetExpire::Clear,
            Expiry::Keep => SetExpire::Keep,
            Expiry::Time { unit, index } => SetExpire::At(unit.unix_ms(args.int(index)?, now_ms, name)?),
        })
    }
}

/// Replaces what was asked so far; false if the two contradict each other.
fn set_condition(before: &mut Condition, condition: Condition) -> bool {
    let before = std::mem::replace(before, condition);
    before == Condition::Always || before == condition
}

impl Unit {
    fn from_name(word: &[u8]) -> Option<Unit> {
        const NAMES: [(&[u8], Unit); 4] = [
            (b"EX", Unit::Seconds),
            (b"PX", Unit::Millis),
            (b"EXAT", Unit::UnixSeconds),
            (b"PXAT", Unit::UnixMillis),
        ];
        NAMES.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(word)).map(|(_, unit)| unit)
    }

    /// True for points in time, which may have passed.
    pub(super) fn is_absolute(self) -> bool {
        matches!(self, Unit::UnixSeconds | Unit::UnixMillis)
    }

    /// The moment in Unix milliseconds, unless that overflows.
    pub(in crate::families) fn moment(self, time: i64, now_ms: i64) -> Option<i64> {
        let in_ms = match self {
            Unit::Seconds | Unit::UnixSeconds => time.checked_mul(1000),
            Unit::Millis | Unit::UnixMillis => Some(time),
        };
        if self.is_absolute() { in_ms } else { in_ms.and_then(|ms| ms.checked_add(now_ms)) }
    }

    /// The expiry in Unix milliseconds; times that are not positive or overflow are errors that quote `name`.
    pub(super) fn unix_ms(self, time: i64, now_ms: i64, name: &'static str) -> Result<i64, CommandError> {
        self.moment(time, now_ms).filter(|_| time > 0).ok_or(CommandError::InvalidExpire(name))
    }
}
