//! Counts whole replies in a byte stream cut anywhere, without building values. RESP2 and RESP3. No I/O.
//!
//! A reply inside an array is not counted; errors and nulls are, since a load of errors or misses measures
//! something else than was asked for.

/// Longest header or simple line kept across two chunks, in bytes.
const LINE_BYTES_MAX: usize = 64 * 1024;

#[derive(Default)]
pub(crate) struct ReplyCounter {
    /// Values still missing to complete the current reply; 0 between replies.
    values_left: u64,
    /// Payload bytes (with CRLF) still to skip.
    skip_bytes: u64,
    /// A line whose end has not arrived yet.
    partial_line: Vec<u8>,
}

#[derive(Default)]
pub(crate) struct ReplyTotals {
    pub(crate) errors: u64,
    pub(crate) nulls: u64,
    pub(crate) first_error: Option<String>,
}

impl ReplyCounter {
    /// Takes the next bytes of the stream; returns how many replies they completed.
    pub(crate) fn feed(&mut self, chunk: &[u8], totals: &mut ReplyTotals) -> Result<u32, String> {
        let mut completed = 0;
        let mut rest = chunk;
        while !rest.is_empty() {
            if self.skip_bytes > 0 {
                let skipped = self.skip_bytes.min(rest.len() as u64);
                self.skip_bytes -= skipped;
                rest = &rest[skipped as usize..];
                if self.skip_bytes > 0 {
                    break;
                }
            } else if let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
                let (line, after) = rest.split_at(end + 1);
                rest = after;
                if self.partial_line.is_empty() {
                    self.line(line, totals)?;
                } else {
                    let mut whole = std::mem::take(&mut self.partial_line);
                    whole.extend_from_slice(line);
                    self.line(&whole, totals)?;
                }
            } else {
                if self.partial_line.len() + rest.len() > LINE_BYTES_MAX {
                    return Err("reply line too long".to_owned());
                }
                self.partial_line.extend_from_slice(rest);
                break;
            }
            if self.values_left == 0 && self.skip_bytes == 0 {
                completed += 1;
            }
        }
        Ok(completed)
    }

    /// One header or simple value, with its line end.
    fn line(&mut self, line: &[u8], totals: &mut ReplyTotals) -> Result<(), String> {
        let text = line.strip_suffix(b"\r\n").ok_or("reply line without CR")?;
        let (&kind, body) = text.split_first().ok_or("empty reply line")?;
        let nested = self.values_left > 0;
        if nested {
            self.values_left -= 1;
        }
        match kind {
            b'+' | b':' | b',' | b'#' | b'(' => {}
            b'-' => {
                totals.errors += 1;
                totals.first_error.get_or_insert_with(|| String::from_utf8_lossy(body).into_owned());
            }
            b'_' => totals.nulls += 1,
            b'$' | b'=' | b'!' => match length(body)? {
                Some(bytes) => self.skip_bytes = bytes + 2,
                None => totals.nulls += 1,
            },
            b'*' | b'~' | b'>' => match length(body)? {
                Some(count) => self.values_left += count,
                None => totals.nulls += 1,
            },
            b'%' => self.values_left += 2 * length(body)?.unwrap_or(0),
            other => return Err(format!("unexpected reply type {:?}", char::from(other))),
        }
        Ok(())
    }
}

/// A length of a header; `None` for -1.
fn length(body: &[u8]) -> Result<Option<u64>, String> {
    let mut value: u64 = 0;
    if body == b"-1" {
        return Ok(None);
    }
    if body.is_empty() || body.len() > 12 {
        return Err("bad reply length".to_owned());
    }
    for &byte in body {
        if !byte.is_ascii_digit() {
            return Err("bad reply length".to_owned());
        }
        value = value * 10 + u64::from(byte - b'0');
    }
    Ok(Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &[u8] =
        b"+OK\r\n$3\r\nabc\r\n$-1\r\n:7\r\n-ERR no\r\n*3\r\n$1\r\na\r\n*0\r\n*-1\r\n$0\r\n\r\n\
        %1\r\n+k\r\n*2\r\n:1\r\n:2\r\n_\r\n*0\r\n";
    const REPLIES: u32 = 10;

    #[test]
    fn any_cut_gives_the_same_count() {
        for piece in 1..=STREAM.len() {
            let (mut counter, mut totals) = (ReplyCounter::default(), ReplyTotals::default());
            let mut count = 0;
            for chunk in STREAM.chunks(piece) {
                count += counter.feed(chunk, &mut totals).expect("valid");
            }
            assert_eq!(count, REPLIES, "pieces of {piece}");
            assert_eq!((totals.errors, totals.nulls), (1, 3));
            assert_eq!(totals.first_error.as_deref(), Some("ERR no"));
        }
    }

    #[test]
    fn a_broken_stream_is_an_error() {
        for bytes in [&b"?\r\n"[..], b"$x\r\n", b"+OK\n", b"\r\n", b"*\r\n"] {
            let outcome = ReplyCounter::default().feed(bytes, &mut ReplyTotals::default());
            assert!(outcome.is_err(), "{bytes:?}");
        }
    }
}
