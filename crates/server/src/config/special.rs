//! Values with a grammar of their own: save points, output buffer limits, keyspace event letters, and small
//! lists. Contract: CONFIG SET of Valkey 8.1 (measured), including its error texts.

use torc_keyspace::Class;

use super::value::{Base, Value, memory_text, parse_memory, strict_integer};

/// Snapshot after this many seconds if at least this many keys changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavePoint {
    pub seconds: u64,
    pub changes: u64,
}

pub(super) fn parse_save_points(words: &[&str], base: Base<'_>) -> Result<Value, String> {
    let invalid = || "Invalid save parameters".to_string();
    let mut points = match base.current {
        Value::SavePoints(points) if base.append && !words.is_empty() => points.clone(),
        _ => Vec::new(),
    };
    if !words.len().is_multiple_of(2) {
        return Err(invalid());
    }
    for pair in words.chunks_exact(2) {
        let seconds = strict_integer(pair[0]).filter(|n| *n >= 1).ok_or_else(invalid)?;
        let changes = strict_integer(pair[1]).filter(|n| *n >= 0).ok_or_else(invalid)?;
        points.push(SavePoint { seconds: seconds as u64, changes: changes as u64 });
    }
    Ok(Value::SavePoints(points))
}

/// Limits of one class of clients; 0 means no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputLimit {
    /// Disconnect at once above this many bytes.
    pub hard_bytes: u64,
    /// Disconnect when above this many bytes for `soft_seconds` without a break.
    pub soft_bytes: u64,
    pub soft_seconds: u64,
}

/// `client-output-buffer-limit`, by class of client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputLimits {
    pub normal: OutputLimit,
    pub replica: OutputLimit,
    pub pubsub: OutputLimit,
}

impl OutputLimits {
    pub const UNLIMITED: OutputLimits = {
        let none = OutputLimit { hard_bytes: 0, soft_bytes: 0, soft_seconds: 0 };
        OutputLimits { normal: none, replica: none, pubsub: none }
    };

    /// Redis says `slave` where it shows the class.
    fn classes(&self) -> [(&'static str, &OutputLimit); 3] {
        [("normal", &self.normal), ("slave", &self.replica), ("pubsub", &self.pubsub)]
    }

    pub(super) fn reply_text(&self) -> String {
        self.classes()
            .map(|(class, limit)| {
                format!("{class} {} {} {}", limit.hard_bytes, limit.soft_bytes, limit.soft_seconds)
            })
            .join(" ")
    }

    pub(super) fn lines(&self) -> Vec<Vec<String>> {
        self.classes()
            .map(|(class, limit)| {
                let class = if class == "slave" { "replica" } else { class };
                vec![
                    class.to_string(),
                    memory_text(limit.hard_bytes),
                    memory_text(limit.soft_bytes),
                    limit.soft_seconds.to_string(),
                ]
            })
            .to_vec()
    }
}

pub(super) fn parse_output_limits(words: &[&str], base: Base<'_>) -> Result<Value, String> {
    let mut limits = match base.current {
        Value::OutputLimits(limits) => *limits,
        _ => OutputLimits::UNLIMITED,
    };
    if !words.len().is_multiple_of(4) {
        return Err("Wrong number of arguments in buffer limit configuration.".into());
    }
    for group in words.chunks_exact(4) {
        let class = match group[0].to_ascii_lowercase().as_str() {
            "normal" => &mut limits.normal,
            "slave" | "replica" => &mut limits.replica,
            "pubsub" => &mut limits.pubsub,
            _ => return Err("Invalid client class specified in buffer limit configuration.".into()),
        };
        let seconds = strict_integer(group[3]).and_then(|n| u64::try_from(n).ok());
        let (Some(hard_bytes), Some(soft_bytes), Some(soft_seconds)) =
            (parse_memory(group[1]), parse_memory(group[2]), seconds)
        else {
            return Err("Error in hard, soft or soft_seconds setting in buffer limit configuration.".into());
        };
        *class = OutputLimit { hard_bytes, soft_bytes, soft_seconds };
    }
    Ok(Value::OutputLimits(limits))
}

/// The classes that letters of `notify-keyspace-events` name.
pub(super) fn parse_events(word: &str) -> Result<Class, String> {
    Class::parse(word).ok_or_else(|| "Invalid event class character. Use 'Ag$lshzxeKEtmdn'.".into())
}

const OOM_SCORE_MAX: i64 = 2000;

pub(super) fn parse_oom_scores(words: &[&str]) -> Result<Value, String> {
    let [a, b, c] = words else {
        return Err("wrong number of arguments".into());
    };
    let mut scores = [0; 3];
    for (score, word) in scores.iter_mut().zip([a, b, c]) {
        *score = strict_integer(word).filter(|n| n.abs() <= OOM_SCORE_MAX).ok_or_else(|| {
            format!(
                "Invalid oom-score-adj-values, elements must be between -{OOM_SCORE_MAX} and {OOM_SCORE_MAX}."
            )
        })?;
    }
    Ok(Value::OomScores(scores))
}

pub(super) fn parse_percentiles(words: &[&str]) -> Result<Value, String> {
    const NAME: &str = "latency-tracking-info-percentiles";
    let mut list = Vec::with_capacity(words.len());
    for word in words {
        match word.parse::<f64>() {
            Ok(percentile) if (0.0..=100.0).contains(&percentile) => list.push(percentile),
            Ok(percentile) if !percentile.is_nan() => {
                return Err(format!("{NAME} parameters should sit between [0.0,100.0]"));
            }
            _ => return Err(format!("Invalid {NAME} parameters")),
        }
    }
    Ok(Value::Percentiles(list))
}

pub(super) fn parse_endpoint(words: &[&str]) -> Result<Value, String> {
    match words {
        [] => Ok(Value::Endpoint(None)),
        [no, one] if no.eq_ignore_ascii_case("no") && one.eq_ignore_ascii_case("one") => {
            Ok(Value::Endpoint(None))
        }
        [host, port] => match port.parse::<u16>() {
            Ok(port) if port != 0 => Ok(Value::Endpoint(Some((host.to_string(), port)))),
            _ => Err("Invalid primary port".into()),
        },
        _ => Err("wrong number of arguments".into()),
    }
}

/// True when every `{variable}` of a process title template is known and braces are balanced.
pub(super) fn is_process_title(template: &str) -> bool {
    const VARIABLES: &[&str] =
        &["title", "listen-addr", "server-mode", "port", "tls-port", "unixsocket", "config-file"];
    let mut rest = template;
    while let Some((_, after)) = rest.split_once('{') {
        let Some((name, tail)) = after.split_once('}') else {
            return false;
        };
        if !VARIABLES.contains(&name) {
            return false;
        }
        rest = tail;
    }
    true
}
