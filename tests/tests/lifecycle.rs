//! From start to exit code: command line, files, sockets, signals, and doing nothing for free.

use std::fs;
use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use torc_resp::Value;
use torc_tests::raw::{bulk, ok, simple, words};
use torc_tests::{
    Client, Launch, PATIENCE, Server, Signal, cpu_time, free_port, scratch_dir, threads, wait_until,
};

fn torc() -> Launch {
    Launch::torc(2)
}

/// A file in a folder of its own.
fn file(name: &str, text: &str) -> PathBuf {
    let path = scratch_dir("config").join(name);
    fs::write(&path, text).expect("the folder is writable");
    path
}

#[track_caller]
fn check_refused(launch: Launch, expected: &[&str]) {
    let (status, log) = launch.run_to_end();
    assert_eq!(status.code(), Some(1), "{log}");
    for text in expected {
        assert!(log.contains(text), "the message should name {text:?}:\n{log}");
    }
    assert!(!log.contains("panicked"), "{log}");
}

#[test]
fn what_cannot_be_configured_is_refused_with_its_place() {
    let path = file("bad.conf", "port 0\n\nnonsense yes\n");
    check_refused(torc().bare().arg(path.to_str().expect("a plain path")), &["bad.conf", "3", "nonsense"]);
    let path = file("bad-value.conf", "port 0\nmaxclients many\n");
    check_refused(
        torc().bare().arg(path.to_str().expect("a plain path")),
        &["bad-value.conf", "2", "maxclients"],
    );
    let path = file("bad.toml", "[network]\nport = 0\nnonsense = true\n");
    check_refused(torc().bare().arg(path.to_str().expect("a plain path")), &["bad.toml", "nonsense"]);
    check_refused(torc().setting("nonsense", "yes"), &["nonsense"]);
    check_refused(torc().setting("maxclients", "many"), &["maxclients"]);
    check_refused(torc().bare().arg("/nonexistent/torc.conf"), &["/nonexistent/torc.conf"]);
}

#[test]
fn a_file_is_read_and_the_command_line_overrides_it() {
    let port = free_port();
    let path = file("good.conf", "# a comment\nmaxclients 77\ntimeout 10\nrequirepass \"secret\"\n");
    let server = torc().config_file(&path).setting("timeout", "20").start();
    let mut client = server.client();
    assert_eq!(client.cmd("AUTH secret"), ok());
    let reply = client.cmd("CONFIG GET maxclients");
    assert_eq!(reply, Value::Array(vec![bulk("maxclients"), bulk("77")]));
    let reply = client.cmd("CONFIG GET timeout");
    assert_eq!(reply, Value::Array(vec![bulk("timeout"), bulk("20")]));
    drop(port);
}

#[test]
fn check_config_checks_and_ends() {
    let good = file("good.conf", "port 7000\nmaxmemory 100mb\n");
    let (status, log) =
        torc().bare().arg(good.to_str().expect("a plain path")).arg("--check-config").run_to_end();
    assert_eq!(status.code(), Some(0), "{log}");
    let bad = file("bad.conf", "port 7000\nnonsense 1\n");
    let (status, log) =
        torc().bare().arg(bad.to_str().expect("a plain path")).arg("--check-config").run_to_end();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("nonsense"), "{log}");
}

#[test]
fn version_is_told() {
    let (status, log) = torc().bare().arg("--version").run_to_end();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("torc"), "{log}");
}

#[test]
fn a_port_in_use_is_refused() {
    let port = free_port();
    let number = port.number.to_string();
    let holder = TcpListener::bind(("127.0.0.1", port.number)).expect("the port is free");
    check_refused(torc().bare().setting("port", &number), &[&number]);
    drop(holder);
    // Another torc holds it just as well, although both could share it.
    let server = torc().start();
    check_refused(torc().bare().setting("port", &server.port().to_string()), &[&server.port().to_string()]);
    assert_eq!(server.client().cmd("PING"), simple("PONG"));
}

#[test]
fn sigterm_and_sigint_end_with_0_while_clients_are_busy() {
    for signal in [Signal::Term, Signal::Int] {
        let mut server = torc().start();
        let mut clients: Vec<Client> = (0..8).map(|_| server.client()).collect();
        std::thread::scope(|scope| {
            for (index, client) in clients.iter_mut().enumerate() {
                let request = words(&format!("MSET busy:{index} 1 busy:{} 2", index + 1));
                scope.spawn(move || {
                    // Until the server ends the connection.
                    while client.send_raw(&request).is_ok() && client.receive().is_ok() {}
                });
            }
            std::thread::sleep(Duration::from_millis(300));
            server.signal(signal);
            let status = server.wait_exit(PATIENCE);
            assert_eq!(status.and_then(|status| status.code()), Some(0), "{signal:?}:\n{}", server.log());
        });
    }
}

#[test]
fn replies_in_flight_are_sent_before_the_end() {
    let mut server = torc().start();
    let mut client = server.client();
    let mut stream = Vec::new();
    for number in 0..500 {
        stream.extend(words(&format!("INCRBY flight {number}")));
    }
    client.send_raw(&stream).expect("the server reads");
    assert!(matches!(client.receive(), Ok(Value::Int(0))));
    server.signal(Signal::Term);
    let mut answered = 1;
    while let Ok(Value::Int(_)) = client.receive() {
        answered += 1;
    }
    // All of them had arrived with the first.
    assert_eq!(answered, 500);
    assert_eq!(server.wait_exit(PATIENCE).and_then(|status| status.code()), Some(0), "{}", server.log());
}

#[test]
fn a_second_signal_ends_at_once_with_1() {
    let mut server = torc().setting("shutdown-timeout", "120").start();
    let mut client = server.client();
    // A shard that sleeps cannot drain.
    client.send(&["DEBUG", "SLEEP", "60"]).expect("the server reads");
    std::thread::sleep(Duration::from_millis(200));
    server.signal(Signal::Term);
    std::thread::sleep(Duration::from_millis(200));
    server.signal(Signal::Term);
    let status = server.wait_exit(PATIENCE);
    assert_eq!(status.and_then(|status| status.code()), Some(1), "{}", server.log());
}

#[test]
fn a_shutdown_is_as_patient_as_its_setting() {
    let mut server = torc().setting("shutdown-timeout", "1").start();
    assert_eq!(server.client().cmd("CLIENT PAUSE 100000"), ok());
    let mut waiting = server.client();
    waiting.send(&["GET", "k"]).expect("the server reads");
    std::thread::sleep(Duration::from_millis(200));
    let started = Instant::now();
    server.signal(Signal::Term);
    assert!(server.wait_exit(Duration::from_secs(8)).is_some(), "{}", server.log());
    assert!(started.elapsed() >= Duration::from_millis(900), "it gave up after {:?}", started.elapsed());
}

#[test]
fn the_running_log_changes_its_form_and_level() {
    let server = torc().setting("enable-debug-command", "yes").start();
    let mut client = server.client();
    for line in [
        "DEBUG LOG first",
        "CONFIG SET log-format json",
        "DEBUG LOG second",
        "CONFIG SET loglevel nothing",
        "DEBUG LOG third",
        "CONFIG SET loglevel notice log-format legacy",
        "DEBUG LOG fourth",
    ] {
        assert_eq!(client.cmd(line), ok(), "{line}");
    }
    wait_until(PATIENCE, || server.log().contains("fourth"));
    let log = server.log();
    let line = |word: &str| log.lines().find(|line| line.contains(word));
    assert!(line("first").is_some_and(|line| line.contains(" WARN ")), "{log}");
    assert!(line("second").is_some_and(|line| line.starts_with('{')), "{log}");
    assert_eq!(line("third"), None, "{log}");
    assert!(line("fourth").is_some_and(|line| line.contains(" WARN ")), "{log}");
}

#[test]
fn sighup_is_no_reason_to_end() {
    let mut server = torc().start();
    server.signal(Signal::Hup);
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(server.client().cmd("PING"), simple("PONG"));
    assert_eq!(server.stop().code(), Some(0));
}

#[test]
fn shutdown_ends_with_0() {
    let mut server = torc().start();
    let mut client = server.client();
    client.send(&["SHUTDOWN", "NOSAVE"]).expect("the server reads");
    assert_eq!(server.wait_exit(PATIENCE).and_then(|status| status.code()), Some(0), "{}", server.log());
    assert!(client.closed_within(PATIENCE));
}

/// One shard's ring is broken: nobody has its keys any more. What the others have logged is on the disk.
#[test]
fn no_server_goes_on_without_a_shard() {
    let folder = scratch_dir("shard");
    let launch = Launch::torc(3).setting("appendonly", "yes").setting("dir", &folder.display().to_string());
    let mut server = launch.start();
    let mut client = server.client();
    let keys = ["{a}1", "{b}2", "{c}3", "{d}4"];
    for key in keys {
        assert_eq!(client.cmd(&format!("SET {key} 1")), ok());
    }
    assert_eq!(client.cmd("WAITAOF 1 0 5000"), Value::Array(vec![Value::Int(1), Value::Int(0)]));
    // The library of the shard's executor has another thread of this name, which is younger.
    let threads = threads(server.pid());
    let (id, _) = threads.iter().find(|(_, name)| name == "torc-1").expect("the shard has a thread");
    let tracer = Command::new("strace")
        .args(["-qq", "-p", &id.to_string(), "-o", "/dev/null"])
        .args(["-e", "trace=io_uring_enter", "-e", "inject=io_uring_enter:error=EBADF"])
        .spawn();
    let Ok(mut tracer) = tracer else { return eprintln!("skipped: a broken ring: strace is not installed") };
    // Connections are dealt out, so that the shard has something to do.
    let port = server.port();
    let has_ended = wait_until(PATIENCE, || {
        let _ = TcpStream::connect(("127.0.0.1", port)).and_then(|mut stream| stream.write_all(b"PING\r\n"));
        !server.is_running()
    });
    let status = has_ended.then(|| server.wait_exit(PATIENCE)).flatten();
    let _ = tracer.kill();
    let _ = tracer.wait();
    let log = server.log();
    assert_eq!(status.and_then(|status| status.code()), Some(1), "{log}");
    assert!(log.contains("the event loop of a shard has failed: the server ends shard=1"), "{log}");
    let again = launch.start();
    assert_eq!(again.client().cmd(&format!("EXISTS {}", keys.join(" "))), Value::Int(4));
}

#[test]
fn unix_sockets_work_and_are_removed() {
    let path = scratch_dir("socket").join("torc.sock");
    let path_text = path.to_str().expect("a plain path");
    let mut server = torc().setting("unixsocket", path_text).setting("unixsocketperm", "700").start();
    let mut client = Client::connect_unix(&path).expect("the socket is there");
    assert_eq!(client.cmd("SET k v"), ok());
    assert_eq!(client.cmd("GET k"), bulk("v"));
    assert_eq!(server.client().cmd("GET k"), bulk("v"));
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).expect("it exists").permissions());
    assert_eq!(mode & 0o777, 0o700);
    assert_eq!(server.stop().code(), Some(0));
    assert!(!path.exists(), "the socket file is left behind");
}

#[test]
fn ipv6_and_several_addresses_work() {
    if TcpListener::bind(("::1", 0)).is_err() {
        eprintln!("skipped: IPv6: this machine has none");
        return;
    }
    let server = torc().setting("bind", "127.0.0.1 ::1").start();
    for host in ["127.0.0.1", "::1"] {
        let mut client = Client::connect(host, server.port()).expect("it listens there");
        assert_eq!(client.cmd("PING"), simple("PONG"));
    }
    assert!(Client::connect("127.0.0.2", server.port()).is_err(), "it listens only where it was told to");
}

#[test]
fn an_idle_server_uses_no_cpu() {
    /// Of one core, with 16 connections open.
    const IDLE_PERCENT_MAX: u32 = 1;
    const WATCHED: Duration = Duration::from_secs(4);
    /// What little there is to do takes longer where others use the caches.
    const WINDOWS: usize = 4;
    let server = Server::torc(4);
    let mut clients: Vec<Client> = (0..16).map(|_| server.client()).collect();
    for client in &mut clients {
        assert_eq!(client.cmd("PING"), simple("PONG"));
    }
    std::thread::sleep(Duration::from_millis(500));
    let use_of_a_window = || {
        let before = cpu_time(server.pid());
        std::thread::sleep(WATCHED);
        cpu_time(server.pid()) - before
    };
    let mut used = Vec::new();
    let is_idle = (0..WINDOWS).any(|_| {
        used.push(use_of_a_window());
        used.last() <= Some(&(WATCHED * IDLE_PERCENT_MAX / 100))
    });
    assert!(is_idle, "{used:?} of CPU in windows of {WATCHED:?} without work");
    assert_eq!(clients[0].cmd("PING"), simple("PONG"));
}

#[test]
fn connections_spread_over_shards() {
    let server = Server::torc(4);
    let mut clients: Vec<Client> = (0..16).map(|_| server.client()).collect();
    for (index, client) in clients.iter_mut().enumerate() {
        // Works wherever the connection and the key live.
        assert_eq!(client.cmd(&format!("SET spread:{index} {index}")), ok());
    }
    for (index, client) in clients.iter_mut().enumerate() {
        let other = (index + 7) % 16;
        assert_eq!(client.cmd(&format!("GET spread:{other}")), bulk(other.to_string()));
    }
    let connected = clients[0].info("clients", "connected_clients");
    assert_eq!(connected.as_deref(), Some("16"));
    drop(clients);
    let mut client = server.client();
    assert!(wait_until(PATIENCE, || client.info("clients", "connected_clients").as_deref() == Some("1")));
}

/// As systemd does with `Type=notify`.
#[test]
fn a_supervisor_is_told_of_the_start_and_the_end() {
    let path = scratch_dir("notify").join("socket");
    let socket = UnixDatagram::bind(&path).expect("the folder is writable");
    socket.set_read_timeout(Some(PATIENCE)).expect("a time-out can be set");
    let mut server = torc().setting("supervised", "systemd").env("NOTIFY_SOCKET", &path).start();
    let mut message = [0; 256];
    let mut next = || {
        let len = socket.recv(&mut message).expect("a message comes");
        String::from_utf8_lossy(&message[..len]).trim_end().to_owned()
    };
    assert_eq!(next(), "READY=1");
    assert_eq!(server.client().info("server", "process_supervised").as_deref(), Some("systemd"));
    assert!(server.stop().success());
    assert_eq!(next(), "STOPPING=1");
}
