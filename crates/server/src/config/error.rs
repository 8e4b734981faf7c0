//! What can be wrong with a configuration, and the texts for it. Never contains the value of a secret.

use std::fmt;
use std::path::PathBuf;

/// Where a problem was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    File {
        path: PathBuf,
        /// Counted from 1.
        line: usize,
    },
    /// A whole file, for example one that does not exist.
    Path(PathBuf),
    Arguments,
    Environment,
}

/// One thing that is wrong with a file, an argument or an environment variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub(super) place: Place,
    /// The line or argument as it was given, without secrets; empty when there is none.
    pub(super) source: String,
    pub(super) text: String,
}

impl fmt::Display for Problem {
    /// One line that starts with `file:line:`, for --check-config.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::File { path, line } => write!(f, "{}:{line}: ", path.display())?,
            Place::Path(path) => write!(f, "{}: ", path.display())?,
            Place::Arguments => write!(f, "command line: ")?,
            Place::Environment => write!(f, "environment: ")?,
        }
        if !self.source.is_empty() {
            write!(f, "'{}': ", self.source)?;
        }
        f.write_str(&self.text)
    }
}

/// A configuration that the server cannot start with. Holds at least one problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    pub problems: Vec<Problem>,
}

impl fmt::Display for ConfigError {
    /// The first problem in the shape that Redis prints, since tools look for it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(problem) = self.problems.first() else {
            return Ok(());
        };
        let version = env!("CARGO_PKG_VERSION");
        writeln!(f, "\n*** FATAL CONFIG FILE ERROR (torc {version}) ***")?;
        match &problem.place {
            Place::File { path, line } => {
                writeln!(f, "Reading the configuration file, at line {line} of {}", path.display())?;
            }
            Place::Path(path) => writeln!(f, "Reading the configuration file {}", path.display())?,
            Place::Arguments => writeln!(f, "Reading the command line")?,
            Place::Environment => writeln!(f, "Reading the environment")?,
        }
        if !problem.source.is_empty() {
            writeln!(f, ">>> '{}'", problem.source)?;
        }
        f.write_str(&problem.text)
    }
}

impl std::error::Error for ConfigError {}

/// Why a CONFIG SET changed nothing. Displays as the text of the error reply (Valkey 8.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigSetError {
    Unknown { name: String },
    Failed { name: String, text: String },
}

impl ConfigSetError {
    pub(super) fn unknown(name: &str) -> Self {
        ConfigSetError::Unknown { name: one_line(name) }
    }

    /// Also for the server's part of a change, for example a port that cannot be bound.
    pub fn failed(name: &str, text: &str) -> Self {
        ConfigSetError::Failed { name: one_line(name), text: one_line(text) }
    }
}

/// An error reply is one line.
fn one_line(text: &str) -> String {
    text.replace(['\r', '\n'], " ")
}

impl fmt::Display for ConfigSetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigSetError::Unknown { name } => {
                write!(f, "ERR Unknown option or number of arguments for CONFIG SET - '{name}'")
            }
            ConfigSetError::Failed { name, text } => {
                write!(f, "ERR CONFIG SET failed (possibly related to argument '{name}') - {text}")
            }
        }
    }
}

impl std::error::Error for ConfigSetError {}

/// Why a CONFIG REWRITE left the file as it was. Displays as the text of the error reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RewriteError {
    NoFile,
    /// The file was changed by hand and cannot be read any more.
    Unreadable {
        text: String,
    },
    Io {
        path: PathBuf,
        text: String,
    },
}

impl fmt::Display for RewriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RewriteError::NoFile => f.write_str("ERR The server is running without a config file"),
            RewriteError::Unreadable { text } => {
                write!(f, "ERR Rewriting config file: {}", one_line(text))
            }
            RewriteError::Io { path, text } => {
                write!(f, "ERR Rewriting config file: {}: {text}", one_line(&path.display().to_string()))
            }
        }
    }
}

impl std::error::Error for RewriteError {}
