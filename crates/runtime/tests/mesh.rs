//! The mesh under stress: more shards than cores, channels of one packet, everybody sleeping whenever there is
//! nothing to do. A lost wake-up or a deadlock shows as a hang, which a watchdog turns into a failure.

use std::process;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use torc_runtime::executor::{ExecutorConfig, Seat, run_shards};
use torc_runtime::mesh::{Mesh, MeshEnd};
use torc_runtime::net::{self, Net, NetOptions, Wait};
use torc_runtime::probe::{Capabilities, probe};
use torc_runtime::{CpuTimesOf, cpu_times, cpus};

const PATIENCE: Duration = Duration::from_secs(60);

/// Ends the whole test process when a test hangs: its threads sleep in the kernel and cannot be stopped otherwise.
fn watched<T>(what: &str, test: impl FnOnce() -> T) -> T {
    let (done, waits) = mpsc::channel::<()>();
    let what = what.to_owned();
    let watchdog = thread::spawn(move || {
        if waits.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
            eprintln!("{what}: hangs, a wake-up was lost");
            process::exit(101);
        }
    });
    let result = test();
    drop(done);
    watchdog.join().unwrap();
    result
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Packet {
    /// Asks for an answer with the same number.
    Question(u32),
    Answer(u32),
    /// The sender has all its answers.
    Finished,
}

/// One shard that asks every peer `questions` questions, a few at a time, and answers those of the others.
struct Asker {
    mesh: MeshEnd<Packet>,
    /// By peer: packets that found the channel full, oldest first.
    kept: Vec<Vec<Packet>>,
    asked: Vec<u32>,
    answered: Vec<u32>,
    seen: Vec<u32>,
    finished_peers: usize,
    questions: u32,
}

/// Questions a shard asks before it waits for an answer.
const IN_FLIGHT: u32 = 3;

impl Asker {
    fn new(mesh: MeshEnd<Packet>, questions: u32) -> Asker {
        let shards = mesh.shards();
        Asker {
            kept: vec![Vec::new(); shards],
            asked: vec![0; shards],
            answered: vec![0; shards],
            seen: vec![0; shards],
            finished_peers: 0,
            questions,
            mesh,
        }
    }

    fn send(&mut self, to: usize, packet: Packet) {
        self.kept[to].push(packet);
        self.resend(to);
    }

    fn resend(&mut self, to: usize) {
        let taken =
            self.kept[to].iter().take_while(|&&packet| self.mesh.try_send(to, packet).is_ok()).count();
        self.kept[to].drain(..taken);
    }

    /// What one turn does: kept packets first, then the mail, then new questions.
    fn work(&mut self) {
        let own = self.mesh.shard();
        for to in (0..self.kept.len()).filter(|&to| to != own) {
            self.resend(to);
        }
        while let Some((from, packet)) = self.mesh.recv() {
            match packet {
                Packet::Question(number) => {
                    assert_eq!(number, self.seen[from], "questions of one peer come in order");
                    self.seen[from] += 1;
                    self.send(from, Packet::Answer(number));
                }
                Packet::Answer(number) => {
                    assert_eq!(number, self.answered[from], "answers of one peer come in order");
                    self.answered[from] += 1;
                    if self.has_all_answers() {
                        for to in (0..self.kept.len()).filter(|&to| to != own) {
                            self.send(to, Packet::Finished);
                        }
                    }
                }
                Packet::Finished => self.finished_peers += 1,
            }
        }
        for to in (0..self.kept.len()).filter(|&to| to != own) {
            while self.asked[to] < self.questions.min(self.answered[to] + IN_FLIGHT) {
                self.send(to, Packet::Question(self.asked[to]));
                self.asked[to] += 1;
            }
        }
    }

    fn has_all_answers(&self) -> bool {
        let own = self.mesh.shard();
        self.answered.iter().enumerate().all(|(peer, &count)| peer == own || count == self.questions)
    }

    fn is_done(&self) -> bool {
        self.finished_peers == self.kept.len() - 1
            && self.has_all_answers()
            && self.kept.iter().all(|kept| kept.is_empty())
    }
}

/// Runs the exchange to its end; returns packets per second and wake-ups per packet.
fn exchange(
    capabilities: Capabilities,
    shards: usize,
    capacity: usize,
    questions: u32,
    spin: Duration,
) -> (f64, f64) {
    let mesh = Mesh::with_capacity(shards, capacity).unwrap();
    let config = ExecutorConfig { pin: true, cores: cpus::usable_cores() };
    let start = Instant::now();
    let threads = run_shards(&config, mesh, move |seat: Seat<Packet>| async move {
        let doorbell = seat.mesh.doorbell().clone();
        let mut net = Net::new(&capabilities, NetOptions::default(), doorbell).unwrap();
        let mut asker = Asker::new(seat.mesh, questions);
        loop {
            asker.work();
            if asker.is_done() {
                asker.mesh.flush_wakes(&mut net);
                return net.stats().wakes_sent;
            }
            net::turn(&mut net, &mut asker.mesh, Wait::Forever, spin, &mut |_| {}).unwrap();
        }
    })
    .unwrap();
    let wakes: u64 = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    let packets = f64::from(questions) * 2.0 * (shards * (shards - 1)) as f64;
    (packets / start.elapsed().as_secs_f64(), wakes as f64 / packets)
}

#[test]
fn no_packet_and_no_wake_up_is_lost() {
    let best = probe().expect("io_uring works where the tests run");
    let oldest = Capabilities::default();
    for (name, capabilities) in [("ring messages", best), ("event counters", oldest)] {
        for (shards, capacity, questions) in [(4, 1, 2_000), (4, 2, 1_000), (2, 1, 1_000), (7, 1, 200)] {
            let what = format!("{name}, {shards} shards, capacity {capacity}");
            let (rate, wakes) =
                watched(&what, || exchange(capabilities, shards, capacity, questions, Duration::ZERO));
            println!("{what}: {rate:.0} packets/s, {wakes:.2} wake-ups per packet");
        }
    }
}

#[test]
fn spinning_shards_are_found_too() {
    let best = probe().expect("io_uring works where the tests run");
    let what = "spinning";
    let (rate, wakes) = watched(what, || exchange(best, 3, 1, 500, Duration::from_micros(50)));
    println!("{what}: {rate:.0} packets/s, {wakes:.2} wake-ups per packet");
}

#[test]
fn sleeping_shards_use_no_cpu() {
    let best = probe().expect("io_uring works where the tests run");
    let config = ExecutorConfig { pin: true, cores: cpus::usable_cores() };
    let mesh = Mesh::<()>::new(4).unwrap();
    let wakers = mesh.wakers().clone();
    let threads = run_shards(&config, mesh, move |mut seat: Seat<()>| async move {
        let doorbell = seat.mesh.doorbell().clone();
        let mut net = Net::new(&best, NetOptions::default(), doorbell).unwrap();
        let mut sleep_until_woken = || {
            let mut woken = false;
            while !woken {
                let sink = &mut |_: net::Event<'_>| woken = true;
                net::turn(&mut net, &mut seat.mesh, Wait::Forever, Duration::ZERO, sink).unwrap();
            }
        };
        // The first sleep touches memory that the second one has, which takes as long as the kernel needs to find it.
        sleep_until_woken();
        let (before, began) = (cpu_times(CpuTimesOf::Thread).total(), Instant::now());
        sleep_until_woken();
        (cpu_times(CpuTimesOf::Thread).total() - before, began.elapsed())
    })
    .unwrap();
    let slept = Duration::from_millis(500);
    thread::sleep(Duration::from_millis(100));
    wakers.wake_all();
    thread::sleep(slept + Duration::from_millis(100));
    wakers.wake_all();
    let mut used = Duration::ZERO;
    for thread in threads {
        let (cpu, took) = thread.join().unwrap();
        assert!(took >= slept, "woken after {took:?}");
        used += cpu;
    }
    assert!(used < slept / 50, "four sleeping shards used {used:?} of CPU in {slept:?}");
}
