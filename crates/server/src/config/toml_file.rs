//! The native syntax: a TOML file whose tables are the chapters and whose keys are the canonical names. Every
//! key that is not in the table of settings is an error with its line.

use std::ops::Range;
use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::error::Place;
use super::load::{Loader, RENAME, visible};
use super::setting::{Kind, Shape};
use super::table::{self, CHAPTERS, Id};

/// Reads a file's text into the loader; problems go there too.
pub(super) fn read(loader: &mut Loader, text: &str, path: &Path) {
    let file = File { text, path };
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        file.report(loader, error.span().unwrap_or(0..0), "", error.message().replace('\n', ", "));
    }
    if errors.is_empty() {
        read_table(loader, &file, document.get_ref(), "");
    }
}

struct File<'a> {
    text: &'a str,
    path: &'a Path,
}

impl File<'_> {
    fn place(&self, span: &Range<usize>) -> Place {
        let before = &self.text.as_bytes()[..span.start.min(self.text.len())];
        let line = before.iter().filter(|b| **b == b'\n').count() + 1;
        Place::File { path: self.path.into(), line }
    }

    /// The line of the key, without what may be a secret. `key` may be empty: then the line's own first word
    /// decides.
    fn source(&self, span: &Range<usize>, key: &str) -> String {
        let start = span.start.min(self.text.len());
        let from = self.text[..start].rfind('\n').map_or(0, |at| at + 1);
        let to = self.text[start..].find('\n').map_or(self.text.len(), |at| start + at);
        let line = self.text[from..to].trim();
        let key = if key.is_empty() { line.split('=').next().unwrap_or_default().trim() } else { key };
        visible(key, key, line)
    }

    fn report(&self, loader: &mut Loader, span: Range<usize>, key: &str, text: String) {
        loader.problem(self.place(&span), self.source(&span, key), text);
    }
}

fn read_table(loader: &mut Loader, file: &File<'_>, content: &DeTable<'_>, section: &str) {
    for (key, value) in content {
        let name: &str = key.get_ref();
        if let DeValue::Table(inner) = value.get_ref() {
            let path = if section.is_empty() { name.to_string() } else { format!("{section}.{name}") };
            if path == format!("security.{RENAME}") {
                read_renames(loader, file, inner);
            } else if is_section(&path) {
                read_table(loader, file, inner, &path);
            } else {
                file.report(loader, key.span(), name, format!("unknown section [{path}]"));
            }
            continue;
        }
        match find(name, section) {
            Err(text) => file.report(loader, key.span(), name, text),
            Ok(id) => match words(id.setting().kind, value.get_ref()) {
                Err(text) => file.report(loader, key.span(), name, text.into()),
                Ok(words) => {
                    let words: Vec<&str> = words.iter().map(String::as_str).collect();
                    let source = file.source(&key.span(), name);
                    loader.assign(file.place(&key.span()), source, id, &words);
                }
            },
        }
    }
}

/// Names of commands and their new names; an empty one takes the command away.
fn read_renames(loader: &mut Loader, file: &File<'_>, content: &DeTable<'_>) {
    for (key, value) in content {
        let name: &str = key.get_ref();
        let place = file.place(&key.span());
        let source = file.source(&key.span(), name);
        match value.get_ref() {
            DeValue::String(new_name) => loader.rename(place, source, &[name, new_name]),
            _ => loader.problem(place, source, "a new name in quotes is wanted".into()),
        }
    }
}

/// True for the path of a chapter and for what leads to one.
fn is_section(path: &str) -> bool {
    CHAPTERS.iter().any(|chapter| {
        chapter.section.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    })
}

/// The setting with this key in this section, or why it is none.
fn find(name: &str, section: &str) -> Result<Id, String> {
    let here =
        if section.is_empty() { "at the top of the file".to_string() } else { format!("in [{section}]") };
    let Some((_, id)) = table::find(name) else {
        return Err(match table::find_directive(name) {
            Some(directive) => directive.why.into(),
            None => format!("unknown setting '{name}' {here}"),
        });
    };
    let (right_name, right_section) = (id.setting().name, id.chapter().section);
    if name == right_name && section == right_section {
        Ok(id)
    } else {
        Err(format!("unknown setting '{name}' {here}: it is '{right_name}' in [{right_section}]"))
    }
}

/// A TOML value as the words of a directive. The types are strict: a mistake is an error, not a guess.
fn words(kind: Kind, value: &DeValue<'_>) -> Result<Vec<String>, &'static str> {
    if kind.shape() == Shape::One {
        return one_word(kind, value).map(|word| vec![word]);
    }
    let split = |text: &str| text.split_ascii_whitespace().map(str::to_string).collect::<Vec<_>>();
    match value {
        DeValue::String(text) => Ok(split(text)),
        DeValue::Array(items) => {
            let mut words = Vec::new();
            for item in items.iter() {
                match item.get_ref() {
                    DeValue::String(text) => words.extend(split(text)),
                    DeValue::Integer(number) if number.radix() == 10 => words.push(number.as_str().into()),
                    DeValue::Float(number) => words.push(number.as_str().into()),
                    _ => return Err("expected an array of strings or numbers"),
                }
            }
            Ok(words)
        }
        _ => Err("expected a string or an array"),
    }
}

fn one_word(kind: Kind, value: &DeValue<'_>) -> Result<String, &'static str> {
    match (kind, value) {
        (Kind::Bool, DeValue::Boolean(true)) => Ok("yes".into()),
        (Kind::Bool, DeValue::Boolean(false)) => Ok("no".into()),
        (Kind::Bool, _) => Err("expected true or false"),
        (
            Kind::Int { .. }
            | Kind::ClampedInt { .. }
            | Kind::AutoOrInt { .. }
            | Kind::Memory { .. }
            | Kind::MemoryOrPercent
            | Kind::MemoryOrShare,
            DeValue::Integer(number),
        ) if number.radix() == 10 => Ok(number.as_str().replace('_', "")),
        (Kind::Int { .. } | Kind::ClampedInt { .. }, _) => Err("expected an integer"),
        (Kind::AutoOrInt { .. }, DeValue::String(text)) => Ok(text.to_string()),
        (Kind::AutoOrInt { .. }, _) => Err("expected \"auto\" or an integer"),
        (Kind::Memory { .. } | Kind::MemoryOrPercent | Kind::MemoryOrShare, DeValue::String(text)) => {
            Ok(text.to_string())
        }
        (Kind::Memory { .. } | Kind::MemoryOrPercent | Kind::MemoryOrShare, _) => {
            Err("expected bytes, as an integer or as a string such as \"100mb\"")
        }
        // A number would leave open whether it is meant in octal.
        (Kind::Octal { .. }, DeValue::String(text)) => Ok(text.to_string()),
        (Kind::Octal { .. }, _) => Err("expected permission bits as a string such as \"700\""),
        (_, DeValue::String(text)) => Ok(text.to_string()),
        _ => Err("expected a string"),
    }
}
