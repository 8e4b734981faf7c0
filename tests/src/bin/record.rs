//! `record FILE…`: fills in the replies of transcripts from the reference server (`REFERENCE_SERVER`, or redis-server).
//!
//! A file is a transcript with or without replies; it is rewritten in place.

use std::process::ExitCode;

use torc_tests::transcript::{Transcript, record};
use torc_tests::{Launch, reference};

fn main() -> ExitCode {
    let Some(kind) = reference() else {
        eprintln!("no reference: redis-server is not installed and REFERENCE_SERVER names none");
        return ExitCode::FAILURE;
    };
    let launch = Launch::of(kind);
    for path in std::env::args().skip(1) {
        let recorded = std::fs::read_to_string(&path)
            .map_err(|error| error.to_string())
            .and_then(|text| Transcript::parse(&path, &text))
            .and_then(|transcript| record(&transcript, &launch).map_err(|error| error.to_string()))
            .and_then(|text| std::fs::write(&path, text).map_err(|error| error.to_string()));
        match recorded {
            Ok(()) => println!("{path}"),
            Err(error) => {
                eprintln!("{path}: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}
