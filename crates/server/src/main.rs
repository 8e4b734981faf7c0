//! The `torc` binary: arguments to configuration, configuration to a running server, and an exit code.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use torc_server::config::{self, Startup};
use torc_server::{log, run};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let loaded = match config::start(&args, std::env::vars()) {
        Ok(Startup::Serve(loaded)) => *loaded,
        Ok(Startup::Print { text, exit_code }) => {
            print!("{text}");
            return ExitCode::from(exit_code as u8);
        }
        Err(error) => {
            eprint!("{error}");
            return ExitCode::FAILURE;
        }
    };
    if let Err(error) = log::start(&loaded.config) {
        eprintln!("torc: {error}");
        return ExitCode::FAILURE;
    }
    for note in &loaded.notes {
        tracing::warn!("{note}");
    }
    match run::run(loaded.config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            eprintln!("torc: {error}");
            ExitCode::FAILURE
        }
    }
}
