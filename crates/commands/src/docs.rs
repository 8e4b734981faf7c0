//! The argument tree of a command, read from its one line of syntax.
//!
//! Owns the grammar of [`Docs::syntax`](crate::Docs::syntax) and what COMMAND DOCS shows of it:
//!
//! ```text
//! SET key value [NX | XX] [EX seconds:int | KEEPTTL]     MSET key value [key value ...]
//! ```
//!
//! Words without small letters are tokens, all others placeholders: `name`, or `name:type` with one of the types `int`,
//! `double`, `pattern`, `unix-time`, `key` and `string`. A placeholder without a type is a key when it is named so (`key`,
//! `key1`, `newkey`), else a string. `[…]` is optional, `(…)` a group, `a | b` a choice. A token stands before what it
//! introduces. `x [x ...]` is one or more of `x`; `...` behind anything else repeats it.
//!
//! Never decides how a command reads its arguments: that is in its handler.

use std::fmt;

use crate::{Find, Spec};

/// One node of the tree, with the fields of COMMAND DOCS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Argument {
    pub name: String,
    pub kind: ArgumentKind,
    pub token: Option<String>,
    /// Which of the command's key specs finds it.
    pub key_spec: Option<usize>,
    pub optional: bool,
    pub multiple: bool,
    /// The token is repeated with every repetition.
    pub multiple_token: bool,
    /// Parts of a block, or alternatives.
    pub arguments: Vec<Argument>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArgumentKind {
    String,
    Integer,
    Double,
    Key,
    Pattern,
    UnixTime,
    PureToken,
    OneOf,
    Block,
}

impl ArgumentKind {
    /// As COMMAND DOCS spells it.
    pub const fn name(self) -> &'static str {
        match self {
            ArgumentKind::String => "string",
            ArgumentKind::Integer => "integer",
            ArgumentKind::Double => "double",
            ArgumentKind::Key => "key",
            ArgumentKind::Pattern => "pattern",
            ArgumentKind::UnixTime => "unix-time",
            ArgumentKind::PureToken => "pure-token",
            ArgumentKind::OneOf => "oneof",
            ArgumentKind::Block => "block",
        }
    }

    /// Groups have no text of their own to show.
    pub const fn is_group(self) -> bool {
        matches!(self, ArgumentKind::OneOf | ArgumentKind::Block)
    }
}

impl Argument {
    fn new(name: impl Into<String>, kind: ArgumentKind) -> Argument {
        Argument {
            name: name.into(),
            kind,
            token: None,
            key_spec: None,
            optional: false,
            multiple: false,
            multiple_token: false,
            arguments: Vec::new(),
        }
    }

    /// The fewest words it takes, and whether it always takes that many.
    fn words(&self) -> (usize, bool) {
        let (inner, exact) = match self.kind {
            ArgumentKind::PureToken => (0, true),
            ArgumentKind::Block => words(&self.arguments),
            ArgumentKind::OneOf => {
                let choices: Vec<(usize, bool)> = self.arguments.iter().map(Argument::words).collect();
                let least = choices.iter().map(|(least, _)| *least).min().unwrap_or(0);
                (least, choices.iter().all(|choice| *choice == (least, true)))
            }
            _ => (1, true),
        };
        let least = inner + usize::from(self.token.is_some());
        if self.optional { (0, false) } else { (least, exact && !self.multiple) }
    }
}

/// The fewest words that arguments take, and whether they always take that many.
pub fn words(arguments: &[Argument]) -> (usize, bool) {
    arguments.iter().map(Argument::words).fold((0, true), |sum, next| (sum.0 + next.0, sum.1 && next.1))
}

/// A line that breaks the grammar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxError(String);

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for SyntaxError {}

/// The arguments of a command. `name_words` is 2 for subcommands, else 1.
pub fn arguments(spec: &Spec, name_words: usize) -> Result<Vec<Argument>, SyntaxError> {
    let mut arguments = parse(spec.docs.syntax, name_words)?;
    let (unknown, known): (Vec<usize>, Vec<usize>) =
        (0..spec.keys.len()).partition(|&index| matches!(spec.keys[index].find, Find::Unknown));
    number_keys(&mut arguments, &known, unknown.first().copied(), &mut 0);
    Ok(arguments)
}

/// Key placeholders belong to the key specs that find keys, in their order; those that are left over share the last one.
/// Patterns belong to a key spec that can't.
fn number_keys(arguments: &mut [Argument], known: &[usize], unknown: Option<usize>, keys: &mut usize) {
    for argument in arguments {
        if argument.kind == ArgumentKind::Key && !known.is_empty() {
            argument.key_spec = Some(known[(*keys).min(known.len() - 1)]);
            *keys += 1;
        }
        if argument.kind == ArgumentKind::Pattern {
            argument.key_spec = unknown;
        }
        number_keys(&mut argument.arguments, known, unknown, keys);
    }
}

/// Parse a line of syntax behind the command's name.
pub fn parse(syntax: &str, name_words: usize) -> Result<Vec<Argument>, SyntaxError> {
    let words = split(syntax);
    if words.len() < name_words {
        return Err(SyntaxError(format!("{syntax:?} is shorter than the command's name")));
    }
    let mut parser = Parser { words: &words[name_words..], at: 0 };
    let alternatives = parser.alternatives(None)?;
    match &alternatives[..] {
        [sequence] => build(sequence),
        _ => Ok(vec![choice(&alternatives)?]),
    }
}

/// Words and brackets.
fn split(syntax: &str) -> Vec<&str> {
    let mut words = Vec::new();
    for word in syntax.split_whitespace() {
        let mut rest = word;
        while let Some(bracket) = rest.strip_prefix(['[', '(']) {
            words.push(&rest[..1]);
            rest = bracket;
        }
        let core = rest.trim_end_matches([']', ')']);
        if !core.is_empty() {
            words.push(core);
        }
        for end in core.len()..rest.len() {
            words.push(&rest[end..=end]);
        }
    }
    words
}

/// What stands in a line, before tokens are joined with what they introduce.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Item {
    Token(String),
    Placeholder(Argument),
    Group {
        optional: bool,
        alternatives: Vec<Vec<Item>>,
    },
    /// One or more of these in a row.
    Repeat(Vec<Item>),
    Dots,
}

struct Parser<'a> {
    words: &'a [&'a str],
    at: usize,
}

impl Parser<'_> {
    /// Sequences separated by bars, up to the closing bracket (or the end).
    fn alternatives(&mut self, close: Option<&str>) -> Result<Vec<Vec<Item>>, SyntaxError> {
        let mut alternatives = vec![Vec::new()];
        loop {
            let Some(&word) = self.words.get(self.at) else {
                return match close {
                    None => Ok(alternatives),
                    Some(close) => Err(SyntaxError(format!("{close:?} is missing"))),
                };
            };
            self.at += 1;
            let sequence = alternatives.last_mut().expect("never empty");
            match word {
                "[" => {
                    let alternatives = self.alternatives(Some("]"))?;
                    sequence.push(Item::Group { optional: true, alternatives });
                }
                "(" => {
                    let alternatives = self.alternatives(Some(")"))?;
                    sequence.push(Item::Group { optional: false, alternatives });
                }
                "]" | ")" if close == Some(word) => return Ok(alternatives),
                "]" | ")" => return Err(SyntaxError(format!("unexpected {word:?}"))),
                "|" => alternatives.push(Vec::new()),
                "..." => sequence.push(Item::Dots),
                _ if !word.contains(|letter: char| letter.is_ascii_lowercase()) => {
                    sequence.push(Item::Token(word.into()));
                }
                _ => sequence.push(Item::Placeholder(placeholder(word)?)),
            }
        }
    }
}

fn placeholder(word: &str) -> Result<Argument, SyntaxError> {
    let (name, kind) = match word.split_once(':') {
        None if is_key_name(word) => (word, ArgumentKind::Key),
        None => (word, ArgumentKind::String),
        Some((name, "int")) => (name, ArgumentKind::Integer),
        Some((name, "double")) => (name, ArgumentKind::Double),
        Some((name, "pattern")) => (name, ArgumentKind::Pattern),
        Some((name, "unix-time")) => (name, ArgumentKind::UnixTime),
        Some((name, "key")) => (name, ArgumentKind::Key),
        Some((name, "string")) => (name, ArgumentKind::String),
        Some((_, kind)) => return Err(SyntaxError(format!("{word:?} has the unknown type {kind:?}"))),
    };
    Ok(Argument::new(name, kind))
}

fn is_key_name(name: &str) -> bool {
    name.trim_end_matches(|letter: char| letter.is_ascii_digit()).ends_with("key")
}

/// Arguments of a sequence.
fn build(items: &[Item]) -> Result<Vec<Argument>, SyntaxError> {
    let items = join_repetitions(items);
    let mut arguments: Vec<Argument> = Vec::new();
    let mut at = 0;
    while at < items.len() {
        match &items[at] {
            Item::Token(token) => {
                let mut end = at + 1;
                while items.get(end).is_some_and(belongs_to_token) {
                    end += 1;
                }
                arguments.push(with_token(token, &items[at + 1..end])?);
                at = end;
                continue;
            }
            Item::Placeholder(argument) => arguments.push(argument.clone()),
            Item::Group { optional, alternatives } => {
                let mut argument = choice(alternatives)?;
                argument.optional |= optional;
                arguments.push(argument);
            }
            Item::Repeat(repeated) => {
                let mut argument = block(build(repeated)?);
                argument.multiple = true;
                argument.multiple_token = matches!(repeated[0], Item::Token(_));
                if argument.kind == ArgumentKind::Block && argument.token.is_none() {
                    argument.name = "data".into();
                }
                arguments.push(argument);
            }
            Item::Dots => {
                let last = arguments.last_mut().ok_or(SyntaxError("... repeats nothing".into()))?;
                last.multiple = true;
                last.multiple_token = last.token.is_some();
            }
        }
        at += 1;
    }
    Ok(arguments)
}

/// `a b [a b ...]` becomes one item.
fn join_repetitions(items: &[Item]) -> Vec<Item> {
    let mut joined: Vec<Item> = Vec::new();
    for item in items {
        if let Item::Group { optional: true, alternatives } = item
            && let [sequence] = &alternatives[..]
            && let [repeated @ .., Item::Dots] = &sequence[..]
            && !repeated.is_empty()
            && joined.ends_with(repeated)
        {
            joined.truncate(joined.len() - repeated.len());
            joined.push(Item::Repeat(repeated.to_vec()));
        } else {
            joined.push(item.clone());
        }
    }
    joined
}

/// A token introduces what follows, up to the next token or option.
fn belongs_to_token(item: &Item) -> bool {
    match item {
        Item::Placeholder(_) | Item::Repeat(_) => true,
        Item::Group { optional, .. } => !optional,
        Item::Token(_) | Item::Dots => false,
    }
}

fn with_token(token: &str, items: &[Item]) -> Result<Argument, SyntaxError> {
    let name = token.to_ascii_lowercase();
    let mut arguments = build(items)?;
    if arguments.is_empty() {
        let mut argument = Argument::new(name, ArgumentKind::PureToken);
        argument.token = Some(token.into());
        return Ok(argument);
    }
    let mut argument = if arguments.len() == 1 && arguments[0].token.is_none() {
        arguments.remove(0)
    } else {
        let mut block = Argument::new(name.clone(), ArgumentKind::Block);
        block.arguments = arguments;
        block
    };
    if argument.kind.is_group() {
        argument.name = name;
    }
    argument.token = Some(token.into());
    Ok(argument)
}

/// One of several sequences, or the only one.
fn choice(alternatives: &[Vec<Item>]) -> Result<Argument, SyntaxError> {
    let mut arguments = Vec::with_capacity(alternatives.len());
    for sequence in alternatives {
        if sequence.is_empty() {
            return Err(SyntaxError("an alternative is empty".into()));
        }
        arguments.push(block(build(sequence)?));
    }
    if arguments.len() == 1 {
        return Ok(arguments.remove(0));
    }
    let mut choice = Argument::new(choice_name(&arguments), ArgumentKind::OneOf);
    choice.arguments = arguments;
    Ok(choice)
}

fn block(mut arguments: Vec<Argument>) -> Argument {
    if arguments.len() == 1 {
        return arguments.remove(0);
    }
    let name = match arguments[0].name.as_str() {
        "start" | "min" => "range".into(),
        first => format!("{first}-block"),
    };
    let mut block = Argument::new(name, ArgumentKind::Block);
    block.arguments = arguments;
    block
}

/// A choice has no name in the line; the usual ones are known by their tokens.
fn choice_name(arguments: &[Argument]) -> &'static str {
    const NAMES: [(&str, &str); 10] = [
        ("NX", "condition"),
        ("GT", "comparison"),
        ("EX", "expiration"),
        ("ASC", "order"),
        ("LEFT", "where"),
        ("KM", "unit"),
        ("BYTE", "unit"),
        ("ON", "enabled"),
        ("ASYNC", "flush-type"),
        ("AND", "operation"),
    ];
    let has = |token: &str| arguments.iter().any(|argument| argument.token.as_deref() == Some(token));
    NAMES.iter().find(|(token, _)| has(token)).map_or("option", |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A compact picture of a tree: `name/type`, `TOKEN=` in front, `?` optional, `+` multiple, `*` with its token.
    fn picture(arguments: &[Argument]) -> String {
        let one = |argument: &Argument| {
            let mut text = String::new();
            if let Some(token) = &argument.token {
                text.push_str(&format!("{token}="));
            }
            match argument.kind {
                ArgumentKind::PureToken => text.push('.'),
                ArgumentKind::OneOf => text.push_str(&format!("<{}>", picture(&argument.arguments))),
                ArgumentKind::Block => text.push_str(&format!("{{{}}}", picture(&argument.arguments))),
                kind => text.push_str(&format!("{}/{}", argument.name, kind.name())),
            }
            text.push_str(if argument.optional { "?" } else { "" });
            text.push_str(match (argument.multiple, argument.multiple_token) {
                (false, _) => "",
                (true, false) => "+",
                (true, true) => "*",
            });
            text
        };
        arguments.iter().map(one).collect::<Vec<String>>().join(" ")
    }

    #[test]
    fn lines_become_trees() {
        let cases = [
            ("GET key", "key/key"),
            ("MULTI", ""),
            ("DEL key [key ...]", "key/key+"),
            ("MSET key value [key value ...]", "{key/key value/string}+"),
            ("UNSUBSCRIBE [channel [channel ...]]", "channel/string?+"),
            ("X [message ...]", "message/string?+"),
            ("SET key [NX | XX | IFEQ other] [GET]", "key/key <NX=. XX=. IFEQ=other/string>? GET=.?"),
            ("EXPIRE key seconds:int [NX | XX]", "key/key seconds/integer <NX=. XX=.>?"),
            ("SCAN cursor:int [MATCH pattern:pattern]", "cursor/integer MATCH=pattern/pattern?"),
            ("SORT key [LIMIT offset:int count:int]", "key/key LIMIT={offset/integer count/integer}?"),
            ("SORT key [GET pattern:pattern [GET pattern:pattern ...]]", "key/key GET=pattern/pattern?*"),
            ("X [ID id:int [id:int ...]] [SKIPME (YES | NO)]", "ID=id/integer?+ SKIPME=<YES=. NO=.>?"),
            (
                "BITCOUNT key [start:int [end:int [BYTE | BIT]]]",
                "key/key {start/integer {end/integer <BYTE=. BIT=.>?}?}?",
            ),
            (
                "BITFIELD key [(GET type offset:int | [OVERFLOW (WRAP | SAT)] (SET v:int | INCRBY v:int)) ...]",
                concat!(
                    "key/key <GET={type/string offset/integer} ",
                    "{OVERFLOW=<WRAP=. SAT=.>? <SET=v/integer INCRBY=v/integer>}>?+"
                ),
            ),
            (
                "XREAD [COUNT count:int] STREAMS key [key ...] id [id ...]",
                "COUNT=count/integer? STREAMS={key/key+ id/string+}",
            ),
            (
                "XADD key [(MAXLEN | MINID) [= | ~] threshold] (* | id)",
                "key/key {<MAXLEN=. MINID=.> <==. ~=.>? threshold/string}? <*=. id/string>",
            ),
            (
                "LIST FILTERBY (MODULE name | PATTERN pattern:pattern)",
                "FILTERBY=<MODULE=name/string PATTERN=pattern/pattern>",
            ),
            (
                "GEO (BYRADIUS radius:double (M | KM) | BYBOX w:double h:double)",
                "<BYRADIUS={radius/double <M=. KM=.>} BYBOX={w/double h/double}>",
            ),
            (
                "HELLO [protover:int [AUTH user password] [SETNAME name]]",
                "{protover/integer AUTH={user/string password/string}? SETNAME=name/string?}?",
            ),
        ];
        for (syntax, expected) in cases {
            let arguments = parse(syntax, 1).unwrap_or_else(|error| panic!("{syntax}: {error}"));
            assert_eq!(picture(&arguments), expected, "{syntax}");
        }
    }

    #[test]
    fn broken_lines_are_refused() {
        for syntax in ["X [key", "X key]", "X (key]", "X ...", "X key:bytes", "X [a |]", "X ()"] {
            assert!(parse(syntax, 1).is_err(), "{syntax}");
        }
    }

    #[test]
    fn the_number_of_words_follows() {
        let cases = [
            ("GET key", (1, true)),
            ("MSET key value [key value ...]", (2, false)),
            ("SET key value [NX | XX]", (2, false)),
            ("CLIENT REPLY (ON | OFF | SKIP)", (1, true)),
            ("CLIENT SETINFO (LIB-NAME name | LIB-VER version)", (2, true)),
            ("X (A | B value)", (1, false)),
            ("PING [message]", (0, false)),
        ];
        for (syntax, expected) in cases {
            let name_words = if syntax.starts_with("CLIENT") { 2 } else { 1 };
            assert_eq!(words(&parse(syntax, name_words).expect(syntax)), expected, "{syntax}");
        }
    }

    #[test]
    fn names_say_what_is_a_key() {
        for (name, is_key) in
            [("key", true), ("key1", true), ("newkey", true), ("numkeys", false), ("channel", false)]
        {
            assert_eq!(is_key_name(name), is_key, "{name}");
        }
    }
}
