//! One request of the load, encoded once; only its digits change per operation. No I/O, no randomness of its own.

use crate::random::Draw;

/// What fills the digits at one place of a request.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fill {
    Uniform,
    Zipf,
    Sequence,
    Milliseconds,
}

/// Placeholder, its meaning and its width in digits. `__rand_int__` is redis-benchmark's own.
const PLACEHOLDERS: [(&str, Fill, usize); 4] = [
    ("__rand_int__", Fill::Uniform, 12),
    ("__zipf__", Fill::Zipf, 12),
    ("__seq__", Fill::Sequence, 12),
    ("__ms__", Fill::Milliseconds, 4),
];

/// The expiry drawn for `__ms__`: always four digits, so that the request's length never changes.
const MILLISECONDS: std::ops::Range<u64> = 1000..10_000;

const VALUE_BYTES_MAX: usize = 512 * 1024 * 1024;

#[derive(Clone, Copy, Debug)]
struct Hole {
    offset: usize,
    digits: usize,
    fill: Fill,
}

/// An encoded RESP request with holes for digits.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    bytes: Vec<u8>,
    holes: Vec<Hole>,
}

impl Template {
    /// Parses a command line such as `SET key:__rand_int__ @64`.
    pub(crate) fn parse(line: &str) -> Result<Self, String> {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        if words.is_empty() {
            return Err("empty command".to_owned());
        }
        let mut template = Self { bytes: format!("*{}\r\n", words.len()).into_bytes(), holes: Vec::new() };
        for word in words {
            template.push_word(word)?;
        }
        Ok(template)
    }

    /// Bytes of the encoded request; the same for every operation.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn uses_zipf(&self) -> bool {
        self.holes.iter().any(|hole| hole.fill == Fill::Zipf)
    }

    /// Appends the request with freshly drawn digits.
    pub(crate) fn render(&self, draw: &mut Draw, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        self.refresh(draw, &mut out[start..]);
    }

    /// Draws new digits for a request that `render` wrote to `request` before.
    pub(crate) fn refresh(&self, draw: &mut Draw, request: &mut [u8]) {
        for hole in &self.holes {
            let number = match hole.fill {
                Fill::Uniform => draw.uniform(),
                Fill::Zipf => draw.zipf(),
                Fill::Sequence => draw.sequence(),
                Fill::Milliseconds => draw.within(MILLISECONDS),
            };
            write_digits(number, &mut request[hole.offset..hole.offset + hole.digits]);
        }
    }

    fn push_word(&mut self, word: &str) -> Result<(), String> {
        if let Some(size) = word.strip_prefix('@') {
            let size: usize = size.parse().map_err(|_| format!("'{word}' is not a value size"))?;
            if size > VALUE_BYTES_MAX {
                return Err(format!("'{word}' is above {VALUE_BYTES_MAX} bytes"));
            }
            self.push_bulk(&value_bytes(size));
            return Ok(());
        }
        let mut text = Vec::new();
        let mut holes = Vec::new();
        let mut rest = word;
        while !rest.is_empty() {
            let found = PLACEHOLDERS.iter().find(|(name, ..)| rest.starts_with(name));
            match found {
                Some(&(name, fill, digits)) => {
                    holes.push(Hole { offset: text.len(), digits, fill });
                    text.extend(std::iter::repeat_n(b'0', digits));
                    rest = &rest[name.len()..];
                }
                None => {
                    let width = rest.chars().next().map_or(1, char::len_utf8);
                    text.extend_from_slice(&rest.as_bytes()[..width]);
                    rest = &rest[width..];
                }
            }
        }
        let start = self.push_bulk(&text);
        self.holes.extend(holes.into_iter().map(|hole| Hole { offset: start + hole.offset, ..hole }));
        Ok(())
    }

    /// Appends a bulk string and returns where its payload starts.
    fn push_bulk(&mut self, payload: &[u8]) -> usize {
        self.bytes.extend_from_slice(format!("${}\r\n", payload.len()).as_bytes());
        let start = self.bytes.len();
        self.bytes.extend_from_slice(payload);
        self.bytes.extend_from_slice(b"\r\n");
        start
    }
}

/// A value that no server stores as an integer.
fn value_bytes(size: usize) -> Vec<u8> {
    (0..size).map(|i| b'a' + (i % 26) as u8).collect()
}

fn write_digits(mut number: u64, out: &mut [u8]) {
    for digit in out.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(line: &str, keys: u64, times: usize) -> String {
        let template = Template::parse(line).expect("valid command");
        let mut draw = Draw::new(7, keys, template.uses_zipf());
        let mut out = Vec::new();
        for _ in 0..times {
            template.render(&mut draw, &mut out);
        }
        assert_eq!(out.len(), template.len() * times);
        String::from_utf8(out).expect("ASCII")
    }

    #[test]
    fn requests_are_encoded_as_resp() {
        assert_eq!(rendered("GET a", 1, 1), "*2\r\n$3\r\nGET\r\n$1\r\na\r\n");
        assert_eq!(rendered("SET k @3", 1, 1), "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$3\r\nabc\r\n");
        assert_eq!(rendered("GET a:__seq__", 2, 1), "*2\r\n$3\r\nGET\r\n$14\r\na:000000000000\r\n");
    }

    #[test]
    fn sequence_counts_and_wraps() {
        let text = rendered("GET __seq__", 2, 3);
        let keys: Vec<&str> = text.lines().filter(|line| line.len() == 12).collect();
        assert_eq!(keys, ["000000000000", "000000000001", "000000000000"]);
    }

    #[test]
    fn expiry_keeps_its_width() {
        let text = rendered("PEXPIRE k __ms__", 1, 200);
        for line in text.lines().skip(6).step_by(7) {
            let ms: u64 = line.parse().expect("digits");
            assert!(MILLISECONDS.contains(&ms), "{ms}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(Template::parse(" ").unwrap_err(), "empty command");
        assert_eq!(Template::parse("SET k @x").unwrap_err(), "'@x' is not a value size");
    }
}
