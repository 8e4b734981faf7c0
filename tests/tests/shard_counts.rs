//! A log that N shards have written is read and continued by M shards, and by N again: every pair of 1, 2, 3, 4 and 8.
//!
//! What is written has every way into the log: commands on one key, commands and EXEC over all shards, several databases,
//! expiry, a database that is emptied. It is durable (WAITAOF) when the server is killed, so all of it has to come back.

use torc_resp::Value;
use torc_tests::{Client, Launch, Server, scratch_dir};

const COUNTS: [usize; 5] = [1, 2, 3, 4, 8];
/// Keys of one command or transaction: enough to lie on all of eight shards.
const KEYS: usize = 24;

fn keys(kind: &str) -> Vec<String> {
    (0..KEYS).map(|key| format!("{kind}:{key}")).collect()
}

/// Changes of every way into the log, other ones in each round.
fn write(client: &mut Client, round: usize) {
    let mut run = |line: String| {
        let reply = client.cmd(&line);
        assert!(!reply.is_error(), "{line}: {reply}");
        reply
    };
    run(format!("SET gone:{round} soon PX 1"));
    for (number, key) in keys("string").iter().enumerate().skip(round % 3) {
        run(format!("SET {key} {round}.{number}"));
    }
    run(format!("MSET {}", keys("mset").iter().map(|key| format!("{key} {round} ")).collect::<String>()));
    run("MULTI".to_owned());
    for key in keys("exec") {
        run(format!("INCRBY {key} {}", round + 1));
        run(format!("RPUSH list:{key} {round}"));
    }
    let done = run("EXEC".to_owned());
    assert_eq!(done.elements().map(<[Value]>::len), Some(2 * KEYS));
    for field in 0..10 {
        run(format!("HSET hash field:{field} {round} only:{round} {field}"));
    }
    run(format!("HDEL hash field:{}", round % 10));
    run(format!("HINCRBYFLOAT hash sum 0.{round}"));
    // What expires, what expires later than it did, and what does not any more.
    for key in 0..6 {
        run(format!("SET expiry:{round}:{key} {round} EX 10000"));
    }
    run(format!("PEXPIRE expiry:{round}:1 20000000"));
    run(format!("PERSIST expiry:{round}:2"));
    run(format!("RENAME string:{} renamed:{round}", round % 3));
    run(format!("DEL {}", keys("string")[10..20].join(" ")));
    // Another database, which keeps what it has, and one that is emptied.
    run(format!("MOVE renamed:{round} 5"));
    run("SELECT 5".to_owned());
    run(format!("ZADD scores {round} member:{round} 1.5 member"));
    run(format!("XADD stream * round {round}"));
    run("SELECT 9".to_owned());
    keys("flushed").iter().for_each(|key| drop(run(format!("SET {key}:{round} {round}"))));
    run("FLUSHDB".to_owned());
    keys("kept").iter().take(5).for_each(|key| drop(run(format!("SET {key} {round}"))));
    run("SELECT 0".to_owned());
}

/// Writes, waits until it is durable, and kills the server. Gives the digest of all data.
fn write_and_kill(server: &mut Server, round: usize) -> String {
    let mut client = server.client();
    let before = client.text("DEBUG DIGEST");
    write(&mut client, round);
    assert_eq!(client.cmd("WAITAOF 1 0 10000").elements().map(|reply| reply[0].as_int()), Some(Some(1)));
    let digest = client.text("DEBUG DIGEST");
    assert_ne!(digest, before);
    server.kill9();
    digest
}

/// The log of `from` shards goes to each other count and back, in one folder.
fn check(from: usize) {
    let dir = scratch_dir("shard-counts");
    let launch = |shards: usize, policy: &str| {
        let launch = Launch::torc(shards).setting("dir", &dir.display().to_string());
        launch.setting("appendonly", "yes").setting("appendfsync", policy)
    };
    let mut server = launch(from, "everysec").start();
    let mut round = 0;
    let mut digest = write_and_kill(&mut server, round);
    for to in COUNTS {
        let policy = if (from + to).is_multiple_of(2) { "always" } else { "everysec" };
        for shards in [to, from] {
            server = launch(shards, policy).restart(server);
            let found = server.client().text("DEBUG DIGEST");
            assert_eq!(found, digest, "from {from} to {to} shards, {policy}: read by {shards}");
            round += 1;
            digest = write_and_kill(&mut server, round);
        }
    }
    drop(server);
    std::fs::remove_dir_all(&dir).expect("the folder is ours");
}

#[test]
fn every_count_reads_the_log_of_every_other() {
    std::thread::scope(|scope| {
        for from in COUNTS {
            scope.spawn(move || check(from));
        }
    });
}
