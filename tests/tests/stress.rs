//! Transactions and blocking commands over four shards under load, against the running binary.
//!
//! The simulation in crates/server checks far more orders of events, with replayable seeds; this one checks the real
//! threads, rings and sockets. `TORC_STRESS_SECONDS` makes it longer.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use torc_resp::Value;
use torc_tests::raw::ok;
use torc_tests::{Client, Random, Server};

const SHARDS: usize = 4;
const WRITERS: usize = 4;
const READERS: usize = 2;
const ACCOUNTS: u64 = 16;
const OPENING_BALANCE: i64 = 1000;

fn duration() -> Duration {
    let seconds = std::env::var("TORC_STRESS_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or(3))
}

/// Runs writers and readers side by side until the time is over or one of them panics.
fn contend(
    server: &Server,
    write: impl Fn(&mut Client, &mut Random, u64) + Sync,
    read: impl Fn(&mut Client, &mut Random) + Sync,
) -> (u64, u64) {
    let until = Instant::now() + duration();
    let failed = AtomicBool::new(false);
    let (writes, reads) = (AtomicU64::new(0), AtomicU64::new(0));
    let go_on = || Instant::now() < until && !failed.load(Ordering::Relaxed);
    std::thread::scope(|scope| {
        let run = |step: &(dyn Fn(&mut Client, &mut Random, u64) + Sync), seed: u64, count: &AtomicU64| {
            let guard = FailureGuard(&failed);
            let mut client = server.client();
            let mut random = Random(seed);
            let mut number = seed << 32;
            while go_on() {
                number += 1;
                step(&mut client, &mut random, number);
                count.fetch_add(1, Ordering::Relaxed);
            }
            drop(guard);
        };
        let (write, read, writes, reads) = (&write, &read, &writes, &reads);
        for thread in 0..WRITERS {
            scope.spawn(move || run(write, thread as u64 + 1, writes));
        }
        for thread in 0..READERS {
            scope.spawn(move || {
                run(&|client, random, _| read(client, random), 100 + thread as u64, reads);
            });
        }
    });
    let (writes, reads) = (writes.into_inner(), reads.into_inner());
    println!("{writes} writes, {reads} reads in {:?}", duration());
    assert!(writes > 50 && reads > 50, "{writes} writes, {reads} reads: hardly anything happened");
    (writes, reads)
}

/// Tells the other threads that one has panicked.
struct FailureGuard<'a>(&'a AtomicBool);

impl Drop for FailureGuard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}

fn account(number: u64) -> String {
    format!("account:{number}")
}

fn balances(reply: &Value) -> Vec<i64> {
    let values = reply.elements().unwrap_or_else(|| panic!("no balances: {reply}"));
    values
        .iter()
        .map(|value| {
            let text = value.as_bytes().unwrap_or_else(|| panic!("a balance is missing: {reply}"));
            String::from_utf8_lossy(text).parse().unwrap_or_else(|_| panic!("no balance: {reply}"))
        })
        .collect()
}

fn assert_sum(reply: &Value, what: &str) {
    let balances = balances(reply);
    assert_eq!(balances.iter().sum::<i64>(), ACCOUNTS as i64 * OPENING_BALANCE, "{what}: {balances:?}");
}

fn open_accounts(server: &Server) -> Vec<String> {
    let mut client = server.client();
    let mut command = vec!["MSET".to_string()];
    for number in 0..ACCOUNTS {
        command.extend([account(number), OPENING_BALANCE.to_string()]);
    }
    assert_eq!(client.call(&command), ok());
    let mut read = vec!["MGET".to_string()];
    read.extend((0..ACCOUNTS).map(account));
    read
}

#[test]
fn transfers_keep_their_sum() {
    let server = Server::torc(SHARDS);
    let read_all = open_accounts(&server);
    contend(
        &server,
        |client, random, _| {
            let (from, to) = (account(random.below(ACCOUNTS)), account(random.below(ACCOUNTS)));
            let amount = random.below(50).to_string();
            assert_eq!(client.cmd("MULTI"), ok());
            client.call(&["DECRBY", &from, &amount]);
            client.call(&["INCRBY", &to, &amount]);
            let reply = client.cmd("EXEC");
            assert_eq!(reply.elements().map(<[Value]>::len), Some(2), "{reply}");
        },
        |client, random| {
            if random.below(2) == 0 {
                return assert_sum(&client.call(&read_all), "MGET");
            }
            // The same by a transaction of single reads.
            client.cmd("MULTI");
            for number in 0..ACCOUNTS {
                client.call(&["GET", &account(number)]);
            }
            assert_sum(&client.cmd("EXEC"), "EXEC of GETs");
        },
    );
    assert_sum(&server.client().call(&read_all), "at the end");
}

#[test]
fn watched_transfers_never_lose_an_update() {
    let server = Server::torc(SHARDS);
    let read_all = open_accounts(&server);
    let committed = AtomicU64::new(0);
    contend(
        &server,
        |client, random, _| {
            let from = account(random.below(4));
            let to = account(4 + random.below(4));
            // Read, compute in the client, write back only if nobody else wrote.
            assert_eq!(client.call(&["WATCH", &from, &to]), ok());
            let found = balances(&client.call(&["MGET", &from, &to]));
            let amount = random.below(50) as i64;
            assert_eq!(client.cmd("MULTI"), ok());
            client.call(&["SET", &from, &(found[0] - amount).to_string()]);
            client.call(&["SET", &to, &(found[1] + amount).to_string()]);
            client.cmd("INCR commits");
            if !client.cmd("EXEC").is_null() {
                committed.fetch_add(1, Ordering::Relaxed);
            }
        },
        |client, _| assert_sum(&client.call(&read_all), "MGET"),
    );
    let mut client = server.client();
    assert_sum(&client.call(&read_all), "at the end");
    let committed = committed.into_inner();
    assert!(committed > 0, "every transaction was refused");
    assert_eq!(client.text("GET commits"), committed.to_string());
}

#[test]
fn multi_key_writes_are_seen_whole() {
    const KEYS: u64 = 12;
    let keys: Vec<String> = (0..KEYS).map(|number| format!("whole:{number}")).collect();
    let command = |value: u64| {
        let mut command = vec!["MSET".to_string()];
        command.extend(keys.iter().flat_map(|key| [key.clone(), value.to_string()]));
        command
    };
    let mut read = vec!["MGET".to_string()];
    read.extend(keys.iter().cloned());
    let server = Server::torc(SHARDS);
    server.client().call(&command(0));
    contend(
        &server,
        |client, random, number| {
            let reply = match random.below(4) {
                // Deleting and setting again in one transaction is whole as well.
                0 => {
                    client.cmd("MULTI");
                    let mut delete = vec!["DEL".to_string()];
                    delete.extend(keys.iter().cloned());
                    client.call(&delete);
                    client.call(&command(number));
                    let reply = client.cmd("EXEC");
                    assert_eq!(reply.elements().map(<[Value]>::len), Some(2), "{reply}");
                    return;
                }
                _ => client.call(&command(number)),
            };
            assert_eq!(reply, ok());
        },
        |client, _| {
            let reply = client.call(&read);
            let values = balances(&reply);
            assert!(values.windows(2).all(|pair| pair[0] == pair[1]), "half of a write: {values:?}");
        },
    );
}

#[test]
fn renames_neither_lose_nor_copy_a_key() {
    const TOKENS: u64 = 6;
    const PLACES: u64 = 24;
    let place = |number: u64| format!("place:{number}");
    let server = Server::torc(SHARDS);
    let mut client = server.client();
    for token in 0..TOKENS {
        assert_eq!(client.call(&["SET", &place(token), &format!("token{token}")]), ok());
    }
    let mut read = vec!["MGET".to_string()];
    read.extend((0..PLACES).map(place));
    let tokens_of = |reply: &Value| {
        let mut tokens: Vec<Vec<u8>> = reply
            .elements()
            .unwrap_or_else(|| panic!("{reply}"))
            .iter()
            .filter_map(|value| value.as_bytes().map(<[u8]>::to_vec))
            .collect();
        tokens.sort();
        tokens
    };
    let all = tokens_of(&client.call(&read));
    assert_eq!(all.len(), TOKENS as usize);
    contend(
        &server,
        |client, random, _| {
            // Never onto another token: that would rightly delete it.
            let reply =
                client.call(&["RENAMENX", &place(random.below(PLACES)), &place(random.below(PLACES))]);
            match reply {
                Value::Int(0 | 1) => {}
                Value::Error(text) => assert_eq!(text, "ERR no such key"),
                other => panic!("{other}"),
            }
        },
        |client, _| {
            let found = tokens_of(&client.call(&read));
            assert_eq!(found, all, "tokens in all places at one moment");
        },
    );
    assert_eq!(tokens_of(&client.call(&read)), all);
}

/// Pushers and clients that wait, with time-outs of a few milliseconds: every element arrives once.
#[test]
fn elements_arrive_once_however_long_somebody_waits() {
    const LISTS: u64 = 8;
    let list = |number: u64| format!("list:{number}");
    let server = Server::torc(SHARDS);
    let pushed = AtomicU64::new(0);
    let arrived: Mutex<BTreeMap<u64, u64>> = Mutex::new(BTreeMap::new());
    let arrives = |reply: &Value| {
        let text = reply.as_bytes().unwrap_or_else(|| panic!("no element: {reply}"));
        let element = String::from_utf8_lossy(text).parse().unwrap_or_else(|_| panic!("no number: {reply}"));
        *arrived.lock().expect("no holder panics").entry(element).or_default() += 1;
    };
    let take = |client: &mut Client, random: &mut Random| {
        let (one, other) = (list(random.below(LISTS)), list(random.below(LISTS)));
        let timeout = format!("0.{:03}", 1 + random.below(20));
        match random.below(4) {
            // The element stays, in another list.
            0 => drop(client.call(&["BLMOVE", &one, &other, "LEFT", "RIGHT", &timeout])),
            1 => {
                let reply = client.call(&["BLMPOP", &timeout, "2", &one, &other, "LEFT", "COUNT", "3"]);
                if let Some([_, elements]) = reply.elements() {
                    elements.elements().expect("an array of elements").iter().for_each(arrives);
                }
            }
            2 => {
                if let Some([_, element]) = client.call(&["BLPOP", &one, &timeout]).elements() {
                    arrives(element);
                }
            }
            _ => {
                if let Some([_, element]) = client.call(&["BRPOP", &one, &other, &timeout]).elements() {
                    arrives(element);
                }
            }
        }
    };
    contend(
        &server,
        |client, random, _| {
            let element = || pushed.fetch_add(1, Ordering::Relaxed).to_string();
            match random.below(6) {
                0 => {
                    client.cmd("MULTI");
                    client.call(&["RPUSH", &list(random.below(LISTS)), &element()]);
                    client.call(&["LPUSH", &list(random.below(LISTS)), &element(), &element()]);
                    let reply = client.cmd("EXEC");
                    assert_eq!(reply.elements().map(<[Value]>::len), Some(2), "{reply}");
                }
                1 => drop(client.call(&["RPUSH", &list(random.below(LISTS)), &element()])),
                _ => take(client, random),
            }
        },
        take,
    );
    let mut client = server.client();
    for number in 0..LISTS {
        let rest = client.call(&["LRANGE", &list(number), "0", "-1"]);
        rest.elements().expect("an array").iter().for_each(arrives);
    }
    assert_eq!(client.info("clients", "blocked_clients").as_deref(), Some("0"));
    assert_eq!(client.info("clients", "total_blocking_keys").as_deref(), Some("0"));
    let arrived = arrived.into_inner().expect("no holder panics");
    let pushed = pushed.into_inner();
    println!("{pushed} elements");
    let wrong: Vec<_> = (0..pushed).filter(|element| arrived.get(element) != Some(&1)).collect();
    assert!(wrong.is_empty(), "lost, or delivered more than once: {wrong:?}");
}
