//! `torc top`: a view of a running server that refreshes, 80 columns wide.
//!
//! Owns a connection, what is asked on it (INFO, SLOWLOG, HOTKEYS) and the layout. Talks to the server as any client does, so it
//! shows what the protocol shows.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use torc_resp::{Value, ValueReader, encode_command};

const HELP: &str = "Usage: torc top [OPTION]...

Shows what a running server does, and refreshes until it is interrupted.

  -h HOST        server (default 127.0.0.1)
  -p PORT        port (default 6379)
  -a PASSWORD    password; better in the environment variable TORC_PASSWORD
  -i SECONDS     time between views (default 1)
  -n COUNT       end after so many views
  --help         print this and exit
";

const WIDTH: usize = 80;
const COMMANDS_SHOWN: usize = 5;
const LINES_SHOWN: usize = 4;
const PATIENCE: Duration = Duration::from_secs(5);
/// Clears the screen and goes to its upper left corner.
const CLEAR: &str = "\x1b[2J\x1b[H";

#[derive(Debug, PartialEq)]
struct Options {
    host: String,
    port: u16,
    password: Option<String>,
    interval: Duration,
    count: Option<u64>,
}

pub(super) fn run(args: &[String]) -> u8 {
    if args.iter().any(|arg| arg == "--help") {
        print!("{HELP}");
        return 0;
    }
    let outcome = parse(args, std::env::var("TORC_PASSWORD").ok())
        .map_err(|problem| format!("{problem}\n{HELP}"))
        .and_then(|options| {
            watch(&options).map_err(|error| format!("{}:{}: {error}\n", options.host, options.port))
        });
    match outcome {
        Ok(()) => 0,
        Err(problem) => {
            eprint!("torc top: {problem}");
            1
        }
    }
}

fn parse(args: &[String], password: Option<String>) -> Result<Options, String> {
    let mut options = Options {
        host: "127.0.0.1".into(),
        port: 6379,
        password,
        interval: Duration::from_secs(1),
        count: None,
    };
    let mut args = args.iter();
    while let Some(name) = args.next() {
        let value = args.next().ok_or_else(|| format!("{name} needs a value"))?;
        let wrong = || format!("{name} cannot be {value}");
        match name.as_str() {
            "-h" => options.host = value.clone(),
            "-p" => options.port = value.parse().map_err(|_| wrong())?,
            "-a" => options.password = Some(value.clone()),
            "-n" => options.count = Some(value.parse().map_err(|_| wrong())?),
            "-i" => {
                let seconds: f64 = value.parse().map_err(|_| wrong())?;
                options.interval = Duration::try_from_secs_f64(seconds)
                    .ok()
                    .filter(|time| !time.is_zero())
                    .ok_or_else(wrong)?;
            }
            _ => return Err(format!("unknown option {name}")),
        }
    }
    Ok(options)
}

fn watch(options: &Options) -> io::Result<()> {
    let mut client = Client::connect(options)?;
    let place = format!("{}:{}", options.host, options.port);
    let mut before = client.sample()?;
    let mut shown = 0;
    while options.count.is_none_or(|count| shown < count) {
        thread::sleep(options.interval);
        let now = client.sample()?;
        let clear = if options.count == Some(1) { "" } else { CLEAR };
        let mut out = io::stdout().lock();
        out.write_all(format!("{clear}{}", view(&place, &before, &now)).as_bytes())?;
        out.flush()?;
        before = now;
        shown += 1;
    }
    Ok(())
}

struct Client {
    stream: TcpStream,
    replies: ValueReader,
}

impl Client {
    fn connect(options: &Options) -> io::Result<Client> {
        let stream = TcpStream::connect((options.host.as_str(), options.port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut client = Client { stream, replies: ValueReader::new() };
        if let Some(password) = &options.password {
            client.call(&["AUTH", password])?;
        }
        Ok(client)
    }

    fn call(&mut self, args: &[&str]) -> io::Result<Value> {
        let args: Vec<&[u8]> = args.iter().map(|arg| arg.as_bytes()).collect();
        let mut request = Vec::new();
        encode_command(&args, &mut request);
        self.stream.write_all(&request)?;
        let mut part = vec![0; 64 * 1024];
        loop {
            match self.replies.next_value() {
                Ok(Some(Value::Error(text))) => return Err(io::Error::other(text)),
                Ok(Some(value)) => return Ok(value),
                Ok(None) => {}
                Err(error) => return Err(io::Error::other(error.to_string())),
            }
            match self.stream.read(&mut part)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => self.replies.feed(&part[..count]),
            }
        }
    }

    fn sample(&mut self) -> io::Result<Sample> {
        let info = self.call(&["INFO", "everything"])?;
        let slow = self.call(&["SLOWLOG", "GET", "4"])?;
        // A server of another kind has no such command.
        let hot = self.call(&["HOTKEYS", "GET"]).unwrap_or(Value::NullArray);
        Ok(Sample {
            at: Instant::now(),
            fields: fields_of(&text_of(&info)),
            slow: slow.elements().unwrap_or_default().iter().filter_map(slow_entry).collect(),
            hot: hot.elements().unwrap_or_default().iter().filter_map(hot_entry).collect(),
        })
    }
}

/// What a server said of itself at one moment.
struct Sample {
    at: Instant,
    fields: HashMap<String, String>,
    /// Microseconds and arguments.
    slow: Vec<(i64, String)>,
    /// Uses per second and key.
    hot: Vec<(i64, String)>,
}

fn text_of(value: &Value) -> String {
    value.as_bytes().map_or_else(String::new, |bytes| bytes.escape_ascii().to_string())
}

fn fields_of(info: &str) -> HashMap<String, String> {
    let pairs = info.split("\\r\\n").filter_map(|line| line.split_once(':'));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn slow_entry(entry: &Value) -> Option<(i64, String)> {
    let entry = entry.elements()?;
    let args: Vec<String> = entry.get(3)?.elements()?.iter().map(text_of).collect();
    Some((entry.get(2)?.as_int()?, args.join(" ")))
}

fn hot_entry(entry: &Value) -> Option<(i64, String)> {
    let fields = entry.elements()?;
    Some((fields.get(5)?.as_int()?, format!("{} (db {})", text_of(fields.get(1)?), fields.get(3)?.as_int()?)))
}

impl Sample {
    fn text(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }

    fn number(&self, name: &str) -> f64 {
        self.text(name).parse().unwrap_or(0.0)
    }

    /// `part=value,…`
    fn part(&self, name: &str, part: &str) -> f64 {
        let parts = self.text(name).split(',').filter_map(|pair| pair.split_once('='));
        parts.filter(|(known, _)| *known == part).find_map(|(_, value)| value.parse().ok()).unwrap_or(0.0)
    }
}

/// One view of what happened between two samples.
fn view(place: &str, before: &Sample, now: &Sample) -> String {
    let seconds = now.at.duration_since(before.at).as_secs_f64().max(0.001);
    let rate = |name: &str| (now.number(name) - before.number(name)).max(0.0) / seconds;
    let part_rate =
        |name: &str, part: &str| (now.part(name, part) - before.part(name, part)).max(0.0) / seconds;
    let mut lines: Vec<String> = Vec::new();
    let shards = now.number("shards") as usize;
    let uptime = now.number("uptime_in_seconds") as u64;
    let (days, hours, minutes) = (uptime / 86_400, uptime / 3600 % 24, uptime / 60 % 60);
    lines.push(format!(
        "torc {}  {place}  up {days}d {hours:02}:{minutes:02}:{:02}  {shards} shards",
        now.text("torc_version"),
        uptime % 60
    ));
    let names: Vec<String> = (0..shards).map(|shard| format!("shard{shard}")).collect();
    let all = |part: &str| names.iter().map(|name| part_rate(name, part)).sum::<f64>();
    let (hits, misses) = (rate("keyspace_hits"), rate("keyspace_misses"));
    let percent = |part: f64, whole: f64| {
        if whole > 0.0 { format!("{:.1} %", part * 100.0 / whole) } else { "-".into() }
    };
    lines.push(format!(
        "ops/s {:<10} hits {:<8} forwarded {:<8} clients {} ({} blocked)",
        short(rate("total_commands_processed")),
        percent(hits, hits + misses),
        percent(all("forwarded"), all("commands")),
        now.text("connected_clients"),
        now.text("blocked_clients")
    ));
    let limit = now.number("maxmemory");
    lines.push(format!(
        "memory {}  resident {}  limit {}  in {}B/s  out {}B/s",
        now.text("used_memory_human"),
        now.text("used_memory_rss_human"),
        if limit > 0.0 { now.text("maxmemory_human") } else { "none" },
        short(rate("total_net_input_bytes")),
        short(rate("total_net_output_bytes"))
    ));
    lines.push(String::new());
    lines.push("shard    load   ops/s    keys  memory  fwd/s  batch  turns/s  clients".into());
    for (shard, name) in names.iter().enumerate() {
        let batches = part_rate(name, "batches");
        let batch = if batches > 0.0 { part_rate(name, "forwarded") / batches } else { 0.0 };
        lines.push(format!(
            "{shard:>5} {:>5.1} % {:>7} {:>7} {:>7} {:>6} {batch:>6.1} {:>8} {:>8}",
            part_rate(name, "cpu_ms") / 10.0,
            short(part_rate(name, "commands")),
            short(now.part(name, "keys")),
            short(now.part(name, "bytes")),
            short(part_rate(name, "forwarded")),
            short(part_rate(name, "turns")),
            short(now.part(name, "clients")),
        ));
    }
    lines.push(String::new());
    lines.push("command                  calls/s   us/call       p50       p99   failed/s".into());
    let mut commands: Vec<(&str, f64)> = now
        .fields
        .keys()
        .filter_map(|name| Some((name.strip_prefix("cmdstat_")?, part_rate(name, "calls"))))
        .filter(|(_, calls)| *calls > 0.0)
        .collect();
    commands.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(b.0)));
    for (command, calls) in commands.into_iter().take(COMMANDS_SHOWN) {
        let stats = format!("cmdstat_{command}");
        let latency = format!("latency_percentiles_usec_{command}");
        lines.push(format!(
            "{command:<22} {:>9} {:>9.2} {:>9.1} {:>9.1} {:>10}",
            short(calls),
            part_rate(&stats, "usec") / calls,
            now.part(&latency, "p50"),
            now.part(&latency, "p99"),
            short(part_rate(&stats, "failed_calls")),
        ));
    }
    lines.push(String::new());
    lines.push("hot keys (uses per second)".into());
    lines.extend(
        now.hot.iter().take(LINES_SHOWN).map(|(uses, key)| format!("{:>9} {key}", short(*uses as f64))),
    );
    lines.push("slow commands (microseconds)".into());
    lines.extend(now.slow.iter().take(LINES_SHOWN).map(|(us, command)| format!("{us:>9} {command}")));
    let mut text = String::new();
    for line in lines {
        let shown: String = line.chars().take(WIDTH).collect();
        let _ = writeln!(text, "{}", shown.trim_end());
    }
    text
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
            slow: vec![(12_345, format!("KEYS {long}"))],
            hot: vec![(4_200, format!("{long} (db 0)"))],
        }
    }

    #[test]
    fn a_view_fits_80_columns() {
        let start = Instant::now();
        let text = view("localhost:6379", &sample(start, 0), &sample(start + Duration::from_secs(1), 1));
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
    }

    #[test]
    fn options_are_read() {
        let words = |line: &str| -> Vec<String> { line.split_whitespace().map(str::to_owned).collect() };
        let options = parse(&words("-h db -p 7000 -i 0.5 -n 3"), Some("pw".into())).unwrap();
        assert_eq!((options.host.as_str(), options.port, options.count), ("db", 7000, Some(3)));
        assert_eq!(options.interval, Duration::from_millis(500));
        assert_eq!(options.password.as_deref(), Some("pw"));
        for line in ["-p x", "-p", "-i 0", "-i -1", "--what 1"] {
            assert!(parse(&words(line), None).is_err(), "{line}");
        }
    }
}
