//! WAITAOF end to end: what it waits for, how a wait ends, and what waiting clients cost.

use std::time::{Duration, Instant};

use torc_resp::Value;
use torc_tests::raw::{bulk, ok};
use torc_tests::{Client, Launch, PATIENCE, Server, Signal, threads, wait_until};

const CLIENTS: usize = 40;

fn logging(appendfsync: &str) -> Launch {
    Launch::torc(4).setting("appendonly", "yes").setting("appendfsync", appendfsync)
}

fn reply(is_durable: bool) -> Value {
    Value::Array(vec![Value::Int(i64::from(is_durable)), Value::Int(0)])
}

/// Threads of the server, but for those that the kernel has for its rings.
fn own_threads(server: &Server) -> usize {
    threads(server.pid()).iter().filter(|(_, name)| !name.starts_with("iou-")).count()
}

fn blocked_clients(client: &mut Client) -> usize {
    client.info("clients", "blocked_clients").expect("INFO has it").parse().expect("a number")
}

/// Nothing is durable before it is asked for: no sync is due for half a minute.
fn waiting_clients(server: &Server) -> Vec<Client> {
    // The first sync of each log comes at once.
    let mut client = server.client();
    for number in 0..32 {
        assert_eq!(client.cmd(&format!("SET first:{number} 1")), ok());
    }
    std::thread::sleep(Duration::from_millis(200));
    let begin = |number: usize| {
        let mut client = server.client();
        assert_eq!(client.cmd(&format!("SET key:{number} {number}")), ok());
        client.send(&["WAITAOF", "1", "0", "0"]).expect("the server listens");
        client
    };
    let clients: Vec<Client> = (0..CLIENTS).map(begin).collect();
    let mut observer = server.client();
    let all_wait = wait_until(PATIENCE, || blocked_clients(&mut observer) == CLIENTS);
    assert!(all_wait, "{} of {CLIENTS} wait", blocked_clients(&mut observer));
    clients
}

fn answer_of(client: &mut Client) -> Value {
    client.receive_within(PATIENCE).expect("the connection is open").expect("a reply in time")
}

#[test]
fn clients_wait_without_threads_and_leave_nothing() {
    let server = logging("no").start();
    let before = own_threads(&server);
    let mut clients = waiting_clients(&server);
    assert_eq!(own_threads(&server), before, "a wait takes no thread");
    clients.truncate(CLIENTS / 2);
    let mut observer = server.client();
    assert!(wait_until(PATIENCE, || blocked_clients(&mut observer) == CLIENTS / 2));
    // Now all shards sync.
    assert_eq!(observer.cmd("CONFIG SET appendfsync everysec"), ok());
    for client in &mut clients {
        assert_eq!(answer_of(client), reply(true));
        assert_eq!(client.cmd("PING"), Value::Simple("PONG".into()));
    }
    assert_eq!(blocked_clients(&mut observer), 0);
}

#[test]
fn waits_end_in_time_and_when_the_log_is_switched_off() {
    let server = logging("no").start();
    let mut clients = waiting_clients(&server);
    let mut client = server.client();
    let began = Instant::now();
    assert_eq!(client.cmd("WAITAOF 1 0 300"), reply(false));
    assert!(began.elapsed() >= Duration::from_millis(300));
    assert_eq!(client.cmd("CONFIG SET appendonly no"), ok());
    for waiting in &mut clients {
        let answer = format!("{:?}", answer_of(waiting));
        assert!(answer.contains("appendonly is disabled"), "{answer}");
    }
    assert_eq!(blocked_clients(&mut client), 0);
}

#[test]
fn a_shutdown_waits_for_nobody() {
    let launch = logging("no").setting("save", "").setting("shutdown-timeout", "120");
    let mut server = launch.start();
    let _clients = waiting_clients(&server);
    server.signal(Signal::Term);
    let status = server.wait_exit(PATIENCE).expect("it ends");
    assert!(status.success(), "{}", server.log());
    let server = launch.setting("dir", &server.dir().display().to_string()).start();
    let mut client = server.client();
    for number in 0..CLIENTS {
        assert_eq!(client.cmd(&format!("GET key:{number}")), bulk(number.to_string()));
    }
}

/// A log that is switched on counts when its base is on disk: only then has what was written meanwhile reached it.
#[test]
fn a_log_that_begins_is_waited_for() {
    // A rewrite that began before the log was switched on is not its base.
    for is_rewriting in [false, true] {
        let launch = Launch::torc(4).setting("save", "").setting("rdb-key-save-delay", "4000");
        let mut server = launch.start();
        let mut client = server.client();
        client.cmd("DEBUG POPULATE 800");
        if is_rewriting {
            assert!(!client.cmd("BGREWRITEAOF").is_error());
            std::thread::sleep(Duration::from_millis(200));
        }
        assert_eq!(client.cmd("CONFIG SET appendonly yes"), ok());
        for number in 0..20 {
            assert_eq!(client.cmd(&format!("SET behind:{number} 1")), ok());
        }
        assert_eq!(client.cmd("WAITAOF 1 0 50"), reply(false));
        assert_eq!(client.cmd("CONFIG SET rdb-key-save-delay 0"), ok());
        assert_eq!(client.cmd("WAITAOF 1 0 20000"), reply(true));
        server.kill9();
        let dir = server.dir().display().to_string();
        let server = launch.setting("appendonly", "yes").setting("dir", &dir).start();
        let mut client = server.client();
        assert_eq!(client.int("DBSIZE"), 820, "{is_rewriting}");
    }
}
