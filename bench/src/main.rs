//! `torc-bench`: a light load generator for what `redis-benchmark` cannot express (mixes, Zipf, expiry,
//! reply pauses), and an echo control. One thread, one epoll; the result is one JSON object on stdout.
//!
//! It never starts a server, pins a core or compares anything: `bench/compare` does.

#![forbid(unsafe_code)]

mod echo;
mod histogram;
mod load;
mod options;
mod pauses;
mod random;
mod replies;
mod template;

use std::io::{self, Write as _};
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match options::parse(&arguments) {
        Ok(options::Mode::Load(options)) => {
            load::run(&options).and_then(|report| writeln!(io::stdout(), "{}", report.to_json()))
        }
        Ok(options::Mode::Echo(options)) => echo::run(&options),
        Err(message) => {
            eprintln!("torc-bench: {message}\n\n{}", options::USAGE);
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("torc-bench: {error}");
            ExitCode::FAILURE
        }
    }
}
