//! Splitting a line into words with the quoting rules of inline commands (and of `redis.conf`).
//!
//! `"…"` knows `\n \r \t \b \a \xHH` and keeps any other escaped byte; `'…'` knows `\'` only; a closing quote must end
//! the word. A NUL ends the line, as it does in Redis 7.2. Never looks for line ends: the caller cuts the line.

use crate::args::{OwnedArgs, Span};
use crate::error::ProtocolError;

/// The words of one line.
pub fn split_line(line: &[u8]) -> Result<OwnedArgs, ProtocolError> {
    let (mut words, mut spans) = (Vec::new(), Vec::new());
    split_into(line, &mut words, &mut spans)?;
    Ok(spans.iter().map(|span| crate::Args::new(&words, std::slice::from_ref(span), &[]).get(0)).collect())
}

/// Appends the words' bytes to `out` and where each lies to `spans`.
pub(crate) fn split_into(line: &[u8], out: &mut Vec<u8>, spans: &mut Vec<Span>) -> Result<(), ProtocolError> {
    let line = &line[..memchr::memchr(0, line).unwrap_or(line.len())];
    let mut at = 0;
    loop {
        while line.get(at).is_some_and(|byte| is_space(*byte)) {
            at += 1;
        }
        if at == line.len() {
            return Ok(());
        }
        let start = out.len();
        at = word(line, at, out)?;
        spans.push(Span::new(start, out.len() - start));
    }
}

/// Decodes the word at `at`; returns the position behind it.
fn word(line: &[u8], mut at: usize, out: &mut Vec<u8>) -> Result<usize, ProtocolError> {
    while let Some(byte) = line.get(at) {
        match byte {
            b' ' | b'\n' | b'\r' | b'\t' => break,
            b'"' => return closed(line, double_quoted(line, at + 1, out)?),
            b'\'' => return closed(line, single_quoted(line, at + 1, out)?),
            byte => out.push(*byte),
        }
        at += 1;
    }
    Ok(at)
}

/// A closing quote must be followed by a space or by nothing.
fn closed(line: &[u8], at: usize) -> Result<usize, ProtocolError> {
    match line.get(at) {
        Some(byte) if !is_space(*byte) => Err(ProtocolError::UnbalancedQuotes),
        _ => Ok(at),
    }
}

fn double_quoted(line: &[u8], mut at: usize, out: &mut Vec<u8>) -> Result<usize, ProtocolError> {
    loop {
        match line[at..] {
            [] => return Err(ProtocolError::UnbalancedQuotes),
            [b'"', ..] => return Ok(at + 1),
            [b'\\', b'x', high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                out.push(hex(high) << 4 | hex(low));
                at += 4;
            }
            [b'\\', escaped, ..] => {
                out.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 0x08,
                    b'a' => 0x07,
                    other => other,
                });
                at += 2;
            }
            [byte, ..] => {
                out.push(byte);
                at += 1;
            }
        }
    }
}

fn single_quoted(line: &[u8], mut at: usize, out: &mut Vec<u8>) -> Result<usize, ProtocolError> {
    loop {
        match line[at..] {
            [] => return Err(ProtocolError::UnbalancedQuotes),
            [b'\'', ..] => return Ok(at + 1),
            [b'\\', b'\'', ..] => {
                out.push(b'\'');
                at += 2;
            }
            [byte, ..] => {
                out.push(byte);
                at += 1;
            }
        }
    }
}

/// C's `isspace` in the C locale.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected words were taken from a running redis-server 7.0.15 (ECHO of inline requests).
    #[test]
    fn words_are_those_of_redis() {
        let cases: &[(&[u8], &[&[u8]])] = &[
            (b"", &[]),
            (b"  \t ", &[]),
            (b"SET k v", &[b"SET", b"k", b"v"]),
            (b"echo a\x0bb", &[b"echo", b"a\x0bb"]),
            (b"echo \x0b b", &[b"echo", b"b"]),
            (b"echo a\r b", &[b"echo", b"a", b"b"]),
            (b"echo 'a'\x0bb", &[b"echo", b"a", b"b"]),
            (b"echo x\"y z\"", &[b"echo", b"xy z"]),
            (b"echo 'it\\'s'", &[b"echo", b"it's"]),
            (b"echo 'a\\nb'", &[b"echo", b"a\\nb"]),
            (b"echo \"\\x41\\xzz\\t\\q\\\\\\\"\"", &[b"echo", b"Axzz\tq\\\""]),
            (b"echo \"\\n\\r\\b\\a\"", &[b"echo", b"\n\r\x08\x07"]),
            (b"echo \"\" ''", &[b"echo", b"", b""]),
            (b"echo a\0b c", &[b"echo", b"a"]),
        ];
        for (line, words) in cases {
            let split = split_line(line).expect("balanced");
            assert_eq!(split.as_args().iter().collect::<Vec<_>>(), *words, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn unbalanced_quotes_are_refused() {
        for line in [
            b"echo \"a".as_slice(),
            b"echo 'a",
            b"echo \"a\"b",
            b"echo 'a'b",
            b"echo \"",
            b"'a\\'",
            b"\"a\\\"",
            b"\"\\",
        ] {
            assert_eq!(
                split_line(line).map(|words| words.len()),
                Err(ProtocolError::UnbalancedQuotes),
                "{}",
                line.escape_ascii()
            );
        }
    }
}
