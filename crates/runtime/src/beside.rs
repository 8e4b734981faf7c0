//! Threads beside the shards, for work that waits for a disk or takes long; and files that they write.
//!
//! Owns where such threads run and with what priority, who does their work when none can be started, and how a large file is
//! written without holding a shard up that shares a core with the writer. A thread inherits the core of the shard that starts it, and a kernel that switches threads
//! at its tick (every 4 ms) lets it run until then, unless it sleeps or yields. So a thread of this kind may run on all cores
//! of the process, yields to whoever wants its core, and works in steps short enough to wait for.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::sync::mpsc::{self, SyncSender};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use crate::sys;

/// A shard that always has something to do gets three quarters of a core that it shares with a thread of work. With nine
/// tenths a snapshot of a busy server takes four times as long, and replies wait no less.
const WORK_NICE: i32 = 5;
/// And nine tenths of one that it shares with a thread for which nobody is in a hurry.
const PATIENT_NICE: i32 = 10;
/// How long such a thread may go on when a shard wakes up.
const SLICE: Duration = Duration::from_micros(100);
/// Bytes of a file that are written at once: about 50 µs.
const STEP_BYTES: usize = 64 * 1024;
/// Bytes behind which the disk begins to work. Two such ranges are on their way to it at most, so that neither the sync at
/// the end nor one of another file has more to wait for.
const RANGE_BYTES: u64 = 512 * 1024;

/// From now on the calling thread, and those that it starts, may run on all cores of the process and leave theirs to whoever
/// else wants it: as batch threads they never preempt anybody by waking up, and with a tenth of the weight they soon lose
/// the core to a thread that wakes up. Unlike idle threads they still run within a fraction of a second on a core that is
/// never idle.
pub fn give_way() -> io::Result<()> {
    give_way_with(PATIENT_NICE)
}

fn give_way_with(nice: i32) -> io::Result<()> {
    sys::process_affinity().and_then(|cores| sys::set_thread_affinity(&cores))?;
    sys::set_thread_batch(nice, SLICE)
}

type Work = Box<dyn FnOnce() + Send>;

/// Work that waits for the thread that stands by. Each client and each shard has one piece under way at most.
const STANDBY_MAX: usize = 1 << 10;

/// Does one after the other what no thread could be started for.
static STANDBY: OnceLock<SyncSender<Work>> = OnceLock::new();

/// Starts the thread that stands by, so that the work of [`spawn`] is done where the system has no room for others later.
pub fn stand_by() -> io::Result<()> {
    let (sender, work) = mpsc::sync_channel::<Work>(STANDBY_MAX);
    let thread = thread::Builder::new().name("torc-standby".into());
    thread.spawn(move || {
        let _ = give_way_with(WORK_NICE);
        work.into_iter().for_each(|work| work());
    })?;
    // The thread of a second call ends at once.
    let _ = STANDBY.set(sender);
    Ok(())
}

/// Starts a thread of work that gives way; `name` has at most 15 bytes.
pub fn spawn(name: &str, work: impl FnOnce() + Send + 'static) {
    let thread = thread::Builder::new().name(name.to_owned());
    spawn_by(|work| thread.spawn(work).map(drop), work);
}

fn spawn_by(start: impl FnOnce(Work) -> io::Result<()>, work: impl FnOnce() + Send + 'static) {
    // Where no thread is started, what it was to do is dropped: it must be elsewhere.
    let place = Arc::new(Mutex::new(Some(work)));
    let take = |place: &Mutex<Option<_>>| place.lock().expect("no holder panics").take();
    let of_thread = Arc::clone(&place);
    let started = start(Box::new(move || {
        // What the system refuses makes it slower, not wrong.
        let _ = give_way_with(WORK_NICE);
        if let Some(work) = take(&of_thread) {
            work();
        }
    }));
    if let Err(error) = started
        && let Some(work) = take(&place)
    {
        let standby = STANDBY.get().unwrap_or_else(|| panic!("no thread for work: {error}"));
        standby.try_send(Box::new(work)).unwrap_or_else(|_| panic!("no thread for much work: {error}"));
    }
}

/// Lets whoever else wants this core go on.
pub fn yield_core() {
    thread::yield_now();
}

/// A file that is written from its beginning to its end, in steps between which others get their turn.
#[derive(Debug)]
pub struct PacedFile {
    file: File,
    /// Bytes so far.
    len: u64,
    /// The disk works on everything before this.
    begun: u64,
    /// All before this is on the disk, and the page cache has forgotten it.
    ended: u64,
    writes_back: bool,
}

impl PacedFile {
    /// A new, empty file. `writes_back`: what is written goes to the disk at once, bit by bit.
    pub fn new(file: File, writes_back: bool) -> PacedFile {
        PacedFile { file, len: 0, begun: 0, ended: 0, writes_back }
    }

    /// Makes all of it durable.
    pub fn finish(self) -> io::Result<()> {
        self.file.sync_all()?;
        sys::forget_pages(self.file.as_fd(), self.ended, 0);
        Ok(())
    }

    /// The disk begins with the range that is full, and has to be through with the one before.
    fn write_back(&mut self) -> io::Result<()> {
        while self.len - self.begun >= RANGE_BYTES {
            let fd = self.file.as_fd();
            match sys::write_back(fd, self.begun, RANGE_BYTES, false) {
                Err(error) if !is_error_of_disk(&error) => {
                    self.writes_back = false;
                    return Ok(());
                }
                begun => begun?,
            }
            if self.begun > self.ended {
                sys::write_back(fd, self.ended, self.begun - self.ended, true)?;
                sys::forget_pages(fd, self.ended, self.begun - self.ended);
                self.ended = self.begun;
            }
            self.begun += RANGE_BYTES;
        }
        Ok(())
    }
}

/// Not every file system can write ranges back.
fn is_error_of_disk(error: &io::Error) -> bool {
    !matches!(
        error.raw_os_error(),
        Some(libc::ENOSYS | libc::EINVAL | libc::ESPIPE | libc::EOPNOTSUPP | libc::EPERM)
    )
}

impl Write for PacedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(&bytes[..bytes.len().min(STEP_BYTES)])?;
        self.len += count as u64;
        if self.writes_back {
            self.write_back()?;
        }
        yield_core();
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What was written before may be written anew, at the end.
impl Seek for PacedFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.writes_back = false;
        self.file.seek(to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpus;

    #[test]
    fn threads_beside_a_pinned_one_are_not_bound_to_its_core() {
        let all = cpus::usable_cores();
        let beside = thread::spawn(|| {
            let mut one = sys::process_affinity().expect("it can be asked for");
            let first = cpus::usable_cores()[0];
            one = only(one, first);
            sys::set_thread_affinity(&one).expect("the first core is usable");
            assert_eq!(cpus::usable_cores(), [first]);
            let (sender, cores) = mpsc::channel();
            spawn("beside", move || sender.send(cpus::usable_cores()).expect("it is awaited"));
            cores.recv()
        });
        assert_eq!(beside.join().expect("it ends").expect("it ends"), all);
    }

    #[test]
    fn work_is_done_where_there_is_no_thread_for_it() {
        stand_by().expect("there is room for one thread");
        let (sender, done) = mpsc::channel();
        for number in 0..10 {
            let sender = sender.clone();
            let refuse = |_| Err(io::Error::from(io::ErrorKind::WouldBlock));
            spawn_by(refuse, move || sender.send(number).expect("it is awaited"));
        }
        drop(sender);
        assert_eq!(done.into_iter().collect::<Vec<_>>(), (0..10).collect::<Vec<_>>());
    }

    #[allow(unsafe_code)]
    fn only(mut set: libc::cpu_set_t, core: usize) -> libc::cpu_set_t {
        // SAFETY: both macros write into the set alone.
        unsafe {
            libc::CPU_ZERO(&mut set);
            libc::CPU_SET(core, &mut set);
        }
        set
    }

    #[test]
    fn a_paced_file_has_what_was_written() {
        let path = std::env::temp_dir().join(format!("torc-paced-{}", std::process::id()));
        for (len, writes_back) in
            [(0, true), (100, true), (5 * RANGE_BYTES as usize + 77, true), (300_000, false)]
        {
            let bytes: Vec<u8> = (0..len).map(|at| (at * 7 % 251) as u8).collect();
            let mut file = PacedFile::new(File::create(&path).expect("a file can be made"), writes_back);
            bytes.chunks(100_000).for_each(|part| file.write_all(part).expect("there is room"));
            assert!(file.begun - file.ended <= RANGE_BYTES, "two ranges are under way at most");
            let expected = if writes_back { file.len / RANGE_BYTES * RANGE_BYTES } else { 0 };
            assert_eq!(file.begun, expected);
            file.seek(SeekFrom::Start(0)).expect("it is a file");
            file.write_all(&bytes[..len.min(10)]).expect("there is room");
            file.finish().expect("the disk works");
            assert!(std::fs::read(&path).expect("it is there") == bytes);
        }
        std::fs::remove_file(&path).expect("it is there");
    }
}
