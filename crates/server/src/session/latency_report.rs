//! LATENCY GRAPH and LATENCY DOCTOR as text.
//!
//! Owns the drawing of a history in letters and the sentences of the report. Never reads a shard.

use std::fmt::Write;
use std::time::Duration;

use crate::config::Config;
use crate::shard::latency::{LatencyEvents, Sample, Series};

/// Columns of a graph.
const COLUMNS: usize = 80;
/// Lines of a graph.
const ROWS: u64 = 4;

/// One column per sample, the newest at the right: the higher, the longer it took. Below each: how long ago.
pub(super) fn graph(event: &str, series: &Series, now_s: i64) -> String {
    let skipped = series.samples.len().saturating_sub(COLUMNS);
    let samples: Vec<Sample> = series.samples.iter().skip(skipped).copied().collect();
    let high = samples.iter().map(|sample| sample.ms).max().unwrap_or(0);
    let low = samples.iter().map(|sample| sample.ms).min().unwrap_or(0);
    let mut text = format!("{event} - high {high} ms, low {low} ms (all time high {} ms)\n", series.max_ms);
    text.push_str(&"-".repeat(COLUMNS));
    text.push('\n');
    // Three letters of different height per line: `_`, `o` and `#`.
    let steps = ROWS * 3 - 1;
    let height = |sample: &Sample| (sample.ms - low) * steps / (high - low).max(1);
    for row in (0..ROWS).rev() {
        let column = |sample: &Sample| match height(sample) {
            height if height / 3 < row => ' ',
            height if height / 3 > row => '|',
            height => ['_', 'o', '#'][(height % 3) as usize],
        };
        push_line(&mut text, samples.iter().map(column));
    }
    text.push('\n');
    let ages: Vec<String> = samples.iter().map(|sample| age(now_s - sample.time_s)).collect();
    let longest = ages.iter().map(String::len).max().unwrap_or(0);
    for row in 0..longest {
        push_line(&mut text, ages.iter().map(|age| age.chars().nth(row).unwrap_or(' ')));
    }
    text
}

fn push_line(text: &mut String, letters: impl Iterator<Item = char>) {
    text.extend(letters);
    text.push('\n');
}

/// `20s`, `3m`, `5h`, `2d`.
fn age(seconds: i64) -> String {
    match seconds {
        ..60 => format!("{seconds}s"),
        ..3_600 => format!("{}m", seconds / 60),
        ..86_400 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// The report of LATENCY DOCTOR.
pub(super) fn diagnosis(events: &LatencyEvents, config: &Config) -> String {
    let threshold = config.latency_monitor_threshold();
    if events.is_empty() {
        return match threshold {
            None => "Latency monitoring is off in this server, so there is nothing to report. \
                     \"CONFIG SET latency-monitor-threshold <milliseconds>\" switches it on.\n"
                .into(),
            Some(_) => {
                "No latency spike was observed since this server started (or since LATENCY RESET).\n".into()
            }
        };
    }
    let mut text = String::from("This server had latency spikes:\n\n");
    for (number, (event, series)) in events.iter().enumerate() {
        let Figures { count, mean, deviation, period_s } = Figures::of(series);
        // Writing into a String cannot fail.
        let _ = writeln!(
            text,
            "{}. {event}: {count} latency spikes (average {mean}ms, mean deviation {deviation}ms, period \
             {period_s:.2} sec). Worst all time event {}ms.",
            number + 1,
            series.max_ms
        );
    }
    text.push_str("\nWhat may help:\n\n");
    for advice in advice(events, config, threshold) {
        let _ = writeln!(text, "- {advice}");
    }
    text
}

struct Figures {
    count: usize,
    mean: u64,
    deviation: u64,
    period_s: f64,
}

impl Figures {
    fn of(series: &Series) -> Figures {
        let count = series.samples.len();
        let mean_of = |sum: u64| sum / (count as u64).max(1);
        let mean = mean_of(series.samples.iter().map(|sample| sample.ms).sum());
        let deviation = mean_of(series.samples.iter().map(|sample| sample.ms.abs_diff(mean)).sum());
        let seconds = match (series.samples.front(), series.samples.back()) {
            (Some(first), Some(last)) => last.time_s - first.time_s,
            _ => 0,
        };
        Figures { count, mean, deviation, period_s: seconds as f64 / (count.max(2) - 1) as f64 }
    }
}

fn advice(events: &LatencyEvents, config: &Config, threshold: Option<Duration>) -> Vec<String> {
    let mut list = Vec::new();
    if events.contains_key("command") {
        let slower_than = config.commandlog_execution_slower_than();
        if let Some(threshold) = threshold
            && slower_than.is_none_or(|slower_than| slower_than > threshold)
        {
            list.push(format!(
                "The slow log does not see all of these commands. 'CONFIG SET slowlog-log-slower-than {}' makes it \
                 log whatever the latency monitor counts.",
                threshold.as_micros()
            ));
        }
        list.push(
            "SLOWLOG GET shows which commands are slow: look for those that walk many keys or elements."
                .into(),
        );
        list.push(
            "Large values take long to delete, expire or replace: use UNLINK, or spread them over several keys."
                .into(),
        );
    }
    if events.contains_key("fast-command") {
        list.push(
            "Commands that take constant time were slow: the machine itself stalls. Look for swapping, for other \
             processes on the same cores, and for a hypervisor that takes time away."
                .into(),
        );
    }
    if events.contains_key("expire-cycle") {
        list.push(
            "Expiry takes long: many keys end at the same moment. Spread their times to live, or lower \
             active-expire-effort."
                .into(),
        );
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(name: &'static str, samples: &[(i64, u64)]) -> LatencyEvents {
        let mut series = Series::default();
        samples.iter().for_each(|&(time_s, ms)| series.add(Sample { time_s, ms }));
        LatencyEvents::from([(name, series)])
    }

    #[test]
    fn a_graph() {
        let events = events("command", &[(100, 300), (101, 400), (102, 500)]);
        let text = graph("command", &events["command"], 165);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "command - high 500 ms, low 300 ms (all time high 500 ms)");
        assert_eq!(lines[1].len(), COLUMNS);
        assert_eq!(lines[2..], ["  #", "  |", " #|", "_||", "", "111", "mmm"]);
    }

    #[test]
    fn a_report_names_what_it_saw() {
        let config = Config::default();
        assert!(diagnosis(&LatencyEvents::new(), &config).contains("latency-monitor-threshold"));
        let text = diagnosis(&events("command", &[(100, 300), (101, 400), (102, 500)]), &config);
        let expected = "1. command: 3 latency spikes (average 400ms, mean deviation 66ms, period 1.00 sec). Worst \
                        all time event 500ms.";
        assert!(text.contains(expected), "{text}");
        assert!(text.contains("SLOWLOG GET"));
    }
}
