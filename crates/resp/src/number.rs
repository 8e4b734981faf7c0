//! Numbers as the protocol writes and reads them.
//!
//! Integers in Redis's strict form, doubles as `strtod` reads them and as Redis 7.2 / Valkey 8.1 print them. The 80-bit
//! arithmetic of INCRBYFLOAT is [`crate::LongDouble`].

/// The longest text of [`format_f64`].
pub const MAX_F64_TEXT_BYTES: usize = 32;

/// A signed 64-bit integer in canonical form only: no `+`, no spaces, no leading zeros, no `-0`.
#[inline]
pub fn parse_i64(text: &[u8]) -> Option<i64> {
    match text {
        [b'-', digits @ ..] => {
            let magnitude = parse_u64(digits)?;
            if magnitude == 0 { None } else { 0i64.checked_sub_unsigned(magnitude) }
        }
        digits => i64::try_from(parse_u64(digits)?).ok(),
    }
}

/// An unsigned 64-bit integer in canonical form only.
#[inline]
pub fn parse_u64(text: &[u8]) -> Option<u64> {
    let (&first, rest) = text.split_first()?;
    let mut number = u64::from(first.wrapping_sub(b'0'));
    if number > 9 || (number == 0 && !rest.is_empty()) || rest.len() > 19 {
        return None;
    }
    for byte in rest {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number = number.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    Some(number)
}

/// A double as Redis's `string2d` takes it: the decimal and hexadecimal forms of `strtod`, `inf` and `infinity` in any case
/// with any sign. Refused: the empty text, spaces around, NaN, and finite texts that overflow or vanish to zero.
pub fn parse_f64(text: &[u8]) -> Option<f64> {
    let number = parse_f64_of_any_size(text)?;
    let (_, magnitude) = split_sign(text);
    let vanished = number == 0.0 && has_nonzero_digit(magnitude);
    let overflowed = number.is_infinite() && !is_infinity(magnitude);
    (!overflowed && !vanished).then_some(number)
}

/// As [`parse_f64`], but what overflows is infinite, and what vanishes is zero.
pub fn parse_f64_of_any_size(text: &[u8]) -> Option<f64> {
    let (negative, magnitude) = split_sign(text);
    let signed = |magnitude: f64| if negative { -magnitude } else { magnitude };
    if is_infinity(magnitude) {
        return Some(signed(f64::INFINITY));
    }
    if let [b'0', b'x' | b'X', digits @ ..] = magnitude {
        return parse_hexadecimal(digits).map(signed);
    }
    // What is left of Rust's grammar beyond C's are the names of infinity and NaN, and those hold letters up front.
    if !matches!(magnitude.first(), Some(b'0'..=b'9' | b'.')) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// What stands behind `0x`: digits, perhaps with a point, perhaps with a `p` and an exponent of two behind them.
fn parse_hexadecimal(text: &[u8]) -> Option<f64> {
    let (digits, exponent) = match text.iter().position(|byte| matches!(byte, b'p' | b'P')) {
        Some(at) => (&text[..at], std::str::from_utf8(&text[at + 1..]).ok()?.parse().ok()?),
        None => (text, 0i32),
    };
    let (mut number, mut count, mut fraction_bits, mut behind_point) = (0.0, 0, 0, false);
    for byte in digits {
        if *byte == b'.' && !behind_point {
            behind_point = true;
            continue;
        }
        number = number * 16.0 + f64::from(char::from(*byte).to_digit(16)?);
        count += 1;
        fraction_bits += if behind_point { 4 } else { 0 };
    }
    (count > 0).then(|| number * 2f64.powi(exponent.saturating_sub(fraction_bits)))
}

/// Appends `number` as Redis 7.2 prints doubles: integers without a point, otherwise the shortest digits that read back
/// as the same double, in the layout of its `fpconv`: `0.00001`, `1e-7`, `1e+20`, `inf`, `-inf`, `nan`, `-0`.
///
/// The digits are the shortest there are. Redis uses Grisu2, which in less than 1 % of all doubles (1e23 is one) finds
/// longer ones of the same value.
pub fn format_f64(number: f64, out: &mut Vec<u8>) {
    /// Integers up to here print as integers.
    const INTEGER_MAX: f64 = (i64::MAX / 2) as f64;

    if number.is_nan() {
        return out.extend_from_slice(b"nan");
    }
    if number.is_infinite() {
        return out.extend_from_slice(if number > 0.0 { b"inf" } else { b"-inf" });
    }
    if number == 0.0 {
        return out.extend_from_slice(if number.is_sign_negative() { b"-0" } else { b"0" });
    }
    if number.abs() <= INTEGER_MAX && number.trunc() == number {
        return out.extend_from_slice(itoa::Buffer::new().format(number as i64).as_bytes());
    }
    let mut digits = [0; 20];
    let (digits_len, exponent) = shortest_digits(number.abs(), &mut digits);
    layout(number < 0.0, &digits[..digits_len], exponent, out);
}

/// Appends `number` as C prints it with `%.17g`: up to 17 digits, more than it takes to read the number back. ZSCAN shows
/// the scores of big sorted sets so (Redis 7.2).
pub fn format_f64_17_digits(number: f64, out: &mut Vec<u8>) {
    const DIGITS: i32 = 17;
    if number == 0.0 || !number.is_finite() {
        return format_f64(number, out);
    }
    let text = format!("{:.*e}", DIGITS as usize - 1, number.abs());
    let (mantissa, exponent) = text.split_once('e').expect("scientific notation has an exponent");
    let exponent = small_int(exponent.as_bytes());
    let mut digits: Vec<u8> = mantissa.bytes().filter(|byte| *byte != b'.').collect();
    let count = digits.iter().rposition(|digit| *digit != b'0').map_or(0, |last| last + 1);
    digits.truncate(count);
    if number < 0.0 {
        out.push(b'-');
    }
    if !(-4..DIGITS).contains(&exponent) {
        out.push(digits[0]);
        if count > 1 {
            out.push(b'.');
            out.extend_from_slice(&digits[1..]);
        }
        let sign = if exponent < 0 { '-' } else { '+' };
        out.extend_from_slice(format!("e{sign}{:02}", exponent.abs()).as_bytes());
    } else if exponent < 0 {
        out.extend_from_slice(b"0.");
        out.extend(std::iter::repeat_n(b'0', -exponent as usize - 1));
        out.extend_from_slice(&digits);
    } else {
        let whole = exponent as usize + 1;
        out.extend_from_slice(&digits[..count.min(whole)]);
        out.extend(std::iter::repeat_n(b'0', whole.saturating_sub(count)));
        if count > whole {
            out.push(b'.');
            out.extend_from_slice(&digits[whole..]);
        }
    }
}

/// The decimal digits of `number` without leading and trailing zeros, and the exponent of ten of the last one.
fn shortest_digits(number: f64, digits: &mut [u8; 20]) -> (usize, i32) {
    let mut buffer = ryu::Buffer::new();
    let text = buffer.format_finite(number).as_bytes();
    let (mantissa, mut exponent) = match memchr::memchr(b'e', text) {
        Some(at) => (&text[..at], small_int(&text[at + 1..])),
        None => (text, 0),
    };
    let (mut len, mut behind_point) = (0, false);
    for byte in mantissa {
        if *byte == b'.' {
            behind_point = true;
            continue;
        }
        exponent -= i32::from(behind_point);
        if len > 0 || *byte != b'0' {
            digits[len] = *byte;
            len += 1;
        }
    }
    while len > 0 && digits[len - 1] == b'0' {
        len -= 1;
        exponent += 1;
    }
    (len, exponent)
}

fn small_int(text: &[u8]) -> i32 {
    parse_i64(text).map_or(0, |exponent| exponent as i32)
}

/// Where Redis's printer changes from plain to scientific notation is a function of digits and exponent.
fn layout(negative: bool, digits: &[u8], exponent: i32, out: &mut Vec<u8>) {
    let count = digits.len() as i32;
    let scientific = exponent + count - 1;
    let zeros_max = if negative { 6 } else { 7 };
    if negative {
        out.push(b'-');
    }
    if exponent >= 0 && scientific < count + zeros_max {
        out.extend_from_slice(digits);
        out.extend(std::iter::repeat_n(b'0', exponent as usize));
    } else if exponent < 0 && (exponent > -7 || scientific.abs() < 4) {
        let point = count + exponent;
        if point <= 0 {
            out.extend_from_slice(b"0.");
            out.extend(std::iter::repeat_n(b'0', -point as usize));
            out.extend_from_slice(digits);
        } else {
            out.extend_from_slice(&digits[..point as usize]);
            out.push(b'.');
            out.extend_from_slice(&digits[point as usize..]);
        }
    } else {
        out.push(digits[0]);
        if digits.len() > 1 {
            out.push(b'.');
            out.extend_from_slice(&digits[1..]);
        }
        out.push(b'e');
        out.push(if scientific < 0 { b'-' } else { b'+' });
        out.extend_from_slice(itoa::Buffer::new().format(scientific.unsigned_abs()).as_bytes());
    }
}

/// Splits an optional sign off; true for `-`.
pub(crate) fn split_sign(text: &[u8]) -> (bool, &[u8]) {
    match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    }
}

pub(crate) fn is_infinity(magnitude: &[u8]) -> bool {
    magnitude.eq_ignore_ascii_case(b"inf") || magnitude.eq_ignore_ascii_case(b"infinity")
}

/// Whether the mantissa of a number has a digit other than zero.
fn has_nonzero_digit(magnitude: &[u8]) -> bool {
    let (digits, end) = match magnitude {
        [b'0', b'x' | b'X', digits @ ..] => (digits, b'p'),
        _ => (magnitude, b'e'),
    };
    digits
        .iter()
        .take_while(|byte| byte.to_ascii_lowercase() != end)
        .any(|byte| byte.is_ascii_hexdigit() && *byte != b'0')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_strict() {
        let good = [
            ("0", 0),
            ("1", 1),
            ("-1", -1),
            ("10", 10),
            ("9223372036854775807", i64::MAX),
            ("-9223372036854775808", i64::MIN),
        ];
        for (text, number) in good {
            assert_eq!(parse_i64(text.as_bytes()), Some(number), "{text}");
        }
        for text in [
            "",
            "-",
            "+1",
            " 1",
            "1 ",
            "01",
            "-0",
            "-01",
            "1a",
            "0x1",
            "1.0",
            "9223372036854775808",
            "-9223372036854775809",
            "18446744073709551616",
            "99999999999999999999999",
        ] {
            assert_eq!(parse_i64(text.as_bytes()), None, "{text}");
        }
        assert_eq!(parse_u64(b"18446744073709551615"), Some(u64::MAX));
        for text in ["", "-1", "+1", "00", "18446744073709551616", "111111111111111111111"] {
            assert_eq!(parse_u64(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn doubles_read_as_strtod() {
        let good = [
            ("3", 3.0),
            ("+3", 3.0),
            ("-3.5", -3.5),
            (".5", 0.5),
            ("5.", 5.0),
            ("1e3", 1000.0),
            ("1E-3", 0.001),
            ("0e5", 0.0),
            ("-0", 0.0),
            ("007", 7.0),
            ("inf", f64::INFINITY),
            ("+INF", f64::INFINITY),
            ("-Infinity", f64::NEG_INFINITY),
            ("5e-324", 5e-324),
            ("0.0e-999", 0.0),
            ("0x10", 16.0),
            ("-0XfF", -255.0),
            ("0x.8", 0.5),
            ("0x1.8p3", 12.0),
            ("0xAp-1", 5.0),
            ("0x0p9", 0.0),
        ];
        for (text, number) in good {
            assert_eq!(parse_f64(text.as_bytes()), Some(number), "{text}");
        }
        for text in [
            "", " 1", "1 ", "nan", "-nan", "NaN", "1x", "e5", ".", "-", "+", "--1", "1e", "1e400", "-1e400",
            "1e-400", "infin", "in", "1_0", "\u{ff11}", "0x", "0x.", "0xg", "0x1p", "0x1.1.1", "0x1p9999",
        ] {
            assert_eq!(parse_f64(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn doubles_of_any_size_reach_their_limits() {
        for (text, number) in
            [("1e400", f64::INFINITY), ("-1e400", f64::NEG_INFINITY), ("1e-400", 0.0), ("7", 7.0)]
        {
            assert_eq!(parse_f64_of_any_size(text.as_bytes()), Some(number), "{text}");
        }
        assert_eq!(parse_f64_of_any_size(b"nan"), None);
        assert_eq!(parse_f64_of_any_size(b""), None);
    }

    /// Taken from a running valkey-server 8.1 (ZSCORE in RESP2).
    #[test]
    fn doubles_print_as_in_valkey() {
        let cases: &[(f64, &str)] = &[
            (0.0, "0"),
            (-0.0, "-0"),
            (3.0, "3"),
            (-3.0, "-3"),
            (0.1, "0.1"),
            (-0.08, "-0.08"),
            (1e-5, "0.00001"),
            (1e-6, "0.000001"),
            (1e-7, "1e-7"),
            (-1.5e-7, "-1.5e-7"),
            (0.0001, "0.0001"),
            (1.234e-5, "1.234e-5"),
            (0.000123456789, "1.23456789e-4"),
            (1.25e-10, "1.25e-10"),
            (1e16, "10000000000000000"),
            (1e17, "100000000000000000"),
            (123456789012345678.0, "123456789012345680"),
            (12345678901234567890.0, "12345678901234567000"),
            (1e20, "1e+20"),
            (-1e20, "-1e+20"),
            (1.23e20, "1.23e+20"),
            (1.2345e19, "1.2345e+19"),
            (1234567.125e15, "1.234567125e+21"),
            (f64::MAX, "1.7976931348623157e+308"),
            (5e-324, "5e-324"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "nan"),
        ];
        for (number, text) in cases {
            let mut out = Vec::new();
            format_f64(*number, &mut out);
            assert_eq!(String::from_utf8_lossy(&out), *text);
            assert!(out.len() <= MAX_F64_TEXT_BYTES);
        }
    }

    /// Taken from a running valkey-server 8.1 (ZSCAN of a big sorted set).
    #[test]
    fn doubles_print_with_17_digits() {
        let cases: &[(f64, &str)] = &[
            (0.0, "0"),
            (3.0, "3"),
            (-100.0, "-100"),
            (0.1, "0.10000000000000001"),
            (1.5, "1.5"),
            (-0.0001, "-0.0001"),
            (1e-5, "1.0000000000000001e-05"),
            (1.25e-10, "1.2500000000000001e-10"),
            (1e16, "10000000000000000"),
            (1e17, "1e+17"),
            (123456.12345678912, "123456.12345678912"),
            (1.7976931348623157e308, "1.7976931348623157e+308"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
        ];
        for (number, text) in cases {
            let mut out = Vec::new();
            format_f64_17_digits(*number, &mut out);
            assert_eq!(String::from_utf8_lossy(&out), *text);
        }
    }
}
