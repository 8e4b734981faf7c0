//! HyperLogLog: estimates how many distinct elements were seen, from 16,384 registers. The bytes are those of Redis,
//! so that a value moves between servers with GET and SET.
//!
//! Owns the byte format (header, dense and sparse registers), the hash of elements and the estimate. Never looks a key
//! up, and never trusts the bytes: whatever a client stored under the header is met by [`Corrupt`], not by a panic.
//!
//! ```text
//! ┌────────┬──────────┬───────┬───────────────────────┬───────────┐
//! │ "HYLL" │ form, u8 │ 3 × 0 │ last estimate, u64 LE │ registers │
//! │        │          │       │ (top bit: outdated)   │           │
//! └────────┴──────────┴───────┴───────────────────────┴───────────┘
//! ```

pub mod dense;
mod sparse;
#[cfg(test)]
mod tests;

use self::dense::Registers;

/// Bits of an element's hash that choose its register.
const INDEX_BITS: u32 = 14;
/// Number of registers.
pub const REGISTERS: usize = 1 << INDEX_BITS;
/// Hash bits that are left for the rank.
const RANK_BITS: usize = 64 - INDEX_BITS as usize;

const MAGIC: &[u8; 4] = b"HYLL";
const FORM_AT: usize = 4;
const ESTIMATE_AT: usize = 8;
const HEADER_BYTES: usize = 16;
/// Set in the header's estimate when registers have changed since.
const OUTDATED: u64 = 1 << 63;
/// Length of a dense HyperLogLog.
pub const DENSE_BYTES: usize = HEADER_BYTES + dense::BYTES;

/// How the registers are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Six bits for each register.
    Dense = 0,
    /// Runs of equal registers.
    Sparse = 1,
}

/// The registers do not have the form that the header promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corrupt;

/// What an element does to a HyperLogLog: its register is at least its rank from then on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    index: usize,
    rank: u8,
}

impl Mark {
    /// The register is chosen by the lower hash bits, the rank is the place of the first set bit among the others.
    #[inline]
    pub fn of(element: &[u8]) -> Mark {
        let hash = murmur(element);
        let rest = hash >> INDEX_BITS | 1 << RANK_BITS;
        Mark { index: (hash as usize) & (REGISTERS - 1), rank: rest.trailing_zeros() as u8 + 1 }
    }

    /// Number of the register.
    pub fn index(&self) -> usize {
        self.index
    }

    /// The least value of the register from then on.
    pub fn rank(&self) -> u8 {
        self.rank
    }
}

/// The bytes of a HyperLogLog, with a header that was checked.
#[derive(Clone, Copy)]
pub struct HllRef<'a> {
    bytes: &'a [u8],
    form: Form,
}

impl<'a> HllRef<'a> {
    /// `None` if this is no HyperLogLog. Sparse registers are checked when they are used.
    pub fn of(bytes: &'a [u8]) -> Option<HllRef<'a>> {
        if bytes.len() < HEADER_BYTES || &bytes[..4] != MAGIC {
            return None;
        }
        let form = match bytes[FORM_AT] {
            0 if bytes.len() == DENSE_BYTES => Form::Dense,
            1 => Form::Sparse,
            _ => return None,
        };
        Some(HllRef { bytes, form })
    }

    pub fn form(&self) -> Form {
        self.form
    }

    fn registers(&self) -> &'a [u8] {
        &self.bytes[HEADER_BYTES..]
    }

    /// The estimate that the header remembers, if no register was changed since.
    pub fn remembered(&self) -> Option<u64> {
        let estimate = self.bytes[ESTIMATE_AT..HEADER_BYTES].try_into().expect("eight bytes");
        let estimate = u64::from_le_bytes(estimate);
        (estimate & OUTDATED == 0).then_some(estimate)
    }

    /// Estimates the number of distinct elements from the registers.
    pub fn estimate(&self) -> Result<u64, Corrupt> {
        Ok(estimate(&match self.form {
            Form::Dense => dense::histogram(self.registers()),
            Form::Sparse => sparse::histogram(self.registers())?,
        }))
    }

    /// Raises `union` to what the registers are.
    pub fn merge_into(&self, union: &mut Registers) -> Result<(), Corrupt> {
        match self.form {
            Form::Dense => union.merge_dense(self.registers()),
            Form::Sparse => sparse::merge(self.registers(), union)?,
        }
        Ok(())
    }

    /// Whether an element would change a register.
    #[inline]
    pub fn is_raised_by(&self, mark: Mark) -> Result<bool, Corrupt> {
        let value = match self.form {
            Form::Dense => dense::get(self.registers(), mark.index),
            Form::Sparse => sparse::get(self.registers(), mark.index)?,
        };
        Ok(value < mark.rank)
    }

    /// The runs of a sparse HyperLogLog as text (PFDEBUG DECODE).
    pub fn runs_text(&self) -> Option<String> {
        (self.form == Form::Sparse).then(|| sparse::text(self.registers()))
    }
}

/// Writes an estimate into the header.
pub fn remember(hll: &mut [u8], estimate: u64) {
    hll[ESTIMATE_AT..HEADER_BYTES].copy_from_slice(&estimate.to_le_bytes());
}

fn forget(hll: &mut [u8]) {
    hll[HEADER_BYTES - 1] |= (OUTDATED >> 56) as u8;
}

/// Adds an element to a dense HyperLogLog in place; true if a register was raised.
#[inline]
pub fn raise_dense(hll: &mut [u8], mark: Mark) -> bool {
    debug_assert_eq!(hll.len(), DENSE_BYTES);
    let raised = dense::raise(&mut hll[HEADER_BYTES..], mark.index, mark.rank);
    if raised {
        forget(hll);
    }
    raised
}

/// A HyperLogLog of its own, for changes of any kind.
#[derive(Clone, Debug)]
pub struct Hll {
    bytes: Vec<u8>,
    form: Form,
}

impl Default for Hll {
    fn default() -> Self {
        Hll::new()
    }
}

impl From<HllRef<'_>> for Hll {
    fn from(hll: HllRef<'_>) -> Hll {
        let mut bytes = Vec::with_capacity(hll.bytes.len() + 64);
        bytes.extend_from_slice(hll.bytes);
        Hll { bytes, form: hll.form }
    }
}

impl Hll {
    /// An empty one, in sparse form; its estimate of 0 is remembered.
    pub fn new() -> Hll {
        let mut bytes = vec![0; HEADER_BYTES];
        bytes[..4].copy_from_slice(MAGIC);
        bytes[FORM_AT] = Form::Sparse as u8;
        sparse::push_empty(&mut bytes);
        Hll { bytes, form: Form::Sparse }
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn form(&self) -> Form {
        self.form
    }

    /// The estimate in the header holds no longer.
    pub fn forget_estimate(&mut self) {
        forget(&mut self.bytes);
    }

    /// Adds an element; true if a register was raised. A sparse one that would grow beyond `sparse_bytes_max`, or that
    /// can't express the rank, becomes dense.
    pub fn raise(&mut self, mark: Mark, sparse_bytes_max: usize) -> Result<bool, Corrupt> {
        if self.form == Form::Sparse {
            match sparse::raise(&mut self.bytes, HEADER_BYTES, mark, sparse_bytes_max)? {
                sparse::Raise::NotNeeded => return Ok(false),
                sparse::Raise::Done => {
                    forget(&mut self.bytes);
                    return Ok(true);
                }
                sparse::Raise::NoRoom => self.make_dense()?,
            }
        }
        Ok(raise_dense(&mut self.bytes, mark))
    }

    /// Turns to the dense form; the remembered estimate stays.
    pub fn make_dense(&mut self) -> Result<(), Corrupt> {
        if self.form == Form::Dense {
            return Ok(());
        }
        let mut registers = Registers::new();
        sparse::merge(&self.bytes[HEADER_BYTES..], &mut registers)?;
        self.bytes.truncate(HEADER_BYTES);
        self.bytes[FORM_AT] = Form::Dense as u8;
        self.form = Form::Dense;
        registers.pack_into(&mut self.bytes);
        Ok(())
    }

    /// Takes over registers that are nowhere lower than the own ones; a dense form takes them as they are, a sparse one
    /// is raised register by register.
    pub fn raise_all(&mut self, registers: &Registers, sparse_bytes_max: usize) -> Result<(), Corrupt> {
        if self.form == Form::Dense {
            self.bytes.truncate(HEADER_BYTES);
            registers.pack_into(&mut self.bytes);
        } else {
            for (index, &rank) in registers.values().iter().enumerate().filter(|(_, rank)| **rank != 0) {
                self.raise(Mark { index, rank }, sparse_bytes_max)?;
            }
        }
        self.forget_estimate();
        Ok(())
    }
}

/// How many registers have each value.
pub(crate) type Histogram = [u32; 64];

/// The estimator of Otmar Ertl, "New cardinality estimation algorithms for HyperLogLog sketches" (arXiv:1702.01284),
/// section 2, with which Redis counts since 4.0: no bias to correct, and no tables.
fn estimate(histogram: &Histogram) -> u64 {
    let registers = REGISTERS as f64;
    let share = |count: u32| f64::from(count) / registers;
    let mut sum = registers * tau((registers - f64::from(histogram[RANK_BITS + 1])) / registers);
    for count in histogram[1..=RANK_BITS].iter().rev() {
        sum = (sum + f64::from(*count)) * 0.5;
    }
    sum += registers * sigma(share(histogram[0]));
    // 1 / (2 ln 2)
    let alpha = std::f64::consts::LOG2_E / 2.0;
    let estimate = (alpha * registers * registers / sum).round();
    // Registers that no element can have raised: the conversion that x86 makes of an infinity.
    if estimate.is_finite() { estimate as u64 } else { OUTDATED }
}

fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut factor, mut sum) = (1.0, x);
    loop {
        x *= x;
        let before = sum;
        sum += x * factor;
        factor += factor;
        if sum == before {
            return sum;
        }
    }
}

fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut factor, mut sum) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = sum;
        factor *= 0.5;
        sum -= (1.0 - x) * (1.0 - x) * factor;
        if sum == before {
            return sum / 3.0;
        }
    }
}

/// MurmurHash64A (Austin Appleby, public domain) of little-endian words, with Redis's seed.
#[inline]
fn murmur(bytes: &[u8]) -> u64 {
    const SEED: u64 = 0xadc8_3b19;
    const MULTIPLIER: u64 = 0xc6a4_a793_5bd1_e995;
    const SHIFT: u32 = 47;
    let mut hash = SEED ^ (bytes.len() as u64).wrapping_mul(MULTIPLIER);
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        let mut word = u64::from_le_bytes(*word).wrapping_mul(MULTIPLIER);
        word ^= word >> SHIFT;
        hash = (hash ^ word.wrapping_mul(MULTIPLIER)).wrapping_mul(MULTIPLIER);
    }
    if !rest.is_empty() {
        let word = rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
        hash = (hash ^ word).wrapping_mul(MULTIPLIER);
    }
    hash = (hash ^ hash >> SHIFT).wrapping_mul(MULTIPLIER);
    hash ^ hash >> SHIFT
}
