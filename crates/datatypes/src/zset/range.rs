//! Ranges of scores and of members, as questions about where a member lies. Never knows the syntax of commands.

/// An end of a range of scores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScoreBound {
    pub score: f64,
    /// The score itself lies outside.
    pub open: bool,
}

/// From one score to another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScoreRange {
    pub min: ScoreBound,
    pub max: ScoreBound,
}

impl ScoreRange {
    #[inline]
    pub(super) fn is_below(&self, score: f64) -> bool {
        score < self.min.score || self.min.open && score == self.min.score
    }

    #[inline]
    pub(super) fn is_up_to_max(&self, score: f64) -> bool {
        score < self.max.score || !self.max.open && score == self.max.score
    }
}

/// An end of a range of members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LexBound<'a> {
    /// Before all members.
    Lowest,
    /// Behind all members.
    Highest,
    /// The member itself lies inside.
    Closed(&'a [u8]),
    /// The member itself lies outside.
    Open(&'a [u8]),
}

/// From one member to another, in the order of their bytes. Means something for members with the same score.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LexRange<'a> {
    pub min: LexBound<'a>,
    pub max: LexBound<'a>,
}

impl LexRange<'_> {
    #[inline]
    pub(super) fn is_below(&self, member: &[u8]) -> bool {
        match self.min {
            LexBound::Lowest => false,
            LexBound::Highest => true,
            LexBound::Closed(min) => member < min,
            LexBound::Open(min) => member <= min,
        }
    }

    #[inline]
    pub(super) fn is_up_to_max(&self, member: &[u8]) -> bool {
        match self.max {
            LexBound::Lowest => false,
            LexBound::Highest => true,
            LexBound::Closed(max) => member <= max,
            LexBound::Open(max) => member < max,
        }
    }
}
