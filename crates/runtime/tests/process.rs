//! What needs a process of its own: limits, forbidden system calls, signals. Each test runs this test binary again
//! with one `child_…` test and a variable that says what the child should do; without the variable they do nothing.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::Barrier;
use std::time::{Duration, Instant};
use std::{env, io, mem, process, ptr, thread};

use torc_runtime::executor::{ExecutorConfig, Seat, run_shards};
use torc_runtime::mesh::Mesh;
use torc_runtime::net::{self, ACCEPT_BACKOFF, Event, Net, NetOptions, Wait};
use torc_runtime::probe::probe;
use torc_runtime::wake::Doorbell;
use torc_runtime::{cpus, limits, listen, signals};

const ROLE: &str = "TORC_RUNTIME_TEST_ROLE";
const PATIENCE: Duration = Duration::from_secs(20);

fn role() -> Option<String> {
    env::var(ROLE).ok()
}

/// This test binary as a child that runs one test in a role.
fn child(test: &str, role: &str) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(ROLE, role)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Exit code and everything it wrote to standard error.
fn outcome(mut child: Child) -> (Option<i32>, String) {
    let give_up = Instant::now() + PATIENCE;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > give_up {
            child.kill().unwrap();
            panic!("the child hangs");
        }
        thread::sleep(Duration::from_millis(5));
    }
    let mut errors = String::new();
    child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    (child.wait().unwrap().code(), errors)
}

// ---- the probe ----------------------------------------------------------------------------------------------

#[test]
fn the_probe_names_what_forbids_io_uring() {
    let cases = [
        (
            "memlock",
            "the limit of locked memory is too low: 64 KiB of the 512 KiB needed; raise RLIMIT_MEMLOCK",
        ),
        ("setup-EPERM", "io_uring is blocked: io_uring_setup answers \"Operation not permitted"),
        ("setup-ENOSYS", "io_uring is blocked: io_uring_setup answers \"Function not implemented"),
        ("enter-EPERM", "io_uring is blocked: io_uring_enter answers"),
        ("register-EPERM", "io_uring is blocked: io_uring_register answers"),
    ];
    for (role, expected) in cases {
        let (code, errors) = outcome(child("child_probes", role));
        let told: Vec<&str> = errors.lines().filter(|line| line.starts_with("probe: ")).collect();
        assert!(told.len() == 1 && told[0].contains(expected), "{role}: {errors}");
        assert_eq!(code, Some(1), "{role}: {errors}");
    }
    let (code, errors) = outcome(child("child_probes", "nothing forbidden"));
    assert_eq!(code, Some(0), "{errors}");
}

#[test]
fn child_probes() {
    let Some(role) = role() else { return };
    match role.split_once('-') {
        Some((call, errno)) => {
            let call = match call {
                "setup" => libc::SYS_io_uring_setup,
                "enter" => libc::SYS_io_uring_enter,
                _ => libc::SYS_io_uring_register,
            };
            let errno = if errno == "EPERM" { libc::EPERM } else { libc::ENOSYS };
            forbid(call, errno);
        }
        None if role == "memlock" => set_limit(libc::RLIMIT_MEMLOCK, 64 * 1024),
        None => {}
    }
    match probe() {
        Ok(_) => process::exit(0),
        Err(failure) => {
            eprintln!("probe: {failure}");
            process::exit(1);
        }
    }
}

fn set_limit(resource: libc::__rlimit_resource_t, value: u64) {
    let limit = libc::rlimit { rlim_cur: value, rlim_max: value };
    // SAFETY: the kernel reads the structure.
    assert_eq!(unsafe { libc::setrlimit(resource, &limit) }, 0, "{}", io::Error::last_os_error());
}

/// Installs a seccomp filter by which a system call fails with the given error, for this process.
fn forbid(call: libc::c_long, errno: libc::c_int) {
    const LOAD_WORD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const JUMP_IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let step = |code, k, jt, jf| libc::sock_filter { code, jt, jf, k };
    let mut program = [
        // The number of the system call is the first word of the data.
        step(LOAD_WORD, 0, 0, 0),
        step(JUMP_IF_EQUAL, call as u32, 0, 1),
        step(RETURN, libc::SECCOMP_RET_ERRNO | errno as u32, 0, 0),
        step(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0),
    ];
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: the program and its header live across the call; the kernel copies them. TSYNC puts the filter on the
    // other threads of the test harness, too.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        let result = libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_TSYNC,
            ptr::from_ref(&filter),
        );
        assert_eq!(result, 0, "{}", io::Error::last_os_error());
    }
}

// ---- signals ------------------------------------------------------------------------------------------------

/// A child in a role, once it has said that it is ready.
fn ready_child(role: &str) -> Child {
    let mut child = child("child_serves", role);
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("ready") {
        line.clear();
        assert!(output.read_line(&mut line).unwrap() > 0, "the child ended: {}", outcome(child).1);
    }
    child
}

fn send_signal(child: &Child, signal: libc::c_int) {
    // SAFETY: plain system call; the child has not been waited for, so the number is still its own.
    assert_eq!(unsafe { libc::kill(child.id() as libc::pid_t, signal) }, 0);
}

#[test]
fn a_signal_wakes_all_shards_and_they_end() {
    for signal in [libc::SIGTERM, libc::SIGINT] {
        let child = ready_child("obeys");
        send_signal(&child, libc::SIGPIPE);
        send_signal(&child, signal);
        let (code, errors) = outcome(child);
        assert_eq!(code, Some(0), "{errors}");
    }
}

#[test]
fn a_second_signal_ends_the_process_at_once() {
    let mut child = ready_child("never ends");
    send_signal(&child, libc::SIGTERM);
    thread::sleep(Duration::from_millis(100));
    assert!(child.try_wait().unwrap().is_none(), "the first signal only asks");
    send_signal(&child, libc::SIGINT);
    let (code, errors) = outcome(child);
    assert_eq!(code, Some(1), "{errors}");
}

#[test]
fn a_hangup_is_remembered_once() {
    let child = ready_child("ends on hangup");
    send_signal(&child, libc::SIGHUP);
    let (code, errors) = outcome(child);
    assert_eq!(code, Some(3), "{errors}");
}

#[test]
fn child_serves() {
    let Some(role) = role() else { return };
    let capabilities = probe().unwrap();
    let mesh = Mesh::<()>::new(3).unwrap();
    signals::install(mesh.wakers()).unwrap();
    let config = ExecutorConfig { pin: true, cores: cpus::usable_cores() };
    let is_obedient = role == "obeys";
    let body = move |mut seat: Seat<()>| async move {
        let doorbell = seat.mesh.doorbell().clone();
        let mut net = Net::new(&capabilities, NetOptions::default(), doorbell).unwrap();
        while !(is_obedient && signals::shutdown_requested()) {
            net::turn(&mut net, &mut seat.mesh, Wait::Forever, Duration::ZERO, &mut |_| {}).unwrap();
            if signals::take_hangup() {
                assert!(!signals::take_hangup());
                process::exit(3);
            }
        }
    };
    let threads = run_shards(&config, mesh, body).unwrap();
    println!("ready");
    for thread in threads {
        thread.join().unwrap();
    }
    process::exit(0);
}

// ---- locked memory ------------------------------------------------------------------------------------------

/// What all rings of an ordinary user may lock together is left to the rings: nothing else stays registered.
#[test]
fn many_shards_lock_little_memory() {
    let (code, errors) = outcome(child("child_starts_many_shards", "starts"));
    assert_eq!(code, Some(0), "{errors}");
}

#[test]
fn child_starts_many_shards() {
    const SHARDS: usize = 12;
    const LOCKED_BYTES_PER_SHARD: u64 = 160 * 1024;
    /// Has no other processes.
    const USER: libc::uid_t = 65_533;
    let Some(_) = role() else { return };
    // SAFETY: plain system calls without pointers. Nobody counts what root locks.
    unsafe { assert!(libc::geteuid() != 0 || libc::setuid(USER) == 0) };
    set_limit(libc::RLIMIT_MEMLOCK, SHARDS as u64 * LOCKED_BYTES_PER_SHARD);
    let capabilities = probe().unwrap();
    let all_are_made = Barrier::new(SHARDS);
    let config = ExecutorConfig { pin: false, cores: Vec::new() };
    let threads = run_shards(&config, Mesh::<()>::new(SHARDS).unwrap(), move |seat: Seat<()>| {
        let made = Net::new(&capabilities, NetOptions::default(), seat.mesh.doorbell().clone());
        all_are_made.wait();
        std::future::ready(made.map(drop))
    });
    for thread in threads.unwrap() {
        thread.join().unwrap().unwrap();
    }
    process::exit(0);
}

// ---- running out of descriptors -----------------------------------------------------------------------------

#[test]
fn accepting_survives_a_lack_of_descriptors() {
    let (code, errors) = outcome(child("child_runs_out_of_descriptors", "runs out"));
    assert_eq!(code, Some(0), "{errors}");
}

#[test]
fn child_runs_out_of_descriptors() {
    if role().is_none() {
        return;
    }
    let mut net = Net::new(&probe().unwrap(), NetOptions::default(), Doorbell::single().unwrap()).unwrap();
    let listener = listen::listen_tcp("127.0.0.1", 0, 64, 1).unwrap().remove(0);
    let port = listener.port().unwrap();
    net.listen(listener).unwrap();
    let client = || TcpStream::connect(("127.0.0.1", port)).unwrap();

    let mut held = Vec::new();
    let clients: Vec<_> = (0..4).map(|_| client()).collect();
    // From here on there is no descriptor left: a filler takes them all, up to a limit that is soon reached.
    set_soft_limit(libc::RLIMIT_NOFILE, 64);
    let mut fillers = Vec::new();
    while let Ok(file) = std::fs::File::open("/dev/null") {
        fillers.push(file);
    }
    let (mut failures, mut turns) = (0, 0);
    let start = Instant::now();
    while failures < 3 {
        assert!(start.elapsed() < PATIENCE, "{failures} failures");
        turns += 1;
        net.turn(Wait::For(PATIENCE), &mut |event| match event {
            Event::Accepted { fd, .. } => held.push(fd),
            Event::AcceptFailed { error, .. } => {
                assert_eq!(error.raw_os_error(), Some(libc::EMFILE), "{error}");
                failures += 1;
            }
            _ => {}
        })
        .unwrap();
    }
    let took = start.elapsed();
    assert!(took >= ACCEPT_BACKOFF * 2 && turns < 12, "{failures} failures in {turns} turns and {took:?}");
    assert!(held.is_empty());

    fillers.clear();
    while held.len() < clients.len() {
        assert!(start.elapsed() < PATIENCE);
        net.turn(Wait::For(PATIENCE), &mut |event| {
            if let Event::Accepted { fd, .. } = event {
                held.push(fd);
            }
        })
        .unwrap();
    }
    process::exit(0);
}

fn set_soft_limit(resource: libc::__rlimit_resource_t, value: u64) {
    // SAFETY: the kernel fills in and reads the structure, for which all zeroes is valid.
    unsafe {
        let mut limit: libc::rlimit = mem::zeroed();
        assert_eq!(libc::getrlimit(resource, &mut limit), 0);
        limit.rlim_cur = value;
        assert_eq!(libc::setrlimit(resource, &limit), 0);
    }
}

// ---- limits -------------------------------------------------------------------------------------------------

#[test]
fn open_files_are_raised_as_far_as_possible() {
    let (code, errors) = outcome(child("child_raises_open_files", "raises"));
    assert_eq!(code, Some(0), "{errors}");
}

#[test]
fn child_raises_open_files() {
    if role().is_none() {
        return;
    }
    let needed = 500 + limits::RESERVED_FILES + 2 * limits::FILES_PER_SHARD;
    set_limit(libc::RLIMIT_NOFILE, needed + 100);
    set_soft_limit(libc::RLIMIT_NOFILE, 100);
    assert_eq!(limits::raise_open_files(500, 2).unwrap(), 500);
    let more = limits::raise_open_files(10_000, 2).unwrap();
    // Only a privileged process gets more than its hard limit.
    assert!(more == 600 || more == 10_000, "{more}");
    process::exit(0);
}
