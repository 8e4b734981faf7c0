//! What goes wrong outside of the server: slow readers, vanishing clients, crashes, too many of everything.
//!
//! The question is always the same: does anybody else notice?

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use torc_resp::Value;
use torc_tests::raw::{bulk, ok, request, simple, words};
use torc_tests::{Client, Launch, PATIENCE, Server, wait_until};

/// The time in which this many of 100 requests are answered, while something else goes on.
const PERCENT: usize = 99;

/// A bystander's latency that a test machine under load still keeps, and a disturbed server would not.
const BYSTANDER_P99_MAX: Duration = Duration::from_millis(100);

/// The 99th percentile of a bystander's GETs for a while.
fn bystander_p99(server: &Server, duration: Duration) -> Duration {
    let mut client = server.client();
    client.cmd("SET bystander v");
    let mut latencies = Vec::new();
    let until = Instant::now() + duration;
    while Instant::now() < until {
        let started = Instant::now();
        assert_eq!(client.cmd("GET bystander"), bulk("v"));
        latencies.push(started.elapsed());
        std::thread::sleep(Duration::from_millis(1));
    }
    latencies.sort();
    latencies[latencies.len() * PERCENT / 100]
}

/// Others notice nothing: for one of several windows that is so, whatever else the machine does in the rest.
fn a_bystander_is_served(server: &Server, window: Duration, mut disturb: impl FnMut()) {
    const WINDOWS: usize = 5;
    let mut p99s = Vec::new();
    let is_served = (0..WINDOWS).any(|_| {
        disturb();
        p99s.push(bystander_p99(server, window));
        p99s.last() < Some(&BYSTANDER_P99_MAX)
    });
    assert!(is_served, "a bystander waited {p99s:?}");
}

/// Requests whose replies are far larger than they are, sent without ever reading.
fn flood(client: &mut Client, key: &str, requests: usize) {
    let request = request(&["GET", key]);
    for _ in 0..requests {
        // The server may stop reading, or cut the connection: both are what the tests look for.
        if client.send_raw(&request).is_err() {
            return;
        }
    }
}

#[test]
fn a_slow_reader_is_cut_off_and_nobody_else_notices() {
    let server =
        Launch::torc(2).setting("client-output-buffer-limit", "normal 4mb 0 0 pubsub 4mb 0 0").start();
    let mut admin = server.client();
    let value = vec![b'x'; 1 << 20];
    for key in ["big:1", "big:2", "big:3"] {
        assert_eq!(admin.call(&[b"SET".as_slice(), key.as_bytes(), &value]), ok());
    }
    let mut slow = Vec::new();
    a_bystander_is_served(&server, Duration::from_millis(800), || {
        for index in 1..=3 {
            let mut client = server.client();
            flood(&mut client, &format!("big:{index}"), 64);
            slow.push(client);
        }
    });
    assert_eq!(admin.cmd("PING"), simple("PONG"));
    let cut = wait_until(PATIENCE, || admin.info("clients", "connected_clients").as_deref() == Some("1"));
    assert!(cut, "slow readers are still connected: {}", admin.text("CLIENT LIST"));
}

#[test]
fn a_slow_subscriber_is_cut_off() {
    let server = Launch::torc(2).setting("client-output-buffer-limit", "pubsub 2mb 0 0").start();
    let mut slow = server.client();
    slow.cmd("SUBSCRIBE news");
    let mut publisher = server.client();
    let message = vec![b'x'; 256 * 1024];
    let cut =
        wait_until(PATIENCE, || publisher.call(&[b"PUBLISH".as_slice(), b"news", &message]) == Value::Int(0));
    assert!(cut, "a subscriber that never reads is still there: {}", publisher.text("CLIENT LIST"));
    assert!(slow.closed_within(PATIENCE));
}

#[test]
fn connections_may_vanish_at_any_byte() {
    let server = Server::torc(4);
    let mut admin = server.client();
    let mut stream = Vec::new();
    stream.extend(words("MSET v:a 1 v:b 2 v:c 3 v:d 4"));
    stream.extend(words("MULTI"));
    stream.extend(words("RENAME v:a v:e"));
    stream.extend(words("RENAME v:e v:a"));
    stream.extend(words("EXEC"));
    stream.extend(words("WATCH v:a v:b"));
    stream.extend(words("SUBSCRIBE news"));
    for cut in 0..stream.len() {
        let mut client = server.client();
        client.send_raw(&stream[..cut]).expect("the server reads");
        drop(client);
    }
    // Every lock, watch and subscription of theirs is gone.
    let alone = wait_until(PATIENCE, || admin.info("clients", "connected_clients").as_deref() == Some("1"));
    assert!(alone, "{}", admin.text("CLIENT LIST"));
    assert_eq!(admin.int("PUBLISH news x"), 0);
    assert_eq!(admin.cmd("MGET v:a v:b v:c v:d v:e").elements().map(<[Value]>::len), Some(5));
    assert_eq!(admin.cmd("MSET v:a x v:b x v:c x v:d x"), ok());
    assert_eq!(admin.cmd("FLUSHALL"), ok());
}

#[test]
fn clients_that_reset_in_the_middle_of_replies_harm_nobody() {
    let server = Server::torc(2);
    let mut admin = server.client();
    assert_eq!(admin.call(&[b"SET".as_slice(), b"big", &vec![b'x'; 1 << 20]]), ok());
    for _ in 0..20 {
        let mut client = server.client();
        flood(&mut client, "big", 8);
        // Closing with unread bytes makes the kernel send a reset.
        drop(client);
    }
    let alone = wait_until(PATIENCE, || admin.info("clients", "connected_clients").as_deref() == Some("1"));
    assert!(alone, "{}", admin.text("CLIENT LIST"));
    assert_eq!(admin.int("STRLEN big"), 1 << 20);
}

#[test]
fn more_clients_than_allowed_are_told_so() {
    const MAX_CLIENTS: usize = 10;
    let server = Launch::torc(2).setting("maxclients", &MAX_CLIENTS.to_string()).start();
    let mut clients: Vec<Client> = (0..MAX_CLIENTS).map(|_| server.client()).collect();
    for client in &mut clients {
        assert_eq!(client.cmd("PING"), simple("PONG"));
    }
    let mut refused = server.client();
    let error = refused.receive().expect("an error before the end");
    assert_eq!(error, Value::Error("ERR max number of clients reached".into()));
    assert!(refused.closed_within(PATIENCE));
    assert_eq!(clients[0].cmd("PING"), simple("PONG"));
    let rejected =
        clients[0].info("stats", "rejected_connections").and_then(|count| count.parse::<u32>().ok());
    assert!(rejected.is_some_and(|count| count >= 1), "{rejected:?}");
    // A place that becomes free can be taken.
    clients.pop();
    let taken = wait_until(PATIENCE, || {
        let mut client = server.client();
        matches!(client.try_call(&["PING"]), Ok(reply) if reply == simple("PONG"))
    });
    assert!(taken);
}

#[test]
fn idle_clients_are_closed_after_their_timeout() {
    let server = Launch::torc(2).setting("timeout", "1").start();
    let mut idle = server.client();
    let started = Instant::now();
    assert_eq!(idle.cmd("PING"), simple("PONG"));
    let mut subscriber = server.client();
    subscriber.cmd("SUBSCRIBE x");
    assert!(idle.closed_within(PATIENCE), "an idle client is still connected");
    assert!(started.elapsed() > Duration::from_millis(800), "closed after {:?}", started.elapsed());
    // Subscribers are meant to be idle.
    assert_eq!(server.client().int("PUBLISH x y"), 1);
    assert!(matches!(subscriber.receive_within(PATIENCE), Ok(Some(_))));
}

#[test]
fn a_killed_server_starts_again_on_its_port() {
    let mut server = Server::torc(2);
    let port = server.port();
    let mut client = server.client();
    assert_eq!(client.cmd("SET k v"), ok());
    server.kill9();
    assert!(client.closed_within(PATIENCE));
    let server = Launch::torc(2).restart(server);
    assert_eq!(server.port(), port);
    let mut client = server.client();
    assert_eq!(client.cmd("GET k"), Value::NullBulk);
    assert_eq!(client.cmd("SET k v"), ok());
}

#[test]
fn one_endless_pipeline_does_not_starve_others() {
    let server = Server::torc(1);
    let mut greedy = server.client();
    let (is_served, stop) = (AtomicBool::new(false), Instant::now() + PATIENCE);
    let mut batch = Vec::new();
    for number in 0..1000 {
        batch.extend(words(&format!("SET greedy:{number} v")));
    }
    std::thread::scope(|scope| {
        let is_served = &is_served;
        let mut writer = greedy.try_clone().expect("a socket can be shared");
        scope.spawn(move || {
            while !is_served.load(Ordering::Relaxed)
                && Instant::now() < stop
                && writer.send_raw(&batch).is_ok()
            {}
            writer.finish_sending().expect("an open socket");
        });
        scope.spawn(move || while greedy.receive().is_ok() {});
        a_bystander_is_served(&server, Duration::from_millis(1000), || {});
        is_served.store(true, Ordering::Relaxed);
    });
}

#[test]
fn expired_keys_do_not_pile_up() {
    /// What Redis promises: at most so many of the keys that have a time to live are dead ones.
    const STALE_PERCENT_MAX: i64 = 10;
    const KEYS: i64 = 20_000;
    let server = Server::torc(4);
    let mut client = server.client();
    let mut stream = Vec::new();
    for number in 0..KEYS {
        // Three quarters live for a moment, the rest for long.
        let ttl_ms = if number % 4 == 0 { 1_000_000 } else { 500 };
        stream.extend(words(&format!("SET expiring:{number} v PX {ttl_ms}")));
    }
    client.send_raw(&stream).expect("the server reads");
    for _ in 0..KEYS {
        assert_eq!(client.receive().expect("a reply"), ok());
    }
    std::thread::sleep(Duration::from_millis(500));
    let alive = KEYS / 4;
    let limit = alive + alive * STALE_PERCENT_MAX / 100;
    let swept = wait_until(PATIENCE, || client.int("DBSIZE") <= limit);
    assert!(swept, "{} keys are left, {alive} of them alive", client.int("DBSIZE"));
}

#[test]
fn debug_sleep_stops_every_shard() {
    const SLEEP: Duration = Duration::from_millis(1500);
    let server = Launch::torc(4).setting("enable-debug-command", "yes").start();
    let mut clients: Vec<Client> = (0..8).map(|_| server.client()).collect();
    clients.iter_mut().for_each(|client| assert_eq!(client.cmd("PING"), simple("PONG")));
    let started = Instant::now();
    clients[0].send_raw(&request(&["DEBUG", "SLEEP", "1.5"])).expect("connected");
    std::thread::sleep(SLEEP / 4);
    for client in &mut clients[1..] {
        assert_eq!(client.cmd("PING"), simple("PONG"));
        assert!(started.elapsed() >= SLEEP, "a shard went on");
    }
}

/// What a shard answers is then too much to move: its header lies apart.
#[test]
fn many_keys_come_from_all_shards_in_one_reply() {
    const KEYS: usize = 40_000;
    let server = Server::torc(4);
    let mut client = server.client();
    let mut batch = Vec::new();
    for id in 0..KEYS {
        batch.extend(request(&[b"SET", format!("a-key-of-some-length:{id}").as_bytes(), b"v"]));
    }
    client.send_raw(&batch).expect("the server reads");
    (0..KEYS).for_each(|_| assert_eq!(client.receive().expect("the server answers"), ok()));
    let names = client.cmd("KEYS *");
    assert_eq!(names.elements().map(<[Value]>::len), Some(KEYS));
    let mut seen = std::collections::BTreeSet::new();
    let mut cursor = "0".to_owned();
    loop {
        let reply = client.cmd(&format!("SCAN {cursor} COUNT 15000"));
        let parts = reply.elements().expect("a cursor and names");
        seen.extend(parts[1].elements().expect("names").iter().map(ToString::to_string));
        cursor = String::from_utf8(parts[0].as_bytes().expect("a cursor").to_vec()).expect("digits");
        if cursor == "0" {
            break;
        }
    }
    assert_eq!(seen.len(), KEYS);
}
