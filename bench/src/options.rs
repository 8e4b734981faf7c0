//! The command line of `torc-bench`, parsed into typed options. Touches neither sockets nor files.

use std::time::Duration;

use crate::template::Template;

pub(crate) const USAGE: &str = "\
usage: torc-bench load --port N [--host H] [--connections 50] [--pipeline 1]
                  (--seconds S | --requests N) [--keys 1000000] [--seed N]
                  --op WEIGHT COMMAND [--op WEIGHT COMMAND ...]
                  [--slow-us N] [--watch PID]
       torc-bench echo --port N --like COMMAND

COMMAND is one line of words separated by blanks. Inside a word:
  __rand_int__  12 digits, uniform in 0..keys      __zipf__  12 digits, Zipf (s = 0.99) in 0..keys
  __seq__       12 digits, 0, 1, 2, ... keys-1, 0  __ms__    4 digits, uniform in 1000..9999
A word `@64` is a value of 64 bytes.
--slow-us records every reply slower than N microseconds; --watch PID splits each such pause into what the
server's busiest thread spent waiting for its core, what this process did, and the rest.";

/// Upper bounds that keep a mistyped option from exhausting the machine.
const CONNECTIONS_MAX: usize = 10_000;
const PIPELINE_MAX: usize = 100_000;

pub(crate) enum Mode {
    Load(LoadOptions),
    Echo(EchoOptions),
}

pub(crate) struct LoadOptions {
    pub(crate) address: String,
    pub(crate) connections: usize,
    pub(crate) pipeline: usize,
    pub(crate) limit: Limit,
    pub(crate) keys: u64,
    pub(crate) seed: u64,
    /// (weight, request); at least one.
    pub(crate) operations: Vec<(u32, Template)>,
    pub(crate) slow: Option<Duration>,
    pub(crate) watch_pid: Option<u32>,
}

/// What ends a run: a time or a number of requests.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Limit {
    Time(Duration),
    Requests(u64),
}

pub(crate) struct EchoOptions {
    pub(crate) address: String,
    pub(crate) request_bytes: usize,
}

pub(crate) fn parse(arguments: &[String]) -> Result<Mode, String> {
    let (mode, rest) = arguments.split_first().ok_or("missing mode")?;
    match mode.as_str() {
        "load" => parse_load(rest).map(Mode::Load),
        "echo" => parse_echo(rest).map(Mode::Echo),
        other => Err(format!("unknown mode '{other}'")),
    }
}

fn parse_load(arguments: &[String]) -> Result<LoadOptions, String> {
    let mut host = "127.0.0.1".to_owned();
    let mut port: Option<u16> = None;
    let mut limit = None;
    let mut connections = 50;
    let mut pipeline = 1;
    let mut keys = 1_000_000;
    let mut seed = 1;
    let mut operations = Vec::new();
    let mut slow = None;
    let mut watch_pid = None;
    let mut words = arguments.iter();
    while let Some(flag) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{flag} needs a value"));
        match flag.as_str() {
            "--host" => host = value()?.clone(),
            "--port" => port = Some(number(flag, value()?)?),
            "--connections" => connections = number(flag, value()?)?,
            "--pipeline" => pipeline = number(flag, value()?)?,
            "--seconds" => limit = Some(Limit::Time(seconds(flag, value()?)?)),
            "--requests" => limit = Some(Limit::Requests(number(flag, value()?)?)),
            "--keys" => keys = number(flag, value()?)?,
            "--seed" => seed = number(flag, value()?)?,
            "--slow-us" => slow = Some(Duration::from_micros(number(flag, value()?)?)),
            "--watch" => watch_pid = Some(number(flag, value()?)?),
            "--op" => {
                let weight: u32 = number(flag, value()?)?;
                operations.push((weight, Template::parse(value()?)?));
            }
            other => return Err(format!("unknown option '{other}'")),
        }
    }
    if !(1..=CONNECTIONS_MAX).contains(&connections) || !(1..=PIPELINE_MAX).contains(&pipeline) {
        return Err(format!("connections must be 1..={CONNECTIONS_MAX}, pipeline 1..={PIPELINE_MAX}"));
    }
    if keys == 0 || keys > u64::from(u32::MAX) {
        return Err("keys must be 1..=4294967295".to_owned());
    }
    if operations.iter().map(|(weight, _)| u64::from(*weight)).sum::<u64>() == 0 {
        return Err("at least one --op with a weight above 0 is needed".to_owned());
    }
    Ok(LoadOptions {
        address: format!("{host}:{}", port.ok_or("--port is needed")?),
        connections,
        pipeline,
        limit: limit.ok_or("--seconds or --requests is needed")?,
        keys,
        seed,
        operations,
        slow,
        watch_pid,
    })
}

fn parse_echo(arguments: &[String]) -> Result<EchoOptions, String> {
    let mut port: Option<u16> = None;
    let mut request_bytes = None;
    let mut words = arguments.iter();
    while let Some(flag) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{flag} needs a value"));
        match flag.as_str() {
            "--port" => port = Some(number(flag, value()?)?),
            "--like" => request_bytes = Some(Template::parse(value()?)?.len()),
            other => return Err(format!("unknown option '{other}'")),
        }
    }
    Ok(EchoOptions {
        address: format!("127.0.0.1:{}", port.ok_or("--port is needed")?),
        request_bytes: request_bytes.ok_or("--like is needed")?,
    })
}

fn number<T: std::str::FromStr>(flag: &str, text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{flag}: '{text}' is not a valid number"))
}

fn seconds(flag: &str, text: &str) -> Result<Duration, String> {
    let seconds: f64 = number(flag, text)?;
    Duration::try_from_secs_f64(seconds).map_err(|_| format!("{flag}: '{text}' is not a valid time"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(line: &str) -> Result<LoadOptions, String> {
        let words: Vec<String> = line.split('|').map(str::to_owned).collect();
        parse_load(&words)
    }

    #[test]
    fn a_full_line_is_understood() {
        let options =
            load("--port|7000|--connections|8|--pipeline|16|--seconds|0.5|--op|9|GET a|--op|1|SET a @3");
        let options = options.expect("valid");
        assert_eq!(options.address, "127.0.0.1:7000");
        assert_eq!(options.limit, Limit::Time(Duration::from_millis(500)));
        assert_eq!(options.operations.len(), 2);
    }

    #[test]
    fn mistakes_are_named() {
        for (line, expected) in [
            ("--port|x|--requests|1|--op|1|GET a", "--port: 'x' is not a valid number"),
            ("--port|1|--requests|1", "at least one --op with a weight above 0 is needed"),
            ("--port|1|--op|1|GET a", "--seconds or --requests is needed"),
            ("--requests|1|--op|1|GET a", "--port is needed"),
            ("--port|1|--seconds|-1|--op|1|GET a", "--seconds: '-1' is not a valid time"),
            ("--port|1|--nope", "unknown option '--nope'"),
            ("--port", "--port needs a value"),
        ] {
            assert_eq!(load(line).err().as_deref(), Some(expected), "{line}");
        }
    }
}
