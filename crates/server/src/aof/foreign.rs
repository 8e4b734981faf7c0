//! Commands of a Redis server's log, repeated as that server's own loader would.
//!
//! Owns what is none of torc's effects: libraries of functions, which are kept for the next file, and commands that change
//! nothing. An unknown command stops the load, as there; one that fails does, too, where Redis goes on: torc would have other
//! data than the server that wrote it.

use torc_datatypes::rdb::{Reader, code, payload};
use torc_keyspace::Keyspace;
use torc_persist::rdb::LoadedKey;
use torc_persist::record::Effect;
use torc_persist::redis_aof::LoggedCommand;

use super::replay::{Refused, Replayer};

/// A log under way.
pub(super) struct Foreign<'a> {
    replayer: Replayer<'a>,
    libraries: Libraries,
}

impl<'a> Foreign<'a> {
    pub(super) fn new(replayer: Replayer<'a>) -> Foreign<'a> {
        Foreign { replayer: replayer.passing_over_reads(), libraries: Libraries::default() }
    }

    /// A key of a snapshot.
    pub(super) fn key(&mut self, key: LoadedKey) -> Result<(), Refused> {
        self.replayer.load(key.db, key.entry)
    }

    /// A library of a snapshot.
    pub(super) fn library(&mut self, source: Vec<u8>) {
        self.libraries.0.push(source);
    }

    pub(super) fn command(&mut self, command: &LoggedCommand) -> Result<(), Refused> {
        let at = command.at;
        let words: Vec<&[u8]> = command.words.iter().map(Vec::as_slice).collect();
        if words[0].eq_ignore_ascii_case(b"FUNCTION") {
            let outcome = self.libraries.apply(&words);
            return outcome.map_err(|reason| Refused { place: at, reason: format!("'function': {reason}") });
        }
        let effect = Effect { db: command.db as u32, words: words.into_iter().collect() };
        self.replayer.apply_at(&effect, at)
    }

    /// What was read of a file so far is done, or why not.
    pub(super) fn flush(&mut self) -> Result<(), Refused> {
        self.replayer.run()
    }

    /// When all files were read and flushed.
    pub(super) fn finish(self) -> (Keyspace, Vec<Vec<u8>>) {
        let (keyspace, outcome) = self.replayer.finish();
        debug_assert!(outcome.is_ok(), "it was flushed");
        (keyspace, self.libraries.0)
    }
}

/// Sources of libraries, in the order in which they were loaded.
#[derive(Default)]
struct Libraries(Vec<Vec<u8>>);

impl Libraries {
    fn apply(&mut self, words: &[&[u8]]) -> Result<(), &'static str> {
        let is = |index: usize, word: &str| {
            words.get(index).is_some_and(|given| given.eq_ignore_ascii_case(word.as_bytes()))
        };
        match words {
            [_, _, source] if is(1, "LOAD") => self.load(source, false),
            [_, _, _, source] if is(1, "LOAD") && is(2, "REPLACE") => self.load(source, true),
            [_, _, name] if is(1, "DELETE") => {
                if self.remove(name) {
                    Ok(())
                } else {
                    Err("there is no such library")
                }
            }
            [_, _] | [_, _, _] if is(1, "FLUSH") => {
                self.0.clear();
                Ok(())
            }
            [_, _, payload] | [_, _, payload, _] if is(1, "RESTORE") => {
                if is(3, "FLUSH") {
                    self.0.clear();
                }
                self.restore(payload, is(3, "REPLACE"))
            }
            // They change nothing.
            _ if ["DUMP", "HELP", "KILL", "LIST", "STATS"].iter().any(|word| is(1, word)) => Ok(()),
            _ => Err("an unknown subcommand, or wrong arguments"),
        }
    }

    fn load(&mut self, source: &[u8], replaces: bool) -> Result<(), &'static str> {
        let name = name_of(source).ok_or("a library without a name")?;
        if !replaces && self.0.iter().any(|other| name_of(other) == Some(name)) {
            return Err("a library that was there before");
        }
        self.remove(name);
        self.0.push(source.to_vec());
        Ok(())
    }

    fn remove(&mut self, name: &[u8]) -> bool {
        let before = self.0.len();
        self.0.retain(|source| name_of(source) != Some(name));
        self.0.len() < before
    }

    /// What FUNCTION DUMP gives: libraries as in a snapshot, with the footer of a DUMP.
    fn restore(&mut self, dumped: &[u8], replaces: bool) -> Result<(), &'static str> {
        const DAMAGED: &str = "a damaged payload";
        let (content, _) = payload::open(dumped).ok_or(DAMAGED)?;
        let mut reader = Reader::new(content);
        while reader.position() < content.len() {
            if reader.byte() != Ok(code::FUNCTION_2) {
                return Err(DAMAGED);
            }
            let source = reader.string().map_err(|_| DAMAGED)?;
            self.load(&source, replaces)?;
        }
        Ok(())
    }
}

/// The name in the first line of a source: `#!lua name=mylib`.
fn name_of(source: &[u8]) -> Option<&[u8]> {
    let line = source.split(|byte| *byte == b'\n').next()?.strip_prefix(b"#!")?;
    let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).skip(1);
    words.find_map(|word| word.strip_prefix(b"name=")).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn library(name: &str, body: &str) -> Vec<u8> {
        format!("#!lua name={name}\n{body}").into_bytes()
    }

    /// Libraries after these commands, or the error of the last one.
    fn after(commands: &[&[&[u8]]]) -> Result<Vec<Vec<u8>>, &'static str> {
        let mut libraries = Libraries::default();
        for command in commands {
            let words: Vec<&[u8]> = [&[&b"FUNCTION"[..]], *command].concat();
            libraries.apply(&words)?;
        }
        Ok(libraries.0)
    }

    #[test]
    fn libraries_are_kept_as_the_commands_say() {
        let (a, b, new) = (library("a", "1"), library("b", "2"), library("a", "3"));
        let load_a: &[&[u8]] = &[b"LOAD", &a];
        let load_b: &[&[u8]] = &[b"load", &b];
        let restored = {
            let mut bytes = Vec::new();
            let mut writer = torc_datatypes::rdb::Writer::new(&mut bytes, false);
            for source in [&new, &b] {
                writer.byte(code::FUNCTION_2);
                writer.string(source);
            }
            payload::seal(&mut bytes, 10);
            bytes
        };
        for (commands, expected) in [
            (&[load_a, load_b][..], Ok(vec![a.clone(), b.clone()])),
            (&[load_a, &[b"LIST"]], Ok(vec![a.clone()])),
            (&[load_a, load_a], Err("a library that was there before")),
            (&[load_a, load_b, &[b"LOAD", b"REPLACE", &new]], Ok(vec![b.clone(), new.clone()])),
            (&[load_a, load_b, &[b"DELETE", b"a"]], Ok(vec![b.clone()])),
            (&[load_a, &[b"DELETE", b"b"]], Err("there is no such library")),
            (&[load_a, &[b"FLUSH", b"ASYNC"]], Ok(vec![])),
            (&[load_a, &[b"FLUSH"], load_b], Ok(vec![b.clone()])),
            (&[load_a, &[b"RESTORE", &restored]], Err("a library that was there before")),
            (&[load_a, &[b"RESTORE", &restored, b"REPLACE"]], Ok(vec![new.clone(), b.clone()])),
            (&[load_a, &[b"RESTORE", &restored, b"FLUSH"]], Ok(vec![new.clone(), b.clone()])),
            (&[&[b"RESTORE", &restored[1..]]], Err("a damaged payload")),
            (&[&[b"LOAD", b"return 1"]], Err("a library without a name")),
            (&[&[b"WHAT"]], Err("an unknown subcommand, or wrong arguments")),
            (&[&[b"LOAD"]], Err("an unknown subcommand, or wrong arguments")),
        ] {
            assert_eq!(after(commands), expected, "{commands:?}");
        }
    }
}
