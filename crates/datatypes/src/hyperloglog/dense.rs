//! Dense registers: six bits each, from the lowest bit of the first byte up. Four registers are three bytes.
//!
//! Owns the packing, and the union of registers with a byte for each. Never knows the header.

use std::sync::atomic::{AtomicBool, Ordering};

use super::{Histogram, REGISTERS};

const REGISTER_BITS: usize = 6;
const REGISTER_MAX: u16 = (1 << REGISTER_BITS) - 1;
/// Bytes of all registers.
pub(super) const BYTES: usize = REGISTERS * REGISTER_BITS / 8;

/// Whether unions work on groups of registers, in loops that the compiler turns into vector code. For PFDEBUG SIMD,
/// which lets the two ways be compared.
static BY_GROUPS: AtomicBool = AtomicBool::new(true);

pub fn set_by_groups(on: bool) {
    BY_GROUPS.store(on, Ordering::Relaxed);
}

pub fn is_by_groups() -> bool {
    BY_GROUPS.load(Ordering::Relaxed)
}

#[inline]
pub(super) fn get(packed: &[u8], index: usize) -> u8 {
    let bit = index * REGISTER_BITS;
    let (byte, shift) = (bit / 8, bit % 8);
    // The last register ends with the last byte.
    let pair = u16::from(packed[byte]) | u16::from(packed.get(byte + 1).copied().unwrap_or(0)) << 8;
    (pair >> shift & REGISTER_MAX) as u8
}

#[inline]
pub(super) fn set(packed: &mut [u8], index: usize, value: u8) {
    let bit = index * REGISTER_BITS;
    let (byte, shift) = (bit / 8, bit % 8);
    let (mask, bits) = (REGISTER_MAX << shift, u16::from(value) << shift);
    packed[byte] = packed[byte] & !(mask as u8) | bits as u8;
    if shift > 8 - REGISTER_BITS {
        packed[byte + 1] = packed[byte + 1] & !((mask >> 8) as u8) | (bits >> 8) as u8;
    }
}

/// Raises a register to at least `value`; true if it was lower.
#[inline]
pub(super) fn raise(packed: &mut [u8], index: usize, value: u8) -> bool {
    let is_lower = get(packed, index) < value;
    if is_lower {
        set(packed, index, value);
    }
    is_lower
}

pub(super) fn histogram(packed: &[u8]) -> Histogram {
    let mut histogram = [0; 64];
    let (groups, _) = packed.as_chunks::<3>();
    groups.iter().flat_map(unpack).for_each(|value| histogram[usize::from(value)] += 1);
    histogram
}

#[inline]
fn unpack(group: &[u8; 3]) -> [u8; 4] {
    let [a, b, c] = *group;
    [a & 0x3f, a >> 6 | b << 2 & 0x3f, b >> 4 | c << 4 & 0x3f, c >> 2]
}

#[inline]
fn pack(values: &[u8; 4]) -> [u8; 3] {
    let [a, b, c, d] = *values;
    [a | b << 6, b >> 2 | c << 4, c >> 4 | d << 2]
}

/// Registers with a byte for each: what a union is collected in.
pub struct Registers {
    values: Box<[u8; REGISTERS]>,
}

impl Default for Registers {
    fn default() -> Self {
        Registers::new()
    }
}

impl Registers {
    pub fn new() -> Registers {
        let values = vec![0; REGISTERS].into_boxed_slice();
        Registers { values: values.try_into().expect("as many as there are registers") }
    }

    pub fn values(&self) -> &[u8; REGISTERS] {
        &self.values
    }

    /// Raises the registers `first..first + len` to at least `value`.
    pub(super) fn raise_run(&mut self, first: usize, len: usize, value: u8) {
        self.values[first..first + len].iter_mut().for_each(|own| *own = (*own).max(value));
    }

    pub(super) fn merge_dense(&mut self, packed: &[u8]) {
        if !is_by_groups() {
            return self
                .values
                .iter_mut()
                .enumerate()
                .for_each(|(index, own)| *own = (*own).max(get(packed, index)));
        }
        let (groups, _) = packed.as_chunks::<3>();
        let (own, _) = self.values.as_chunks_mut::<4>();
        for (own, group) in own.iter_mut().zip(groups) {
            let values = unpack(group);
            (0..4).for_each(|index| own[index] = own[index].max(values[index]));
        }
    }

    /// Appends the registers in dense form.
    pub(super) fn pack_into(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.resize(start + BYTES, 0);
        let packed = &mut out[start..];
        if !is_by_groups() {
            return self.values.iter().enumerate().for_each(|(index, &value)| set(packed, index, value));
        }
        let (groups, _) = packed.as_chunks_mut::<3>();
        let (own, _) = self.values.as_chunks::<4>();
        groups.iter_mut().zip(own).for_each(|(group, values)| *group = pack(values));
    }

    /// Estimates the number of distinct elements.
    pub fn estimate(&self) -> u64 {
        let mut histogram = [0; 64];
        self.values.iter().for_each(|&value| histogram[usize::from(value)] += 1);
        super::estimate(&histogram)
    }
}
