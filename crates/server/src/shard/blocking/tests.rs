//! What clients and operators see of waits, on one shard and over four.

use crate::testing::Bench;

/// Connection 0 waits, connection 1 acts.
fn two_clients(shards: usize) -> Bench {
    let mut bench = Bench::with_shards(shards, "");
    bench.connect();
    bench
}

#[track_caller]
pub(super) fn waits(bench: &mut Bench, lines: &str) {
    bench.switch(0);
    bench.check(lines, "");
    bench.switch(1);
}

#[track_caller]
pub(super) fn gets(bench: &mut Bench, expected: &str) {
    bench.switch(0);
    assert_eq!(bench.take_received(), expected);
    bench.switch(1);
}

#[test]
fn pushes_are_delivered_whatever_the_shards() {
    for shards in [1, 4] {
        let mut bench = two_clients(shards);
        for key in ["a", "b", "c", "d", "e"] {
            waits(&mut bench, "BLPOP a b c d e 0");
            bench.check(&format!("RPUSH {key} x"), ":1");
            gets(&mut bench, &format!("*2 $1 {key} $1 x"));
            bench.check(&format!("EXISTS {key}"), ":0");
        }
        for target in ["b", "c", "d", "e"] {
            waits(&mut bench, &format!("BLMOVE a {target} LEFT LEFT 0"));
            bench.check("RPUSH a x", ":1");
            gets(&mut bench, "$1 x");
            bench.check(&format!("LPOP {target}"), "$1 x");
        }
        waits(&mut bench, "BLPOP b a 0");
        bench.check("MULTI\nRPUSH a 1\nRPUSH b 2\nEXEC", "+OK +QUEUED +QUEUED *2 :1 :1");
        gets(&mut bench, "*2 $1 b $1 2");
        bench.check("DEL a", ":1");
    }
}

#[test]
fn waits_end_in_time_and_by_command() {
    for shards in [1, 4] {
        let mut bench = two_clients(shards);
        for line in ["BLPOP a 0.05", "BLPOP a b c d 0.05", "BLMOVE a b LEFT LEFT 0.05"] {
            waits(&mut bench, line);
            bench.pass_ms(49);
            gets(&mut bench, "");
            bench.pass_ms(1);
            gets(&mut bench, "*-1");
        }
        for line in ["BLPOP a 0", "BLPOP a b c d 0", "BLMOVE a b LEFT LEFT 0"] {
            waits(&mut bench, line);
            bench.check("CLIENT UNBLOCK 1 ERROR", ":1");
            gets(&mut bench, "-UNBLOCKED client unblocked via CLIENT UNBLOCK");
            waits(&mut bench, line);
            bench.check("CLIENT UNBLOCK 1", ":1");
            gets(&mut bench, "*-1");
            bench.check("CLIENT UNBLOCK 1", ":0");
        }
        bench.check("RPUSH a x", ":1");
        bench.check("LPOP a", "$1 x");
    }
}

#[test]
fn waits_are_shown_and_counted() {
    for shards in [1, 4] {
        let mut bench = two_clients(shards);
        for (line, keys) in [("BLPOP a 0", 1), ("BLPOP a b c d 0", 4), ("BLMOVE a b LEFT LEFT 0", 1)] {
            waits(&mut bench, line);
            assert!(bench.run("CLIENT LIST ID 1").contains(" flags=b "), "{line}");
            let info = bench.run("INFO clients");
            assert!(info.contains("blocked_clients:1"), "{line}: {info}");
            assert!(info.contains(&format!("total_blocking_keys:{keys} ")), "{line}: {info}");
            assert!(info.contains("total_blocking_keys_on_nokey:0"), "{line}: {info}");
            bench.check("CLIENT UNBLOCK 1", ":1");
            gets(&mut bench, "*-1");
            assert!(bench.run("CLIENT LIST ID 1").contains(" flags=N "), "{line}");
        }
        waits(&mut bench, "BLPOP a b 0");
        bench.check("RPUSH b x", ":1");
        gets(&mut bench, "*2 $1 b $1 x");
        let stats = bench.run("INFO commandstats");
        assert!(stats.contains("cmdstat_blpop:calls=3,"), "each counts once: {stats}");
    }
}

#[test]
fn clients_that_are_gone_take_nothing() {
    for shards in [1, 4] {
        for line in ["BLPOP a 0", "BLPOP a b c d 0", "BLMOVE a b LEFT LEFT 0"] {
            let mut bench = two_clients(shards);
            waits(&mut bench, line);
            bench.check("CLIENT KILL ID 1", ":1");
            bench.check("RPUSH a x", ":1");
            bench.check("LLEN a", ":1");
            assert!(bench.run("INFO clients").contains("total_blocking_keys:0"), "{line}");
        }
    }
}
