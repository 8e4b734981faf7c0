//! `process_*`: what every Prometheus client library tells of its process, so that rules for all services hold for torc too.
//!
//! Owns those names and the reading of `/proc/self` for them. Figures that only a cache has are in `process` and `shards`.

use std::fs;

use torc_runtime::{CpuTimesOf, cpu_times, limits};

use crate::memory::ProcessBytes;
use crate::process::ProcessInfo;

use super::page::Page;

pub(super) fn write(page: &mut Page, process: &ProcessInfo, bytes: &ProcessBytes) {
    page.counter(
        "process_cpu_seconds_total",
        "CPU time in and outside of the kernel.",
        cpu_times(CpuTimesOf::Process).total().as_secs_f64(),
    );
    page.gauge(
        "process_start_time_seconds",
        "Unix time of the start.",
        format_args!("{:.3}", process.started_ms as f64 / 1000.0),
    );
    page.gauge("process_resident_memory_bytes", "Resident set.", bytes.resident);
    page.gauge("process_virtual_memory_bytes", "Address space in use.", bytes.address_space);
    page.gauge("process_open_fds", "Open files, sockets and rings.", open_files());
    if let Ok(max) = limits::open_files_max() {
        page.gauge("process_max_fds", "How many may be open.", max);
    }
}

/// Open descriptors. Newer kernels (6.2) tell their number as the folder's size; others have to be asked for each.
fn open_files() -> u64 {
    const FOLDER: &str = "/proc/self/fd";
    match fs::metadata(FOLDER).map(|folder| folder.len()) {
        Ok(0) => fs::read_dir(FOLDER).map_or(0, |files| files.count() as u64),
        Ok(files) => files,
        Err(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_file_is_counted() {
        let before = open_files();
        let files: Vec<fs::File> =
            (0..50).map(|_| fs::File::open("/proc/self/stat").expect("it is there")).collect();
        // Other tests open and close theirs meanwhile.
        assert!(open_files() + 20 > before + files.len() as u64);
    }
}
