//! Transcripts: commands and exact replies in a readable text format, replayed against a live server.
//!
//! The format is described in `docs/testing.md`. This module holds the parsed form and the list of files; it never
//! talks to a server (`play`, `record`).

mod expect;
mod parse;
mod play;
mod record;
mod words;

use std::path::{Path, PathBuf};

pub use expect::{Expected, Protocol};
pub use play::{Failure, play};
pub use record::record;
pub use words::Word;

use crate::server::Version;

/// A file of transcripts/.
#[derive(Debug)]
pub struct Transcript {
    /// Relative to the folder of transcripts.
    pub name: String,
    pub head: Head,
    pub steps: Vec<Step>,
    /// The file's lines, for the recorder.
    lines: Vec<String>,
}

/// What holds for the whole file: its `@file` lines.
#[derive(Debug, Default)]
pub struct Head {
    pub only: Option<Protocol>,
    /// A server of its own is started with these settings.
    pub settings: Vec<(String, String)>,
    pub mark: Option<Mark>,
}

/// Why a reference server may answer otherwise. `difference` names a line of docs/differences.md.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    pub difference: String,
    /// References from this version on must agree; `None`: no reference does.
    pub since: Option<Version>,
    pub line: usize,
}

impl Mark {
    /// Whether a server of this version need not agree.
    pub fn excuses(&self, version: Version) -> bool {
        self.since.is_none_or(|since| version < since)
    }
}

#[derive(Debug)]
pub struct Step {
    /// Counted from 1.
    pub line: usize,
    pub only: Option<Protocol>,
    pub mark: Option<Mark>,
    /// The command is repeated until its reply is right or so many milliseconds have passed.
    pub retry_ms: u64,
    /// The command is a SCAN: it is repeated with the cursor it answers, and its reply is all elements together.
    pub whole_scan: bool,
    pub action: Action,
    pub replies: Vec<ReplyLine>,
    /// The lines that hold the replies, counted from 0.
    reply_lines: std::ops::Range<usize>,
}

#[derive(Debug)]
pub enum Action {
    /// Sends a command in multibulk form.
    Send {
        connection: String,
        words: Vec<Word>,
    },
    /// Sends bytes as they are.
    Raw {
        connection: String,
        bytes: Word,
    },
    /// Only waits for replies: deliveries, and replies that were blocked.
    Await {
        connection: String,
    },
    /// The client closes the connection; it is opened anew when it is named again.
    Close {
        connection: String,
    },
    Sleep {
        ms: u64,
    },
}

#[derive(Debug)]
pub struct ReplyLine {
    pub line: usize,
    pub only: Option<Protocol>,
    pub expected: Expected,
}

impl Transcript {
    pub fn parse(name: &str, text: &str) -> Result<Transcript, String> {
        parse::parse(name, text)
    }

    /// Every mark of the file.
    pub fn marks(&self) -> impl Iterator<Item = &Mark> {
        self.head.mark.iter().chain(self.steps.iter().filter_map(|step| step.mark.as_ref()))
    }

    /// Whether the file is replayed in this protocol.
    pub fn speaks(&self, protocol: Protocol) -> bool {
        self.head.only.is_none_or(|only| only == protocol)
    }

    /// The family: the folder the file lies in.
    pub fn family(&self) -> &str {
        self.name.split('/').next().unwrap_or_default()
    }
}

/// The folder of all transcripts.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("transcripts")
}

/// All files whose name contains the text in the environment variable `TRANSCRIPTS`, by name; panics at a file that is
/// not well formed.
pub fn load_all() -> Vec<Transcript> {
    let filter = std::env::var("TRANSCRIPTS").unwrap_or_default();
    let mut names = Vec::new();
    let families = std::fs::read_dir(folder()).expect("the folder of transcripts can be read");
    for family in families.map(|entry| entry.expect("a readable folder").path()) {
        let files = std::fs::read_dir(&family).expect("transcripts lie in a folder per family");
        names.extend(files.map(|entry| entry.expect("a readable folder").path()));
    }
    names.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    names.sort();
    let load = |path: &PathBuf| {
        let name = path.strip_prefix(folder()).expect("listed below the folder").display().to_string();
        let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{name}: {error}"));
        Transcript::parse(&name, &text).unwrap_or_else(|error| panic!("{error}"))
    };
    names.iter().map(load).filter(|transcript| transcript.name.contains(&filter)).collect()
}
