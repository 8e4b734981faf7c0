//! The strict decimal form of a 64-bit integer, as Redis stores it in integer-encoded strings.
//! Never accepts a form that would not print back byte for byte ("+1", " 1", "01", "-0").

/// Longest text of an `i64`: `-9223372036854775808`.
pub const I64_DIGITS_MAX: usize = 20;

/// Parses the canonical decimal form of an `i64`; `None` for every other text.
/// Contract: Redis 7.2 `string2ll`: printing the result gives exactly `text` again.
#[inline]
pub fn parse_i64(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    match digits {
        [b'0'] => return (!negative).then_some(0),
        [b'1'..=b'9', ..] if digits.len() < I64_DIGITS_MAX => {}
        _ => return None,
    }
    let mut magnitude: u64 = 0;
    for &byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        // At most 19 digits: below 10^19, which fits u64.
        magnitude = magnitude * 10 + u64::from(digit);
    }
    if negative {
        (magnitude <= i64::MIN.unsigned_abs()).then(|| (magnitude as i64).wrapping_neg())
    } else {
        i64::try_from(magnitude).ok()
    }
}

/// Number of bytes of the decimal form of `value`, sign included.
pub fn i64_len(value: i64) -> usize {
    let digits = value.unsigned_abs().checked_ilog10().unwrap_or(0) as usize + 1;
    digits + usize::from(value < 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_canonical_forms_are_integers() {
        for (text, expected) in [
            ("0", Some(0)),
            ("-1", Some(-1)),
            ("42", Some(42)),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("-9223372036854775809", None),
            ("99999999999999999999", None),
            ("18446744073709551617", None),
            ("", None),
            ("-", None),
            ("+1", None),
            ("01", None),
            ("-0", None),
            (" 1", None),
            ("1 ", None),
            ("1a", None),
            ("1.0", None),
        ] {
            assert_eq!(parse_i64(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn length_is_that_of_the_printed_form() {
        for value in [0, 1, 9, 10, -1, -10, 99, 100, i64::MAX, i64::MIN] {
            assert_eq!(i64_len(value), value.to_string().len());
        }
    }
}
