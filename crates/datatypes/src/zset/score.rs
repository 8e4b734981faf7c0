//! Scores as they stand in listpacks: integers where they are whole, otherwise the shortest text that reads back as the
//! same double, in the layout of Redis 7.2. Never knows what has the score.

use crate::listpack::Item;

/// Whole scores up to here are integers.
const INTEGER_MAX: f64 = (i64::MAX / 2) as f64;
/// Most digits that a double needs.
const DIGITS_MAX: usize = 17;
/// The longest text: a sign, the digits, a point, six zeros, or an exponent.
const TEXT_BYTES_MAX: usize = 32;

/// Room for the text of a score.
#[derive(Default)]
pub(super) struct ScoreText {
    bytes: [u8; TEXT_BYTES_MAX],
    len: usize,
}

impl ScoreText {
    /// How a score is stored.
    pub(super) fn item(&mut self, score: f64) -> Item<'_> {
        if score.abs() <= INTEGER_MAX && score.trunc() == score {
            return Item::Int(score as i64);
        }
        self.len = 0;
        if score < 0.0 {
            self.push(b"-");
        }
        if score.is_infinite() {
            self.push(b"inf");
        } else {
            self.push_magnitude(score.abs(), score < 0.0);
        }
        Item::Bytes(&self.bytes[..self.len])
    }

    fn push(&mut self, bytes: &[u8]) {
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    fn push_zeros(&mut self, count: i32) {
        (0..count).for_each(|_| self.push(b"0"));
    }

    /// Where the layout changes from plain to scientific notation is a function of the digits and their exponent.
    fn push_magnitude(&mut self, number: f64, negative: bool) {
        let mut digits = [0; DIGITS_MAX + 1];
        let (count, exponent) = shortest_digits(number, &mut digits);
        let digits = &digits[..count];
        let count = count as i32;
        let scientific = exponent + count - 1;
        let zeros_max = if negative { 6 } else { 7 };
        if exponent >= 0 && scientific < count + zeros_max {
            self.push(digits);
            self.push_zeros(exponent);
        } else if exponent < 0 && (exponent > -7 || scientific.abs() < 4) {
            let point = count + exponent;
            if point <= 0 {
                self.push(b"0.");
                self.push_zeros(-point);
                self.push(digits);
            } else {
                self.push(&digits[..point as usize]);
                self.push(b".");
                self.push(&digits[point as usize..]);
            }
        } else {
            self.push(&digits[..1]);
            if digits.len() > 1 {
                self.push(b".");
                self.push(&digits[1..]);
            }
            self.push(if scientific < 0 { b"e-" } else { b"e+" });
            self.push(itoa::Buffer::new().format(scientific.unsigned_abs()).as_bytes());
        }
    }
}

/// The decimal digits of `number` without zeros around them, and the exponent of ten of the last one.
fn shortest_digits(number: f64, digits: &mut [u8; DIGITS_MAX + 1]) -> (usize, i32) {
    let mut buffer = ryu::Buffer::new();
    let text = buffer.format_finite(number);
    let (mantissa, mut exponent) = match text.split_once('e') {
        Some((mantissa, exponent)) => (mantissa, exponent.parse().expect("an exponent is a small integer")),
        None => (text, 0),
    };
    let (mut len, mut behind_point) = (0, false);
    for byte in mantissa.bytes() {
        if byte == b'.' {
            behind_point = true;
            continue;
        }
        exponent -= i32::from(behind_point);
        if len > 0 || byte != b'0' {
            digits[len] = byte;
            len += 1;
        }
    }
    while len > 0 && digits[len - 1] == b'0' {
        len -= 1;
        exponent += 1;
    }
    (len, exponent)
}

/// The score that an element of a listpack is.
#[inline]
pub(super) fn score_of(item: Item<'_>) -> f64 {
    score_in(item).expect("only scores are written where scores stand")
}

/// The score that an element of unknown origin is, if it is one.
#[inline]
pub(super) fn score_in(item: Item<'_>) -> Option<f64> {
    match item {
        Item::Int(int) => Some(int as f64),
        Item::Bytes(text) => std::str::from_utf8(text).ok()?.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(score: f64, expected: Item<'_>) {
        let mut text = ScoreText::default();
        let item = text.item(score);
        assert_eq!(item, expected);
        assert_eq!(score_of(item), score);
    }

    #[test]
    fn whole_scores_are_integers() {
        for (score, int) in [(0.0, 0), (-0.0, 0), (3.0, 3), (-17.0, -17), (1e18, 1_000_000_000_000_000_000)] {
            check(score, Item::Int(int));
        }
    }

    /// The texts that ZSCORE of a running valkey-server 8.1 shows.
    #[test]
    fn others_are_texts() {
        for (score, text) in [
            (0.1, "0.1"),
            (-1.5, "-1.5"),
            (1e-5, "0.00001"),
            (-1.5e-7, "-1.5e-7"),
            (1e-7, "1e-7"),
            (0.000123456789, "1.23456789e-4"),
            (1e19, "1e+19"),
            (-1e20, "-1e+20"),
            (12345678901234567890.0, "12345678901234567000"),
            (1234567.125e15, "1.234567125e+21"),
            (123456.12345678912, "1.2345612345678912e+5"),
            (123456.125, "123456.125"),
            (f64::MAX, "1.7976931348623157e+308"),
            (-f64::MAX, "-1.7976931348623157e+308"),
            (5e-324, "5e-324"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            check(score, Item::Bytes(text.as_bytes()));
        }
    }
}
