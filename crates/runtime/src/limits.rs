//! Resource limits of the process: open files and locked memory. Never lowers a limit.

use std::io;
use std::thread;
use std::time::Duration;

use crate::sys;

/// Descriptors this server needs besides its clients' sockets: rings, event counters, listeners, logs, files.
pub const RESERVED_FILES: u64 = 32;

/// Descriptors every shard needs: its socket ring, the rings of its executor, event counters, listeners.
pub const FILES_PER_SHARD: u64 = 16;

/// The kernel returns locked memory of a process that has just ended with some delay: how often and how far apart
/// taking some is tried again.
const MEMORY_RETRIES: u32 = 20;
const MEMORY_RETRY_PAUSE: Duration = Duration::from_millis(50);

/// Raises the limit of open files so that `clients` connections fit on `shards` shards, as far as the process may,
/// and returns how many connections fit. The hard limit is raised too where the process is privileged to.
pub fn raise_open_files(clients: u64, shards: u64) -> io::Result<u64> {
    let reserved = RESERVED_FILES + shards * FILES_PER_SHARD;
    let needed = clients + reserved;
    let (soft, hard) = sys::limit(libc::RLIMIT_NOFILE)?;
    if soft >= needed {
        return Ok(clients);
    }
    let raised = if hard >= needed || sys::set_limit(libc::RLIMIT_NOFILE, needed, needed).is_err() {
        let target = needed.min(hard);
        sys::set_limit(libc::RLIMIT_NOFILE, target, hard)?;
        target
    } else {
        needed
    };
    Ok(raised.saturating_sub(reserved).min(clients))
}

/// How many descriptors the process may have open.
pub fn open_files_max() -> io::Result<u64> {
    Ok(sys::limit(libc::RLIMIT_NOFILE)?.0)
}

/// Raises the soft limit of locked memory to the hard one and returns it in bytes (`u64::MAX` is unlimited).
/// Rings count as locked memory on kernels before 5.12 and since 6.14, and registered buffers on all, unless the process
/// has CAP_IPC_LOCK.
pub fn raise_locked_memory() -> io::Result<u64> {
    let (soft, hard) = sys::limit(libc::RLIMIT_MEMLOCK)?;
    if soft < hard {
        sys::set_limit(libc::RLIMIT_MEMLOCK, hard, hard)?;
    }
    Ok(hard)
}

/// Makes something that takes locked memory; where there is none, again and again for a second.
pub(crate) fn retry_locked_memory<T>(mut make: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    for _ in 0..MEMORY_RETRIES {
        match make() {
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) => thread::sleep(MEMORY_RETRY_PAUSE),
            made => return made,
        }
    }
    make().map_err(|error| match error.raw_os_error() {
        Some(libc::ENOMEM) => io::Error::new(
            io::ErrorKind::OutOfMemory,
            "no locked memory left (RLIMIT_MEMLOCK); raise the limit or use fewer shards",
        ),
        _ => error,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_files_always_fit() {
        assert_eq!(raise_open_files(10, 1).unwrap(), 10);
    }

    #[test]
    fn locked_memory_reports_the_hard_limit() {
        let (_, hard) = sys::limit(libc::RLIMIT_MEMLOCK).unwrap();
        assert_eq!(raise_locked_memory().unwrap(), hard);
        assert_eq!(sys::limit(libc::RLIMIT_MEMLOCK).unwrap().0, hard);
    }
}
