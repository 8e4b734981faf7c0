//! The words of a transcript's commands: bare, quoted, repeated, joined, or the value of a variable.

/// One argument: its parts are joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    Bytes(Vec<u8>),
    /// `$name`: what an earlier reply bound.
    Variable(String),
}

/// Reads the text of one line.
pub(super) struct Scanner<'a> {
    text: &'a [u8],
    pos: usize,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a str) -> Scanner<'a> {
        Scanner { text: text.as_bytes(), pos: 0 }
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.text.get(self.pos).copied()
    }

    pub(super) fn at_end(&mut self) -> bool {
        self.skip_blanks();
        self.pos == self.text.len()
    }

    pub(super) fn skip_blanks(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_whitespace()) {
            self.pos += 1;
        }
    }

    /// Takes the text if it comes next.
    pub(super) fn take(&mut self, expected: &str) -> bool {
        let found = self.text[self.pos..].starts_with(expected.as_bytes());
        if found {
            self.pos += expected.len();
        }
        found
    }

    /// Everything up to one of the bytes, or to the end.
    pub(super) fn until(&mut self, stops: &[u8]) -> &'a str {
        let start = self.pos;
        while self.peek().is_some_and(|byte| !stops.contains(&byte)) {
            self.pos += 1;
        }
        // Stops are ASCII, so the cut lies between characters.
        std::str::from_utf8(&self.text[start..self.pos]).unwrap_or_default()
    }

    /// `"…"`, `"…"*count`, and several of them joined by `+`.
    pub(super) fn quoted(&mut self) -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        loop {
            let part = self.literal()?;
            let mut count = 1;
            if self.take("*") {
                let digits = self.until(b" +,]})\t");
                count = digits.parse().map_err(|_| format!("'{digits}' is no count"))?;
            }
            bytes.extend(part.repeat(count));
            if !self.take("+") {
                return Ok(bytes);
            }
        }
    }

    fn literal(&mut self) -> Result<Vec<u8>, String> {
        if !self.take("\"") {
            return Err("a quoted text should come here".into());
        }
        let mut bytes = Vec::new();
        while let Some(byte) = self.peek() {
            self.pos += 1;
            match byte {
                b'"' => return Ok(bytes),
                b'\\' => bytes.push(self.escaped()?),
                byte => bytes.push(byte),
            }
        }
        Err("a quoted text does not end".into())
    }

    fn escaped(&mut self) -> Result<u8, String> {
        let byte = self.peek().ok_or("an escape does not end")?;
        self.pos += 1;
        Ok(match byte {
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'x' => {
                let digits = self.text.get(self.pos..self.pos + 2).unwrap_or_default();
                let digits = std::str::from_utf8(digits).unwrap_or_default();
                self.pos += 2;
                u8::from_str_radix(digits, 16).map_err(|_| format!("'\\x{digits}' is no byte"))?
            }
            other => other,
        })
    }
}

/// The words of a command line.
pub(super) fn words(line: &str) -> Result<Vec<Word>, String> {
    let mut scanner = Scanner::new(line);
    let mut words = Vec::new();
    while !scanner.at_end() {
        words.push(match scanner.peek() {
            Some(b'"') => Word::Bytes(scanner.quoted()?),
            _ => bare(scanner.until(b" \t")),
        });
    }
    Ok(words)
}

fn bare(word: &str) -> Word {
    match word.strip_prefix('$') {
        Some(name) if name.starts_with(|first: char| first.is_ascii_alphabetic()) => {
            Word::Variable(name.into())
        }
        _ => Word::Bytes(word.into()),
    }
}

/// The quoted form that [`Scanner::quoted`] reads; long runs of one byte are written as a count.
pub(super) fn quote(bytes: &[u8]) -> String {
    const RUN_LEN_MIN: usize = 48;
    let mut parts: Vec<String> = Vec::new();
    let mut plain_from = 0;
    let mut pos = 0;
    let literal = |bytes: &[u8]| {
        let mut text = String::from("\"");
        for &byte in bytes {
            match byte {
                b'"' | b'\\' => text.extend(['\\', byte as char]),
                b'\n' => text.push_str("\\n"),
                b'\r' => text.push_str("\\r"),
                b'\t' => text.push_str("\\t"),
                0x20..=0x7e => text.push(byte as char),
                other => text.push_str(&format!("\\x{other:02x}")),
            }
        }
        text.push('"');
        text
    };
    while pos < bytes.len() {
        let run = bytes[pos..].iter().take_while(|&&byte| byte == bytes[pos]).count();
        if run >= RUN_LEN_MIN {
            if plain_from < pos {
                parts.push(literal(&bytes[plain_from..pos]));
            }
            parts.push(format!("{}*{run}", literal(&bytes[pos..pos + 1])));
            plain_from = pos + run;
        }
        pos += run;
    }
    if plain_from < bytes.len() || parts.is_empty() {
        parts.push(literal(&bytes[plain_from..]));
    }
    parts.join("+")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_words() {
        let bytes = |text: &[u8]| Word::Bytes(text.to_vec());
        assert_eq!(words("SET  k \"a b\"").unwrap(), [bytes(b"SET"), bytes(b"k"), bytes(b"a b")]);
        assert_eq!(words(r#""\x00\n\"\\""#).unwrap(), [bytes(b"\x00\n\"\\")]);
        assert_eq!(words(r#""ab"*2+"c" d"#).unwrap(), [bytes(b"ababc"), bytes(b"d")]);
        assert_eq!(words("$id $1 x\"").unwrap(), [Word::Variable("id".into()), bytes(b"$1"), bytes(b"x\"")]);
        assert!(words("\"open").is_err());
        assert!(words("\"a\"*x").is_err());
    }

    #[test]
    fn quotes_what_it_reads() {
        for bytes in
            [b"".as_slice(), b"a\"b\\\r\n\t\x00\xff", &[b'x'; 100], &[&[0; 60], b"a".as_slice()].concat()]
        {
            let quoted = quote(bytes);
            assert_eq!(words(&quoted).unwrap(), [Word::Bytes(bytes.to_vec())], "{quoted}");
        }
        assert_eq!(quote(&[b'x'; 100]), "\"x\"*100");
    }
}
