//! Sparse registers: runs of equal values, one or two bytes each.
//!
//! Owns the runs, and how they split and join when a register is raised: byte for byte as in Redis, which leaves
//! neighbours unjoined beyond a few runs. Never knows the header.
//!
//! ```text
//! ZERO   00llllll            l + 1 registers are 0
//! XZERO  01llllll llllllll   l + 1 registers are 0
//! VALUE  1vvvvvll            l + 1 registers are v + 1
//! ```

use super::dense::Registers;
use super::{Corrupt, Histogram, Mark, REGISTERS};

const ZERO_LEN_MAX: usize = 64;
const XZERO_LEN_MAX: usize = 16_384;
const VALUE_LEN_MAX: usize = 4;
const VALUE_MAX: u8 = 32;
/// How many runs are looked at for neighbours to join, from the one before a change on.
const JOIN_STEPS: usize = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    /// 0 for ZERO and XZERO.
    value: u8,
    len: usize,
    /// Bytes that the run takes.
    bytes: usize,
}

impl Run {
    /// The run that `bytes` begin with, which are not empty. A second byte that is cut off counts as 0.
    #[inline]
    fn read(bytes: &[u8]) -> Run {
        let first = bytes[0];
        match first >> 6 {
            0 => Run { value: 0, len: usize::from(first) + 1, bytes: 1 },
            1 => {
                let low = bytes.get(1).copied().unwrap_or(0);
                Run { value: 0, len: (usize::from(first & 0x3f) << 8 | usize::from(low)) + 1, bytes: 2 }
            }
            _ => Run { value: (first >> 2 & 0x1f) + 1, len: usize::from(first & 3) + 1, bytes: 1 },
        }
    }
}

/// A run in its shortest form, and how many bytes of it count.
#[inline]
fn encode(value: u8, len: usize) -> ([u8; 2], usize) {
    let told = len - 1;
    match (value, len) {
        (0, ..=ZERO_LEN_MAX) => ([told as u8, 0], 1),
        (0, _) => ([0x40 | (told >> 8) as u8, told as u8], 2),
        _ => ([0x80 | (value - 1) << 2 | told as u8, 0], 1),
    }
}

/// All runs in order, with the first register of each.
fn runs(bytes: &[u8]) -> impl Iterator<Item = (usize, Run)> {
    let (mut at, mut first) = (0, 0);
    std::iter::from_fn(move || {
        let run = Run::read(bytes.get(at..).filter(|rest| !rest.is_empty())?);
        let item = (first, run);
        at += run.bytes;
        first += run.len;
        Some(item)
    })
}

/// Appends the run of registers that are all 0.
pub(super) fn push_empty(out: &mut Vec<u8>) {
    const { assert!(XZERO_LEN_MAX == REGISTERS) };
    out.extend_from_slice(&encode(0, REGISTERS).0);
}

pub(super) fn histogram(bytes: &[u8]) -> Result<Histogram, Corrupt> {
    let (mut histogram, mut end) = ([0; 64], 0);
    for (first, run) in runs(bytes) {
        end = first + run.len;
        if end > REGISTERS {
            return Err(Corrupt);
        }
        histogram[usize::from(run.value)] += run.len as u32;
    }
    if end == REGISTERS { Ok(histogram) } else { Err(Corrupt) }
}

pub(super) fn merge(bytes: &[u8], union: &mut Registers) -> Result<(), Corrupt> {
    let mut end = 0;
    for (first, run) in runs(bytes) {
        end = first + run.len;
        if end > REGISTERS {
            return Err(Corrupt);
        }
        if run.value != 0 {
            union.raise_run(first, run.len, run.value);
        }
    }
    if end == REGISTERS { Ok(()) } else { Err(Corrupt) }
}

#[inline]
pub(super) fn get(bytes: &[u8], index: usize) -> Result<u8, Corrupt> {
    let found = runs(bytes).find(|(first, run)| index < first + run.len);
    found.map(|(_, run)| run.value).ok_or(Corrupt)
}

/// Every run in a few letters: `z:` and `Z:` with the length of zeros, `v:` with value and length.
pub(super) fn text(bytes: &[u8]) -> String {
    let one = |(_, run): (usize, Run)| match (run.value, run.bytes) {
        (0, 1) => format!("z:{}", run.len),
        (0, _) => format!("Z:{}", run.len),
        (value, _) => format!("v:{value},{}", run.len),
    };
    runs(bytes).map(one).collect::<Vec<_>>().join(" ")
}

/// What became of an attempt to raise a register.
pub(super) enum Raise {
    NotNeeded,
    Done,
    /// Only the dense form can hold it; nothing was changed.
    NoRoom,
}

/// Raises a register in the runs that `bytes` have from `start` on; all of `bytes` may be `bytes_max` long.
pub(super) fn raise(
    bytes: &mut Vec<u8>,
    start: usize,
    mark: Mark,
    bytes_max: usize,
) -> Result<Raise, Corrupt> {
    let Mark { index, rank } = mark;
    let (mut at, mut first, mut before) = (start, 0, None);
    let run = loop {
        let run = Run::read(bytes.get(at..).filter(|rest| !rest.is_empty()).ok_or(Corrupt)?);
        if index < first + run.len {
            break run;
        }
        before = Some(at);
        at += run.bytes;
        first += run.len;
    };
    if at + run.bytes > bytes.len() {
        return Err(Corrupt);
    }
    if run.value >= rank {
        return Ok(Raise::NotNeeded);
    }
    if rank > VALUE_MAX {
        return Ok(Raise::NoRoom);
    }
    // At most XZERO, VALUE, XZERO.
    let (mut split, mut split_len) = ([0; 5], 0);
    let parts = [(run.value, index - first), (rank, 1), (run.value, first + run.len - 1 - index)];
    for (value, len) in parts.into_iter().filter(|(_, len)| *len > 0) {
        let (new, new_len) = encode(value, len);
        split[split_len..split_len + new_len].copy_from_slice(&new[..new_len]);
        split_len += new_len;
    }
    if split_len > run.bytes && bytes.len() + split_len - run.bytes > bytes_max {
        return Ok(Raise::NoRoom);
    }
    bytes.splice(at..at + run.bytes, split[..split_len].iter().copied());
    join(bytes, before.unwrap_or(at));
    Ok(Raise::Done)
}

/// Joins neighbours of equal value, from the run at `at` on.
fn join(bytes: &mut Vec<u8>, mut at: usize) {
    for _ in 0..JOIN_STEPS {
        if at >= bytes.len() {
            return;
        }
        let run = Run::read(&bytes[at..]);
        let next = bytes.get(at + run.bytes..).filter(|rest| !rest.is_empty()).map(Run::read);
        if let Some(next) = next
            && run.value != 0
            && next.value == run.value
            && run.len + next.len <= VALUE_LEN_MAX
        {
            let ([joined, _], _) = encode(run.value, run.len + next.len);
            bytes[at] = joined;
            bytes.remove(at + 1);
        } else {
            at += run.bytes;
        }
    }
}
