//! The syntax of `redis.conf`: one directive per line, words quoted as Redis quotes them, `#` comments and
//! `include`. Which directives exist is not its business.

use std::path::{Path, PathBuf};

use torc_datatypes::glob::glob_match;

use super::error::Place;
use super::load::{Loader, visible};
use super::value::os_error_text;

/// Files that include files that include files.
const INCLUDE_DEPTH_MAX: usize = 16;

/// Reads a file's text into the loader; problems go there too.
pub(super) fn read(loader: &mut Loader, text: &str, path: &Path) {
    read_nested(loader, text, path, 0);
}

fn read_nested(loader: &mut Loader, text: &str, path: &Path, depth: usize) {
    for (at, line) in text.lines().enumerate() {
        let place = || Place::File { path: path.into(), line: at + 1 };
        match parse_line(line) {
            Line::Blank => {}
            Line::Unbalanced => {
                let line = line.trim();
                let name = line.split([' ', '\t']).next().unwrap_or_default();
                let source = visible(name, name, line);
                loader.problem(place(), source, "Unbalanced quotes in configuration line".into());
            }
            Line::Words(words) => {
                let arguments: Vec<&str> = words[1..].iter().map(String::as_str).collect();
                if words[0].eq_ignore_ascii_case("include") {
                    include(loader, &arguments, place(), line.trim(), depth);
                } else {
                    loader.apply(place(), line.trim(), &words[0], &arguments);
                }
            }
        }
    }
}

/// As Redis: relative to the working directory; `*`, `?` and `[` in the last part of the path select files in
/// alphabetical order, and selecting none is fine.
fn include(loader: &mut Loader, arguments: &[&str], place: Place, line: &str, depth: usize) {
    let [pattern] = arguments else {
        loader.problem(place, line.into(), "wrong number of arguments".into());
        return;
    };
    if depth >= INCLUDE_DEPTH_MAX {
        let text = format!("more than {INCLUDE_DEPTH_MAX} files include each other");
        loader.problem(place, line.into(), text);
        return;
    }
    let paths = match selected_files(Path::new(pattern)) {
        Ok(paths) => paths,
        Err(error) => {
            loader.problem(place, line.into(), os_error_text(&error));
            return;
        }
    };
    for path in paths {
        if let Some(text) = loader.open(&path, place.clone()) {
            read_nested(loader, &text, &path, depth + 1);
        }
    }
}

fn selected_files(pattern: &Path) -> std::io::Result<Vec<PathBuf>> {
    let name = pattern.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if !name.contains(['*', '?', '[']) {
        return Ok(vec![pattern.into()]);
    }
    let folder = match pattern.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let entry = entry?;
        let file = entry.file_name();
        let hidden = file.as_encoded_bytes().starts_with(b".") && !name.starts_with('.');
        if !hidden && glob_match(name.as_bytes(), file.as_encoded_bytes(), false) {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}

/// One line of a file.
pub(super) enum Line {
    /// Empty or a comment.
    Blank,
    /// At least one word.
    Words(Vec<String>),
    Unbalanced,
}

pub(super) fn parse_line(line: &str) -> Line {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Line::Blank;
    }
    match split_words(line) {
        Some(words) if words.is_empty() => Line::Blank,
        Some(words) => Line::Words(words),
        None => Line::Unbalanced,
    }
}

/// Splits at white space. A word in double quotes may hold `\n`, `\r`, `\t`, `\b`, `\a`, `\xHH`, and `\` before
/// any other character for itself; one in single quotes only `\'`. `None`: a quote is not closed, something
/// follows a closing quote, or the bytes are not UTF-8.
pub(super) fn split_words(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut rest = line.as_bytes();
    loop {
        rest = rest.trim_ascii_start();
        if rest.is_empty() {
            return Some(words);
        }
        let word;
        (word, rest) = split_word(rest)?;
        words.push(String::from_utf8(word).ok()?);
    }
}

fn split_word(mut rest: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut word = Vec::new();
    loop {
        match rest {
            [] => return Some((word, rest)),
            [b, ..] if b.is_ascii_whitespace() => return Some((word, rest)),
            [quote @ (b'"' | b'\''), tail @ ..] => {
                let tail = unquote(*quote, tail, &mut word)?;
                let ends = tail.first().is_none_or(u8::is_ascii_whitespace);
                return ends.then_some((word, tail));
            }
            [b, tail @ ..] => {
                word.push(*b);
                rest = tail;
            }
        }
    }
}

/// Appends the text up to the closing quote to `word`; returns what follows the quote.
fn unquote<'a>(quote: u8, mut rest: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        rest = match rest {
            [] => return None,
            [b, tail @ ..] if *b == quote => return Some(tail),
            [b'\\', b'\'', tail @ ..] if quote == b'\'' => {
                word.push(b'\'');
                tail
            }
            [b'\\', b'x', high, low, tail @ ..]
                if quote == b'"' && high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                let digit = |b: u8| (b as char).to_digit(16).unwrap_or_default() as u8;
                word.push(digit(*high) << 4 | digit(*low));
                tail
            }
            [b'\\', b, tail @ ..] if quote == b'"' => {
                word.push(match b {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 8,
                    b'a' => 7,
                    other => *other,
                });
                tail
            }
            [b, tail @ ..] => {
                word.push(*b);
                tail
            }
        };
    }
}

/// A directive as one line, quoted where needed.
pub(super) fn join_words<S: AsRef<str>>(name: &str, words: &[S]) -> String {
    let mut line = name.to_string();
    for word in words {
        line.push(' ');
        line.push_str(&quoted(word.as_ref()));
    }
    line
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '\'' | '\\') || !c.is_ascii();
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_string();
    }
    let mut text = String::from('"');
    for c in word.chars() {
        match c {
            '"' | '\\' => {
                text.push('\\');
                text.push(c);
            }
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            c if c.is_ascii_control() => text.push_str(&format!("\\x{:02x}", c as u32)),
            c => text.push(c),
        }
    }
    text.push('"');
    text
}
