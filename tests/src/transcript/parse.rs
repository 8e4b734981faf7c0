//! Text of a transcript to its steps.

use super::expect::{Expected, Protocol};
use super::words::{Scanner, words};
use super::{Action, Head, Mark, ReplyLine, Step, Transcript, Word};
use crate::server::Version;

/// The connection of lines that name none.
const DEFAULT_CONNECTION: &str = "main";

pub(super) fn parse(name: &str, text: &str) -> Result<Transcript, String> {
    let lines: Vec<String> = text.lines().map(str::to_string).collect();
    let mut parser = Parser { head: Head::default(), steps: Vec::new(), next: Modifiers::default() };
    let mut index = 0;
    while index < lines.len() {
        let taken = parser.line(&lines, index).map_err(|error| format!("{name}:{}: {error}", index + 1))?;
        index += taken;
    }
    if parser.next != Modifiers::default() {
        return Err(format!("{name}: the marks at the end belong to no command"));
    }
    Ok(Transcript { name: name.to_string(), head: parser.head, steps: parser.steps, lines })
}

struct Parser {
    head: Head,
    steps: Vec<Step>,
    /// What the lines above the next command say about it.
    next: Modifiers,
}

#[derive(Debug, Default, PartialEq)]
struct Modifiers {
    only: Option<Protocol>,
    mark: Option<Mark>,
    retry_ms: u64,
    whole_scan: bool,
}

impl Parser {
    /// Reads what begins at the line; how many lines it took.
    fn line(&mut self, lines: &[String], index: usize) -> Result<usize, String> {
        let line = lines[index].trim_end();
        if line.is_empty() || line.starts_with('#') {
            return Ok(1);
        }
        if let Some(directive) = line.strip_prefix('@') {
            self.directive(directive, index)?;
            return Ok(1);
        }
        if let Some(action) = action(line)? {
            self.step(action, index);
            return Ok(1);
        }
        let Some(step) = self.steps.last_mut().filter(|_| self.next == Modifiers::default()) else {
            return Err("a reply that belongs to no command".into());
        };
        let (only, first) = match line.split_at_checked(3) {
            Some(("2: ", rest)) => (Some(Protocol::Resp2), rest),
            Some(("3: ", rest)) => (Some(Protocol::Resp3), rest),
            _ => (None, line),
        };
        let mut text = first.to_string();
        let mut taken = 1;
        while is_open(&text) {
            let more = lines.get(index + taken).ok_or("a bracket is never closed")?;
            text.push(' ');
            text.push_str(more.trim());
            taken += 1;
        }
        step.replies.push(ReplyLine { line: index + 1, only, expected: Expected::parse(&text)? });
        step.reply_lines = step.reply_lines.start.min(index)..index + taken;
        Ok(taken)
    }

    fn step(&mut self, action: Action, index: usize) {
        let Modifiers { only, mark, retry_ms, whole_scan } = std::mem::take(&mut self.next);
        let line = index + 1;
        let replies = Vec::new();
        let reply_lines = line..line;
        self.steps.push(Step { line, only, mark, retry_ms, whole_scan, action, replies, reply_lines });
    }

    fn directive(&mut self, directive: &str, index: usize) -> Result<(), String> {
        let words: Vec<&str> = directive.split_whitespace().collect();
        match words.as_slice() {
            ["resp2"] => self.next.only = Some(Protocol::Resp2),
            ["resp3"] => self.next.only = Some(Protocol::Resp3),
            ["retry", ms] => self.next.retry_ms = number(ms)?,
            ["whole-scan"] => self.next.whole_scan = true,
            ["sleep", ms] => self.step(Action::Sleep { ms: number(ms)? }, index),
            ["close", connection] => self.step(Action::Close { connection: connection.to_string() }, index),
            ["file", "only", "resp2"] => self.head.only = Some(Protocol::Resp2),
            ["file", "only", "resp3"] => self.head.only = Some(Protocol::Resp3),
            ["file", "setting", name, value @ ..] => {
                self.head.settings.push((name.to_string(), value.join(" ")));
            }
            ["file", mark @ ..] => self.head.mark = Some(parse_mark(mark, index)?),
            mark => self.next.mark = Some(parse_mark(mark, index)?),
        }
        Ok(())
    }
}

/// `since 7.2 name` or `differs name`.
fn parse_mark(words: &[&str], index: usize) -> Result<Mark, String> {
    let (difference, since) = match words {
        ["since", version, difference] => {
            let since = Version::parse(version).ok_or_else(|| format!("'{version}' is no version"))?;
            (difference, Some(since))
        }
        ["differs", difference] => (difference, None),
        _ => return Err(format!("'@{}' is not known", words.join(" "))),
    };
    Ok(Mark { difference: difference.to_string(), since, line: index + 1 })
}

/// `> command`, `=> "bytes"`, `<`, each with the name of a connection before it.
fn action(line: &str) -> Result<Option<Action>, String> {
    let name_len = line.bytes().take_while(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()).count();
    let (name, rest) = line.split_at(name_len);
    let connection = if name.is_empty() { DEFAULT_CONNECTION } else { name }.to_string();
    if rest == "<" {
        return Ok(Some(Action::Await { connection }));
    }
    if let Some(bytes) = rest.strip_prefix("=> ") {
        let mut scanner = Scanner::new(bytes);
        let bytes = Word::Bytes(scanner.quoted()?);
        return if scanner.at_end() {
            Ok(Some(Action::Raw { connection, bytes }))
        } else {
            Err("one text".into())
        };
    }
    match rest.strip_prefix("> ") {
        Some(command) => Ok(Some(Action::Send { connection, words: words(command)? })),
        None => Ok(None),
    }
}

/// Whether a bracket outside of quotes is still open. Statuses and errors reach to the end of their line.
fn is_open(text: &str) -> bool {
    if text.starts_with(['+', '-']) {
        return false;
    }
    let mut depth = 0;
    let mut quoted = false;
    let mut escaped = false;
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'[' | b'{' | b'(' if !quoted => depth += 1,
            b']' | b'}' | b')' if !quoted => depth -= 1,
            _ => {}
        }
    }
    depth > 0
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("'{text}' is no number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_file() {
        let text = r#"# About
@file setting requirepass secret word
@file since 8.1 ifeq

> SET k "a b"
+OK
a> SUBSCRIBE x y
push["subscribe", "x", 1]
2: 1
3: [1,
  2]
@since 7.2 doubles
@resp3
b=> "PING\r\n"
closed
a<
none
@sleep 5
@close a
"#;
        let transcript = Transcript::parse("string/set.txt", text).expect("well formed");
        assert_eq!(transcript.family(), "string");
        assert_eq!(transcript.head.settings, [("requirepass".into(), "secret word".into())]);
        assert_eq!(
            transcript.marks().map(|mark| mark.difference.as_str()).collect::<Vec<_>>(),
            ["ifeq", "doubles"]
        );
        assert!(transcript.marks().all(|mark| mark.excuses(Version { major: 7, minor: 0 })));
        assert_eq!(transcript.steps.len(), 6);
        let subscribe = &transcript.steps[1];
        assert!(
            matches!(&subscribe.action, Action::Send { connection, words } if connection == "a" && words.len() == 3)
        );
        assert_eq!(subscribe.replies.len(), 3);
        assert_eq!(subscribe.reply_lines, 7..11);
        assert_eq!(transcript.steps[2].only, Some(Protocol::Resp3));
        assert!(matches!(transcript.steps[4].action, Action::Sleep { ms: 5 }));
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        for text in
            ["+OK", "@nonsense", "> GET \"k", "> GET k\nfoo", "@since x y\n> GET k", "> GET k\n[1", "@resp3"]
        {
            assert!(Transcript::parse("x/y.txt", text).is_err(), "{text:?}");
        }
    }
}
