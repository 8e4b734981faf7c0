//! The elements of a SORT and their order. Never looks a key up.

use std::cmp::Ordering;
use std::ops::Range;

/// Strings behind one another in one allocation.
#[derive(Default)]
pub(super) struct Texts {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Texts {
    pub(super) fn push(&mut self, text: &[u8]) {
        self.bytes.extend_from_slice(text);
        self.ends.push(self.bytes.len());
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    #[inline]
    pub(super) fn get(&self, index: usize) -> &[u8] {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start..self.ends[index]]
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).map(|index| self.get(index))
    }
}

/// What elements are sorted by.
pub(super) enum Weights {
    /// Numbers; elements with equal ones are sorted by their bytes.
    Numbers(Vec<f64>),
    /// Their own bytes.
    Own,
    /// Strings, or nothing, which comes first; elements with equal ones stay in their order.
    Texts(Vec<Option<Range<usize>>>, Vec<u8>),
}

impl Weights {
    fn compare(&self, elements: &Texts, left: usize, right: usize) -> Ordering {
        match self {
            Weights::Numbers(numbers) => {
                let by_number = numbers[left].partial_cmp(&numbers[right]).expect("NaN is refused");
                by_number.then_with(|| elements.get(left).cmp(elements.get(right)))
            }
            Weights::Own => elements.get(left).cmp(elements.get(right)),
            Weights::Texts(texts, bytes) => {
                let text = |index: usize| texts[index].clone().map(|range| &bytes[range]);
                text(left).cmp(&text(right))
            }
        }
    }
}

/// The elements in the window of their order, by their numbers. Elements outside of it are not put in order.
pub(super) fn sorted(
    elements: &Texts,
    weights: &Weights,
    descending: bool,
    window: Range<usize>,
) -> Vec<usize> {
    let mut order: Vec<usize> = (0..elements.len()).collect();
    if window.is_empty() {
        return Vec::new();
    }
    let compare = |left: &usize, right: &usize| {
        let ascending = weights.compare(elements, *left, *right);
        let wanted = if descending { ascending.reverse() } else { ascending };
        wanted.then_with(|| left.cmp(right))
    };
    if window.end < order.len() {
        order.select_nth_unstable_by(window.end - 1, compare);
        order.truncate(window.end);
    }
    if window.start > 0 {
        order.select_nth_unstable_by(window.start, compare);
        order.drain(..window.start);
    }
    order.sort_unstable_by(compare);
    order
}

/// A number as `strtod` reads it to the end of the text: also nothing at all, which is 0, spaces in front, and
/// hexadecimal digits. NaN, and what is too large or too small for a double, is none.
pub(super) fn number(text: &[u8]) -> Option<f64> {
    if text.is_empty() {
        return Some(0.0);
    }
    let text = text.trim_ascii_start();
    let (negative, magnitude) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    match magnitude {
        [b'0', b'x' | b'X', digits @ ..] => {
            let number = hexadecimal(digits)?;
            Some(if negative { -number } else { number })
        }
        _ => torc_resp::number::parse_f64(text),
    }
}

/// Hexadecimal digits, perhaps with a point, and perhaps with an exponent of two behind a `p`.
fn hexadecimal(text: &[u8]) -> Option<f64> {
    let (digits, exponent) = match text.iter().position(|byte| matches!(byte, b'p' | b'P')) {
        None => (text, 0),
        Some(at) => (&text[..at], std::str::from_utf8(&text[at + 1..]).ok()?.parse::<i32>().ok()?),
    };
    let (mut mantissa, mut shift, mut count, mut behind_point) = (0.0f64, 0i32, 0, false);
    for &byte in digits {
        if byte == b'.' && !behind_point {
            behind_point = true;
            continue;
        }
        mantissa = mantissa * 16.0 + f64::from(char::from(byte).to_digit(16)?);
        shift -= if behind_point { 4 } else { 0 };
        count += 1;
    }
    let number = mantissa * 2f64.powi(shift.saturating_add(exponent));
    let vanished = number == 0.0 && mantissa != 0.0;
    (count > 0 && number.is_finite() && !vanished).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts<'a>(all: impl IntoIterator<Item = &'a str>) -> Texts {
        let mut texts = Texts::default();
        all.into_iter().for_each(|text| texts.push(text.as_bytes()));
        texts
    }

    #[test]
    fn windows_are_those_of_the_whole_order() {
        let mut state = 9u64;
        let mut random = move |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % below
        };
        let names: Vec<String> = (0..200).map(|_| random(150).to_string()).collect();
        let elements = texts(names.iter().map(String::as_str));
        let numbers = names.iter().map(|_| random(20) as f64).collect();
        let ranges = names.iter().map(|_| (random(4) > 0).then(|| 0..random(9) as usize)).collect();
        for weights in
            [Weights::Own, Weights::Numbers(numbers), Weights::Texts(ranges, b"aaaaaaaaa".to_vec())]
        {
            for descending in [false, true] {
                let all = sorted(&elements, &weights, descending, 0..200);
                let mut numbers = all.clone();
                numbers.sort_unstable();
                assert!(numbers.into_iter().eq(0..200));
                for pair in all.windows(2) {
                    let order = weights.compare(&elements, pair[0], pair[1]);
                    assert_ne!(order, if descending { Ordering::Less } else { Ordering::Greater });
                }
                for window in [0..0, 0..1, 0..50, 10..11, 150..200, 199..200, 200..200] {
                    assert_eq!(sorted(&elements, &weights, descending, window.clone()), all[window]);
                }
            }
        }
    }

    #[test]
    fn numbers_are_those_of_c() {
        for (text, expected) in [
            ("", Some(0.0)),
            ("1", Some(1.0)),
            (" \t\n1.5", Some(1.5)),
            ("+2", Some(2.0)),
            ("-3e2", Some(-300.0)),
            (".5", Some(0.5)),
            ("0x10", Some(16.0)),
            ("-0X1.8p1", Some(-3.0)),
            ("0x", None),
            ("0x1p", None),
            ("0x1.2.3", None),
            ("0x1p2000", None),
            ("inf", Some(f64::INFINITY)),
            ("-Infinity", Some(f64::NEG_INFINITY)),
            (" ", None),
            ("1 ", None),
            ("nan", None),
            ("1e400", None),
            ("abc", None),
        ] {
            assert_eq!(number(text.as_bytes()), expected, "{text:?}");
        }
    }
}
