//! The log: text or JSON lines on standard output or into a file.
//!
//! Owns the set-up of `tracing`. Nothing on a hot path logs; what is logged is written at once.

use std::fs::OpenOptions;
use std::io;
use std::sync::Mutex;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

use crate::config::{Config, LogFormat, LogLevel};

/// Start logging as the configuration says.
pub fn start(config: &Config) -> io::Result<()> {
    let writer = match config.logfile() {
        None => BoxMakeWriter::new(io::stdout),
        Some(path) => {
            let file = OpenOptions::new().create(true).append(true).open(&path).map_err(|error| {
                io::Error::new(error.kind(), format!("can't open the log file {}: {error}", path.display()))
            })?;
            BoxMakeWriter::new(Mutex::new(file))
        }
    };
    let builder = tracing_subscriber::fmt()
        .with_max_level(level(config.loglevel()))
        .with_target(false)
        .with_ansi(false)
        .with_writer(writer);
    match config.log_format() {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
}

fn level(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Debug => LevelFilter::TRACE,
        LogLevel::Verbose => LevelFilter::DEBUG,
        LogLevel::Notice => LevelFilter::INFO,
        LogLevel::Warning => LevelFilter::WARN,
        LogLevel::Nothing => LevelFilter::OFF,
    }
}
