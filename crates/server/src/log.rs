//! The log: text or JSON lines on standard output or into a file.
//!
//! Owns the set-up of `tracing`. Nothing on a hot path logs; what is logged is written at once.

use std::fs::OpenOptions;
use std::io;
use std::sync::{Mutex, OnceLock};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;
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
        .with_env_filter(filter(config.loglevel()))
        .with_target(false)
        .with_ansi(false)
        .with_writer(writer);
    match config.log_format() {
        LogFormat::Text => {
            let builder = builder.with_filter_reloading();
            let handle = builder.reload_handle();
            builder.init();
            keep(move |level| handle.reload(filter(level)).is_ok());
        }
        LogFormat::Json => {
            let builder = builder.json().with_filter_reloading();
            let handle = builder.reload_handle();
            builder.init();
            keep(move |level| handle.reload(filter(level)).is_ok());
        }
    }
    Ok(())
}

/// Changes the level of the running log.
type SetLevel = Box<dyn Fn(LogLevel) -> bool + Send + Sync>;

static SET_LEVEL: OnceLock<SetLevel> = OnceLock::new();

fn keep(set_level: impl Fn(LogLevel) -> bool + Send + Sync + 'static) {
    // The log starts once per process.
    let _ = SET_LEVEL.set(Box::new(set_level));
}

/// Log from this level on; nothing happens where no log was started.
pub fn set_level(level: LogLevel) {
    if let Some(set_level) = SET_LEVEL.get() {
        set_level(level);
    }
}

fn filter(level: LogLevel) -> EnvFilter {
    let level = match level {
        LogLevel::Debug => LevelFilter::TRACE,
        LogLevel::Verbose => LevelFilter::DEBUG,
        LogLevel::Notice => LevelFilter::INFO,
        LogLevel::Warning => LevelFilter::WARN,
        LogLevel::Nothing => LevelFilter::OFF,
    };
    EnvFilter::default().add_directive(level.into())
}
