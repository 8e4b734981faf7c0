//! How many cores and how much memory this process may use. Owns the reading of affinity and of cgroup v1 and v2
//! limits; decides nothing else.
//!
//! A limit of a cgroup holds for all groups below it, so the smallest one on the way up counts. In a container the
//! path of our group may not be visible; then the root of the mounted hierarchy is ours.

use std::fs;
use std::path::{Path, PathBuf};

use crate::sys;

/// CPU numbers this process may run on, ascending; never empty.
pub fn usable_cores() -> Vec<usize> {
    let mut cores = sys::affinity().unwrap_or_default();
    if cores.is_empty() {
        // More CPUs than a cpu_set_t holds, or a kernel without affinity.
        cores = (0..std::thread::available_parallelism().map_or(1, usize::from)).collect();
    }
    cores
}

/// How many shards to run: as many as there are usable cores, or as the CPU quota of the container pays for. A quota
/// is rounded down (2.5 CPUs carry two shards): a shard more would have all of them throttled under load.
pub fn auto_shards() -> usize {
    shards_for(usable_cores().len(), Cgroups::of_this_process().cpu_quota())
}

/// Whether `shards` shards should be bound to cores: only when this process has its cores for itself. Under a quota
/// smaller than the number of cores other containers run on the same ones, and the kernel balances better.
pub fn pin_by_default(shards: usize) -> bool {
    let cores = usable_cores().len();
    shards <= cores && Cgroups::of_this_process().cpu_quota().is_none_or(|quota| quota >= cores as f64)
}

/// The smallest memory limit of our cgroups; `None` when there is none below the physical memory.
pub fn memory_limit_bytes() -> Option<u64> {
    Cgroups::of_this_process().memory_limit_bytes().filter(|&limit| limit < physical_memory_bytes())
}

/// Memory of the machine.
pub fn physical_memory_bytes() -> u64 {
    sys::physical_memory_bytes()
}

fn shards_for(cores: usize, quota: Option<f64>) -> usize {
    let paid = quota.map_or(usize::MAX, |cpus| cpus as usize);
    cores.min(paid).max(1)
}

/// The cgroups of a process: the mounted hierarchies and the path of our group in each.
struct Cgroups {
    /// Where hierarchies are mounted, usually `/sys/fs/cgroup`.
    mount: PathBuf,
    /// The text of `/proc/self/cgroup`.
    membership: String,
}

impl Cgroups {
    fn of_this_process() -> Cgroups {
        Cgroups {
            mount: PathBuf::from("/sys/fs/cgroup"),
            membership: fs::read_to_string("/proc/self/cgroup").unwrap_or_default(),
        }
    }

    /// CPUs' worth of time per period.
    fn cpu_quota(&self) -> Option<f64> {
        let unified = self.groups("").filter_map(|group| quota_v2(&read(&group, "cpu.max")?));
        let legacy = self.groups("cpu").filter_map(|group| {
            quota_v1(&read(&group, "cpu.cfs_quota_us")?, &read(&group, "cpu.cfs_period_us")?)
        });
        unified.chain(legacy).min_by(f64::total_cmp)
    }

    fn memory_limit_bytes(&self) -> Option<u64> {
        let unified = self.groups("").filter_map(|group| limit_bytes(&read(&group, "memory.max")?));
        let legacy =
            self.groups("memory").filter_map(|group| limit_bytes(&read(&group, "memory.limit_in_bytes")?));
        unified.chain(legacy).min()
    }

    /// Directories of our group and of all groups above it, in the hierarchy of a controller (`""`: cgroup v2).
    fn groups(&self, controller: &str) -> impl Iterator<Item = PathBuf> {
        let path = self.membership.lines().find_map(|line| path_in(line, controller));
        let root = path.and_then(|_| self.roots(controller).into_iter().find(|root| root.is_dir()));
        let group = path.unwrap_or("/").trim_start_matches('/').to_owned();
        root.into_iter().flat_map(move |root| {
            Path::new(&group).ancestors().map(|above| root.join(above)).collect::<Vec<_>>()
        })
    }

    fn roots(&self, controller: &str) -> Vec<PathBuf> {
        match controller {
            // On hybrid systems v2 sits in a corner of its own.
            "" => vec![self.mount.join("unified"), self.mount.clone()],
            "cpu" => ["cpu", "cpu,cpuacct", "cpuacct,cpu"].map(|name| self.mount.join(name)).into(),
            name => vec![self.mount.join(name)],
        }
    }
}

/// The path in a line `hierarchy:controllers:path`, if the controller is among them (`""`: the v2 line `0::path`).
fn path_in<'a>(line: &'a str, controller: &str) -> Option<&'a str> {
    let mut fields = line.splitn(3, ':');
    let (hierarchy, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
    let is_ours = match controller {
        "" => hierarchy == "0" && controllers.is_empty(),
        name => controllers.split(',').any(|listed| listed == name),
    };
    is_ours.then_some(path)
}

fn read(group: &Path, file: &str) -> Option<String> {
    fs::read_to_string(group.join(file)).ok()
}

/// `cpu.max`: quota and period in microseconds, or `max` and period.
fn quota_v2(text: &str) -> Option<f64> {
    let (quota, period) = text.trim().split_once(' ')?;
    quota_v1(quota, period)
}

/// `cpu.cfs_quota_us` (-1: none) and `cpu.cfs_period_us`.
fn quota_v1(quota: &str, period: &str) -> Option<f64> {
    let quota: u64 = quota.trim().parse().ok()?;
    let period: u64 = period.trim().parse().ok()?;
    (quota > 0 && period > 0).then(|| quota as f64 / period as f64)
}

/// `memory.max` (`max`: none) or `memory.limit_in_bytes` (a huge number: none).
fn limit_bytes(text: &str) -> Option<u64> {
    const NO_LIMIT_V1: u64 = 1 << 62;
    text.trim().parse().ok().filter(|&limit| limit < NO_LIMIT_V1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// Name, text of `/proc/self/cgroup`, files, expected limit.
    type Case<L> = (&'static str, &'static str, &'static [(&'static str, &'static str)], Option<L>);

    /// A fake cgroup tree: files by path under the mount point.
    fn tree(membership: &str, files: &[(&str, &str)]) -> Cgroups {
        static TREES: AtomicU32 = AtomicU32::new(0);
        let number = TREES.fetch_add(1, Ordering::Relaxed);
        let mount = std::env::temp_dir().join(format!("torc-cgroup-{}-{number}", std::process::id()));
        fs::create_dir_all(&mount).unwrap();
        for (path, text) in files {
            let path = mount.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Cgroups { mount, membership: membership.to_owned() }
    }

    impl Drop for Cgroups {
        fn drop(&mut self) {
            if self.mount.starts_with(std::env::temp_dir()) {
                let _ = fs::remove_dir_all(&self.mount);
            }
        }
    }

    #[test]
    fn cpu_quotas() {
        const V1: &str = "4:memory:/docker/ab\n3:cpu,cpuacct:/docker/ab\n";
        let cases: &[Case<f64>] = &[
            ("no cgroups", "", &[], None),
            ("v2, none set", "0::/\n", &[("cgroup.procs", "")], None),
            ("v2, own root", "0::/\n", &[("cpu.max", "200000 100000\n")], Some(2.0)),
            ("v2, unlimited", "0::/\n", &[("cpu.max", "max 100000\n")], None),
            ("v2, half a core", "0::/\n", &[("cpu.max", "50000 100000\n")], Some(0.5)),
            (
                "v2, the smallest on the way up",
                "0::/kubepods/pod1/torc\n",
                &[
                    ("kubepods/cpu.max", "800000 100000"),
                    ("kubepods/pod1/cpu.max", "300000 100000"),
                    ("kubepods/pod1/torc/cpu.max", "max 100000"),
                    ("kubepods/pod2/cpu.max", "100000 100000"),
                ],
                Some(3.0),
            ),
            ("v2, path of the host", "0::/kubepods/pod1\n", &[("cpu.max", "400000 100000")], Some(4.0)),
            (
                "v1",
                V1,
                &[
                    ("cpu,cpuacct/docker/ab/cpu.cfs_quota_us", "150000"),
                    ("cpu,cpuacct/docker/ab/cpu.cfs_period_us", "100000"),
                ],
                Some(1.5),
            ),
            (
                "v1, unlimited",
                V1,
                &[("cpu/docker/ab/cpu.cfs_quota_us", "-1"), ("cpu/docker/ab/cpu.cfs_period_us", "100000")],
                None,
            ),
            (
                "v1, nested",
                V1,
                &[
                    ("cpu/docker/cpu.cfs_quota_us", "250000"),
                    ("cpu/docker/cpu.cfs_period_us", "50000"),
                    ("cpu/docker/ab/cpu.cfs_quota_us", "-1"),
                    ("cpu/docker/ab/cpu.cfs_period_us", "50000"),
                ],
                Some(5.0),
            ),
            (
                "hybrid",
                "3:cpu:/a\n0::/a\n",
                &[
                    ("unified/a/cgroup.procs", ""),
                    ("cpu/a/cpu.cfs_quota_us", "100000"),
                    ("cpu/a/cpu.cfs_period_us", "100000"),
                ],
                Some(1.0),
            ),
            ("nonsense", "0::/\n", &[("cpu.max", "lots")], None),
        ];
        for (name, membership, files, expected) in cases {
            assert_eq!(tree(membership, files).cpu_quota(), *expected, "{name}");
        }
    }

    #[test]
    fn memory_limits() {
        let cases: &[Case<u64>] = &[
            ("none", "0::/\n", &[], None),
            ("v2", "0::/\n", &[("memory.max", "1073741824\n")], Some(1 << 30)),
            ("v2, unlimited", "0::/\n", &[("memory.max", "max\n")], None),
            (
                "v2, nested",
                "0::/a/b\n",
                &[("a/memory.max", "1000000"), ("a/b/memory.max", "2000000")],
                Some(1_000_000),
            ),
            ("v1", "4:memory:/a\n", &[("memory/a/memory.limit_in_bytes", "4096000")], Some(4_096_000)),
            (
                "v1, unlimited",
                "4:memory:/\n",
                &[("memory/memory.limit_in_bytes", "9223372036854771712")],
                None,
            ),
        ];
        for (name, membership, files, expected) in cases {
            assert_eq!(tree(membership, files).memory_limit_bytes(), *expected, "{name}");
        }
    }

    #[test]
    fn shards_follow_cores_and_quota() {
        let cases = [
            (64, None, 64),
            (64, Some(2.0), 2),
            (64, Some(2.5), 2),
            (64, Some(0.5), 1),
            (2, Some(8.0), 2),
            (1, None, 1),
        ];
        for (cores, quota, expected) in cases {
            assert_eq!(shards_for(cores, quota), expected, "{cores} cores, quota {quota:?}");
        }
    }

    #[test]
    fn this_machine_has_cores_and_memory() {
        assert!(!usable_cores().is_empty() && usable_cores().is_sorted());
        assert!((1..=usable_cores().len()).contains(&auto_shards()));
        assert!(physical_memory_bytes() > 1 << 20);
        assert!(memory_limit_bytes().is_none_or(|limit| limit < physical_memory_bytes()));
    }
}
