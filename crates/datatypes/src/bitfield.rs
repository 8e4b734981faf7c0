//! Integers of any width at any bit offset (BITFIELD). Bit 0 is the most significant bit of the first byte.
//! Never parses command options other than the type of a field.

/// Type of a field: `i1` to `i64`, `u1` to `u63`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldType {
    signed: bool,
    bits: u32,
}

/// What happens when a value leaves the range of its field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Overflow {
    /// The upper bits are cut off.
    #[default]
    Wrap,
    /// The nearest value of the range is taken.
    Saturate,
    /// Nothing is written; the reply is nil.
    Fail,
}

impl FieldType {
    /// Parses `i8`, `u63`, …; `None` where the letter or the width is not allowed.
    pub fn parse(text: &[u8]) -> Option<FieldType> {
        let (signed, digits) = match text {
            [b'i', digits @ ..] => (true, digits),
            [b'u', digits @ ..] => (false, digits),
            _ => return None,
        };
        let bits = crate::number::parse_i64(digits)?;
        let bits_max = if signed { 64 } else { 63 };
        (1..=bits_max).contains(&bits).then_some(FieldType { signed, bits: bits as u32 })
    }

    /// Width in bits.
    pub fn bits(self) -> u64 {
        u64::from(self.bits)
    }

    fn range(self) -> (i128, i128) {
        if self.signed {
            (-(1i128 << (self.bits - 1)), (1i128 << (self.bits - 1)) - 1)
        } else {
            (0, (1i128 << self.bits) - 1)
        }
    }

    /// The field's value from its lowest bits; upper bits are ignored.
    fn interpret(self, raw: u64) -> i64 {
        let unused = 64 - self.bits;
        if self.signed { ((raw << unused) as i64) >> unused } else { (raw << unused >> unused) as i64 }
    }

    fn settle(self, exact: i128, overflow: Overflow) -> Option<i64> {
        let (low, high) = self.range();
        if (low..=high).contains(&exact) {
            return Some(exact as i64);
        }
        match overflow {
            Overflow::Wrap => Some(self.interpret(exact as u64)),
            Overflow::Saturate => Some(exact.clamp(low, high) as i64),
            Overflow::Fail => None,
        }
    }

    /// The value that SET writes for `value`; `None` if it does not fit and overflow fails.
    /// Contract (Redis 7.2): an unsigned field takes a negative value for the 64-bit number of the same bits.
    pub fn fit(self, value: i64, overflow: Overflow) -> Option<i64> {
        let exact = if self.signed { i128::from(value) } else { i128::from(value as u64) };
        self.settle(exact, overflow)
    }

    /// The value that INCRBY writes; `None` if it does not fit and overflow fails.
    pub fn add(self, old: i64, delta: i64, overflow: Overflow) -> Option<i64> {
        self.settle(i128::from(old) + i128::from(delta), overflow)
    }
}

/// Reads the field at bit `offset`; bits past the end are clear.
pub fn get(bytes: &[u8], offset: u64, field: FieldType) -> i64 {
    let mut raw: u64 = 0;
    let mut position = offset;
    let end = offset + field.bits();
    while position < end {
        let byte =
            usize::try_from(position / 8).ok().and_then(|index| bytes.get(index)).copied().unwrap_or(0);
        let in_byte = (position & 7) as u32;
        let take = (8 - in_byte).min((end - position) as u32);
        let piece = (byte << in_byte) >> (8 - take);
        raw = if take == 64 { u64::from(piece) } else { raw << take | u64::from(piece) };
        position += u64::from(take);
    }
    field.interpret(raw)
}

/// Writes the lowest bits of `value` to the field at bit `offset`, which must lie inside `bytes`.
pub fn set(bytes: &mut [u8], offset: u64, field: FieldType, value: i64) {
    let end = offset + field.bits();
    let mut position = offset;
    while position < end {
        let in_byte = (position & 7) as u32;
        let take = (8 - in_byte).min((end - position) as u32);
        let shift = 8 - in_byte - take;
        let mask = (0xffu8 >> (8 - take)) << shift;
        let piece = (value as u64 >> (end - position - u64::from(take))) as u8;
        let byte = &mut bytes[(position / 8) as usize];
        *byte = *byte & !mask | piece << shift & mask;
        position += u64::from(take);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(text: &str) -> FieldType {
        FieldType::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn types_have_limits() {
        for (text, valid) in [
            ("u1", true),
            ("u63", true),
            ("u64", false),
            ("i64", true),
            ("i65", false),
            ("i0", false),
            ("x8", false),
            ("u", false),
            ("u08", false),
            ("", false),
        ] {
            assert_eq!(FieldType::parse(text.as_bytes()).is_some(), valid, "{text}");
        }
    }

    #[test]
    fn what_is_set_is_got_and_neighbours_stay() {
        for bits in 1..=64 {
            for signed in [false, true] {
                if bits == 64 && !signed {
                    continue;
                }
                let field = FieldType { signed, bits };
                for offset in 0..17 {
                    for value in [0, 1, -1, i64::MAX, i64::MIN, 0x5a5a_5a5a_5a5a_5a5a] {
                        for background in [0u8, 0xff] {
                            let mut bytes = [background; 12];
                            let stored = field.fit(value, Overflow::Wrap).unwrap();
                            set(&mut bytes, offset, field, stored);
                            assert_eq!(get(&bytes, offset, field), stored);
                            let neighbours = (0..96).filter(|p| !(offset..offset + field.bits()).contains(p));
                            for position in neighbours {
                                assert_eq!(crate::bitmap::get_bit(&bytes, position), background != 0);
                            }
                        }
                    }
                }
            }
        }
        assert_eq!(get(b"", 1_000_000, field("u8")), 0);
    }

    #[test]
    fn overflow_follows_its_mode() {
        for (text, old, delta, wrap, saturate) in [
            ("u8", 250, 10, 4, 255),
            ("u8", 5, -10, 251, 0),
            ("i8", 120, 10, -126, 127),
            ("i8", -120, -10, 126, -128),
            ("i64", i64::MAX, 1, i64::MIN, i64::MAX),
            ("u63", i64::MAX, 1, 0, i64::MAX),
            ("i1", 0, 1, -1, 0),
        ] {
            let field = field(text);
            assert_eq!(field.add(old, delta, Overflow::Wrap), Some(wrap), "{text}");
            assert_eq!(field.add(old, delta, Overflow::Saturate), Some(saturate), "{text}");
            assert_eq!(field.add(old, delta, Overflow::Fail), None, "{text}");
        }
        assert_eq!(field("u8").add(250, 5, Overflow::Fail), Some(255));
        assert_eq!(field("u8").fit(-1, Overflow::Saturate), Some(255), "negative means huge for unsigned");
        assert_eq!(field("u8").fit(257, Overflow::Wrap), Some(1));
        assert_eq!(field("i8").fit(-129, Overflow::Saturate), Some(-128));
    }
}
