//! The log: text or JSON lines on standard output or into a file.
//!
//! Owns the set-up of `tracing`. Nothing on a hot path logs; what is logged is written at once.

use std::fmt;
use std::fs::OpenOptions;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock};

use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{self, Format, Json, Writer};
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

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
    set_format(config.log_format());
    let text = format::format().with_target(false).with_ansi(false);
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter(config.loglevel()))
        .event_format(Line { json: text.clone().json(), text })
        .with_writer(writer)
        .with_filter_reloading();
    let handle = builder.reload_handle();
    builder.init();
    keep(move |level| handle.reload(filter(level)).is_ok());
    Ok(())
}

/// How a line is written, as `log-format` says at the moment.
struct Line {
    text: Format,
    json: Format<Json>,
}

static IS_JSON: AtomicBool = AtomicBool::new(false);

/// Write lines in this form from now on.
pub fn set_format(format: LogFormat) {
    IS_JSON.store(format == LogFormat::Json, Ordering::Relaxed);
}

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        if IS_JSON.load(Ordering::Relaxed) {
            self.json.format_event(context, out, event)
        } else {
            self.text.format_event(context, out, event)
        }
    }
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
