//! The layout of `torc top`: two samples become lines of at most 80 columns, as many as the screen has.
//!
//! Owns what is shown, in which order, and what goes first where there is no room. Never writes to a screen.

use super::sample::Sample;

const WIDTH: usize = 80;
/// Lines of the lists where no screen says how many fit.
const LISTED: usize = 5;

/// A title and lines under it.
struct Section {
    title: &'static str,
    lines: Vec<String>,
}

/// One view of what happened between two samples, for a screen of so many rows, if it is one.
pub(super) fn view(place: &str, before: &Sample, now: &Sample, rows: Option<usize>) -> String {
    let change = Change::between(before, now);
    let header = header(place, &change);
    let mut sections = [shards(&change), commands(&change), hot_keys(now), slow_commands(now)];
    match rows {
        Some(rows) => fit(&mut sections, rows.saturating_sub(header.len())),
        None => sections[1..].iter_mut().for_each(|section| section.lines.truncate(LISTED)),
    }
    let mut text = String::new();
    let titled = sections
        .iter()
        .flat_map(|section| [section.title.to_owned()].into_iter().chain(section.lines.iter().cloned()));
    for line in header.into_iter().chain(titled) {
        let shown: String = line.chars().take(WIDTH).collect();
        text.push_str(shown.trim_end());
        text.push('\n');
    }
    text
}

/// Cuts sections so that their titles and lines fit. Each gets a line in turn, so that a long one leaves room for the short ones.
fn fit(sections: &mut [Section], rows: usize) {
    let mut left = rows.saturating_sub(sections.len());
    let mut shown = vec![0; sections.len()];
    loop {
        let before = left;
        for (section, shown) in sections.iter().zip(&mut shown) {
            if left > 0 && *shown < section.lines.len() {
                *shown += 1;
                left -= 1;
            }
        }
        if left == before {
            break;
        }
    }
    for (section, shown) in sections.iter_mut().zip(shown) {
        section.lines.truncate(shown);
    }
}

/// What changed between two samples.
struct Change<'a> {
    before: &'a Sample,
    now: &'a Sample,
    seconds: f64,
}

impl<'a> Change<'a> {
    fn between(before: &'a Sample, now: &'a Sample) -> Change<'a> {
        let seconds = now.at.duration_since(before.at).as_secs_f64().max(0.001);
        Change { before, now, seconds }
    }

    /// Growth of a figure per second.
    fn rate(&self, name: &str) -> f64 {
        (self.now.number(name) - self.before.number(name)).max(0.0) / self.seconds
    }

    /// The same of a `part=value` of a line.
    fn part_rate(&self, name: &str, part: &str) -> f64 {
        (self.now.part(name, part) - self.before.part(name, part)).max(0.0) / self.seconds
    }

    fn shard_names(&self) -> Vec<String> {
        (0..self.now.number("shards") as usize).map(|shard| format!("shard{shard}")).collect()
    }
}

fn header(place: &str, change: &Change<'_>) -> Vec<String> {
    let now = change.now;
    let uptime = now.number("uptime_in_seconds") as u64;
    let (days, hours, minutes) = (uptime / 86_400, uptime / 3600 % 24, uptime / 60 % 60);
    let names = change.shard_names();
    let all = |part: &str| names.iter().map(|name| change.part_rate(name, part)).sum::<f64>();
    let (hits, misses) = (change.rate("keyspace_hits"), change.rate("keyspace_misses"));
    let limit = now.number("maxmemory");
    vec![
        format!(
            "torc {}  {place}  up {days}d {hours:02}:{minutes:02}:{:02}  {} shards",
            now.text("torc_version"),
            uptime % 60,
            names.len()
        ),
        format!(
            "ops/s {:<10} hits {:<8} forwarded {:<8} clients {} ({} blocked)",
            short(change.rate("total_commands_processed")),
            percent(hits, hits + misses),
            percent(all("forwarded"), all("commands")),
            now.text("connected_clients"),
            now.text("blocked_clients")
        ),
        format!(
            "memory {}  resident {}  limit {}  in {}B/s  out {}B/s",
            now.text("used_memory_human"),
            now.text("used_memory_rss_human"),
            if limit > 0.0 { now.text("maxmemory_human") } else { "none" },
            short(change.rate("total_net_input_bytes")),
            short(change.rate("total_net_output_bytes"))
        ),
        String::new(),
    ]
}

fn shards(change: &Change<'_>) -> Section {
    let line = |(shard, name): (usize, &String)| {
        let rate = |part: &str| change.part_rate(name, part);
        let batches = rate("batches");
        let batch = if batches > 0.0 { rate("forwarded") / batches } else { 0.0 };
        format!(
            "{shard:>5} {:>5.1} % {:>7} {:>7} {:>7} {:>6} {batch:>6.1} {:>8} {:>8}",
            rate("cpu_ms") / 10.0,
            short(rate("commands")),
            short(change.now.part(name, "keys")),
            short(change.now.part(name, "bytes")),
            short(rate("forwarded")),
            short(rate("turns")),
            short(change.now.part(name, "clients")),
        )
    };
    Section {
        title: "shard    load   ops/s    keys  memory  fwd/s  batch  turns/s  clients",
        lines: change.shard_names().iter().enumerate().map(line).collect(),
    }
}

/// Those called most come first.
fn commands(change: &Change<'_>) -> Section {
    let mut called: Vec<(&str, f64)> = change
        .now
        .fields
        .keys()
        .filter_map(|name| Some((name.strip_prefix("cmdstat_")?, change.part_rate(name, "calls"))))
        .filter(|(_, calls)| *calls > 0.0)
        .collect();
    called.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(b.0)));
    let line = |(command, calls): (&str, f64)| {
        let stats = format!("cmdstat_{command}");
        let latency = format!("latency_percentiles_usec_{command}");
        format!(
            "{command:<22} {:>9} {:>9.2} {:>9.1} {:>9.1} {:>10}",
            short(calls),
            change.part_rate(&stats, "usec") / calls,
            change.now.part(&latency, "p50"),
            change.now.part(&latency, "p99"),
            short(change.part_rate(&stats, "failed_calls")),
        )
    };
    Section {
        title: "command                  calls/s   us/call       p50       p99   failed/s",
        lines: called.into_iter().map(line).collect(),
    }
}

fn hot_keys(now: &Sample) -> Section {
    let lines = now.hot.iter().map(|(uses, key)| format!("{:>9} {key}", short(*uses as f64)));
    Section { title: "hot keys (uses per second)", lines: lines.collect() }
}

fn slow_commands(now: &Sample) -> Section {
    let lines = now.slow.iter().map(|(us, command)| format!("{us:>9} {command}"));
    Section { title: "slow commands (microseconds)", lines: lines.collect() }
}

fn percent(part: f64, whole: f64) -> String {
    if whole > 0.0 { format!("{:.1} %", part * 100.0 / whole) } else { "-".into() }
}

/// Four digits at most: `12`, `4.3k`, `312M`.
fn short(number: f64) -> String {
    for (unit, name) in [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")] {
        let part = number / unit;
        if part >= 1.0 {
            return if part < 10.0 { format!("{part:.1}{name}") } else { format!("{part:.0}{name}") };
        }
    }
    format!("{number:.0}")
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::super::sample::fields_of;
    use super::*;

    fn sample(at: Instant, factor: u64) -> Sample {
        let shard = |index: u64| {
            format!(
                "shard{index}:clients=3,keys=1234567,bytes=987654321,commands={},ops_per_sec=1,forwarded={},batches={},\
                 transactions=0,sequenced=0,net_in=1,net_out=1,turns={},cpu_ms={}",
                500_000 * factor,
                250_000 * factor,
                10_000 * factor,
                20_000 * factor,
                430 * factor
            )
        };
        let info = format!(
            "torc_version:0.1.0\\r\\nuptime_in_seconds:93784\\r\\nshards:2\\r\\ntotal_commands_processed:{}\\r\\n\
             keyspace_hits:{}\\r\\nkeyspace_misses:{}\\r\\nconnected_clients:6\\r\\nblocked_clients:1\\r\\n\
             used_memory_human:1.84G\\r\\nused_memory_rss_human:2.01G\\r\\nmaxmemory:0\\r\\n\
             cmdstat_get:calls={},usec={},usec_per_call=1.00,rejected_calls=0,failed_calls=0\\r\\n\
             latency_percentiles_usec_get:p50=1.031,p99=4.123,p99.9=8.2\\r\\n{}\\r\\n{}\\r\\n",
            1_000_000 * factor,
            90 * factor,
            10 * factor,
            1_000_000 * factor,
            500_000 * factor,
            shard(0),
            shard(1)
        );
        let long = "x".repeat(200);
        Sample {
            at,
            fields: fields_of(&info),
            slow: vec![(12_345, format!("KEYS {long}")); 30],
            hot: vec![(4_200, format!("{long} (db 0)")); 30],
        }
    }

    fn shown(rows: Option<usize>) -> String {
        let start = Instant::now();
        view("localhost:6379", &sample(start, 0), &sample(start + Duration::from_secs(1), 1), rows)
    }

    #[test]
    fn a_view_fits_80_columns() {
        let text = shown(None);
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        for line in [
            "torc 0.1.0  localhost:6379  up 1d 02:03:04  2 shards",
            "ops/s 1.0M       hits 90.0 %   forwarded 50.0 %   clients 6 (1 blocked)",
            "    1  43.0 %    500k    1.2M    988M   250k   25.0      20k        3",
            "get                         1.0M      0.50       1.0       4.1          0",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line} is not in\n{text}");
        }
        assert!(text.contains("    12345 KEYS xxx") && text.contains("     4.2k xxx"), "{text}");
        assert_eq!(text.matches("KEYS xxx").count(), LISTED, "{text}");
    }

    #[test]
    fn a_view_fills_its_screen_and_no_more() {
        // Titles and the header are always there.
        for (rows, lines) in [(0, 8), (8, 8), (9, 9), (24, 24), (50, 50), (200, 71)] {
            let text = shown(Some(rows));
            assert_eq!(text.lines().count(), lines, "{rows} rows:\n{text}");
        }
        let text = shown(Some(13));
        assert_eq!((text.matches("KEYS xxx").count(), text.matches("4.2k").count()), (1, 1), "{text}");
    }
}
