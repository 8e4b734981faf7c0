//! Values of settings: from the words of a file, an argument or CONFIG SET, and back to text. Knows nothing
//! of files and of which settings exist. Error texts are those of Valkey 8.1 (measured).

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;

use torc_keyspace::Class;

use super::setting::{Check, Kind, Shape};
use super::special::{self, OutputLimits, SavePoint};

/// A parsed value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Bool(bool),
    Int(i64),
    Auto,
    Bytes(u64),
    Percent(u8),
    Octal(u32),
    Choice(&'static str),
    Text(String),
    Words(Vec<String>),
    SavePoints(Vec<SavePoint>),
    OutputLimits(OutputLimits),
    Events(Class),
    OomScores([i64; 3]),
    Percentiles(Vec<f64>),
    Endpoint(Option<(String, u16)>),
}

/// What a new value is added to.
#[derive(Clone, Copy)]
pub(super) struct Base<'a> {
    /// The value in force.
    pub current: &'a Value,
    /// An earlier line of the same files and arguments gave this setting already: lists grow.
    pub append: bool,
}

/// Parses the words that follow a setting's name. A multi-word setting given as one word is split at single
/// spaces, as Redis does.
pub(super) fn parse(kind: Kind, words: &[&str], base: Base<'_>) -> Result<Value, String> {
    if kind.shape() == Shape::One {
        let [word] = words else {
            return Err("wrong number of arguments".into());
        };
        return parse_one(kind, word);
    }
    let split: Vec<&str>;
    let words = match words {
        [""] => &[],
        [word] => {
            split = word.split(' ').collect();
            split.as_slice()
        }
        words => words,
    };
    match kind {
        Kind::Addresses { max } if words.len() > max => Err("Too many bind addresses specified.".into()),
        Kind::Addresses { .. } => Ok(Value::Words(words.iter().map(|word| word.to_string()).collect())),
        Kind::SavePoints => special::parse_save_points(words, base),
        Kind::OutputLimits => special::parse_output_limits(words, base),
        Kind::OomScores => special::parse_oom_scores(words),
        Kind::Percentiles => special::parse_percentiles(words),
        Kind::Endpoint => special::parse_endpoint(words),
        _ => unreachable!("single-word kinds returned above"),
    }
}

fn parse_one(kind: Kind, word: &str) -> Result<Value, String> {
    match kind {
        Kind::Bool => match word {
            _ if word.eq_ignore_ascii_case("yes") => Ok(Value::Bool(true)),
            _ if word.eq_ignore_ascii_case("no") => Ok(Value::Bool(false)),
            _ => Err("argument must be 'yes' or 'no'".into()),
        },
        Kind::Int { min, max } => bounded(word, min, max).map(Value::Int),
        Kind::ClampedInt { min, max, low, high } => {
            bounded(word, min, max).map(|number| Value::Int(number.clamp(low, high)))
        }
        Kind::AutoOrInt { .. } if word.eq_ignore_ascii_case("auto") => Ok(Value::Auto),
        Kind::AutoOrInt { min, max } => bounded(word, min, max)
            .map(Value::Int)
            .map_err(|_| format!("argument must be 'auto' or a number between {min} and {max}")),
        Kind::Memory { min, max } => {
            let bytes = parse_memory(word).ok_or("argument must be a memory value")?;
            if (min..=max).contains(&bytes) {
                Ok(Value::Bytes(bytes))
            } else {
                Err(format!("argument must be between {min} and {max} inclusive"))
            }
        }
        Kind::MemoryOrPercent => parse_memory_or_percent(word),
        Kind::MemoryOrShare => match word.strip_suffix('%').and_then(strict_integer) {
            Some(percent @ 1..=100) => Ok(Value::Percent(percent as u8)),
            _ => parse_memory(word).map(Value::Bytes).ok_or("argument must be a memory value".into()),
        },
        Kind::Octal { max } => match u32::from_str_radix(word, 8) {
            Ok(bits) if word.starts_with(|c: char| c.is_ascii_digit()) => {
                if bits <= max {
                    Ok(Value::Octal(bits))
                } else {
                    Err(format!("argument must be between 0 and {max:o} inclusive"))
                }
            }
            _ => Err("argument couldn't be parsed as an octal number".into()),
        },
        Kind::Choice(words) => words
            .iter()
            .find(|choice| choice.eq_ignore_ascii_case(word))
            .map(|choice| Value::Choice(choice))
            .ok_or_else(|| format!("argument(s) must be one of the following: {}", words.join(", "))),
        Kind::Text(check) => check_text(check, word).map(|()| Value::Text(word.to_string())),
        Kind::Directory => parse_directory(word),
        Kind::EventFlags => special::parse_events(word).map(Value::Events),
        _ => unreachable!("multi-word kinds are parsed by `parse`"),
    }
}

fn bounded(word: &str, min: i64, max: i64) -> Result<i64, String> {
    let number = strict_integer(word).ok_or("argument couldn't be parsed into an integer")?;
    if (min..=max).contains(&number) {
        Ok(number)
    } else {
        Err(format!("argument must be between {min} and {max} inclusive"))
    }
}

/// A decimal integer as Redis accepts it: no plus sign, no leading zeros, no spaces, no `-0`.
pub(super) fn strict_integer(word: &str) -> Option<i64> {
    let digits = word.strip_prefix('-').unwrap_or(word);
    let canonical = digits.bytes().all(|b| b.is_ascii_digit()) && (!digits.starts_with('0') || word == "0");
    if canonical { word.parse().ok() } else { None }
}

/// Bytes with a unit: `k`, `m`, `g` are powers of 1000, `kb`, `mb`, `gb` powers of 1024, in any case.
/// Values beyond 64 bits count as the largest; Redis lets some of them wrap around.
pub fn parse_memory(word: &str) -> Option<u64> {
    let unit_at = word.find(|c: char| !c.is_ascii_digit()).unwrap_or(word.len());
    let (digits, unit) = word.split_at(unit_at);
    let scale: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" => 1000,
        "kb" => 1 << 10,
        "m" => 1_000_000,
        "mb" => 1 << 20,
        "g" => 1_000_000_000,
        "gb" => 1 << 30,
        _ => return None,
    };
    match digits.parse::<u64>() {
        Ok(number) => Some(number.saturating_mul(scale)),
        Err(_) if digits.is_empty() => None,
        Err(_) => Some(u64::MAX),
    }
}

/// Bytes in the largest power-of-1024 unit that loses nothing, for files.
pub(super) fn memory_text(bytes: u64) -> String {
    for (unit, scale) in [("gb", 1u64 << 30), ("mb", 1 << 20), ("kb", 1 << 10)] {
        if bytes != 0 && bytes.is_multiple_of(scale) {
            return format!("{}{unit}", bytes / scale);
        }
    }
    bytes.to_string()
}

fn parse_memory_or_percent(word: &str) -> Result<Value, String> {
    if let Some(number) = word.strip_suffix('%') {
        return match strict_integer(number) {
            Some(0) => Ok(Value::Bytes(0)),
            Some(percent @ 1..=100) => Ok(Value::Percent(percent as u8)),
            Some(101..) => Err("percentage argument must be less or equal to 100".into()),
            _ => Err("argument must be a memory or percent value".into()),
        };
    }
    parse_memory(word).map(Value::Bytes).ok_or_else(|| "argument must be a memory or percent value".into())
}

fn parse_directory(word: &str) -> Result<Value, String> {
    let path = Path::new(word).canonicalize().map_err(|error| os_error_text(&error))?;
    if !path.is_dir() {
        return Err("Not a directory".into());
    }
    match path.to_str() {
        Some(path) => Ok(Value::Text(path.to_string())),
        None => Err("the path is not valid UTF-8".into()),
    }
}

/// The operating system's text without Rust's `(os error N)`.
pub(crate) fn os_error_text(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_string(),
        None => text,
    }
}

fn check_text(check: Check, word: &str) -> Result<(), String> {
    let fine = match check {
        Check::Any => true,
        Check::FileName => !word.contains('/'),
        Check::HostName => word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.'),
        Check::Ipv4 => word.is_empty() || word.parse::<Ipv4Addr>().is_ok(),
        Check::Ipv6 => word.is_empty() || word.parse::<Ipv6Addr>().is_ok(),
        Check::ProcessTitle => special::is_process_title(word),
    };
    if fine {
        return Ok(());
    }
    Err(match check {
        Check::Any => unreachable!("any text is fine"),
        Check::FileName => "argument can't be a path, just a filename",
        Check::HostName => "Hostnames may only contain alphanumeric characters, hyphens or dots",
        Check::Ipv4 => "Invalid IPv4 address",
        Check::Ipv6 => "Invalid IPv6 address",
        Check::ProcessTitle => "template format is invalid or contains unknown variables",
    }
    .into())
}

impl Value {
    /// The value as CONFIG GET replies it.
    pub fn reply_text(&self) -> String {
        match self {
            Value::Bytes(bytes) => bytes.to_string(),
            Value::OutputLimits(limits) => limits.reply_text(),
            Value::Endpoint(None) => String::new(),
            _ => {
                let lines: Vec<String> = self.lines().iter().map(|words| words.join(" ")).collect();
                lines.join(" ")
            }
        }
    }

    /// The value as lines of a file: for each line, the words that follow the setting's name. At least one
    /// line, so that an empty list can be written down too.
    pub fn lines(&self) -> Vec<Vec<String>> {
        let one = |text: String| vec![vec![text]];
        match self {
            Value::Bool(true) => one("yes".into()),
            Value::Bool(false) => one("no".into()),
            Value::Int(number) => one(number.to_string()),
            Value::Auto => one("auto".into()),
            Value::Bytes(bytes) => one(memory_text(*bytes)),
            Value::Percent(percent) => one(format!("{percent}%")),
            Value::Octal(bits) => one(format!("{bits:o}")),
            Value::Choice(word) => one(word.to_string()),
            Value::Text(text) => one(text.clone()),
            Value::Words(words) if words.is_empty() => one(String::new()),
            Value::Words(words) => vec![words.clone()],
            Value::SavePoints(points) if points.is_empty() => one(String::new()),
            Value::SavePoints(points) => points
                .iter()
                .map(|point| vec![point.seconds.to_string(), point.changes.to_string()])
                .collect(),
            Value::OutputLimits(limits) => limits.lines(),
            Value::Events(events) => one(events.to_string()),
            Value::OomScores(scores) => vec![scores.iter().map(i64::to_string).collect()],
            Value::Percentiles(list) if list.is_empty() => one(String::new()),
            Value::Percentiles(list) => vec![list.iter().map(f64::to_string).collect()],
            Value::Endpoint(None) => vec![vec!["no".into(), "one".into()]],
            Value::Endpoint(Some((host, port))) => vec![vec![host.clone(), port.to_string()]],
        }
    }
}
