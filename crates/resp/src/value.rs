//! The client's side of the protocol: replies to values, commands to requests.
//!
//! For tests, benchmarks, the simulation and replicas. Knows RESP2 and RESP3 without being told which one comes. Never
//! used on the path of a served request.

use std::fmt;

/// One reply.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Simple(String),
    /// The text with its code.
    Error(String),
    Int(i64),
    Bulk(Vec<u8>),
    /// `$-1`
    NullBulk,
    /// `*-1`
    NullArray,
    /// `_`
    Null,
    Array(Vec<Value>),
    /// The text as sent, since its form is part of the contract; see [`Value::as_f64`].
    Double(String),
    Bool(bool),
    BigNumber(String),
    Verbatim {
        format: String,
        text: Vec<u8>,
    },
    Map(Vec<(Value, Value)>),
    Set(Vec<Value>),
    Push(Vec<Value>),
    Attributed {
        attributes: Vec<(Value, Value)>,
        value: Box<Value>,
    },
}

impl Value {
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null | Value::NullBulk | Value::NullArray)
    }

    pub fn is_error(&self) -> bool {
        matches!(self, Value::Error(_))
    }

    /// The bytes of a bulk, status or verbatim text.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Value::Bulk(bytes) => Some(bytes),
            Value::Simple(text) => Some(text.as_bytes()),
            Value::Verbatim { text, .. } => Some(text),
            _ => None,
        }
    }

    pub fn as_int(&self) -> Option<i64> {
        match self {
            Value::Int(number) => Some(*number),
            _ => None,
        }
    }

    /// A RESP3 double, or a bulk that holds one.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Value::Double(text) => text.parse().ok(),
            Value::Bulk(bytes) => std::str::from_utf8(bytes).ok()?.parse().ok(),
            _ => None,
        }
    }

    /// The elements of an array, set or push.
    pub fn elements(&self) -> Option<&[Value]> {
        match self {
            Value::Array(elements) | Value::Set(elements) | Value::Push(elements) => Some(elements),
            _ => None,
        }
    }
}

/// One line per element, indented by depth; bulks in quotes.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_indented(self, 0, f)
    }
}

fn write_indented(value: &Value, depth: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match value {
        Value::Simple(text) => write!(f, "{text}"),
        Value::Error(text) => write!(f, "(error) {text}"),
        Value::Int(number) => write!(f, "(integer) {number}"),
        Value::Bulk(bytes) => write!(f, "\"{}\"", bytes.escape_ascii()),
        Value::NullBulk | Value::NullArray | Value::Null => write!(f, "(nil)"),
        Value::Double(text) => write!(f, "(double) {text}"),
        Value::Bool(value) => write!(f, "({value})"),
        Value::BigNumber(digits) => write!(f, "(big number) {digits}"),
        Value::Verbatim { format, text } => write!(f, "({format}) \"{}\"", text.escape_ascii()),
        Value::Array(elements) => write_elements("array", elements, depth, f),
        Value::Set(elements) => write_elements("set", elements, depth, f),
        Value::Push(elements) => write_elements("push", elements, depth, f),
        Value::Map(pairs) => write_pairs("map", pairs, depth, f),
        Value::Attributed { attributes, value } => {
            write_pairs("attributes", attributes, depth, f)?;
            write!(f, "\n{:1$}", "", depth * 2)?;
            write_indented(value, depth, f)
        }
    }
}

fn write_elements(name: &str, elements: &[Value], depth: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "({name} of {})", elements.len())?;
    for (index, element) in elements.iter().enumerate() {
        write!(f, "\n{:2$}{}) ", "", index + 1, depth * 2 + 2)?;
        write_indented(element, depth + 1, f)?;
    }
    Ok(())
}

fn write_pairs(
    name: &str,
    pairs: &[(Value, Value)],
    depth: usize,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    write!(f, "({name} of {})", pairs.len())?;
    for (key, value) in pairs {
        write!(f, "\n{:1$}", "", depth * 2 + 2)?;
        write_indented(key, depth + 1, f)?;
        write!(f, " => ")?;
        write_indented(value, depth + 1, f)?;
    }
    Ok(())
}

/// The bytes are no reply; what was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueError {
    UnknownType(u8),
    InvalidNumber,
    InvalidBoolean,
    InvalidVerbatim,
    /// Nesting beyond [`MAX_DEPTH`].
    TooDeep,
}

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ValueError::UnknownType(byte) => write!(f, "unknown reply type '{}'", byte.escape_ascii()),
            ValueError::InvalidNumber => f.write_str("invalid number in a reply"),
            ValueError::InvalidBoolean => f.write_str("invalid boolean in a reply"),
            ValueError::InvalidVerbatim => f.write_str("invalid verbatim string in a reply"),
            ValueError::TooDeep => f.write_str("reply nested too deeply"),
        }
    }
}

impl std::error::Error for ValueError {}

/// Deepest nesting a reader follows.
pub const MAX_DEPTH: usize = 128;

/// Elements reserved on the word of a collection's header alone.
const ELEMENTS_AHEAD: usize = 1024;

/// Input of a reader that is kept in front of unread bytes before it is dropped.
const COMPACT_BYTES: usize = 64 * 1024;

/// Reads a stream of replies, in pieces of any size; each byte is looked at once (bulks: a bounded number of times).
#[derive(Debug, Default)]
pub struct ValueReader {
    input: Vec<u8>,
    pos: usize,
    /// Collections that are being read, outermost first.
    open: Vec<Open>,
    /// No value can be completed before the input has this length.
    needed: usize,
}

#[derive(Debug)]
struct Open {
    kind: Collection,
    /// Elements still to come; for maps keys and values each.
    missing: usize,
    elements: Vec<Value>,
    /// Of the value this collection is part of: attributes come before it.
    attributes: Vec<(Value, Value)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Collection {
    Array,
    Set,
    Push,
    Map,
    /// Its pairs, then the value they belong to.
    Attributes,
    Attributed,
}

impl ValueReader {
    pub fn new() -> ValueReader {
        ValueReader::default()
    }

    pub fn feed(&mut self, bytes: &[u8]) {
        if self.pos >= COMPACT_BYTES || self.pos == self.input.len() {
            self.input.drain(..self.pos);
            self.needed = self.needed.saturating_sub(self.pos);
            self.pos = 0;
        }
        self.input.extend_from_slice(bytes);
    }

    /// The next whole reply; `None`: feed more. After an error the stream cannot be used any more.
    pub fn next_value(&mut self) -> Result<Option<Value>, ValueError> {
        if self.input.len() < self.needed {
            return Ok(None);
        }
        while let Some(item) = self.item()? {
            if let Some(value) = self.attach(item) {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    /// Bytes fed and not yet part of a reply that was handed out, apart from those of unfinished collections.
    pub fn pending_bytes(&self) -> usize {
        self.input.len() - self.pos
    }

    /// Whether a reply has begun and is not complete.
    pub fn is_mid_value(&self) -> bool {
        !self.open.is_empty() || self.pending_bytes() > 0
    }

    /// One scalar, or an empty collection, or `Opened` after the header of another collection.
    fn item(&mut self) -> Result<Option<Item>, ValueError> {
        let rest = &self.input[self.pos..];
        let Some(end) = memchr::memchr(b'\n', rest) else { return Ok(None) };
        let line = rest[1.min(end)..end].strip_suffix(b"\r").unwrap_or(&rest[1.min(end)..end]);
        let behind = end + 1;
        let text = || String::from_utf8_lossy(line).into_owned();
        let value = match rest[0] {
            b'+' => Value::Simple(text()),
            b'-' => Value::Error(text()),
            b':' => Value::Int(crate::number::parse_i64(line).ok_or(ValueError::InvalidNumber)?),
            b',' => Value::Double(text()),
            b'(' => Value::BigNumber(text()),
            b'_' => Value::Null,
            b'#' => match line {
                b"t" => Value::Bool(true),
                b"f" => Value::Bool(false),
                _ => return Err(ValueError::InvalidBoolean),
            },
            b'$' | b'=' | b'!' => {
                let Some(len) = length(line)? else {
                    self.pos += behind;
                    return Ok(Some(Item::Value(Value::NullBulk)));
                };
                let Some(body) = rest.get(behind..behind + len + 2) else {
                    self.needed = self.pos + behind + len + 2;
                    return Ok(None);
                };
                let value = blob(rest[0], &body[..len])?;
                self.pos += behind + len + 2;
                return Ok(Some(Item::Value(value)));
            }
            kind @ (b'*' | b'~' | b'>' | b'%' | b'|') => {
                let Some(count) = length(line)? else {
                    self.pos += behind;
                    return Ok(Some(Item::Value(Value::NullArray)));
                };
                self.pos += behind;
                return self.open(kind, count).map(Some);
            }
            other => return Err(ValueError::UnknownType(other)),
        };
        self.pos += behind;
        Ok(Some(Item::Value(value)))
    }

    fn open(&mut self, kind: u8, count: usize) -> Result<Item, ValueError> {
        if self.open.len() >= MAX_DEPTH {
            return Err(ValueError::TooDeep);
        }
        let (kind, missing) = match kind {
            b'*' => (Collection::Array, count),
            b'~' => (Collection::Set, count),
            b'>' => (Collection::Push, count),
            b'%' => (Collection::Map, count * 2),
            _ => (Collection::Attributes, count * 2),
        };
        let elements = Vec::with_capacity(missing.min(ELEMENTS_AHEAD));
        let open = Open { kind, missing, elements, attributes: Vec::new() };
        if missing == 0 && kind != Collection::Attributes {
            return Ok(Item::Value(open.close()));
        }
        self.open.push(open);
        if missing == 0 {
            self.await_attributed();
        }
        Ok(Item::Opened)
    }

    /// Puts a value where it belongs; gives it back when it is a whole reply.
    fn attach(&mut self, item: Item) -> Option<Value> {
        let Item::Value(mut value) = item else { return None };
        loop {
            let Some(top) = self.open.last_mut() else { return Some(value) };
            top.elements.push(value);
            top.missing -= 1;
            if top.missing > 0 {
                return None;
            }
            if top.kind == Collection::Attributes {
                self.await_attributed();
                return None;
            }
            value = self.open.pop()?.close();
        }
    }

    /// The innermost attributes are complete: one more value, the one they belong to, closes them.
    fn await_attributed(&mut self) {
        if let Some(top) = self.open.last_mut() {
            top.attributes = pairs(std::mem::take(&mut top.elements));
            top.kind = Collection::Attributed;
            top.missing = 1;
        }
    }
}

enum Item {
    Value(Value),
    Opened,
}

impl Open {
    fn close(mut self) -> Value {
        match self.kind {
            Collection::Array => Value::Array(self.elements),
            Collection::Set => Value::Set(self.elements),
            Collection::Push => Value::Push(self.elements),
            Collection::Map | Collection::Attributes => Value::Map(pairs(self.elements)),
            Collection::Attributed => {
                let value = self.elements.pop().unwrap_or(Value::Null);
                Value::Attributed { attributes: self.attributes, value: Box::new(value) }
            }
        }
    }
}

fn pairs(elements: Vec<Value>) -> Vec<(Value, Value)> {
    let mut elements = elements.into_iter();
    let mut pairs = Vec::with_capacity(elements.len() / 2);
    while let (Some(key), Some(value)) = (elements.next(), elements.next()) {
        pairs.push((key, value));
    }
    pairs
}

/// A header's number; `None` for -1.
fn length(line: &[u8]) -> Result<Option<usize>, ValueError> {
    /// No reply announces more: bounds what is added to positions.
    const LENGTH_MAX: i64 = 1 << 40;
    match crate::number::parse_i64(line) {
        Some(-1) => Ok(None),
        Some(len @ 0..=LENGTH_MAX) => Ok(Some(len as usize)),
        _ => Err(ValueError::InvalidNumber),
    }
}

fn blob(kind: u8, body: &[u8]) -> Result<Value, ValueError> {
    match (kind, body) {
        (b'$', body) => Ok(Value::Bulk(body.to_vec())),
        (b'!', body) => Ok(Value::Error(String::from_utf8_lossy(body).into_owned())),
        (_, [a, b, c, b':', text @ ..]) => Ok(Value::Verbatim {
            format: String::from_utf8_lossy(&[*a, *b, *c]).into_owned(),
            text: text.to_vec(),
        }),
        _ => Err(ValueError::InvalidVerbatim),
    }
}

/// Appends a request in multibulk form.
pub fn encode_command(args: &[&[u8]], out: &mut Vec<u8>) {
    let mut digits = itoa::Buffer::new();
    out.push(b'*');
    out.extend_from_slice(digits.format(args.len()).as_bytes());
    out.extend_from_slice(b"\r\n");
    for arg in args {
        out.push(b'$');
        out.extend_from_slice(digits.format(arg.len()).as_bytes());
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::Bulk(text.as_bytes().to_vec())
    }

    fn check(wire: &str, expected: &[Value]) {
        for chunk in [1, 2, 3, 7, wire.len().max(1)] {
            let mut reader = ValueReader::new();
            let mut values = Vec::new();
            for piece in wire.as_bytes().chunks(chunk) {
                reader.feed(piece);
                while let Some(value) = reader.next_value().expect("valid replies") {
                    values.push(value);
                }
            }
            assert_eq!(values, expected, "{wire:?} in chunks of {chunk}");
            assert!(!reader.is_mid_value());
        }
    }

    #[test]
    fn reads_both_protocols() {
        check("", &[]);
        check(
            "+OK\r\n-ERR no\r\n:-5\r\n",
            &[Value::Simple("OK".into()), Value::Error("ERR no".into()), Value::Int(-5)],
        );
        check(
            "$5\r\nhe\r\no\r\n$0\r\n\r\n$-1\r\n*-1\r\n_\r\n",
            &[bulk("he\r\no"), bulk(""), Value::NullBulk, Value::NullArray, Value::Null],
        );
        check(
            "*2\r\n*0\r\n*2\r\n:1\r\n$1\r\na\r\n",
            &[Value::Array(vec![Value::Array(vec![]), Value::Array(vec![Value::Int(1), bulk("a")])])],
        );
        check(
            "%1\r\n+k\r\n~1\r\n,1.5\r\n>1\r\n#t\r\n",
            &[
                Value::Map(vec![(Value::Simple("k".into()), Value::Set(vec![Value::Double("1.5".into())]))]),
                Value::Push(vec![Value::Bool(true)]),
            ],
        );
        check(
            "=7\r\ntxt:a\nb\r\n(123\r\n!5\r\nERR x\r\n",
            &[
                Value::Verbatim { format: "txt".into(), text: b"a\nb".to_vec() },
                Value::BigNumber("123".into()),
                Value::Error("ERR x".into()),
            ],
        );
        check(
            "*2\r\n|1\r\n+ttl\r\n:1\r\n+v\r\n:2\r\n|0\r\n:3\r\n",
            &[
                Value::Array(vec![
                    Value::Attributed {
                        attributes: vec![(Value::Simple("ttl".into()), Value::Int(1))],
                        value: Box::new(Value::Simple("v".into())),
                    },
                    Value::Int(2),
                ]),
                Value::Attributed { attributes: vec![], value: Box::new(Value::Int(3)) },
            ],
        );
    }

    #[test]
    fn refuses_what_is_no_reply() {
        let deep = "*1\r\n".repeat(MAX_DEPTH + 1);
        let cases = [
            ("x\r\n", ValueError::UnknownType(b'x')),
            ("\r\n", ValueError::UnknownType(b'\r')),
            ("\n", ValueError::UnknownType(b'\n')),
            (":x\r\n", ValueError::InvalidNumber),
            ("$-2\r\n", ValueError::InvalidNumber),
            ("$99999999999999999\r\n", ValueError::InvalidNumber),
            ("#x\r\n", ValueError::InvalidBoolean),
            ("=2\r\nab\r\n", ValueError::InvalidVerbatim),
            (deep.as_str(), ValueError::TooDeep),
        ];
        for (wire, error) in cases {
            let mut reader = ValueReader::new();
            reader.feed(wire.as_bytes());
            assert_eq!(reader.next_value(), Err(error), "{wire:?}");
        }
    }

    #[test]
    fn shows_values_for_people() {
        let value = Value::Array(vec![Value::Int(1), Value::Map(vec![(bulk("k"), Value::Null)])]);
        assert_eq!(value.to_string(), "(array of 2)\n  1) (integer) 1\n  2) (map of 1)\n    \"k\" => (nil)");
    }

    #[test]
    fn encodes_what_the_parser_reads() {
        let mut wire = Vec::new();
        encode_command(&[b"SET", b"k", b"a\r\nb", b""], &mut wire);
        let mut parser = crate::RequestParser::new(crate::Limits::default());
        assert_eq!(parser.parse(&wire), Ok(crate::Parsed::Request { consumed: wire.len() }));
        let args = parser.args(&wire);
        assert_eq!(args.iter().collect::<Vec<_>>(), [b"SET".as_slice(), b"k", b"a\r\nb", b""]);
    }
}
