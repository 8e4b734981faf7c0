//! Reading the append-only file of a Redis or Valkey server: the several files of a folder with a manifest (since Redis
//! 7.0), or a single file, each with commands, or a snapshot and commands behind it.
//!
//! Owns the order of files, the form of commands, and what may be missing at the end of the last file: a command that is
//! not whole, a transaction that does not end, and zeros. Damage anywhere else is an error with file, offset and reason.
//! Never runs a command. Never allocates what a length claims before its bytes have been read.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;

use torc_datatypes::rdb::Limits;

use crate::counted::Counted;
use crate::left_out::{LeftOut, Why};
use crate::rdb::{FileError, FileReader, Item, LoadedKey};
use crate::seal::{Keys, Source};

/// Bytes that are read at once.
const WINDOW_BYTES: usize = 256 << 10;
/// Longest line with a number.
const LINE_BYTES_MAX: u64 = 64 * 1024;
/// Longest word: Redis's greatest `proto-max-bulk-len`, in which nobody would believe.
const WORD_BYTES_MAX: u64 = 4 << 30;

/// What a log holds, in its order.
#[derive(Debug)]
pub enum Logged<'a> {
    /// What the server that wrote a snapshot notes of itself.
    Note { name: Vec<u8>, text: Vec<u8> },
    /// Of a snapshot.
    Key(LoadedKey),
    /// The source of a library of functions.
    Function(Vec<u8>),
    /// One command, or all of a transaction, which count together. Without MULTI, EXEC and SELECT.
    Commands(&'a [LoggedCommand]),
    /// A file ends, and the offsets of another begin.
    FileEnd,
}

/// A command with the database that was selected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedCommand {
    pub db: usize,
    pub words: Vec<Vec<u8>>,
    /// Where in its file it begins.
    pub at: u64,
}

/// How a log is to be read.
#[derive(Clone, Copy, Debug)]
pub struct Reading<'a> {
    pub limits: &'a Limits,
    pub checks_sum: bool,
    /// `aof-load-truncated`: the last file may end in the middle of something.
    pub torn_tail: bool,
    /// What is read is added to it.
    pub read_bytes: &'a AtomicU64,
}

/// What was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub keys: u64,
    pub commands: u64,
    /// What was left out at the end.
    pub torn: Option<LeftOut>,
}

/// The files of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisLog {
    folder: PathBuf,
    /// In the order in which they are read.
    files: Vec<String>,
}

impl RedisLog {
    /// The log that the manifest `<name>.manifest` in this folder lists; `None` if there is no such manifest.
    pub fn find(folder: &Path, name: &str) -> Result<Option<RedisLog>, FileError> {
        let manifest = format!("{name}.manifest");
        let failed = |reason| FileError { file: manifest.clone(), offset: 0, reason };
        let bytes = match std::fs::read(folder.join(&manifest)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(format!("cannot be read: {error}"))),
        };
        let text = std::str::from_utf8(&bytes).map_err(|_| failed("no text".to_owned()))?;
        let files = files_of_manifest(text).map_err(|(offset, reason)| FileError {
            file: manifest.clone(),
            offset,
            reason: reason.to_owned(),
        })?;
        Ok(Some(RedisLog { folder: folder.to_owned(), files }))
    }

    /// The log that is this one file, as before Redis 7.0.
    pub fn single(folder: &Path, name: &str) -> RedisLog {
        RedisLog { folder: folder.to_owned(), files: vec![name.to_owned()] }
    }

    pub fn files(&self) -> &[String] {
        &self.files
    }

    /// Reads everything; `visit` says in words why it can't take something.
    pub fn read(
        &self,
        reading: Reading<'_>,
        mut visit: impl FnMut(Logged<'_>) -> Result<(), String>,
    ) -> Result<Summary, FileError> {
        let mut summary = Summary::default();
        for (index, file) in self.files.iter().enumerate() {
            let is_last = index + 1 == self.files.len();
            let reading = Reading { torn_tail: reading.torn_tail && is_last, ..reading };
            let source = File::open(self.folder.join(file)).map_err(|error| FileError {
                file: file.clone(),
                offset: 0,
                reason: format!("cannot be opened: {error}"),
            })?;
            read_file(Counted::new(source, reading.read_bytes), file, reading, &mut summary, &mut visit)?;
            let refused = |reason| FileError { file: file.clone(), offset: 0, reason };
            visit(Logged::FileEnd).map_err(refused)?;
        }
        Ok(summary)
    }
}

/// The base and the increments that a manifest lists, in their order; else where and what is wrong.
fn files_of_manifest(text: &str) -> Result<Vec<String>, (u64, &'static str)> {
    let (mut base, mut increments): (Option<String>, Vec<(u64, String)>) = (None, Vec::new());
    let mut end = 0;
    for line in text.split_inclusive('\n') {
        let offset = end;
        end += line.len() as u64;
        let wrong = |what| Err((offset, what));
        let words = words_of_line(line.trim_end()).ok_or((offset, "a quote that does not end"))?;
        if words.first().is_some_and(|word| word.starts_with('#')) {
            continue;
        }
        let (mut file, mut sequence, mut kind) = (None, None, None);
        let mut pairs = words.chunks_exact(2);
        for pair in &mut pairs {
            match pair[0].to_ascii_lowercase().as_str() {
                "file" => file = Some(pair[1].clone()),
                "seq" => sequence = pair[1].parse::<u64>().ok(),
                "type" => kind = Some(pair[1].clone()),
                // What later versions tell besides.
                _ => {}
            }
        }
        let (Some(file), Some(sequence), Some(kind), []) = (file, sequence, kind, pairs.remainder()) else {
            return wrong("no line of a manifest");
        };
        if file.is_empty() || file.contains(['/', '\\', '\0']) {
            return wrong("a file outside the folder");
        }
        match kind.as_str() {
            "b" if base.is_some() => return wrong("a second base"),
            "b" => base = Some(file),
            "i" if increments.last().is_some_and(|(last, _)| *last >= sequence) => {
                return wrong("increments that do not ascend");
            }
            "i" => increments.push((sequence, file)),
            "h" => {}
            _ => return wrong("an unknown type of file"),
        }
    }
    let files: Vec<String> = base.into_iter().chain(increments.into_iter().map(|(_, file)| file)).collect();
    if files.is_empty() { Err((end, "an empty manifest")) } else { Ok(files) }
}

/// Words between spaces; in double quotes, a backslash stands before what is meant as it is.
fn words_of_line(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut rest = line.chars().peekable();
    loop {
        while rest.next_if(|c| c.is_whitespace()).is_some() {}
        let Some(first) = rest.next() else { return Some(words) };
        let mut word = String::new();
        if first == '"' {
            loop {
                match rest.next()? {
                    '"' => break,
                    '\\' => word.push(rest.next()?),
                    other => word.push(other),
                }
            }
        } else {
            word.push(first);
            while let Some(next) = rest.next_if(|c| !c.is_whitespace()) {
                word.push(next);
            }
        }
        words.push(word);
    }
}

/// Reads one file.
fn read_file(
    mut source: impl Read,
    name: &str,
    reading: Reading<'_>,
    summary: &mut Summary,
    visit: &mut impl FnMut(Logged<'_>) -> Result<(), String>,
) -> Result<(), FileError> {
    let io_failed = |error: io::Error| FileError {
        file: name.to_owned(),
        offset: 0,
        reason: format!("cannot be read: {error}"),
    };
    let mut head = Vec::new();
    (&mut source).take(5).read_to_end(&mut head).map_err(io_failed)?;
    let is_snapshot = head == b"REDIS" || head == b"VALKE";
    let source = io::Cursor::new(head).chain(source);
    if !is_snapshot {
        return Commands::new(source, name, 0, reading.torn_tail).read(summary, visit);
    }
    let source = Source::open(source, Keys::none()).map_err(io_failed)?.expect("it begins as a plain file");
    let mut reader = FileReader::open(source, name, *reading.limits, reading.checks_sum)?;
    while let Some(item) = reader.next_item()? {
        let logged = match item {
            Item::Aux { name, text } => Logged::Note { name, text },
            Item::Function(source) => Logged::Function(source),
            Item::Key(key) => {
                summary.keys += 1;
                Logged::Key(key)
            }
        };
        visit(logged).map_err(|reason| reader.complaint(&reason))?;
    }
    let (rest, offset) = reader.into_rest();
    Commands::new(rest, name, offset, reading.torn_tail).read(summary, visit)
}

/// The commands of a file.
struct Commands<'a, R> {
    source: BufReader<R>,
    name: &'a str,
    /// Bytes that were read.
    offset: u64,
    torn_tail: bool,
    db: usize,
}

/// Why a command can't be read.
enum Stop {
    /// The file ends within it.
    End,
    Error(FileError),
}

impl<'a, R: Read> Commands<'a, R> {
    fn new(source: R, name: &'a str, offset: u64, torn_tail: bool) -> Self {
        Commands { source: BufReader::with_capacity(WINDOW_BYTES, source), name, offset, torn_tail, db: 0 }
    }

    fn read(
        mut self,
        summary: &mut Summary,
        visit: &mut impl FnMut(Logged<'_>) -> Result<(), String>,
    ) -> Result<(), FileError> {
        // Commands that wait for the end of their transaction.
        let mut group: Vec<LoggedCommand> = Vec::new();
        // Where the transaction began that has not ended yet, and the database then.
        let mut open: Option<u64> = None;
        loop {
            let begins_at = self.offset;
            let words = match self.command() {
                Ok(Some(words)) => words,
                Ok(None) if open.is_none() => return Ok(()),
                Ok(None) | Err(Stop::End) => return self.end(open.unwrap_or(begins_at), summary),
                Err(Stop::Error(error)) => return Err(error),
            };
            let is = |name: &[u8]| words[0].eq_ignore_ascii_case(name);
            if is(b"SELECT") {
                self.db = self.selected(&words, begins_at)?;
            } else if is(b"MULTI") {
                if open.replace(begins_at).is_some() {
                    return Err(self.error(begins_at, "a transaction within another one"));
                }
            } else if is(b"EXEC") {
                if open.take().is_none() {
                    return Err(self.error(begins_at, "the end of a transaction that did not begin"));
                }
                self.hand_over(&mut group, begins_at, summary, visit)?;
            } else {
                group.push(LoggedCommand { db: self.db, words, at: begins_at });
                if open.is_none() {
                    self.hand_over(&mut group, begins_at, summary, visit)?;
                }
            }
        }
    }

    fn hand_over(
        &self,
        group: &mut Vec<LoggedCommand>,
        at: u64,
        summary: &mut Summary,
        visit: &mut impl FnMut(Logged<'_>) -> Result<(), String>,
    ) -> Result<(), FileError> {
        if !group.is_empty() {
            summary.commands += group.len() as u64;
            visit(Logged::Commands(group)).map_err(|reason| self.error(at, &reason))?;
            group.clear();
        }
        Ok(())
    }

    fn selected(&self, words: &[Vec<u8>], at: u64) -> Result<usize, FileError> {
        let number = words.get(1).filter(|_| words.len() == 2);
        let number = number.and_then(|word| std::str::from_utf8(word).ok()?.parse().ok());
        number.ok_or_else(|| self.error(at, "a selection of no database"))
    }

    /// The file ends where something is not whole; what counts ends at `at`.
    fn end(mut self, at: u64, summary: &mut Summary) -> Result<(), FileError> {
        // Zeros behind what is torn.
        self.offset += io::copy(&mut self.source, &mut io::sink()).map_err(|error| self.io_error(&error))?;
        let bytes = usize::try_from(self.offset - at).unwrap_or(usize::MAX);
        if !self.torn_tail {
            return Err(self.error(at, &format!("{} ({bytes} bytes)", Why::TornCommand.as_str())));
        }
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        let (file, why) = (self.name.to_owned(), Why::TornCommand);
        summary.torn = Some(LeftOut { file, at, bytes, records: 0, why });
        Ok(())
    }

    /// The words of the next command; `None` at the end of the file.
    fn command(&mut self) -> Result<Option<Vec<Vec<u8>>>, Stop> {
        let count = loop {
            match self.peek()? {
                None => return Ok(None),
                Some(b'*') => break self.number(b'*')?,
                // A note, for example of the time.
                Some(b'#') => drop(self.line()?),
                Some(0) if self.rest_is_zeros()? => return Err(Stop::End),
                Some(_) => return self.wrong("no command begins here"),
            }
        };
        if count == 0 {
            return self.wrong("a command without words");
        }
        let mut words = Vec::new();
        for _ in 0..count {
            let bytes = self.number(b'$')?;
            if bytes > WORD_BYTES_MAX {
                return self.wrong("a word that is too long");
            }
            words.push(self.word(bytes)?);
        }
        Ok(Some(words))
    }

    fn word(&mut self, bytes: u64) -> Result<Vec<u8>, Stop> {
        let mut word = Vec::new();
        self.take(bytes, &mut word)?;
        let mut end = Vec::new();
        self.take(2, &mut end)?;
        match end.as_slice() {
            b"\r\n" => Ok(word),
            [b'\r' | 0, 0] if self.rest_is_zeros()? => Err(Stop::End),
            _ => self.wrong("a word that is longer than it says"),
        }
    }

    fn take(&mut self, bytes: u64, into: &mut Vec<u8>) -> Result<(), Stop> {
        let count = (&mut self.source).take(bytes).read_to_end(into);
        let count = count.map_err(|error| Stop::Error(self.io_error(&error)))? as u64;
        self.offset += count;
        if count == bytes { Ok(()) } else { Err(Stop::End) }
    }

    /// A line with a number behind this byte.
    fn number(&mut self, kind: u8) -> Result<u64, Stop> {
        let line = self.line()?;
        let digits = line.strip_prefix(&[kind]).and_then(|digits| std::str::from_utf8(digits).ok());
        let number = digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
        match number.and_then(|digits| digits.parse().ok()) {
            Some(number) => Ok(number),
            None => self.wrong("no number where one is needed"),
        }
    }

    /// A line without its end.
    fn line(&mut self) -> Result<Vec<u8>, Stop> {
        let mut line = Vec::new();
        let count = (&mut self.source).take(LINE_BYTES_MAX).read_until(b'\n', &mut line);
        self.offset += count.map_err(|error| Stop::Error(self.io_error(&error)))? as u64;
        match line.strip_suffix(b"\r\n") {
            Some(text) => Ok(text.to_vec()),
            // Zeros may stand where a block was never written.
            None if line.ends_with(&[0]) && ends_in_zeros(&line) && self.rest_is_zeros()? => Err(Stop::End),
            None if line.len() as u64 == LINE_BYTES_MAX || line.ends_with(b"\n") || line.contains(&0) => {
                self.wrong("a line that does not end as it should")
            }
            None => Err(Stop::End),
        }
    }

    fn peek(&mut self) -> Result<Option<u8>, Stop> {
        match self.source.fill_buf() {
            Ok(bytes) => Ok(bytes.first().copied()),
            Err(error) => Err(Stop::Error(self.io_error(&error))),
        }
    }

    /// Reads on to the end; whether there was nothing but zeros.
    fn rest_is_zeros(&mut self) -> Result<bool, Stop> {
        loop {
            let bytes = match self.source.fill_buf() {
                Ok(bytes) => bytes,
                Err(error) => return Err(Stop::Error(self.io_error(&error))),
            };
            let (count, zeros) = (bytes.len(), bytes.iter().all(|byte| *byte == 0));
            if count == 0 || !zeros {
                return Ok(zeros);
            }
            self.source.consume(count);
            self.offset += count as u64;
        }
    }

    fn wrong<T>(&self, reason: &str) -> Result<T, Stop> {
        Err(Stop::Error(self.error(self.offset, reason)))
    }

    fn error(&self, offset: u64, reason: &str) -> FileError {
        FileError { file: self.name.to_owned(), offset, reason: reason.to_owned() }
    }

    fn io_error(&self, error: &io::Error) -> FileError {
        self.error(self.offset, &format!("cannot be read: {error}"))
    }
}

/// Whether all bytes behind the first zero are zeros.
fn ends_in_zeros(line: &[u8]) -> bool {
    line.iter().skip_while(|byte| **byte != 0).all(|byte| *byte == 0)
}
