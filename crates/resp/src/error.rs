//! Every error text of the wire: what a client did wrong, as closed enums.
//!
//! Texts are those of Redis 7.2 / Valkey 8.1, byte for byte, because clients match on them. Nothing here is about
//! broken invariants: those are assertions.

use std::fmt;

/// A command could not be carried out. `Display` is the text of the error reply without the leading `-`.
///
/// Some texts quote bytes of the client that need not be UTF-8: `Display` is lossy there, [`CommandError::write_to`]
/// is exact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandError {
    WrongType,
    Syntax,
    NotInteger,
    NotFloat,
    OutOfRange,
    NotPositive,
    NoSuchKey,
    IndexOutOfRange,
    OffsetOutOfRange,
    /// The command's lower-case name, as the text quotes it.
    InvalidExpire(&'static str),
    /// The command's lower-case name; for a subcommand `container|name`.
    WrongArity(&'static str),
    /// The whole text; see [`CommandError::unknown_command`].
    UnknownCommand(Box<[u8]>),
    /// The whole text; see [`CommandError::unknown_subcommand`].
    UnknownSubcommand(Box<[u8]>),
    StringTooLong,
    Overflow,
    NotFinite,
    BitOffset,
    BitValue,
    BitArgument,
    BitfieldType,
    InvalidCursor,
    InvalidDbIndex,
    DbIndexOutOfRange,
    SameObject,
    NegativeTimeout,
    InvalidTimeout,
    BusyKey,
    NoAuth,
    WrongPass,
    NoProto,
    ExecAbort,
    NestedMulti,
    ExecWithoutMulti,
    DiscardWithoutMulti,
    WatchInMulti,
    Oom,
    ReadOnly,
    Loading,
    /// Any other fixed text, code included.
    Text(&'static str),
    /// Any other text made at run time, code included.
    Owned(Box<str>),
    /// The whole text; see [`CommandError::quoting`].
    Quoting(Box<[u8]>),
}

/// Redis shows at most this many bytes of an unknown name, and of the arguments behind it.
const PREVIEW_BYTES: usize = 128;

impl CommandError {
    /// `args` are the request's arguments behind the name. Redis 7.2 previews them up to about 128 bytes.
    pub fn unknown_command<'a>(name: &[u8], args: impl IntoIterator<Item = &'a [u8]>) -> CommandError {
        let mut preview = Vec::new();
        for arg in args {
            if preview.len() >= PREVIEW_BYTES {
                break;
            }
            let room = PREVIEW_BYTES - preview.len();
            preview.push(b'\'');
            preview.extend_from_slice(c_prefix(arg, room));
            preview.extend_from_slice(b"' ");
        }
        let mut text = b"ERR unknown command '".to_vec();
        text.extend_from_slice(c_prefix(name, PREVIEW_BYTES));
        text.extend_from_slice(b"', with args beginning with: ");
        text.extend_from_slice(&preview);
        CommandError::UnknownCommand(text.into())
    }

    /// `container` is the command's name in any case; the text shows it in upper case.
    pub fn unknown_subcommand(container: &str, name: &[u8]) -> CommandError {
        let mut text = b"ERR unknown subcommand '".to_vec();
        text.extend_from_slice(c_prefix(name, PREVIEW_BYTES));
        text.extend_from_slice(b"'. Try ");
        text.extend_from_slice(container.to_ascii_uppercase().as_bytes());
        text.extend_from_slice(b" HELP.");
        CommandError::UnknownSubcommand(text.into())
    }

    /// A text, code included, some parts of which are words of the client: each ends at a NUL, as C prints it.
    pub fn quoting(parts: &[&[u8]]) -> CommandError {
        let text: Vec<u8> = parts.iter().flat_map(|part| c_prefix(part, part.len())).copied().collect();
        CommandError::Quoting(text.into())
    }

    /// Wrong arity of a command whose full name is only known at run time.
    pub fn wrong_arity(name: &str) -> CommandError {
        CommandError::Owned(format!("ERR wrong number of arguments for '{name}' command").into())
    }

    /// The first word of the text: `ERR`, `WRONGTYPE`, `NOAUTH`, …
    pub fn code(&self) -> &str {
        let (head, _, _) = self.parts();
        let end = head.iter().position(|byte| *byte == b' ').unwrap_or(head.len());
        std::str::from_utf8(&head[..end]).unwrap_or("ERR")
    }

    /// Appends the text's exact bytes, without `-` and line end.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        let (head, middle, tail) = self.parts();
        out.extend_from_slice(head);
        out.extend_from_slice(middle);
        out.extend_from_slice(tail);
    }

    fn parts(&self) -> (&[u8], &[u8], &[u8]) {
        let text: &str = match self {
            CommandError::WrongType => "WRONGTYPE Operation against a key holding the wrong kind of value",
            CommandError::Syntax => "ERR syntax error",
            CommandError::NotInteger => "ERR value is not an integer or out of range",
            CommandError::NotFloat => "ERR value is not a valid float",
            CommandError::OutOfRange => "ERR value is out of range",
            CommandError::NotPositive => "ERR value is out of range, must be positive",
            CommandError::NoSuchKey => "ERR no such key",
            CommandError::IndexOutOfRange => "ERR index out of range",
            CommandError::OffsetOutOfRange => "ERR offset is out of range",
            CommandError::InvalidExpire(name) => {
                return (b"ERR invalid expire time in '", name.as_bytes(), b"' command");
            }
            CommandError::WrongArity(name) => {
                return (b"ERR wrong number of arguments for '", name.as_bytes(), b"' command");
            }
            CommandError::UnknownCommand(text)
            | CommandError::UnknownSubcommand(text)
            | CommandError::Quoting(text) => {
                return (text, b"", b"");
            }
            CommandError::StringTooLong => "ERR string exceeds maximum allowed size (proto-max-bulk-len)",
            CommandError::Overflow => "ERR increment or decrement would overflow",
            CommandError::NotFinite => "ERR increment would produce NaN or Infinity",
            CommandError::BitOffset => "ERR bit offset is not an integer or out of range",
            CommandError::BitValue => "ERR bit is not an integer or out of range",
            CommandError::BitArgument => "ERR The bit argument must be 1 or 0.",
            CommandError::BitfieldType => {
                "ERR Invalid bitfield type. Use something like i16 u8. \
                 Note that u64 is not supported but i64 is."
            }
            CommandError::InvalidCursor => "ERR invalid cursor",
            CommandError::InvalidDbIndex => "ERR invalid DB index",
            CommandError::DbIndexOutOfRange => "ERR DB index is out of range",
            CommandError::SameObject => "ERR source and destination objects are the same",
            CommandError::NegativeTimeout => "ERR timeout is negative",
            CommandError::InvalidTimeout => "ERR timeout is not a float or out of range",
            CommandError::BusyKey => "BUSYKEY Target key name already exists.",
            CommandError::NoAuth => "NOAUTH Authentication required.",
            CommandError::WrongPass => "WRONGPASS invalid username-password pair or user is disabled.",
            CommandError::NoProto => "NOPROTO unsupported protocol version",
            CommandError::ExecAbort => "EXECABORT Transaction discarded because of previous errors.",
            CommandError::NestedMulti => "ERR MULTI calls can not be nested",
            CommandError::ExecWithoutMulti => "ERR EXEC without MULTI",
            CommandError::DiscardWithoutMulti => "ERR DISCARD without MULTI",
            CommandError::WatchInMulti => "ERR WATCH inside MULTI is not allowed",
            CommandError::Oom => "OOM command not allowed when used memory > 'maxmemory'.",
            CommandError::ReadOnly => "READONLY You can't write against a read only replica.",
            CommandError::Loading => "LOADING Redis is loading the dataset in memory",
            CommandError::Text(text) => text,
            CommandError::Owned(text) => text,
        };
        (text.as_bytes(), b"", b"")
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::new();
        self.write_to(&mut text);
        f.write_str(&String::from_utf8_lossy(&text))
    }
}

impl std::error::Error for CommandError {}

/// The byte stream of a client is not a request. The connection answers `-ERR ` + text and closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolError {
    InvalidMultibulkLength,
    InvalidBulkLength,
    UnauthenticatedMultibulkLength,
    UnauthenticatedBulkLength,
    /// A bulk header was due and this byte came.
    ExpectedBulk(u8),
    BigInlineRequest,
    BigMultibulkCount,
    BigBulkCount,
    UnbalancedQuotes,
    /// The request's small arguments alone exceed [`crate::parse::MAX_REQUEST_BYTES`]. Redis closes such a client without
    /// a reply (`client-query-buffer-limit`).
    BigRequest,
}

impl ProtocolError {
    /// Appends the text's exact bytes, without `-ERR ` and line end.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.text().as_bytes());
        if let ProtocolError::ExpectedBulk(byte) = self {
            // Redis formats the byte as a C string: a NUL ends the text.
            match byte {
                0 => {}
                b'\r' | b'\n' => out.extend_from_slice(b" '"),
                byte => out.extend_from_slice(&[*byte, b'\'']),
            }
        }
    }

    fn text(&self) -> &'static str {
        match self {
            ProtocolError::InvalidMultibulkLength => "Protocol error: invalid multibulk length",
            ProtocolError::InvalidBulkLength => "Protocol error: invalid bulk length",
            ProtocolError::UnauthenticatedMultibulkLength => {
                "Protocol error: unauthenticated multibulk length"
            }
            ProtocolError::UnauthenticatedBulkLength => "Protocol error: unauthenticated bulk length",
            ProtocolError::ExpectedBulk(_) => "Protocol error: expected '$', got '",
            ProtocolError::BigInlineRequest => "Protocol error: too big inline request",
            ProtocolError::BigMultibulkCount => "Protocol error: too big mbulk count string",
            ProtocolError::BigBulkCount => "Protocol error: too big bulk count string",
            ProtocolError::UnbalancedQuotes => "Protocol error: unbalanced quotes in request",
            ProtocolError::BigRequest => "Protocol error: request exceeds the query buffer limit",
        }
    }
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::new();
        self.write_to(&mut text);
        f.write_str(&String::from_utf8_lossy(&text))
    }
}

impl std::error::Error for ProtocolError {}

/// What C's `%.*s` prints of `bytes`: up to `max` bytes, ending at a NUL.
fn c_prefix(bytes: &[u8], max: usize) -> &[u8] {
    let bytes = &bytes[..bytes.len().min(max)];
    &bytes[..memchr::memchr(0, bytes).unwrap_or(bytes.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_small() {
        assert!(size_of::<CommandError>() <= 24);
        assert!(size_of::<Result<(), CommandError>>() <= 24);
    }

    #[test]
    fn texts_are_those_of_redis() {
        let long = [b'x'; 200];
        let long_name = format!(
            "ERR unknown command '{}', with args beginning with: '{}' ",
            "x".repeat(128),
            "x".repeat(128)
        );
        let cases: &[(CommandError, &str, &str)] = &[
            (CommandError::Syntax, "ERR", "ERR syntax error"),
            (
                CommandError::WrongType,
                "WRONGTYPE",
                "WRONGTYPE Operation against a key holding the wrong kind of value",
            ),
            (CommandError::InvalidExpire("set"), "ERR", "ERR invalid expire time in 'set' command"),
            (
                CommandError::WrongArity("client|kill"),
                "ERR",
                "ERR wrong number of arguments for 'client|kill' command",
            ),
            (CommandError::wrong_arity("get"), "ERR", "ERR wrong number of arguments for 'get' command"),
            (
                CommandError::unknown_command(b"foo", [b"a".as_slice(), b"b"]),
                "ERR",
                "ERR unknown command 'foo', with args beginning with: 'a' 'b' ",
            ),
            (
                CommandError::unknown_command(b"foo", []),
                "ERR",
                "ERR unknown command 'foo', with args beginning with: ",
            ),
            (
                CommandError::unknown_command(&long, [long.as_slice(), b"never shown"]),
                "ERR",
                long_name.as_str(),
            ),
            (
                CommandError::unknown_subcommand("client", b"x"),
                "ERR",
                "ERR unknown subcommand 'x'. Try CLIENT HELP.",
            ),
            (CommandError::Owned("NOPERM no".into()), "NOPERM", "NOPERM no"),
        ];
        for (error, code, text) in cases {
            assert_eq!(error.to_string(), *text);
            assert_eq!(error.code(), *code);
        }
    }

    #[test]
    fn expected_bulk_quotes_the_byte_as_c_does() {
        let cases: &[(u8, &[u8])] = &[
            (b'x', b"Protocol error: expected '$', got 'x'"),
            (0, b"Protocol error: expected '$', got '"),
            (b'\n', b"Protocol error: expected '$', got ' '"),
            (0xff, b"Protocol error: expected '$', got '\xff'"),
        ];
        for (byte, expected) in cases {
            let mut text = Vec::new();
            ProtocolError::ExpectedBulk(*byte).write_to(&mut text);
            assert_eq!(text, *expected);
        }
    }
}
