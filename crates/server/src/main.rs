//! The `torc` binary: arguments to configuration, configuration to a running server, and an exit code.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use torc_server::config::{self, Startup};
use torc_server::{log, run, tools};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let args: Vec<String> =
        std::env::args_os().skip(1).map(|arg| arg.to_string_lossy().into_owned()).collect();
    if let Some(code) = tools::run(&args) {
        return ExitCode::from(code);
    }
    // A variable that is not UTF-8 cannot be one of torc's.
    let env =
        std::env::vars_os().filter_map(|(name, value)| name.into_string().ok().zip(value.into_string().ok()));
    let loaded = match config::start(&args, env) {
        Ok(Startup::Serve(loaded)) => *loaded,
        Ok(Startup::Print { text, exit_code }) => {
            print!("{text}");
            return ExitCode::from(exit_code as u8);
        }
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let dir = loaded.config.dir();
    if let Err(error) = std::env::set_current_dir(&dir) {
        eprintln!("torc: cannot work in {}: {error}", dir.display());
        return ExitCode::FAILURE;
    }
    if let Err(error) = log::start(&loaded.config) {
        eprintln!("torc: {error}");
        return ExitCode::FAILURE;
    }
    for note in &loaded.notes {
        tracing::warn!("{note}");
    }
    end_on_panic();
    match run::run(loaded.config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            eprintln!("torc: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A broken invariant ends the process: a shard that lost its thread would leave the others waiting for it.
fn end_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        tracing::error!(%panic, "a broken invariant: torc stops");
        std::process::abort();
    }));
}
