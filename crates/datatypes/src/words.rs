//! Commands as runs of bytes: a number, which stands for a database, and words.
//!
//! Owns the encoding in which effects wait for the log and lie in it: `number varint │ words varint │ (length varint │ bytes) …`,
//! a varint being seven bits to the byte, the least first. Never knows what the words mean.

/// Appends a command.
#[inline]
pub fn put<'w>(bytes: &mut Vec<u8>, number: u32, words: impl IntoIterator<Item = &'w [u8]>) {
    put_varint(bytes, u64::from(number));
    let words = words.into_iter();
    let (count_at, expected) = (bytes.len(), words.size_hint().0 as u64);
    put_varint(bytes, expected);
    let mut count = 0;
    for word in words {
        put_word(bytes, word);
        count += 1;
    }
    if count != expected {
        replace_varint(bytes, count_at, expected, count);
    }
}

/// Appends a word to the last command, which begins at `start`.
pub fn put_more(bytes: &mut Vec<u8>, start: usize, word: &[u8]) {
    let mut rest = &bytes[start..];
    let count = take_varint(&mut rest).and_then(|_| {
        let count_at = bytes.len() - rest.len();
        Some((count_at, take_varint(&mut rest)?))
    });
    let (count_at, count) = count.expect("a command begins there");
    replace_varint(bytes, count_at, count, count + 1);
    put_word(bytes, word);
}

/// The number and the words of a command.
#[inline]
pub fn read(mut bytes: &[u8]) -> Option<(u32, Words<'_>)> {
    let number = u32::try_from(take_varint(&mut bytes)?).ok()?;
    let left = usize::try_from(take_varint(&mut bytes)?).ok()?;
    Some((number, Words { left, bytes }))
}

/// The words of a command whose bytes are sound; otherwise they end early.
#[derive(Clone, Copy, Debug)]
pub struct Words<'a> {
    left: usize,
    bytes: &'a [u8],
}

impl<'a> Words<'a> {
    /// What lies behind the words that were taken.
    pub fn rest(&self) -> &'a [u8] {
        self.bytes
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        self.left = self.left.checked_sub(1)?;
        let len = usize::try_from(take_varint(&mut self.bytes)?).ok()?;
        let (word, rest) = self.bytes.split_at_checked(len)?;
        self.bytes = rest;
        Some(word)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Words<'_> {}

#[inline]
fn put_word(bytes: &mut Vec<u8>, word: &[u8]) {
    put_varint(bytes, word.len() as u64);
    bytes.extend_from_slice(word);
}

#[inline]
fn put_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

#[inline]
fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn replace_varint(bytes: &mut Vec<u8>, at: usize, old: u64, new: u64) {
    if old.max(new) < 0x80 {
        bytes[at] = new as u8;
        return;
    }
    let (mut was, mut is) = (Vec::new(), Vec::new());
    put_varint(&mut was, old);
    put_varint(&mut is, new);
    bytes.splice(at..at + was.len(), is);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8]) -> Vec<String> {
        let (number, words) = read(bytes).expect("a command");
        let words = words.map(|word| String::from_utf8_lossy(word).into_owned());
        std::iter::once(number.to_string()).chain(words).collect()
    }

    #[test]
    fn commands_come_back_as_they_were_put() {
        let mut bytes = b"before".to_vec();
        let start = bytes.len();
        put(&mut bytes, 300, [&b"SREM"[..], b"key", b""]);
        assert_eq!(text(&bytes[start..]), ["300", "SREM", "key", ""]);
        let mut expected = text(&bytes[start..]);
        // Over the counts that take one byte more.
        for index in 0..20_000 {
            let word = index.to_string();
            put_more(&mut bytes, start, word.as_bytes());
            expected.push(word);
        }
        assert_eq!(text(&bytes[start..]), expected);
        // An iterator that does not know how many words it has gives the same.
        let mut again = Vec::new();
        let mut words = expected[1..].iter().map(|word| word.as_bytes());
        put(&mut again, 300, std::iter::from_fn(|| words.next()));
        assert_eq!(&again, &bytes[start..]);
    }

    /// Whatever the bytes: no panic, and never more words than bytes.
    #[test]
    fn bytes_of_any_kind_are_read() {
        let mut state = 1u64;
        for len in 0..20_000 {
            let bytes: Vec<u8> = (0..len % 40)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    (state >> 60) as u8 | if state >> 59 & 15 == 0 { 0x80 } else { 0 }
                })
                .collect();
            if let Some((_, words)) = read(&bytes) {
                assert!(words.take_while(|word| word.len() <= bytes.len()).count() <= bytes.len());
            }
        }
    }
}
