//! CONFIG GET and CONFIG SET without a server. Replies and errors as valkey-server 8.1 gives them, measured;
//! where torc differs on purpose the test says so.

use super::super::Config;

/// Runs `CONFIG SET name value [name value ...]` on a fresh configuration. Expected is an error text, or the
/// reply text of the first setting afterwards.
#[track_caller]
fn check(words: &[&str], expected: &str) {
    check_on(&mut Config::default(), words, expected);
}

#[track_caller]
fn check_on(config: &mut Config, words: &[&str], expected: &str) {
    let pairs: Vec<(&[u8], &[u8])> =
        words.chunks_exact(2).map(|pair| (pair[0].as_bytes(), pair[1].as_bytes())).collect();
    let before = config.clone();
    let found = match config.set(&pairs, false) {
        Ok(_) => value(config, words[0]),
        Err(error) => {
            assert_eq!(*config, before, "a failed CONFIG SET changed something: {words:?}");
            error.to_string()
        }
    };
    let short = |text: &str| {
        text.replace(&format!("ERR CONFIG SET failed (possibly related to argument '{}') - ", words[0]), "! ")
    };
    assert_eq!(short(&found), expected, "{words:?}");
}

fn value(config: &Config, name: &str) -> String {
    let found = config.get(&[name.as_bytes()]);
    assert_eq!(found.len(), 1, "{name}");
    found[0].1.clone()
}

#[test]
fn booleans() {
    check(&["protected-mode", "YES"], "yes");
    check(&["protected-mode", "No"], "no");
    for bad in ["", "1", "true", "yes "] {
        check(&["protected-mode", bad], "! argument must be 'yes' or 'no'");
    }
}

#[test]
fn integers() {
    check(&["timeout", "2147483647"], "2147483647");
    check(&["timeout", "0"], "0");
    check(&["timeout", "2147483648"], "! argument must be between 0 and 2147483647 inclusive");
    check(&["port", "65536"], "! argument must be between 0 and 65535 inclusive");
    check(&["maxclients", "0"], "! argument must be between 1 and 4294967295 inclusive");
    check(
        &["slowlog-log-slower-than", "-2"],
        "! argument must be between -1 and 9223372036854775807 inclusive",
    );
    check(&["list-max-ziplist-size", "-5"], "-5");
    for bad in ["", "abc", "01", "+1", " 1", "1 ", "1e1", "-0", "--1", "-", "99999999999999999999", "1mb"] {
        check(&["timeout", bad], "! argument couldn't be parsed into an integer");
    }
}

#[test]
fn hz_is_moved_into_its_range() {
    check(&["hz", "0"], "1");
    check(&["hz", "1000"], "500");
    check(&["hz", "100"], "100");
}

#[test]
fn memory() {
    for (text, bytes) in [
        ("0", "0"),
        ("1b", "1"),
        ("1B", "1"),
        ("1k", "1000"),
        ("1kb", "1024"),
        ("1K", "1000"),
        ("1KB", "1024"),
        ("1m", "1000000"),
        ("1Mb", "1048576"),
        ("1g", "1000000000"),
        ("1GB", "1073741824"),
        ("18446744073709551615", "18446744073709551615"),
    ] {
        check(&["maxmemory", text], bytes);
    }
    for bad in ["1t", "1tb", "1.5gb", "-1", "-1mb", "+5", " 5", "5 ", "1 mb", "0x10", "0%", "101%"] {
        check(&["maxmemory", bad], "! argument must be a memory value");
    }
    // A share of the memory of the machine.
    let half = (crate::memory::available_bytes() as u64 / 100 * 50).to_string();
    check(&["maxmemory", "50%"], &half);
    check(&["maxmemory", "18446744073709551616"], "18446744073709551615");
    // Valkey lets this one wrap around to 0.
    check(&["maxmemory", "17179869184gb"], "18446744073709551615");
    // Valkey reads a missing number as 0.
    for bad in ["", "mb"] {
        check(&["maxmemory", bad], "! argument must be a memory value");
    }
    check(
        &["proto-max-bulk-len", "1048575"],
        "! argument must be between 1048576 and 9223372036854775807 inclusive",
    );
}

#[test]
fn memory_or_percent() {
    check(&["maxmemory-clients", "10%"], "10%");
    check(&["maxmemory-clients", "100%"], "100%");
    check(&["maxmemory-clients", "0%"], "0");
    check(&["maxmemory-clients", "5mb"], "5242880");
    check(&["maxmemory-clients", "101%"], "! percentage argument must be less or equal to 100");
    for bad in ["-1%", "-5", "1.5%", "%", "abc%", "99999999999999999999%"] {
        check(&["maxmemory-clients", bad], "! argument must be a memory or percent value");
    }
}

#[test]
fn choices() {
    check(&["maxmemory-policy", "AllKeys-LRU"], "allkeys-lru");
    check(&["appendfsync", "sometimes"], "! argument(s) must be one of the following: everysec, always, no");
    check(
        &["loglevel", ""],
        "! argument(s) must be one of the following: debug, verbose, notice, warning, nothing",
    );
}

#[test]
fn save_points() {
    check(&["save", "900 1"], "900 1");
    check(&["save", "900 1 300 10"], "900 1 300 10");
    check(&["save", "1 1 1 1"], "1 1 1 1");
    check(&["save", "60 0"], "60 0");
    for bad in ["900", "900 1 300", "0 1", "900 -1", "x y", "'900 1'", "  60   5  "] {
        check(&["save", bad], "! Invalid save parameters");
    }
    let mut config = Config::default();
    check_on(&mut config, &["save", "900 1"], "900 1");
    check_on(&mut config, &["save", "60 2"], "60 2");
    check_on(&mut config, &["save", ""], "");
}

#[test]
fn output_buffer_limits() {
    const NAME: &str = "client-output-buffer-limit";
    let mut config = Config::default();
    for (text, expected) in [
        ("normal 1 1 1", "normal 1 1 1 slave 268435456 67108864 60 pubsub 33554432 8388608 60"),
        ("PUBSUB 1mb 2mb 60", "normal 1 1 1 slave 268435456 67108864 60 pubsub 1048576 2097152 60"),
        ("replica 1mb 2mb 60", "normal 1 1 1 slave 1048576 2097152 60 pubsub 1048576 2097152 60"),
        ("normal 0 0 0 slave 2 1 9", "normal 0 0 0 slave 2 1 9 pubsub 1048576 2097152 60"),
        ("", "normal 0 0 0 slave 2 1 9 pubsub 1048576 2097152 60"),
        ("foo 1 1 1", "! Invalid client class specified in buffer limit configuration."),
        ("primary 1 1 1", "! Invalid client class specified in buffer limit configuration."),
        ("normal 1 1", "! Wrong number of arguments in buffer limit configuration."),
        ("normal a b c", "! Error in hard, soft or soft_seconds setting in buffer limit configuration."),
        ("normal 1 1 -1", "! Error in hard, soft or soft_seconds setting in buffer limit configuration."),
        ("normal 1 1 1x", "! Error in hard, soft or soft_seconds setting in buffer limit configuration."),
    ] {
        check_on(&mut config, &[NAME, text], expected);
    }
}

#[test]
fn event_letters() {
    for (text, expected) in [
        ("KEA", "AKE"),
        ("Kg", "gK"),
        ("E$", "$E"),
        ("n", "n"),
        ("KEn", "nKE"),
        ("KEg$lshzxet", "g$lshzxetKE"),
        ("KEg$lshzxetd", "AKE"),
        ("KEdxm", "xdKEm"),
        ("", ""),
        // Valkey forgets the `n` in its reply.
        ("KEAmn", "AnKEm"),
        ("KEAX", "! Invalid event class character. Use 'Ag$lshzxeKEtmdn'."),
    ] {
        check(&["notify-keyspace-events", text], expected);
    }
}

#[test]
fn lists() {
    check(&["oom-score-adj-values", "3 2 1"], "3 2 1");
    check(&["oom-score-adj-values", "1 2"], "! wrong number of arguments");
    for bad in ["-2001 0 0", "0 0 2001", "a b c"] {
        check(
            &["oom-score-adj-values", bad],
            "! Invalid oom-score-adj-values, elements must be between -2000 and 2000.",
        );
    }
    const PERCENTILES: &str = "latency-tracking-info-percentiles";
    check(&[PERCENTILES, "50 99 99.9"], "50 99 99.9");
    check(&[PERCENTILES, ""], "");
    check(&[PERCENTILES, "100"], "100");
    check(&[PERCENTILES, "50.123456"], "50.123456");
    for bad in ["100.1", "-1"] {
        check(&[PERCENTILES, bad], &format!("! {PERCENTILES} parameters should sit between [0.0,100.0]"));
    }
    check(&[PERCENTILES, "a"], &format!("! Invalid {PERCENTILES} parameters"));
    check(&["bind", "127.0.0.1 -::1"], "127.0.0.1 -::1");
    check(&["bind", ""], "");
    check(&["bind", &["::1"; 17].join(" ")], "! Too many bind addresses specified.");
}

#[test]
fn checked_texts() {
    check(&["cluster-announce-client-ipv4", "10.0.0.1"], "10.0.0.1");
    check(&["cluster-announce-client-ipv4", "x"], "! Invalid IPv4 address");
    check(&["cluster-announce-client-ipv6", "1.2.3.4"], "! Invalid IPv6 address");
    check(
        &["cluster-announce-hostname", "a b"],
        "! Hostnames may only contain alphanumeric characters, hyphens or dots",
    );
    check(&["proc-title-template", "x{foo}"], "! template format is invalid or contains unknown variables");
    check(&["proc-title-template", "{title} {port}"], "{title} {port}");
    check(&["availability-zone", "us east"], "us east");
}

#[test]
fn errors_before_any_value_is_read() {
    let failed = |name: &str, text: &str| {
        format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {text}")
    };
    let unknown = |name: &str| format!("ERR Unknown option or number of arguments for CONFIG SET - '{name}'");
    check(&["bogus", "1"], &unknown("bogus"));
    check(&["BOGUS", "1"], &unknown("BOGUS"));
    check(&["a\r\nb", "1"], &unknown("a  b"));
    check(&["maxmemory", "x", "bogus", "2"], &unknown("bogus"));
    for directive in ["user", "include", "loadmodule", "rename-command"] {
        check(&[directive, "x"], &unknown(directive));
    }
    check(&["maxmemory", "1", "maxmemory", "2"], "! duplicate parameter");
    check(&["maxmemory", "1", "MAXMEMORY", "2"], &failed("MAXMEMORY", "duplicate parameter"));
    check(&["DAEMONIZE", "yes"], "! can't set immutable config");
    check(&["port", "x", "daemonize", "yes"], &failed("daemonize", "can't set immutable config"));
    check(&["slaveof", "x", "replicaof", "y"], "! can't set immutable config");
    check(&["dir", "/"], "! can't set protected config");
    // A value's error names the setting as the table spells it.
    check(&["MaxMemory", "abc"], &failed("maxmemory", "argument must be a memory value"));
}

#[test]
fn several_pairs_are_set_together_or_not_at_all() {
    let mut config = Config::default();
    check_on(&mut config, &["maxmemory", "5mb", "timeout", "7"], "5242880");
    assert_eq!(value(&config, "timeout"), "7");
    check_on(
        &mut config,
        &["maxmemory", "6mb", "timeout", "abc"],
        "ERR CONFIG SET failed (possibly related to argument 'timeout') - argument couldn't be parsed into an \
         integer",
    );
    assert_eq!(value(&config, "maxmemory"), "5242880");
    // Two spellings of one setting are no duplicates; the later wins.
    check_on(&mut config, &["hash-max-ziplist-entries", "5", "hash-max-listpack-entries", "6"], "6");
    let applied = config.set(&[(b"timeout", b"7"), (b"slowlog-max-len", b"1")], false).unwrap();
    let applied: Vec<_> = applied.iter().map(|one| (one.name, one.changed)).collect();
    assert_eq!(applied, [("timeout", false), ("commandlog-slow-execution-max-len", true)]);
}

#[test]
fn protected_settings_follow_enable_protected_configs() {
    for (access, remote, local) in [("no", false, false), ("local", false, true), ("yes", true, true)] {
        let args = ["--enable-protected-configs".to_string(), access.to_string()];
        let config = Config::load(&args, []).unwrap().config;
        for (from_this_host, expected) in [(false, remote), (true, local)] {
            let result = config.clone().set(&[(b"dir", b"/")], from_this_host);
            assert_eq!(result.is_ok(), expected, "{access} {from_this_host}");
        }
    }
}

#[test]
fn folders_must_exist() {
    let args = ["--enable-protected-configs".to_string(), "yes".to_string()];
    let mut config = Config::load(&args, []).unwrap().config;
    check_on(&mut config, &["dir", "/no-such-folder"], "! No such file or directory");
    check_on(&mut config, &["dir", "/dev/null"], "! Not a directory");
    check_on(&mut config, &["dir", "/tmp/.."], "/");
    check_on(&mut config, &["dbfilename", "a/b"], "! argument can't be a path, just a filename");
}

/// To ignore these would break a promise: they are errors in this version, at their default they are not.
#[test]
fn refused_values() {
    check(&["tls-port", "6380"], "! TLS is not available in this version");
}

#[test]
fn get_matches_patterns() {
    let check = |patterns: &[&str], expected: &[&str]| {
        let patterns: Vec<&[u8]> = patterns.iter().map(|pattern| pattern.as_bytes()).collect();
        let found: Vec<_> = Config::default().get(&patterns).into_iter().map(|(name, _)| name).collect();
        assert_eq!(found, expected, "{patterns:?}");
    };
    check(
        &["maxmem*"],
        &[
            "maxmemory",
            "maxmemory-clients",
            "maxmemory-eviction-tenacity",
            "maxmemory-policy",
            "maxmemory-samples",
        ],
    );
    check(&["MAXMEMORY", "time*", "timeout"], &["maxmemory", "timeout"]);
    check(&["hash-max-*-entries"], &["hash-max-listpack-entries", "hash-max-ziplist-entries"]);
    check(&["primaryauth", "masterau[t]h"], &["masterauth", "primaryauth"]);
    check(&["slaveof"], &["slaveof"]);
    check(&["save", "nosuch"], &["save"]);
    check(&["key-load-delay"], &["key-load-delay"]);
    check(&["key-load*"], &[]);
    check(&["user"], &[]);
    check(&[], &[]);
}

/// As the Tcl suite's "CONFIG sanity": every value that can be set takes what GET shows.
#[test]
fn every_value_can_be_set_to_itself() {
    let mut config = Config::default();
    for (name, text) in config.get(&[b"*"]) {
        match config.set(&[(name.as_bytes(), text.as_bytes())], true) {
            Ok(applied) => assert!(!applied[0].changed, "{name} = {text}"),
            Err(error) => assert!(
                error.to_string().ends_with("immutable config")
                    || error.to_string().ends_with("protected config"),
                "{error}"
            ),
        }
    }
}

#[test]
fn secrets_stay_out_of_logs() {
    let mut config = Config::default();
    for name in ["requirepass", "primaryauth", "tls-key-file-pass", "tls-client-key-file-pass"] {
        config.set(&[(name.as_bytes(), b"hunter2")], false).unwrap();
        assert_eq!(value(&config, name), "(hidden)");
        config.set(&[(name.as_bytes(), b"(hidden)")], false).unwrap();
    }
    let logged = format!("{config:?}\n{}", config.notes().join("\n"));
    assert!(!logged.contains("hunter2"), "{logged}");
    assert!(logged.contains("requirepass") && logged.contains("primaryauth"), "{logged}");
    assert_eq!(config.requirepass(), Some("hunter2"));
    let error = config.set(&[(b"requirepass", b"\xff")], false).unwrap_err().to_string();
    assert!(error.ends_with("argument must be valid UTF-8"), "{error}");
}

#[test]
fn changed_settings_without_effect_are_reported() {
    let mut config = Config::default();
    assert_eq!(config.notes(), [""; 0]);
    config.set(&[(b"hz", b"50"), (b"timeout", b"5")], false).unwrap();
    assert_eq!(
        config.notes(),
        [
            "setting hz = '50' has no effect: a shard sleeps until its next timer instead of waking at a fixed rate"
        ]
    );
}
