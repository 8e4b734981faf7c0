//! The 80-bit extended floats of x86 in software: what INCRBYFLOAT and HINCRBYFLOAT calculate with.
//!
//! Redis reads both operands by `strtold`, adds them in x87 precision (64-bit mantissa) and prints `%.17Lf` with trailing
//! zeros removed. All three steps are done here exactly as IEEE 754 prescribes (round to nearest, ties to even), so
//! results are those of Redis on x86-64 bit for bit; NaN does not occur. Knows nothing of keys or commands.

use crate::number::{is_infinity, split_sign};

/// Texts of this length and more are no numbers to Redis (`MAX_LONG_DOUBLE_CHARS`).
pub(crate) const MAX_TEXT_BYTES: usize = 5 * 1024;

const MANTISSA_BITS: i32 = 64;
/// Exponent of the mantissa's lowest bit: of the smallest denormal, and of the largest number.
const EXPONENT_MIN: i32 = -16445;
const EXPONENT_MAX: i32 = 16383 - 63;
/// Digits behind the decimal point in the human form.
const HUMAN_DIGITS: u32 = 17;

/// `mantissa` × 2^`exponent`; normal numbers have the mantissa's top bit set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LongDouble {
    negative: bool,
    magnitude: Magnitude,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Magnitude {
    Finite { mantissa: u64, exponent: i32 },
    Infinite,
}

impl LongDouble {
    /// What Redis's `string2ld` takes: decimal numbers and infinities; no NaN, no spaces, no hexadecimal, nothing that
    /// overflows or vanishes to zero.
    pub fn parse(text: &[u8]) -> Option<LongDouble> {
        if text.len() >= MAX_TEXT_BYTES {
            return None;
        }
        let (negative, magnitude) = split_sign(text);
        if is_infinity(magnitude) {
            return Some(LongDouble { negative, magnitude: Magnitude::Infinite });
        }
        if let Some(magnitude) = quick_decimal(magnitude) {
            return Some(LongDouble { negative, magnitude });
        }
        let decimal = Decimal::parse(magnitude)?;
        if decimal.digits.is_empty() {
            return Some(LongDouble { negative, magnitude: Magnitude::Finite { mantissa: 0, exponent: 0 } });
        }
        match decimal.to_binary() {
            Magnitude::Infinite | Magnitude::Finite { mantissa: 0, .. } => None,
            magnitude => Some(LongDouble { negative, magnitude }),
        }
    }

    pub fn is_finite(&self) -> bool {
        self.magnitude != Magnitude::Infinite
    }

    /// The sum rounded to 64 bits; `None` where it is not a finite number.
    pub fn checked_add(self, other: LongDouble) -> Option<LongDouble> {
        let (
            Magnitude::Finite { mantissa: a, exponent: ea },
            Magnitude::Finite { mantissa: b, exponent: eb },
        ) = (self.magnitude, other.magnitude)
        else {
            return None;
        };
        if a == 0 || b == 0 {
            return Some(if b == 0 && a != 0 { self } else { other }.without_negative_zero());
        }
        let ((big, big_negative, top), (small, small_negative, low)) = if (ea, a) >= (eb, b) {
            ((a, self.negative, ea), (b, other.negative, eb))
        } else {
            ((b, other.negative, eb), (a, self.negative, ea))
        };
        // Both at exponent `top - 63`; bits lost below only matter as "more than nothing".
        let wide_big = u128::from(big) << 63;
        let wide_small = shift_right_sticky(u128::from(small) << 63, (top - low) as u32);
        let sum = if big_negative == small_negative { wide_big + wide_small } else { wide_big - wide_small };
        let magnitude = round(sum, top - 63, false);
        let sum = LongDouble { negative: big_negative, magnitude }.without_negative_zero();
        sum.is_finite().then_some(sum)
    }

    /// Appends the human form: `%.17Lf` without trailing zeros, `-0` as `0`.
    pub fn write_human(&self, out: &mut Vec<u8>) {
        let Magnitude::Finite { mantissa, exponent } = self.magnitude else {
            return out.extend_from_slice(if self.negative { b"-inf" } else { b"inf" });
        };
        let start = out.len();
        if self.negative && mantissa != 0 {
            out.push(b'-');
        }
        if exponent >= 0 {
            return Natural::from(mantissa).shifted_left(exponent as u32).write_decimal(out);
        }
        let scale = 10u128.pow(HUMAN_DIGITS);
        let scaled = round_shift(u128::from(mantissa) * scale, exponent.unsigned_abs());
        if scaled == 0 {
            out.truncate(start);
            return out.push(b'0');
        }
        out.extend_from_slice(itoa::Buffer::new().format(scaled / scale).as_bytes());
        let fraction = scaled % scale;
        if fraction != 0 {
            let digits = format!("{fraction:017}");
            out.push(b'.');
            out.extend_from_slice(digits.trim_end_matches('0').as_bytes());
        }
    }

    fn without_negative_zero(self) -> LongDouble {
        let zero = matches!(self.magnitude, Magnitude::Finite { mantissa: 0, .. });
        LongDouble { negative: self.negative && !zero, ..self }
    }
}

/// Rounds `wide` × 2^`exponent` to a 64-bit mantissa within the exponent's range. `sticky`: a little more than `wide`.
fn round(wide: u128, exponent: i32, sticky: bool) -> Magnitude {
    if wide == 0 {
        return Magnitude::Finite { mantissa: 0, exponent: 0 };
    }
    let bits = (u128::BITS - wide.leading_zeros()) as i32;
    let drop = (bits - MANTISSA_BITS).max(EXPONENT_MIN - exponent);
    if drop <= 0 {
        // Exact; keep it normal where the exponent allows. No caller has a sticky rest here.
        debug_assert!(!sticky);
        let shift = (MANTISSA_BITS - bits).min(exponent - EXPONENT_MIN);
        return finite((wide as u64) << shift, exponent - shift);
    }
    let wide = if sticky { wide | 1 } else { wide };
    let rounded = round_shift(wide, drop as u32);
    if rounded >> MANTISSA_BITS != 0 {
        return finite(1 << 63, exponent + drop + 1);
    }
    finite(rounded as u64, exponent + drop)
}

fn finite(mantissa: u64, exponent: i32) -> Magnitude {
    if exponent > EXPONENT_MAX { Magnitude::Infinite } else { Magnitude::Finite { mantissa, exponent } }
}

/// `value` / 2^`shift`, to nearest, ties to even.
fn round_shift(value: u128, shift: u32) -> u128 {
    if shift == 0 {
        return value;
    }
    if shift > 127 {
        // Callers keep `value` below 2^127: less than one half.
        return 0;
    }
    let quotient = value >> shift;
    let rest = value & ((1 << shift) - 1);
    let half = 1 << (shift - 1);
    quotient + u128::from(rest > half || (rest == half && quotient & 1 == 1))
}

fn shift_right_sticky(value: u128, shift: u32) -> u128 {
    if shift == 0 {
        return value;
    }
    if shift > 127 {
        return u128::from(value != 0);
    }
    let lost = value & ((1 << shift) - 1) != 0;
    (value >> shift) | u128::from(lost)
}

/// The usual numbers without allocation: up to 19 digits, no exponent. `None` says nothing but that it is not usual.
fn quick_decimal(text: &[u8]) -> Option<Magnitude> {
    const DIGITS_MAX: usize = 19;
    let (mut number, mut digits, mut fraction) = (0u64, 0, 0);
    let mut behind_point = false;
    for byte in text {
        match byte {
            b'0'..=b'9' if digits < DIGITS_MAX => {
                number = number * 10 + u64::from(byte - b'0');
                digits += 1;
                fraction += u32::from(behind_point);
            }
            b'.' if !behind_point => behind_point = true,
            _ => return None,
        }
    }
    if digits == 0 {
        return None;
    }
    if number == 0 {
        return Some(Magnitude::Finite { mantissa: 0, exponent: 0 });
    }
    // number / 10^n = (number × 2^k / 5^n) × 2^(-k-n); 5^19 has 45 bits, so the quotient has more than 64.
    let (wide, divisor) = (u128::from(number), u128::from(5u64.pow(fraction)));
    let shift = wide.leading_zeros();
    let wide = wide << shift;
    Some(round(wide / divisor, -((shift + fraction) as i32), wide % divisor != 0))
}

/// `digits` × 10^`exponent`, without leading and trailing zeros; no digits: zero.
struct Decimal {
    digits: Vec<u8>,
    exponent: i64,
}

impl Decimal {
    fn parse(text: &[u8]) -> Option<Decimal> {
        let (mut digits, mut exponent, mut any, mut behind_point) = (Vec::new(), 0i64, false, false);
        let mut at = 0;
        while let Some(byte) = text.get(at) {
            match byte {
                b'0'..=b'9' => {
                    any = true;
                    if *byte != b'0' || !digits.is_empty() {
                        digits.push(byte - b'0');
                    }
                    exponent -= i64::from(behind_point);
                }
                b'.' if !behind_point => behind_point = true,
                b'e' | b'E' if any => break,
                _ => return None,
            }
            at += 1;
        }
        if !any {
            return None;
        }
        if at < text.len() {
            exponent = exponent.saturating_add(scientific(&text[at + 1..])?);
        }
        while digits.last() == Some(&0) {
            digits.pop();
            exponent = exponent.saturating_add(1);
        }
        Some(Decimal { digits, exponent })
    }

    fn to_binary(&self) -> Magnitude {
        /// Beyond these positions of the leading digit the result is infinite, or zero, whatever the digits.
        const LEADING_MAX: i64 = 4_940;
        const LEADING_MIN: i64 = -4_970;
        /// Bits of the quotient, give or take one.
        const QUOTIENT_BITS: i32 = 124;

        let leading = self.exponent.saturating_add(self.digits.len() as i64);
        if leading > LEADING_MAX {
            return Magnitude::Infinite;
        }
        if leading < LEADING_MIN {
            return Magnitude::Finite { mantissa: 0, exponent: 0 };
        }
        let mut number = Natural::from_digits(&self.digits);
        if self.exponent >= 0 {
            number.multiply_pow5(self.exponent as u32);
            let (top, exponent, sticky) = number.top_bits();
            return round(top, exponent + self.exponent as i32, sticky);
        }
        // digits / 10^n = (digits × 2^k / 5^n) × 2^(-k-n), with k such that the quotient has more than 64 bits.
        let power = self.exponent.unsigned_abs() as u32;
        let mut divisor = Natural::from(1);
        divisor.multiply_pow5(power);
        let widen = divisor.bits() - number.bits() + QUOTIENT_BITS;
        if widen >= 0 {
            number = number.shifted_left(widen.unsigned_abs());
        } else {
            divisor = divisor.shifted_left(widen.unsigned_abs());
        }
        let (quotient, rest) = number.divide(&divisor);
        round(quotient, -widen - power as i32, rest)
    }
}

/// The digits behind `e`, saturated: far beyond any representable exponent it makes no difference.
fn scientific(text: &[u8]) -> Option<i64> {
    let (negative, digits) = split_sign(text);
    if digits.is_empty() {
        return None;
    }
    let mut exponent = 0i64;
    for byte in digits {
        if !byte.is_ascii_digit() {
            return None;
        }
        exponent = (exponent * 10 + i64::from(byte - b'0')).min(1_000_000);
    }
    Some(if negative { -exponent } else { exponent })
}

/// A natural number of any size; words from low to high, no zero word on top.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Natural(Vec<u64>);

impl From<u64> for Natural {
    fn from(word: u64) -> Natural {
        Natural(if word == 0 { Vec::new() } else { vec![word] })
    }
}

impl Natural {
    fn from_digits(digits: &[u8]) -> Natural {
        let mut number = Natural(Vec::new());
        for chunk in digits.chunks(19) {
            let value = chunk.iter().fold(0, |value, digit| value * 10 + u64::from(*digit));
            number.multiply_add(10u64.pow(chunk.len() as u32), value);
        }
        number
    }

    fn bits(&self) -> i32 {
        self.0.last().map_or(0, |top| 64 * self.0.len() as i32 - top.leading_zeros() as i32)
    }

    fn multiply_add(&mut self, factor: u64, summand: u64) {
        let mut carry = u128::from(summand);
        for word in &mut self.0 {
            carry += u128::from(*word) * u128::from(factor);
            *word = carry as u64;
            carry >>= 64;
        }
        if carry != 0 {
            self.0.push(carry as u64);
        }
    }

    fn multiply_pow5(&mut self, mut power: u32) {
        /// 5^27 is the largest power of five in a word.
        const STEP: u32 = 27;
        while power > 0 {
            let step = power.min(STEP);
            self.multiply_add(5u64.pow(step), 0);
            power -= step;
        }
    }

    fn shifted_left(&self, shift: u32) -> Natural {
        if self.0.is_empty() {
            return self.clone();
        }
        let mut words = vec![0; (shift / 64) as usize];
        let bits = shift % 64;
        let mut carry = 0;
        for word in &self.0 {
            words.push(word << bits | carry);
            carry = if bits == 0 { 0 } else { word >> (64 - bits) };
        }
        if carry != 0 {
            words.push(carry);
        }
        Natural(words)
    }

    /// The top 65 to 128 bits (all bits of smaller numbers), their exponent, and whether anything non-zero lies below.
    fn top_bits(&self) -> (u128, i32, bool) {
        let words = &self.0;
        let high = words.len().saturating_sub(3);
        // Three words hold at least 129 bits: take 126 of them.
        let mut wide = [0u64; 3];
        for (slot, word) in wide.iter_mut().zip(&words[high..]) {
            *slot = *word;
        }
        let bits = self.bits() - 64 * high as i32;
        let drop = (bits - 126).max(0) as u32;
        let low = u128::from(wide[0]) | u128::from(wide[1]) << 64;
        let (top, lost) = if drop == 0 {
            (low, false)
        } else {
            let lost = low & ((1u128 << drop) - 1) != 0;
            (low >> drop | u128::from(wide[2]) << (128 - drop), lost)
        };
        let below = words[..high].iter().any(|word| *word != 0);
        (top, 64 * high as i32 + drop as i32, lost || below)
    }

    /// Quotient, which must fit 127 bits, and whether there is a rest. Bit by bit: both are at most a few hundred words.
    fn divide(&self, divisor: &Natural) -> (u128, bool) {
        let mut rest = self.clone();
        let steps = (self.bits() - divisor.bits()).max(0) as u32;
        let mut shifted = divisor.shifted_left(steps);
        let mut quotient = 0;
        for _ in 0..=steps {
            quotient <<= 1;
            if rest.at_least(&shifted) {
                rest.subtract(&shifted);
                quotient |= 1;
            }
            shifted.halve();
        }
        (quotient, !rest.0.is_empty())
    }

    fn at_least(&self, other: &Natural) -> bool {
        self.0.len().cmp(&other.0.len()).then_with(|| self.0.iter().rev().cmp(other.0.iter().rev())).is_ge()
    }

    fn subtract(&mut self, other: &Natural) {
        let mut borrow = false;
        for (index, word) in self.0.iter_mut().enumerate() {
            let (difference, under) = word.overflowing_sub(other.0.get(index).copied().unwrap_or(0));
            let (difference, under_again) = difference.overflowing_sub(u64::from(borrow));
            *word = difference;
            borrow = under || under_again;
        }
        self.trim();
    }

    fn halve(&mut self) {
        let mut carry = 0;
        for word in self.0.iter_mut().rev() {
            let low = *word & 1;
            *word = *word >> 1 | carry << 63;
            carry = low;
        }
        self.trim();
    }

    fn trim(&mut self) {
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
    }

    fn write_decimal(mut self, out: &mut Vec<u8>) {
        const CHUNK: u64 = 10u64.pow(19);
        let mut chunks = Vec::new();
        while !self.0.is_empty() {
            let mut rest = 0u128;
            for word in self.0.iter_mut().rev() {
                rest = rest << 64 | u128::from(*word);
                *word = (rest / u128::from(CHUNK)) as u64;
                rest %= u128::from(CHUNK);
            }
            chunks.push(rest as u64);
            self.trim();
        }
        out.extend_from_slice(itoa::Buffer::new().format(chunks.pop().unwrap_or(0)).as_bytes());
        for chunk in chunks.iter().rev() {
            out.extend_from_slice(format!("{chunk:019}").as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn human(text: &str) -> Option<String> {
        let mut out = Vec::new();
        LongDouble::parse(text.as_bytes())?.write_human(&mut out);
        String::from_utf8(out).ok()
    }

    fn sum(a: &str, b: &str) -> Option<String> {
        let number = LongDouble::parse(a.as_bytes())?.checked_add(LongDouble::parse(b.as_bytes())?)?;
        let mut out = Vec::new();
        number.write_human(&mut out);
        String::from_utf8(out).ok()
    }

    #[test]
    fn sums_are_those_of_redis() {
        let recorded = include_str!("../tests/data/incrbyfloat.txt");
        let mut checked = 0;
        for line in recorded.lines().filter(|line| !line.starts_with('#')) {
            let words: Vec<&str> = line.split(' ').collect();
            let [current, increment, expected] = words[..] else { panic!("three words: {line}") };
            let both = LongDouble::parse(current.as_bytes()).and(LongDouble::parse(increment.as_bytes()));
            let result = match both {
                None => "NOTFLOAT".into(),
                Some(_) => sum(current, increment).unwrap_or("INF".into()),
            };
            assert_eq!(result, expected, "{current} + {increment}");
            checked += 1;
        }
        assert!(checked > 400);
    }

    #[test]
    fn the_quick_way_agrees_with_the_general_one() {
        for text in
            ["0", "1", "0.1", "3.14159", "9999999999999999999", ".0000000000000000001", "123.456", "5.", ".5"]
        {
            assert!(quick_decimal(text.as_bytes()).is_some(), "{text}");
            let general = LongDouble::parse(format!("{text}e0").as_bytes());
            assert_eq!(LongDouble::parse(text.as_bytes()), general, "{text}");
        }
    }

    #[test]
    fn refuses_what_string2ld_refuses() {
        for text in ["", " 1", "1 ", "nan", "1e", "1e+", "e5", ".", "-", "1x", "1e5000", "1e-5000", "0x10"] {
            assert_eq!(LongDouble::parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(LongDouble::parse("1".repeat(MAX_TEXT_BYTES).as_bytes()), None);
        assert_eq!(human("inf").as_deref(), Some("inf"));
        assert_eq!(sum("inf", "-inf"), None);
        assert_eq!(sum("inf", "1"), None);
    }
}
