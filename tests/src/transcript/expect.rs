//! Expected replies: their text form, and whether a value is one.
//!
//! One text serves both protocols: a map matches a flat array in RESP2, a double matches its text, and so on, as the
//! protocol's specification downgrades them.

use std::collections::BTreeMap;
use std::fmt;

use torc_resp::Value;

use super::words::{Scanner, quote};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Resp2,
    Resp3,
}

/// Variables bound by `$name`.
pub(super) type Bindings = BTreeMap<String, Vec<u8>>;

#[derive(Clone, Debug, PartialEq)]
pub enum Expected {
    Simple(String),
    Error(String),
    Int(i64),
    Bulk(Vec<u8>),
    /// `nil`: `$-1` in RESP2.
    Nil,
    /// `nil-array`: `*-1` in RESP2.
    NilArray,
    /// A bulk string in RESP2.
    Double(String),
    /// 1 or 0 in RESP2.
    Bool(bool),
    /// A bulk string in RESP2.
    Big(String),
    /// A bulk string in RESP2.
    Verbatim(String, Vec<u8>),
    List(List),
    /// In RESP2 an array of keys and values.
    Map {
        pairs: Vec<(Expected, Expected)>,
        open: bool,
        unordered: bool,
    },
    /// `either(a, b)`
    Either(Vec<Expected>),
    Any,
    /// `int` and `int low..high`, both included.
    IntRange(i64, i64),
    /// `like "glob"`: the text of a bulk, a status or a verbatim string.
    Like(Vec<u8>),
    /// `error "glob"`
    ErrorLike(Vec<u8>),
    /// `$name`: binds an integer or a text, and afterwards is equal to it.
    Variable(String),
    /// No reply comes.
    None,
    /// The server closes the connection.
    Closed,
}

/// An array, a set or a push; the last two are arrays in RESP2.
#[derive(Clone, Debug, PartialEq)]
pub struct List {
    pub kind: ListKind,
    pub elements: Vec<Expected>,
    /// `...` at the end: more elements may follow.
    pub open: bool,
    pub unordered: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListKind {
    Array,
    Set,
    Push,
}

impl Expected {
    /// Reads a whole reply line.
    pub(super) fn parse(text: &str) -> Result<Expected, String> {
        let text = text.trim();
        match text {
            "none" => return Ok(Expected::None),
            "closed" => return Ok(Expected::Closed),
            _ => {}
        }
        // Outside of collections, statuses and errors reach to the end of the line.
        match text.as_bytes().first() {
            Some(b'+') if !text.starts_with("+\"") => return Ok(Expected::Simple(text[1..].into())),
            Some(b'-') if !text.starts_with("-\"") && !is_number(text) => {
                return Ok(Expected::Error(text[1..].into()));
            }
            _ => {}
        }
        let mut scanner = Scanner::new(text);
        let value = value(&mut scanner)?;
        if scanner.at_end() { Ok(value) } else { Err(format!("more text behind the reply in '{text}'")) }
    }

    pub(super) fn matches(&self, value: &Value, protocol: Protocol, bound: &mut Bindings) -> bool {
        let resp3 = protocol == Protocol::Resp3;
        match (self, value) {
            (Expected::Any, _) => true,
            (Expected::Simple(expected), Value::Simple(text)) => expected == text,
            (Expected::Error(expected), Value::Error(text)) => expected == text,
            (Expected::Int(expected), Value::Int(number)) => expected == number,
            (Expected::Bulk(expected), Value::Bulk(bytes)) => expected == bytes,
            (Expected::Nil | Expected::NilArray, Value::Null) => resp3,
            (Expected::Nil, Value::NullBulk) | (Expected::NilArray, Value::NullArray) => !resp3,
            (Expected::Double(expected), Value::Double(text)) => resp3 && expected == text,
            (Expected::Double(expected), Value::Bulk(text)) => !resp3 && expected.as_bytes() == text,
            (Expected::Bool(expected), Value::Bool(value)) => resp3 && expected == value,
            (Expected::Bool(expected), Value::Int(value)) => !resp3 && *expected as i64 == *value,
            (Expected::Big(expected), Value::BigNumber(text)) => resp3 && expected == text,
            (Expected::Big(expected), Value::Bulk(text)) => !resp3 && expected.as_bytes() == text,
            (Expected::Verbatim(kind, expected), Value::Verbatim { format, text }) => {
                resp3 && kind == format && expected == text
            }
            (Expected::Verbatim(_, expected), Value::Bulk(text)) => !resp3 && expected == text,
            (Expected::List(list), value) => list.matches(value, protocol, bound),
            (Expected::Map { pairs, open, unordered }, Value::Map(found)) => {
                let found: Vec<(&Value, &Value)> = found.iter().map(|(key, value)| (key, value)).collect();
                resp3 && match_pairs(pairs, &found, *open, *unordered, protocol, bound)
            }
            (Expected::Map { pairs, open, unordered }, Value::Array(flat)) => {
                let found: Vec<(&Value, &Value)> =
                    flat.chunks_exact(2).map(|pair| (&pair[0], &pair[1])).collect();
                !resp3
                    && flat.len() % 2 == 0
                    && match_pairs(pairs, &found, *open, *unordered, protocol, bound)
            }
            (Expected::Either(choices), value) => {
                choices.iter().any(|choice| choice.matches(value, protocol, bound))
            }
            (Expected::IntRange(low, high), Value::Int(number)) => (low..=high).contains(&number),
            (Expected::ErrorLike(glob), Value::Error(text)) => glob_matches(glob, text.as_bytes()),
            (Expected::Like(glob), value) => value.as_bytes().is_some_and(|text| glob_matches(glob, text)),
            (Expected::Variable(name), value) => {
                let text = match value {
                    Value::Int(number) => number.to_string().into_bytes(),
                    value => value.as_bytes().map(<[u8]>::to_vec).unwrap_or_default(),
                };
                *bound.entry(name.clone()).or_insert_with(|| text.clone()) == text
            }
            _ => false,
        }
    }

    /// What describes both replies to one command; `None` if no single text does.
    pub(super) fn describing(resp2: &Value, resp3: &Value) -> Option<Expected> {
        Some(match (resp2, resp3) {
            (Value::NullBulk, Value::Null) => Expected::Nil,
            (Value::NullArray, Value::Null) => Expected::NilArray,
            (Value::Bulk(text), Value::Double(number)) if text == number.as_bytes() => {
                Expected::Double(number.clone())
            }
            (Value::Bulk(text), Value::BigNumber(number)) if text == number.as_bytes() => {
                Expected::Big(number.clone())
            }
            (Value::Int(number), Value::Bool(value)) if *number == *value as i64 => Expected::Bool(*value),
            (Value::Bulk(plain), Value::Verbatim { format, text }) if plain == text => {
                Expected::Verbatim(format.clone(), text.clone())
            }
            (Value::Array(flat), Value::Map(pairs)) if flat.len() == pairs.len() * 2 => {
                let pair = |(flat, (key, value)): (&[Value], &(Value, Value))| {
                    Some((Expected::describing(&flat[0], key)?, Expected::describing(&flat[1], value)?))
                };
                let pairs: Option<Vec<_>> = flat.chunks_exact(2).zip(pairs).map(pair).collect();
                Expected::Map { pairs: pairs?, open: false, unordered: false }
            }
            // Servers of one kind list the members of a set in different orders.
            (Value::Array(_), Value::Set(_)) => {
                let set = Expected::parse(&Expected::exactly(resp3)?.nested()).ok()?;
                set.matches(resp2, Protocol::Resp2, &mut Bindings::default()).then_some(set)?
            }
            (Value::Array(left), Value::Array(right) | Value::Push(right)) if left.len() == right.len() => {
                let elements: Option<Vec<_>> =
                    left.iter().zip(right).map(|(left, right)| Expected::describing(left, right)).collect();
                let kind = list_kind(resp3)?;
                Expected::List(List { kind, elements: elements?, open: false, unordered: false })
            }
            (left, right) if left == right => Expected::exactly(left)?,
            _ => return None,
        })
    }

    /// The text form inside a collection, where statuses and errors do not reach to the end of the line.
    pub(super) fn nested(&self) -> String {
        struct Nested<'a>(&'a Expected);
        impl fmt::Display for Nested<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_nested(self.0, f)
            }
        }
        Nested(self).to_string()
    }

    /// The text form of a value by itself.
    pub(super) fn exactly(value: &Value) -> Option<Expected> {
        Some(match value {
            Value::Simple(text) => Expected::Simple(text.clone()),
            Value::Error(text) => Expected::Error(text.clone()),
            Value::Int(number) => Expected::Int(*number),
            Value::Bulk(bytes) => Expected::Bulk(bytes.clone()),
            Value::NullBulk | Value::Null => Expected::Nil,
            Value::NullArray => Expected::NilArray,
            Value::Double(text) => Expected::Double(text.clone()),
            Value::Bool(value) => Expected::Bool(*value),
            Value::BigNumber(text) => Expected::Big(text.clone()),
            Value::Verbatim { format, text } => Expected::Verbatim(format.clone(), text.clone()),
            Value::Array(elements) | Value::Set(elements) | Value::Push(elements) => {
                let elements: Option<Vec<_>> = elements.iter().map(Expected::exactly).collect();
                Expected::List(List {
                    kind: list_kind(value)?,
                    elements: elements?,
                    open: false,
                    unordered: false,
                })
            }
            Value::Map(pairs) => {
                let pair = |(key, value): &(Value, Value)| {
                    Some((Expected::exactly(key)?, Expected::exactly(value)?))
                };
                let pairs: Option<Vec<_>> = pairs.iter().map(pair).collect();
                Expected::Map { pairs: pairs?, open: false, unordered: false }
            }
            Value::Attributed { .. } => return None,
        })
    }
}

impl List {
    fn matches(&self, value: &Value, protocol: Protocol, bound: &mut Bindings) -> bool {
        let kind = if protocol == Protocol::Resp3 { self.kind } else { ListKind::Array };
        if list_kind(value) != Some(kind) {
            return false;
        }
        let found: Vec<&Value> = value.elements().unwrap_or_default().iter().collect();
        if found.len() < self.elements.len() || (found.len() > self.elements.len() && !self.open) {
            return false;
        }
        if !self.unordered {
            return self
                .elements
                .iter()
                .zip(found)
                .all(|(expected, value)| expected.matches(value, protocol, bound));
        }
        let mut left = found;
        self.elements.iter().all(|expected| {
            let position = left.iter().position(|value| expected.matches(value, protocol, bound));
            position.map(|position| left.swap_remove(position)).is_some()
        })
    }
}

fn match_pairs(
    pairs: &[(Expected, Expected)],
    found: &[(&Value, &Value)],
    open: bool,
    unordered: bool,
    protocol: Protocol,
    bound: &mut Bindings,
) -> bool {
    if found.len() < pairs.len() || (found.len() > pairs.len() && !open) {
        return false;
    }
    if !open && !unordered {
        return pairs.iter().zip(found).all(|((key, value), (found_key, found_value))| {
            key.matches(found_key, protocol, bound) && value.matches(found_value, protocol, bound)
        });
    }
    pairs.iter().all(|(key, value)| {
        found.iter().any(|(found_key, found_value)| {
            key.matches(found_key, protocol, bound) && value.matches(found_value, protocol, bound)
        })
    })
}

fn list_kind(value: &Value) -> Option<ListKind> {
    match value {
        Value::Array(_) => Some(ListKind::Array),
        Value::Set(_) => Some(ListKind::Set),
        Value::Push(_) => Some(ListKind::Push),
        _ => None,
    }
}

/// `*` stands for any bytes, everything else for itself.
fn glob_matches(glob: &[u8], text: &[u8]) -> bool {
    let mut parts = glob.split(|&byte| byte == b'*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let found = (0..=rest.len().saturating_sub(part.len())).find(|&at| rest[at..].starts_with(part));
        let Some(at) = found else { return false };
        rest = &rest[at + part.len()..];
    }
    true
}

fn is_number(text: &str) -> bool {
    text.parse::<i64>().is_ok()
}

fn value(scanner: &mut Scanner) -> Result<Expected, String> {
    /// What ends a bare word inside a collection.
    const STOPS: &[u8] = b",]}):";
    scanner.skip_blanks();
    match scanner.peek() {
        Some(b'"') => return Ok(Expected::Bulk(scanner.quoted()?)),
        Some(b'[') => return list(scanner, ListKind::Array, false),
        Some(b'{') => return map(scanner, false),
        Some(b'$') => return Ok(Expected::Variable(scanner.until(STOPS).trim()[1..].to_string())),
        Some(b'+') => {
            scanner.take("+");
            return text(scanner).map(Expected::Simple);
        }
        None => return Err("a reply should come here".into()),
        _ => {}
    }
    for (name, kind) in [("set", ListKind::Set), ("push", ListKind::Push)] {
        if scanner.take(&format!("{name}[")) {
            return elements(scanner, b']').map(|(elements, open)| {
                Expected::List(List { kind, elements, open, unordered: kind == ListKind::Set })
            });
        }
    }
    if scanner.take("unordered ") {
        return match value(scanner)? {
            Expected::List(list) => Ok(Expected::List(List { unordered: true, ..list })),
            Expected::Map { pairs, open, .. } => Ok(Expected::Map { pairs, open, unordered: true }),
            _ => Err("only collections can be unordered".into()),
        };
    }
    if scanner.take("either(") {
        return elements(scanner, b')').map(|(choices, _)| Expected::Either(choices));
    }
    if scanner.take("like ") {
        return scanner.quoted().map(Expected::Like);
    }
    if scanner.take("error ") {
        return scanner.quoted().map(Expected::ErrorLike);
    }
    if scanner.take("verbatim ") {
        let kind = scanner.until(b" ").to_string();
        scanner.skip_blanks();
        return Ok(Expected::Verbatim(kind, scanner.quoted()?));
    }
    if scanner.take("-\"") {
        let text = scanner.until(b"\"").to_string();
        scanner.take("\"");
        return Ok(Expected::Error(text));
    }
    let word = scanner.until(STOPS).trim();
    Ok(match word.split_once(' ').unwrap_or((word, "")) {
        ("nil", "") => Expected::Nil,
        ("nil-array", "") => Expected::NilArray,
        ("true", "") => Expected::Bool(true),
        ("false", "") => Expected::Bool(false),
        ("any", "") => Expected::Any,
        ("int", "") => Expected::IntRange(i64::MIN, i64::MAX),
        ("int", range) => {
            let (low, high) = range.split_once("..").ok_or_else(|| format!("'{range}' is no range"))?;
            let number = |text: &str| text.parse().map_err(|_| format!("'{text}' is no number"));
            Expected::IntRange(number(low)?, number(high)?)
        }
        ("double", number) => Expected::Double(number.into()),
        ("big", number) => Expected::Big(number.into()),
        (number, "") if is_number(number) => Expected::Int(number.parse().expect("just checked")),
        _ => match word.strip_prefix('-') {
            Some(error) => Expected::Error(error.into()),
            None => return Err(format!("'{word}' is no reply")),
        },
    })
}

/// The text of a status inside a collection.
fn text(scanner: &mut Scanner) -> Result<String, String> {
    match scanner.peek() {
        Some(b'"') => Ok(String::from_utf8_lossy(&scanner.quoted()?).into_owned()),
        _ => Ok(scanner.until(b",]})").trim().to_string()),
    }
}

fn list(scanner: &mut Scanner, kind: ListKind, unordered: bool) -> Result<Expected, String> {
    scanner.take("[");
    let (elements, open) = elements(scanner, b']')?;
    Ok(Expected::List(List { kind, elements, open, unordered }))
}

fn elements(scanner: &mut Scanner, end: u8) -> Result<(Vec<Expected>, bool), String> {
    let end = (end as char).to_string();
    let mut elements = Vec::new();
    loop {
        scanner.skip_blanks();
        if scanner.take(&end) {
            return Ok((elements, false));
        }
        if scanner.take("...") {
            scanner.skip_blanks();
            return if scanner.take(&end) { Ok((elements, true)) } else { Err("'...' comes last".into()) };
        }
        elements.push(value(scanner)?);
        scanner.skip_blanks();
        if !scanner.take(",") && scanner.peek() != end.bytes().next() {
            return Err("elements are parted by commas".into());
        }
    }
}

fn map(scanner: &mut Scanner, unordered: bool) -> Result<Expected, String> {
    scanner.take("{");
    let mut pairs = Vec::new();
    loop {
        scanner.skip_blanks();
        if scanner.take("}") {
            return Ok(Expected::Map { pairs, open: false, unordered });
        }
        if scanner.take("...") {
            scanner.skip_blanks();
            let open = Expected::Map { pairs, open: true, unordered };
            return if scanner.take("}") { Ok(open) } else { Err("'...' comes last".into()) };
        }
        let key = value(scanner)?;
        scanner.skip_blanks();
        if !scanner.take(":") {
            return Err("a colon parts key and value".into());
        }
        pairs.push((key, value(scanner)?));
        scanner.skip_blanks();
        if !scanner.take(",") && scanner.peek() != Some(b'}') {
            return Err("pairs are parted by commas".into());
        }
    }
}

/// The text form; [`Expected::parse`] reads it back.
impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expected::Simple(text) if text.trim() == text => write!(f, "+{text}"),
            Expected::Error(text) if text.trim() == text => write!(f, "-{text}"),
            nested => write_nested(nested, f),
        }
    }
}

fn write_nested(expected: &Expected, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let plain = |text: &str| !text.contains([',', ']', '}', ')', '"', ':']) && text.trim() == text;
    match expected {
        Expected::Simple(text) if plain(text) => write!(f, "+{text}"),
        Expected::Simple(text) => write!(f, "+\"{text}\""),
        Expected::Error(text) if plain(text) => write!(f, "-{text}"),
        Expected::Error(text) => write!(f, "-\"{text}\""),
        Expected::Int(number) => write!(f, "{number}"),
        Expected::Bulk(bytes) => f.write_str(&quote(bytes)),
        Expected::Nil => f.write_str("nil"),
        Expected::NilArray => f.write_str("nil-array"),
        Expected::Double(text) => write!(f, "double {text}"),
        Expected::Bool(value) => write!(f, "{value}"),
        Expected::Big(text) => write!(f, "big {text}"),
        Expected::Verbatim(kind, text) => write!(f, "verbatim {kind} {}", quote(text)),
        Expected::List(list) => {
            let (prefix, implied) = match list.kind {
                ListKind::Array => ("", false),
                ListKind::Set => ("set", true),
                ListKind::Push => ("push", false),
            };
            if list.unordered && !implied {
                f.write_str("unordered ")?;
            }
            write!(f, "{prefix}[")?;
            write_parted(&list.elements, list.open, f)?;
            f.write_str("]")
        }
        Expected::Map { pairs, open, unordered } => {
            f.write_str(if *unordered { "unordered {" } else { "{" })?;
            for (index, (key, value)) in pairs.iter().enumerate() {
                f.write_str(if index > 0 { ", " } else { "" })?;
                write_nested(key, f)?;
                f.write_str(": ")?;
                write_nested(value, f)?;
            }
            f.write_str(match (*open, pairs.is_empty()) {
                (true, true) => "...}",
                (true, false) => ", ...}",
                (false, _) => "}",
            })
        }
        Expected::Either(choices) => {
            f.write_str("either(")?;
            write_parted(choices, false, f)?;
            f.write_str(")")
        }
        Expected::Any => f.write_str("any"),
        Expected::IntRange(i64::MIN, i64::MAX) => f.write_str("int"),
        Expected::IntRange(low, high) => write!(f, "int {low}..{high}"),
        Expected::Like(glob) => write!(f, "like {}", quote(glob)),
        Expected::ErrorLike(glob) => write!(f, "error {}", quote(glob)),
        Expected::Variable(name) => write!(f, "${name}"),
        Expected::None => f.write_str("none"),
        Expected::Closed => f.write_str("closed"),
    }
}

fn write_parted(elements: &[Expected], open: bool, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (index, element) in elements.iter().enumerate() {
        f.write_str(if index > 0 { ", " } else { "" })?;
        write_nested(element, f)?;
    }
    if open {
        f.write_str(if elements.is_empty() { "..." } else { ", ..." })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(bytes: &str) -> Value {
        let mut reader = torc_resp::ValueReader::new();
        reader.feed(bytes.as_bytes());
        reader.next_value().expect("a valid reply").expect("a whole reply")
    }

    #[track_caller]
    fn check(text: &str, resp2: &str, resp3: &str) {
        let expected = Expected::parse(text).expect("well formed");
        assert!(expected.matches(&wire(resp2), Protocol::Resp2, &mut Bindings::new()), "{text} in RESP2");
        assert!(expected.matches(&wire(resp3), Protocol::Resp3, &mut Bindings::new()), "{text} in RESP3");
    }

    #[test]
    fn one_text_serves_both_protocols() {
        check("+OK", "+OK\r\n", "+OK\r\n");
        check("-ERR a, b]", "-ERR a, b]\r\n", "-ERR a, b]\r\n");
        check("-5", ":-5\r\n", ":-5\r\n");
        check("\"a\\x00\"", "$2\r\na\0\r\n", "$2\r\na\0\r\n");
        check("nil", "$-1\r\n", "_\r\n");
        check("nil-array", "*-1\r\n", "_\r\n");
        check("double -0.08", "$5\r\n-0.08\r\n", ",-0.08\r\n");
        check("true", ":1\r\n", "#t\r\n");
        check("big 12", "$2\r\n12\r\n", "(12\r\n");
        check("verbatim txt \"ab\"", "$2\r\nab\r\n", "=6\r\ntxt:ab\r\n");
        check(
            "[+OK, -ERR x, [1, nil]]",
            "*3\r\n+OK\r\n-ERR x\r\n*2\r\n:1\r\n$-1\r\n",
            "*3\r\n+OK\r\n-ERR x\r\n*2\r\n:1\r\n_\r\n",
        );
        check(
            "{\"a\": 1, \"b\": []}",
            "*4\r\n$1\r\na\r\n:1\r\n$1\r\nb\r\n*0\r\n",
            "%2\r\n$1\r\na\r\n:1\r\n$1\r\nb\r\n*0\r\n",
        );
        check("set[1, 2]", "*2\r\n:2\r\n:1\r\n", "~2\r\n:1\r\n:2\r\n");
        check("push[1]", "*1\r\n:1\r\n", ">1\r\n:1\r\n");
    }

    #[test]
    fn patterns() {
        check("any", ":1\r\n", "_\r\n");
        check("int 1..3", ":1\r\n", ":3\r\n");
        check("[1, ...]", "*2\r\n:1\r\n:7\r\n", "*1\r\n:1\r\n");
        check(
            "{\"b\": 2, ...}",
            "*4\r\n$1\r\na\r\n:1\r\n$1\r\nb\r\n:2\r\n",
            "%2\r\n$1\r\nb\r\n:2\r\n$1\r\na\r\n:1\r\n",
        );
        check("unordered [1, int 2..5]", "*2\r\n:4\r\n:1\r\n", "*2\r\n:1\r\n:2\r\n");
        check("either(1, nil)", "$-1\r\n", ":1\r\n");
        check("like \"a*c*\"", "$4\r\nabcd\r\n", "=6\r\ntxt:ac\r\n");
        check("error \"ERR *'x'\"", "-ERR no 'x'\r\n", "-ERR a b 'x'\r\n");
    }

    #[test]
    fn mismatches() {
        let cases = [
            ("1", ":2\r\n"),
            ("nil", "*-1\r\n"),
            ("[1]", "*2\r\n:1\r\n:1\r\n"),
            ("+OK", "$2\r\nOK\r\n"),
            ("int 1..3", ":4\r\n"),
            ("like \"a*c\"", "$2\r\nab\r\n"),
            ("unordered [1, 1]", "*2\r\n:1\r\n:2\r\n"),
        ];
        for (text, reply) in cases {
            let expected = Expected::parse(text).expect("well formed");
            assert!(
                !expected.matches(&wire(reply), Protocol::Resp2, &mut Bindings::new()),
                "{text} {reply:?}"
            );
        }
        for text in ["", "foo", "[1", "[1 2]", "{1}", "int 1-2", "1 2"] {
            assert!(Expected::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn variables_bind_once() {
        let mut bound = Bindings::new();
        let expected = Expected::parse("[$id, $id]").expect("well formed");
        assert!(expected.matches(&wire("*2\r\n:7\r\n$1\r\n7\r\n"), Protocol::Resp2, &mut bound));
        assert!(!expected.matches(&wire("*2\r\n:8\r\n:8\r\n"), Protocol::Resp2, &mut bound));
    }

    #[test]
    fn text_forms_read_back() {
        for text in [
            "+OK",
            "-ERR a, b",
            "[-\"ERR a, b\", +OK]",
            "{\"a\": [1, nil-array], ...}",
            "unordered [1, ...]",
            "set[]",
            "either(1, 2)",
            "int 1..2",
            "int",
            "$id",
            "verbatim txt \"a\"",
            "double 1e+20",
            "none",
            "closed",
            "\"x\"*100+\"y\"",
        ] {
            assert_eq!(Expected::parse(text).expect(text).to_string(), text);
        }
    }
}
