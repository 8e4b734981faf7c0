//! Whether this kernel, container and user let us run: asked once, before glommio, which panics where we would
//! rather tell.
//!
//! Owns the list of what is needed and the words for what is missing. Never panics. What a kernel can do is tried
//! out on small rings, not read from its version: distributions backport and containers forbid.

use std::{fmt, fs, io};

use io_uring::{IoUring, Probe, opcode};

use crate::limits;
use crate::net::trial;

/// Glommio refuses to start below this soft limit of locked memory.
pub const LOCKED_MEMORY_BYTES_MIN: u64 = 512 * 1024;

/// What the socket ring may use on this kernel. Without any of it the ring still works, with more system calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// A batch goes on after an operation that fails at once (5.18).
    pub submit_all: bool,
    /// Completions do not interrupt the thread (5.19).
    pub coop_taskrun: bool,
    /// Completions run only when the ring is entered (6.1).
    pub defer_taskrun: bool,
    /// One operation accepts many connections (5.19).
    pub multishot_accept: bool,
    /// One operation receives many times (6.0).
    pub multishot_recv: bool,
    /// A ring of provided buffers (5.19).
    pub buffer_ring: bool,
    /// Posting into another ring (5.18).
    pub msg_ring: bool,
}

/// Why this process cannot run on io_uring. Displays as one line: the cause and the mend.
#[derive(Debug)]
pub enum ProbeFailure {
    /// `io_uring_setup`, `io_uring_enter` or `io_uring_register` is forbidden although the kernel has it.
    Blocked { call: &'static str, error: io::Error },
    /// `kernel.io_uring_disabled` forbids it.
    Disabled { value: u8 },
    /// The limit of locked memory is too low; in bytes.
    LockedMemory { limit: u64 },
    /// Locked memory is used up (by other rings of the same user).
    LockedMemoryUsedUp,
    /// The kernel lacks something.
    KernelTooOld { release: String, missing: String },
    /// Anything else.
    Other { call: &'static str, error: io::Error },
}

impl fmt::Display for ProbeFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProbeFailure::Blocked { call, error } => write!(
                f,
                "io_uring is blocked: {call} answers \"{error}\", most likely by the seccomp profile of the container; \
                 allow io_uring_setup, io_uring_enter and io_uring_register in the profile"
            ),
            ProbeFailure::Disabled { value: 1 } => write!(
                f,
                "io_uring is reserved for a group: sysctl kernel.io_uring_disabled is 1; set it to 0, or add this \
                 user to the group of sysctl kernel.io_uring_group"
            ),
            ProbeFailure::Disabled { value } => {
                write!(f, "io_uring is switched off: sysctl kernel.io_uring_disabled is {value}; set it to 0")
            }
            ProbeFailure::LockedMemory { limit } => write!(
                f,
                "the limit of locked memory is too low: {} KiB of the {} KiB needed; raise RLIMIT_MEMLOCK (ulimit -l, \
                 LimitMEMLOCK= of systemd, --ulimit memlock= of docker)",
                limit / 1024,
                LOCKED_MEMORY_BYTES_MIN / 1024
            ),
            ProbeFailure::LockedMemoryUsedUp => write!(
                f,
                "no locked memory left for io_uring: other processes of this user hold it; raise RLIMIT_MEMLOCK \
                 (ulimit -l, LimitMEMLOCK= of systemd, --ulimit memlock= of docker)"
            ),
            ProbeFailure::KernelTooOld { release, missing } => write!(
                f,
                "the kernel {release} is too old: its io_uring lacks {missing}; run Linux 5.15 or newer (6.1 for full \
                 speed)"
            ),
            ProbeFailure::Other { call, error } => write!(
                f,
                "io_uring does not work: {call} answers \"{error}\"; check the limits of open files and memory"
            ),
        }
    }
}

impl std::error::Error for ProbeFailure {}

/// Finds out whether io_uring can be used and what it can do. Raises the soft limit of locked memory to the hard one.
/// Takes well under a millisecond.
pub fn probe() -> Result<Capabilities, ProbeFailure> {
    check_locked_memory()?;
    check_ring()?;
    Ok(try_capabilities())
}

fn check_locked_memory() -> Result<(), ProbeFailure> {
    let limit = limits::raise_locked_memory()
        .map_err(|error| ProbeFailure::Other { call: "setrlimit(RLIMIT_MEMLOCK)", error })?;
    if limit < LOCKED_MEMORY_BYTES_MIN { Err(ProbeFailure::LockedMemory { limit }) } else { Ok(()) }
}

/// A plain ring can be made, asked, entered; it knows all operations that glommio and the socket ring build on; and
/// a polling ring, of which glommio makes one per executor, can be made.
fn check_ring() -> Result<(), ProbeFailure> {
    const ENTRIES: u32 = 8;
    let ring = limits::retry_locked_memory(|| IoUring::new(ENTRIES)).map_err(setup_failure)?;
    let mut operations = Probe::new();
    ring.submitter()
        .register_probe(&mut operations)
        .map_err(|error| call_failure("io_uring_register", error))?;
    let missing: Vec<&str> = NEEDED_OPERATIONS
        .iter()
        .filter(|(_, code)| !operations.is_supported(*code))
        .map(|(name, _)| *name)
        .collect();
    if !missing.is_empty() {
        return Err(too_old(&missing.join(", ")));
    }
    let parameters = ring.params();
    let features = [
        ("completions that are never dropped", parameters.is_feature_nodrop()),
        ("polled sockets", parameters.is_feature_fast_poll()),
        ("timed waits", parameters.is_feature_ext_arg()),
    ];
    if let Some((name, _)) = features.iter().find(|(_, present)| !present) {
        return Err(too_old(name));
    }
    ring.submit().map_err(|error| call_failure("io_uring_enter", error))?;
    let polling = || IoUring::<io_uring::squeue::Entry>::builder().setup_iopoll().build(ENTRIES);
    limits::retry_locked_memory(polling).map_err(setup_failure)?;
    Ok(())
}

/// What glommio 0.9 checks for (it ends the process when one is missing), and what `net` uses on every kernel.
const NEEDED_OPERATIONS: &[(&str, u8)] = &[
    ("NOP", opcode::Nop::CODE),
    ("READV", opcode::Readv::CODE),
    ("WRITEV", opcode::Writev::CODE),
    ("FSYNC", opcode::Fsync::CODE),
    ("READ_FIXED", opcode::ReadFixed::CODE),
    ("WRITE_FIXED", opcode::WriteFixed::CODE),
    ("POLL_ADD", opcode::PollAdd::CODE),
    ("POLL_REMOVE", opcode::PollRemove::CODE),
    ("SENDMSG", opcode::SendMsg::CODE),
    ("RECVMSG", opcode::RecvMsg::CODE),
    ("TIMEOUT", opcode::Timeout::CODE),
    ("TIMEOUT_REMOVE", opcode::TimeoutRemove::CODE),
    ("ACCEPT", opcode::Accept::CODE),
    ("LINK_TIMEOUT", opcode::LinkTimeout::CODE),
    ("CONNECT", opcode::Connect::CODE),
    ("FALLOCATE", opcode::Fallocate::CODE),
    ("OPENAT", opcode::OpenAt::CODE),
    ("CLOSE", opcode::Close::CODE),
    ("STATX", opcode::Statx::CODE),
    ("READ", opcode::Read::CODE),
    ("WRITE", opcode::Write::CODE),
    ("SEND", opcode::Send::CODE),
    ("RECV", opcode::Recv::CODE),
    ("ASYNC_CANCEL", opcode::AsyncCancel::CODE),
];

fn try_capabilities() -> Capabilities {
    let mut found = Capabilities::default();
    let attempts: [fn(&mut Capabilities); 3] = [
        |tried| tried.submit_all = true,
        |tried| tried.coop_taskrun = true,
        |tried| tried.defer_taskrun = true,
    ];
    for attempt in attempts {
        let mut tried = found;
        attempt(&mut tried);
        if trial::ring_works(&tried) {
            found = tried;
        }
    }
    found.multishot_accept = trial::multishot_accept(&found);
    found.buffer_ring = trial::buffer_ring(&found);
    found.multishot_recv = found.buffer_ring && trial::multishot_recv(&found);
    found.msg_ring = trial::msg_ring(&found);
    found
}

fn setup_failure(error: io::Error) -> ProbeFailure {
    match error.raw_os_error() {
        Some(libc::EPERM) => match sysctl("/proc/sys/kernel/io_uring_disabled") {
            Some(value) if value > 0 => ProbeFailure::Disabled { value },
            _ => ProbeFailure::Blocked { call: "io_uring_setup", error },
        },
        _ if error.kind() == io::ErrorKind::OutOfMemory => ProbeFailure::LockedMemoryUsedUp,
        Some(libc::EINVAL) => too_old("a set-up flag"),
        _ => call_failure("io_uring_setup", error),
    }
}

fn call_failure(call: &'static str, error: io::Error) -> ProbeFailure {
    match error.raw_os_error() {
        // Every kernel since 5.1 has the calls; a newer one that lacks them has a filter (or was built without).
        Some(libc::ENOSYS) if kernel_version() < (5, 1) => too_old("everything"),
        Some(libc::EPERM | libc::EACCES | libc::ENOSYS) => ProbeFailure::Blocked { call, error },
        _ => ProbeFailure::Other { call, error },
    }
}

fn too_old(missing: &str) -> ProbeFailure {
    ProbeFailure::KernelTooOld { release: kernel_release(), missing: missing.to_owned() }
}

fn sysctl(path: &str) -> Option<u8> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// As `uname -r` tells it.
pub fn kernel_release() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease")
        .map_or("unknown".to_owned(), |text| text.trim().to_owned())
}

fn kernel_version() -> (u32, u32) {
    parse_version(&kernel_release())
}

/// Major and minor number of a release like `6.1.0-13-amd64`; 0 for what is no number.
fn parse_version(release: &str) -> (u32, u32) {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|digits| digits.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        let cases =
            [("6.1.0-13-amd64", (6, 1)), ("5.15.153.1-microsoft", (5, 15)), ("7", (7, 0)), ("odd", (0, 0))];
        for (release, expected) in cases {
            assert_eq!(parse_version(release), expected, "{release}");
        }
    }

    #[test]
    fn every_failure_is_one_line_with_a_mend() {
        let error = || io::Error::from_raw_os_error(libc::EPERM);
        let cases = [
            (ProbeFailure::Blocked { call: "io_uring_setup", error: error() }, "seccomp profile"),
            (ProbeFailure::Disabled { value: 1 }, "kernel.io_uring_group"),
            (ProbeFailure::Disabled { value: 2 }, "kernel.io_uring_disabled is 2; set it to 0"),
            (
                ProbeFailure::LockedMemory { limit: 65536 },
                "64 KiB of the 512 KiB needed; raise RLIMIT_MEMLOCK",
            ),
            (ProbeFailure::LockedMemoryUsedUp, "raise RLIMIT_MEMLOCK"),
            (too_old("SEND"), "lacks SEND; run Linux 5.15 or newer"),
            (ProbeFailure::Other { call: "io_uring_setup", error: error() }, "open files"),
        ];
        for (failure, expected) in cases {
            let text = failure.to_string();
            assert!(text.contains(expected) && !text.contains('\n'), "{text}");
        }
    }

    #[test]
    fn a_new_kernel_can_do_everything() {
        if kernel_version() < (6, 1) {
            eprintln!("skipped: kernel {}", kernel_release());
            return;
        }
        let found = probe().expect("io_uring works where the tests run");
        let expected = Capabilities {
            submit_all: true,
            coop_taskrun: true,
            defer_taskrun: true,
            multishot_accept: true,
            multishot_recv: true,
            buffer_ring: true,
            msg_ring: true,
        };
        assert_eq!(found, expected);
    }
}
