//! The memory of this process, as the allocator and the kernel count it.
//!
//! Owns the reading of jemalloc's statistics and of the resident set, and the highest figure seen. Where jemalloc is not
//! the allocator (tests of the library) its figures are near zero. Never allocates on behalf of anybody.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use tikv_jemalloc_ctl::{Access, AsName, Mib, arenas, background_thread, epoch, stats, stats_print, thread};

/// Figures of one moment, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryFigures {
    /// Handed out to the program.
    pub allocated: usize,
    /// Pages with allocations in them.
    pub active: usize,
    /// Pages of the allocator that are in memory.
    pub resident: usize,
    /// Resident set of the process, as the kernel counts it.
    pub rss: usize,
}

/// The highest figure seen, and the one at the start.
#[derive(Debug)]
pub struct MemoryWatch {
    startup: AtomicUsize,
    peak: AtomicUsize,
}

impl MemoryWatch {
    /// What the server takes for itself up to this does not count as used, so that `maxmemory` is there for keys and
    /// clients, whatever the number of shards.
    const EXEMPT_MAX: usize = 32 << 20;

    pub fn new() -> MemoryWatch {
        let now = allocated();
        MemoryWatch { startup: AtomicUsize::new(now), peak: AtomicUsize::new(now) }
    }

    /// Memory in use when the server was ready.
    pub fn startup(&self) -> usize {
        self.startup.load(Ordering::Relaxed)
    }

    /// The part of that which does not count as used.
    pub fn exempt(&self) -> usize {
        self.startup().min(MemoryWatch::EXEMPT_MAX)
    }

    /// A shard is about to begin: what its thread has taken belongs to the server.
    pub fn note_shard_startup(&self) {
        let read = |bytes: tikv_jemalloc_ctl::Result<u64>| bytes.unwrap_or(0) as usize;
        let allocated = read(thread::allocatedp::read().map(|bytes| bytes.get()));
        let freed = read(thread::deallocatedp::read().map(|bytes| bytes.get()));
        self.startup.fetch_add(allocated.saturating_sub(freed), Ordering::Relaxed);
    }

    /// The highest figure seen so far, at samples taken on every tick.
    pub fn peak(&self) -> usize {
        self.peak.load(Ordering::Relaxed)
    }

    pub fn note_peak(&self) {
        self.peak.fetch_max(allocated(), Ordering::Relaxed);
    }
}

impl Default for MemoryWatch {
    fn default() -> Self {
        MemoryWatch::new()
    }
}

/// Bytes handed out to the program.
pub fn allocated() -> usize {
    let _ = epoch::advance();
    stats::allocated::read().unwrap_or(0)
}

pub fn figures() -> MemoryFigures {
    MemoryFigures { rss: process_bytes().resident, ..allocator_figures() }
}

/// The same without the kernel's figure.
pub fn allocator_figures() -> MemoryFigures {
    let _ = epoch::advance();
    last_allocator_figures()
}

/// The same as somebody has asked for it last; the allocator adds nothing up.
pub fn last_allocator_figures() -> MemoryFigures {
    MemoryFigures {
        allocated: stats::allocated::read().unwrap_or(0),
        active: stats::active::read().unwrap_or(0),
        resident: stats::resident::read().unwrap_or(0),
        rss: 0,
    }
}

/// What the process takes, as the kernel counts.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessBytes {
    /// Most of it is no memory.
    pub address_space: usize,
    pub resident: usize,
}

pub fn process_bytes() -> ProcessBytes {
    const PAGE_BYTES: usize = 4096;
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let mut bytes =
        statm.split(' ').map(|pages| pages.parse::<usize>().map_or(0, |pages| pages * PAGE_BYTES));
    let (address_space, resident) = (bytes.next().unwrap_or(0), bytes.next().unwrap_or(0));
    ProcessBytes { address_space, resident }
}

/// Memory of the machine.
pub fn system_bytes() -> usize {
    static SYSTEM: OnceLock<usize> = OnceLock::new();
    *SYSTEM.get_or_init(|| {
        let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
        let kib = total.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<usize>().ok());
        kib.unwrap_or(0) * 1024
    })
}

/// Memory that this process may use: that of the machine, or less if a control group says so.
pub fn available_bytes() -> usize {
    static AVAILABLE: OnceLock<usize> = OnceLock::new();
    *AVAILABLE.get_or_init(|| {
        let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let limits = group_limit_files(&groups).into_iter().filter_map(|file| {
            // A group without a limit says `max`, or a number beyond all memory.
            std::fs::read_to_string(file).ok()?.trim().parse::<usize>().ok()
        });
        limits.chain([system_bytes()]).min().unwrap_or(0)
    })
}

/// Files that hold limits of memory, by what `/proc/self/cgroup` says: of both versions of control groups, for the
/// group itself and all that it is in. Inside a container the path may lead nowhere, but the root is the group.
fn group_limit_files(groups: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let (root, file) = if controllers.is_empty() {
            ("/sys/fs/cgroup", "memory.max")
        } else if controllers.split(',').any(|name| name == "memory") {
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
        } else {
            continue;
        };
        let path = Path::new(path.trim_start_matches('/'));
        files.extend(path.ancestors().map(|folder| Path::new(root).join(folder).join(file)));
    }
    files
}

/// `jemalloc-5.3.0`
pub fn allocator_name() -> String {
    let version = tikv_jemalloc_ctl::version::read().unwrap_or("");
    format!("jemalloc-{}", version.split('-').next().unwrap_or(""))
}

/// The allocator's own report.
pub fn report() -> Vec<u8> {
    let mut text = Vec::new();
    // Writing into a Vec cannot fail.
    let _ = stats_print::stats_print(&mut text, stats_print::Options::default());
    text
}

/// Whether a thread of the allocator gives unused pages back to the kernel, when they have been unused for some seconds;
/// otherwise whoever allocates or frees does it, many pages at once.
pub fn purge_in_background(on: bool) {
    if let Err(error) = background_thread::write(on) {
        tracing::warn!(%error, on, "the allocator refuses to change its thread");
    }
}

/// Give unused pages of all arenas back to the kernel. Takes a while when there are many.
pub fn purge() {
    for name in [DIRTY_DECAY_MS, "arena.0.muzzy_decay_ms\0"] {
        // A decay time of zero purges at once.
        set_in_arenas(name, |key| {
            let before = Access::<isize>::update(key, 0)?;
            Access::<isize>::write(key, before)
        });
    }
}

const DIRTY_DECAY_MS: &str = "arena.0.dirty_decay_ms\0";

/// Whether the allocator gives unused pages back soon, or keeps them for seconds, in case they are needed again.
pub fn give_pages_back_soon(soon: bool) {
    const SOON_MS: isize = 100;
    let kept_ms = || Access::<isize>::read("opt.dirty_decay_ms\0".name());
    let Ok(ms) = (if soon { Ok(SOON_MS) } else { kept_ms() }) else { return };
    set_in_arenas(DIRTY_DECAY_MS, |key| Access::<isize>::write(key, ms));
}

/// Arenas that were never used refuse, and have nothing to give.
fn set_in_arenas(name: &str, set: impl Fn(&Mib<[usize; 3]>) -> tikv_jemalloc_ctl::Result<()>) {
    let Ok(mut key) = name.name().mib::<[usize; 3]>() else { return };
    for arena in 0..arenas::narenas::read().unwrap_or(0) as usize {
        key[1] = arena;
        let _ = set(&key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_control_groups_are_found() {
        let files = |groups: &str| -> Vec<String> {
            group_limit_files(groups).iter().map(|file| file.display().to_string()).collect()
        };
        assert_eq!(
            files("0::/a/b\n"),
            ["/sys/fs/cgroup/a/b/memory.max", "/sys/fs/cgroup/a/memory.max", "/sys/fs/cgroup/memory.max"]
        );
        assert_eq!(
            files("5:cpu,cpuacct:/x\n3:memory:/x\n"),
            ["/sys/fs/cgroup/memory/x/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]
        );
        assert!(files("nonsense").is_empty());
        assert!((1..=system_bytes()).contains(&available_bytes()));
    }

    #[test]
    fn the_kernel_knows_this_process() {
        assert!(figures().rss > 0);
        assert!(system_bytes() > figures().rss);
        assert!(allocator_name().starts_with("jemalloc-5."));
        purge();
        give_pages_back_soon(true);
        give_pages_back_soon(false);
        purge_in_background(true);
        purge_in_background(false);
    }
}
