//! One glommio executor per shard, each on its own thread. Owns threads and their placement; what a shard does is the
//! body it is given.

use std::fs;
use std::future::Future;
use std::io;
use std::os::fd::RawFd;
use std::path::Path;
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use glommio::{LocalExecutor, LocalExecutorBuilder, Placement};

use crate::limits::retry_locked_memory;
use crate::mesh::{Mesh, MeshEnd};
use crate::sys;

/// Memory each executor sets aside for direct file I/O of its own, which nobody uses: glommio's minimum.
pub const EXECUTOR_IO_MEMORY_BYTES: usize = 64 * 1024;

/// Where the shards run.
#[derive(Clone, Debug)]
pub struct ExecutorConfig {
    /// Bind shard `i` to `cores[i]`, provided that there are as many cores; otherwise the kernel schedules them.
    pub pin: bool,
    /// CPU numbers, see [`crate::cpus::usable_cores`].
    pub cores: Vec<usize>,
}

/// What one shard is given.
pub struct Seat<P> {
    pub shard: usize,
    pub shards: usize,
    /// The CPU this thread is bound to.
    pub core: Option<usize>,
    /// Its end of the mesh, with the doorbell for its socket ring.
    pub mesh: MeshEnd<P>,
}

/// Starts one thread `torc-<shard>` per shard of the mesh, with an executor that runs `body` to completion. Returns
/// when all executors exist; when one of them cannot be made, none runs its body and the error tells why.
pub fn run_shards<P, T, F, Fut>(
    config: &ExecutorConfig,
    mesh: Mesh<P>,
    body: F,
) -> io::Result<Vec<ShardThread<T>>>
where
    P: Send + 'static,
    T: Send + 'static,
    F: Fn(Seat<P>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = T> + 'static,
{
    let shards = mesh.shards();
    let pins = config.pin && shards <= config.cores.len();
    let body = Arc::new(body);
    let (ready, readiness) = mpsc::channel();
    let mut starts = Vec::with_capacity(shards);
    let mut threads = Vec::with_capacity(shards);
    for (shard, mesh) in mesh.into_ends().into_iter().enumerate() {
        let core = pins.then(|| config.cores[shard]);
        let seat = Seat { shard, shards, core, mesh };
        let (start, started) = mpsc::channel::<()>();
        let (body, ready) = (Arc::clone(&body), ready.clone());
        let thread = thread::Builder::new().name(format!("torc-{shard}"));
        let thread = thread.spawn(move || {
            let executor = match make_executor(core) {
                Ok(executor) => executor,
                Err(error) => {
                    let _ = ready.send(Err(error));
                    return None;
                }
            };
            let _ = ready.send(Ok(()));
            // Nobody starts before all are there; the other end is dropped when one is not.
            started.recv().ok()?;
            Some(executor.run(body(seat)))
        })?;
        starts.push(start);
        threads.push(ShardThread(thread));
    }
    for _ in 0..shards {
        readiness.recv().map_err(|_| io::Error::other("a shard thread ended before it was ready"))??;
    }
    for start in &starts {
        let _ = start.send(());
    }
    Ok(threads)
}

/// The thread of a shard.
pub struct ShardThread<T>(JoinHandle<Option<T>>);

impl<T> ShardThread<T> {
    /// Waits for the body to end and returns what it returned; an error is the payload of its panic.
    pub fn join(self) -> thread::Result<T> {
        Ok(self.0.join()?.expect("a started shard runs its body"))
    }
}

fn make_executor(core: Option<usize>) -> io::Result<LocalExecutor> {
    let placement = core.map_or(Placement::Unbound, Placement::Fixed);
    let make = || {
        let made = LocalExecutorBuilder::new(placement.clone()).io_memory(EXECUTOR_IO_MEMORY_BYTES).make();
        made.map_err(|error| match error.raw_os_error() {
            Some(code) => io::Error::from_raw_os_error(code),
            None => io::Error::other(error.to_string()),
        })
    };
    // One after the other: what the one registers would be missing where the next one makes its rings.
    static MAKING: Mutex<()> = Mutex::new(());
    let _making = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    let made = retry_locked_memory(make);
    let executor =
        made.map_err(|error| io::Error::new(error.kind(), format!("cannot make an executor: {error}")))?;
    // It has registered its memory for direct I/O on three rings. Where that memory is part of a huge page, the kernel counts all
    // of the page each time, against a limit that all rings of the user share.
    own_rings().into_iter().for_each(sys::unregister_buffers);
    Ok(executor)
}

/// The rings of this process; none where there is no /proc.
fn own_rings() -> Vec<RawFd> {
    let Ok(entries) = fs::read_dir("/proc/self/fd") else { return Vec::new() };
    let is_ring =
        |path: &Path| fs::read_link(path).is_ok_and(|target| target == Path::new("anon_inode:[io_uring]"));
    let rings = entries.flatten().filter(|entry| is_ring(&entry.path()));
    rings.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpus;

    #[test]
    fn every_shard_runs_its_body_on_its_own_thread() {
        let config = ExecutorConfig { pin: true, cores: cpus::usable_cores() };
        let mesh = Mesh::<u32>::new(3).unwrap();
        let threads = run_shards(&config, mesh, |seat| async move {
            assert_eq!(seat.mesh.shard(), seat.shard);
            (seat.shard, seat.shards, thread::current().name().unwrap().to_owned())
        })
        .unwrap();
        let results: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        assert_eq!(results, [0, 1, 2].map(|shard| (shard, 3, format!("torc-{shard}"))));
    }

    #[test]
    fn shards_are_bound_to_the_cores_they_are_given() {
        let cores = cpus::usable_cores();
        let config = ExecutorConfig { pin: true, cores: cores.clone() };
        let body = |seat: Seat<()>| async move { (seat.core, cpus::usable_cores()) };
        let threads = run_shards(&config, Mesh::new(1).unwrap(), body).unwrap();
        for thread in threads {
            assert_eq!(thread.join().unwrap(), (Some(cores[0]), vec![cores[0]]));
        }
    }

    #[test]
    fn a_core_that_does_not_exist_starts_nothing() {
        let config = ExecutorConfig { pin: true, cores: vec![0, 100_000] };
        let body = |_: Seat<()>| async { panic!("no body runs when an executor is missing") };
        assert!(run_shards::<(), (), _, _>(&config, Mesh::new(2).unwrap(), body).is_err());
    }
}
