//! From a configuration to running shards and back to an exit code.
//!
//! Owns the order of start and stop: probe, listeners, mesh, one executor per core, signals, drain. Never handles a
//! connection.

use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::sync::mpsc;

use torc_keyspace::{Keyspace, SlotMap};
use torc_runtime::executor::{ExecutorConfig, run_shards};
use torc_runtime::listen::{self, Listener};
use torc_runtime::mesh::Mesh;
use torc_runtime::probe::{Capabilities, probe};
use torc_runtime::{beside, clock, cpus, limits, seed, signals};

use crate::aof::OpenSegment;
use crate::aof::load::AofLoad;
use crate::config::Config;
use crate::encryption;
use crate::memory;
use crate::metrics;
use crate::process::ProcessInfo;
use crate::registry;
use crate::saving::load::{LoadPlan, path_of};
use crate::saving::loading::{Inheritance, Loading, Teller};
use crate::session::ServerState;
use crate::session::state::data_settings;
use crate::shard::{Hub, Shard, ShardSetup};
use crate::shard_loop::{self, LoopSetup, LoopShared, MeshPacket};

/// Descriptors of one shard that are not connections (rings, event counters, listeners).
const DESCRIPTORS_PER_SHARD: u64 = 16;

/// Why the server did not start, or stopped. Displays as one line.
#[derive(Debug)]
pub struct RunError(String);

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for RunError {}

fn failed(what: impl fmt::Display) -> RunError {
    RunError(what.to_string())
}

/// Run the server until it is told to stop.
pub fn run(config: Config) -> Result<(), RunError> {
    clock::calibrate();
    registry::rename(config.renamed_commands()).map_err(failed)?;
    // Before shards are pinned: the thread may run where there is room.
    memory::purge_in_background(config.jemalloc_bg_thread());
    beside::stand_by().map_err(|error| failed(format!("cannot start a thread: {error}")))?;
    let shards = config.shards().map_or_else(cpus::auto_shards, usize::from);
    let _ = limits::raise_locked_memory();
    let capabilities = probe().map_err(failed)?;
    let descriptors = u64::from(config.maxclients()) + DESCRIPTORS_PER_SHARD * shards as u64;
    let clients_max = match limits::raise_open_files(u64::from(config.maxclients()), shards as u64) {
        Ok(allowed) if allowed < u64::from(config.maxclients()) => {
            tracing::warn!(
                wanted = descriptors,
                maxclients = allowed,
                "too few file descriptors: maxclients is lowered"
            );
            allowed as usize
        }
        Ok(_) => config.maxclients() as usize,
        Err(error) => return Err(failed(format!("cannot raise the limit of open files: {error}"))),
    };
    let seed = seed::random_u64();
    torc_datatypes::seed_elements(seed);
    let slots = Arc::new(SlotMap::even(shards as u16));
    let (mut listeners, port) = open_listeners(&config, shards)?;
    let mesh: Mesh<MeshPacket> = Mesh::new(shards).map_err(failed)?;
    signals::install(mesh.wakers()).map_err(failed)?;
    let keepalive_s = config.tcp_keepalive().map_or(0, |keepalive| keepalive.as_secs() as usize);
    let shared = LoopShared::new(Arc::clone(mesh.wakers()), shards, clients_max, keepalive_s);
    let mut process = ProcessInfo::new(port, shards);
    process.budget.set_maxmemory(config.maxmemory() as usize);
    process.keys = encryption::keys(&config).map_err(failed)?;
    process.loading = Loading::new(shards);
    let process = Arc::new(process);
    let config = Arc::new(config);
    if config.supervised() {
        process.phase.announce();
    }
    metrics::start(&config, &process).map_err(failed)?;
    process.loading.begin(clock::unix_ms());
    let at_end = Arc::clone(&process);
    let birth = Birth {
        slots: Arc::clone(&slots),
        hub: Hub::new(),
        seed,
        config: Arc::clone(&config),
        process: Arc::clone(&process),
        capabilities,
        shared: Arc::clone(&shared),
    };
    let cores = cpus::usable_cores();
    let executors = ExecutorConfig { pin: cpus::pin_by_default(shards) && shards <= cores.len(), cores };
    let per_shard: Vec<Mutex<Vec<Listener>>> = (0..shards)
        .map(|shard| {
            Mutex::new(listeners.iter_mut().filter_map(|group| group.get_mut(shard)?.take()).collect())
        })
        .collect();
    let threads = run_shards(&executors, mesh, move |seat| {
        let listeners = std::mem::take(&mut *per_shard[seat.shard].lock().expect("taken once"));
        let setup = birth.setup(seat.shard, listeners);
        async move { shard_loop::run(seat, setup()).await }
    })
    .map_err(failed)?;
    tracing::info!(port, shards, pid = std::process::id(), "the shards run");
    // In a thread of its own: the server can be told to stop meanwhile.
    let (refusal, refused) = mpsc::channel();
    let loader = {
        let config = Arc::clone(&config);
        move || match load(&config, &slots, seed, &process) {
            Ok(()) => shared.wake_all(),
            Err(error) => {
                // Before the shards know: they may end, and the process with them, ahead of this thread.
                let _ = refusal.send(error);
                shared.shut_down();
            }
        }
    };
    std::thread::spawn(loader);
    let mut outcome = Ok(());
    for thread in threads {
        match thread.join() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => outcome = Err(failed(format!("a shard's event loop failed: {error}"))),
            Err(_) => outcome = Err(failed("a shard panicked")),
        }
    }
    if let Ok(error) = refused.try_recv() {
        outcome = outcome.and(Err(error));
    }
    if let Some(job) = at_end.saves.state().running {
        // Nobody finishes it any more.
        let _ = std::fs::remove_file(&job.temporary);
    }
    if let Some(path) = config.unixsocket() {
        let _ = listen::remove_unix(&path);
    }
    outcome
}

/// Loads what is on disk and lays it ready for the shards.
fn load(config: &Config, slots: &Arc<SlotMap>, seed: u64, process: &ProcessInfo) -> Result<(), RunError> {
    let _teller = Teller::start(Arc::clone(&process.loading.progress));
    let (keyspaces, segments) = if config.appendonly() {
        let (keyspaces, is_foreign) = match load_log(config, slots, seed, process)? {
            Some((keyspaces, is_foreign)) => (keyspaces, is_foreign),
            None => (load_snapshot(config, slots, seed, process)?, false),
        };
        (keyspaces, begin_log(config, slots, process, is_foreign)?)
    } else {
        (load_snapshot(config, slots, seed, process)?, Vec::new())
    };
    let mut segments = segments.into_iter();
    let mut keyspaces = keyspaces.into_iter();
    let parts = (0..slots.shards())
        .map(|_| Inheritance { keyspace: keyspaces.next(), segment: segments.next() })
        .collect();
    process.loading.lay_out(parts);
    Ok(())
}

/// The keys of the last snapshot for each shard, if there is one.
fn load_snapshot(
    config: &Config,
    slots: &Arc<SlotMap>,
    seed: u64,
    process: &ProcessInfo,
) -> Result<Vec<Keyspace>, RunError> {
    let started_ms = clock::unix_ms();
    let mut plan = LoadPlan::new(config, &process.keys, Arc::clone(slots), seed, started_ms);
    plan.progress = Arc::clone(&process.loading.progress);
    let bytes = std::fs::metadata(&plan.path).map_or(0, |metadata| metadata.len());
    plan.progress.total_bytes.store(bytes, Ordering::Relaxed);
    let Some(loaded) = plan.load().map_err(failed)? else { return Ok(Vec::new()) };
    let ms = clock::unix_ms() - started_ms;
    tracing::info!(keys = loaded.keys, expired = loaded.expired, ms, "the snapshot is loaded");
    process.saves.note_loaded(loaded.keys, loaded.expired);
    process.saves.keep_functions(loaded.functions);
    Ok(loaded.keyspaces)
}

/// The data of the log, if there is one, and whether it is that of another server.
fn load_log(
    config: &Config,
    slots: &Arc<SlotMap>,
    seed: u64,
    process: &ProcessInfo,
) -> Result<Option<(Vec<Keyspace>, bool)>, RunError> {
    let started_ms = clock::unix_ms();
    let mut plan = AofLoad::new(config, &process.keys, Arc::clone(slots), seed);
    plan.progress = Arc::clone(&process.loading.progress);
    let Some(loaded) = plan.load().map_err(failed)? else { return Ok(None) };
    let ms = clock::unix_ms() - started_ms;
    loaded.tell_left_out();
    let dropped: u64 = loaded.left_out.iter().map(|left_out| left_out.records).sum();
    let (keys, effects) = (loaded.keys, loaded.effects);
    tracing::info!(keys, effects, dropped, ms, "the log is loaded");
    process.saves.note_loaded(loaded.keys, 0);
    process.saves.keep_functions(loaded.functions);
    Ok(Some((loaded.keyspaces, loaded.is_foreign)))
}

/// The segments in which the logs of all shards begin.
fn begin_log(
    config: &Config,
    slots: &SlotMap,
    process: &ProcessInfo,
    is_foreign: bool,
) -> Result<Vec<OpenSegment>, RunError> {
    let snapshot = path_of(config);
    let snapshot = Some(snapshot.as_path()).filter(|path| path.exists());
    let begun = if is_foreign {
        process.aof.begin_without_base(config, slots, &process.keys)
    } else {
        process.aof.begin(config, slots, &process.keys, snapshot)
    };
    let folder = config.dir().join(config.appenddirname());
    begun.map_err(|error| failed(format!("cannot write the log in {}: {error}", folder.display())))
}

/// What every shard is born with.
struct Birth {
    slots: Arc<SlotMap>,
    hub: Arc<Hub>,
    seed: u64,
    config: Arc<Config>,
    process: Arc<ProcessInfo>,
    capabilities: Capabilities,
    shared: Arc<LoopShared>,
}

impl Birth {
    /// The setup of one shard, to be made on its own thread.
    fn setup(&self, shard: usize, listeners: Vec<Listener>) -> impl FnOnce() -> LoopSetup + use<> {
        let slots = Arc::clone(&self.slots);
        let hub = Arc::clone(&self.hub);
        let config = Arc::clone(&self.config);
        let process = Arc::clone(&self.process);
        let shared = Arc::clone(&self.shared);
        let (seed, capabilities) = (self.seed, self.capabilities);
        move || {
            let spin = config.spin_us();
            let mut shard = Shard::new(ShardSetup {
                id: shard as u16,
                slots,
                hub,
                seed,
                settings: data_settings(&config),
                cycles: clock::cycles,
                cycles_to_ns: clock::cycles_to_ns,
                state: ServerState::new(config),
                process,
                server: Some(Arc::clone(&shared)),
            });
            shard.state.is_loading = true;
            LoopSetup { spin, shard, listeners, capabilities, shared }
        }
    }
}

/// Listeners for one address, one for each shard.
pub type ListenerGroup = Vec<Option<Listener>>;

/// One group of listeners per address, and the TCP port.
fn open_listeners(config: &Config, shards: usize) -> Result<(Vec<ListenerGroup>, u16), RunError> {
    let (mut groups, port) = open_tcp(config, shards, listen::listen_tcp)?;
    if let Some(path) = config.unixsocket() {
        let backlog = config.tcp_backlog() as i32;
        let listener = listen::listen_unix(&path, config.unixsocketperm(), backlog).map_err(failed)?;
        let mut group = Vec::with_capacity(shards);
        for _ in 1..shards {
            group.push(Some(listener.try_clone().map_err(failed)?));
        }
        group.push(Some(listener));
        groups.push(group);
    }
    if groups.is_empty() {
        return Err(failed(
            "nothing to listen on: no address of 'bind' is available and no 'unixsocket' is set",
        ));
    }
    Ok((groups, port))
}

/// Opens the listeners of one address: address, port, backlog, shards.
type OpenAddress = fn(&str, u16, i32, usize) -> Result<Vec<Listener>, listen::ListenError>;

/// Listeners on all addresses of `bind`, and the port.
pub fn open_tcp(
    config: &Config,
    shards: usize,
    open: OpenAddress,
) -> Result<(Vec<ListenerGroup>, u16), RunError> {
    let backlog = config.tcp_backlog() as i32;
    let mut groups: Vec<ListenerGroup> = Vec::new();
    let mut port = config.port();
    let tcp = config.port() != 0 || config.unixsocket().is_none();
    for bind in config.bind().iter().filter(|_| tcp) {
        let (address, optional) = match bind.strip_prefix('-') {
            Some(address) => (address, true),
            None => (bind.as_str(), false),
        };
        match open(address, port, backlog, shards) {
            Ok(group) => {
                port = group.first().and_then(Listener::port).unwrap_or(port);
                groups.push(group.into_iter().map(Some).collect());
            }
            Err(error) if optional && error.is_unavailable() => {
                tracing::warn!(%error, address, "an optional address is not available");
            }
            Err(error) => return Err(failed(error)),
        }
    }
    Ok((groups, port))
}
