//! Command line, environment and what comes out of them.

use super::super::{Config, Startup, start};
use super::files::{Folder, load};

fn args(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| word.to_string()).collect()
}

/// Loads a command line; expected is `name=value ...` of the settings that differ from their defaults, or the
/// first error's last line.
#[track_caller]
fn check(words: &[&str], expected: &str) {
    let found = match Config::load(&args(words), []) {
        Ok(loaded) => format!("{:?}", loaded.config),
        Err(error) => error.to_string().lines().last().unwrap_or_default().to_string(),
    };
    assert_eq!(found, expected, "{words:?}");
}

#[test]
fn options_on_the_command_line() {
    check(&[], "{}");
    check(&["--port", "7000", "--shards", "4"], r#"{"port": "7000", "shards": "4"}"#);
    check(&["--port=7000", "--shards=auto"], r#"{"port": "7000"}"#);
    check(&["--PORT", "7000"], r#"{"port": "7000"}"#);
    check(&["--slowlog-max-len", "5"], r#"{"commandlog-slow-execution-max-len": "5"}"#);
    check(&["--bind", "127.0.0.1", "::1"], r#"{"bind": "127.0.0.1 ::1"}"#);
    check(&["--bind", "127.0.0.1 ::1"], r#"{"bind": "127.0.0.1 ::1"}"#);
    check(
        &["--client-output-buffer-limit", "pubsub", "1mb", "2mb", "60"],
        r#"{"client-output-buffer-limit": "normal 0 0 0 slave 268435456 67108864 60 pubsub 1048576 2097152 60"}"#,
    );
    check(&["--oom-score-adj-values", "-1", "0", "1"], r#"{"oom-score-adj-values": "-1 0 1"}"#);
    check(&["--timeout", "5", "--timeout", "6"], r#"{"timeout": "6"}"#);
    check(&["--requirepass", ""], "{}");
    check(&["--logfile=--x"], r#"{"logfile": "--x"}"#);
    check(&["--availability-zone", "-v"], r#"{"availability-zone": "-v"}"#);
}

#[test]
fn save_on_the_command_line() {
    check(&["--save", "900", "1", "300", "10"], r#"{"save": "900 1 300 10"}"#);
    check(&["--save", "900 1 300 10"], r#"{"save": "900 1 300 10"}"#);
    check(&["--save", "900", "1", "--save", "300", "10"], r#"{"save": "900 1 300 10"}"#);
    check(&["--save", "900", "1", "--save", ""], r#"{"save": ""}"#);
    check(&["--save", "", "--port", "1"], r#"{"port": "1", "save": ""}"#);
    check(&["--save", "--port", "1"], r#"{"port": "1", "save": ""}"#);
}

#[test]
fn mistakes_on_the_command_line() {
    const BAD: &str = "Bad directive or wrong number of arguments";
    check(&["--nosuch", "5"], BAD);
    check(&["--port", "x"], "argument couldn't be parsed into an integer");
    check(&["--port"], "wrong number of arguments");
    check(&["--port", "1", "2"], "wrong number of arguments");
    check(&["--shards", "0"], "argument must be 'auto' or a number between 1 and 1024");
    check(&["--shards", "many"], "argument must be 'auto' or a number between 1 and 1024");
    check(&["--unixsocketperm", "888"], "argument couldn't be parsed as an octal number");
    check(&["--unixsocketperm", "1777"], "argument must be between 0 and 777 inclusive");
    check(&["--cluster-enabled", "yes"], "cluster mode is not available in this version");
    check(&["--replicaof", "h", "p"], "Invalid primary port");
    check(&["--replicaof", "h", "6379"], "replication is not available in this version");
    check(&["--replicaof", "no", "one"], "{}");
    let error = Config::load(&args(&["--nosuch", "a b", "c"]), []).unwrap_err().to_string();
    assert_eq!(
        error,
        format!(
            "\n*** FATAL CONFIG FILE ERROR (torc {}) ***\nReading the command line\n>>> '--nosuch \"a b\" c'\n{BAD}",
            env!("CARGO_PKG_VERSION")
        )
    );
}

#[test]
fn secrets_stay_out_of_errors() {
    let folder = Folder::new("secrets");
    for line in [
        "requirepass hunter2 extra",
        "requirepass \"hunter2",
        "Requirepass=hunter2",
        "masterauth hunter2 x",
        "tls-key-file-pass hunter2 x",
        "user default on >hunter2",
        "requirepas hunter2",
    ] {
        let path = folder.write("a.conf", line);
        let error = load(&path).unwrap_err();
        let text = format!("{error} {} {error:?}", error.problems[0]);
        assert!(!text.contains("hunter2"), "{text}");
        assert!(text.contains("(hidden)"), "{text}");
    }
    for toml in [
        "[security]\nrequirepass = [\"hunter2\"]",
        "[security]\nrequirepass = \"hunter2",
        "requirepass = \"hunter2\"",
    ] {
        let path = folder.write("a.toml", toml);
        let error = load(&path).unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(!text.contains("hunter2"), "{text}");
    }
    let error = Config::load(&args(&["--requirepass", "hunter2", "x"]), []).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
}

#[test]
fn environment_is_read_on_request() {
    let env = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    };
    let check = |words: &[&str], pairs: &[(&str, &str)], expected: &str| {
        let found = match Config::load(&args(words), env(pairs)) {
            Ok(loaded) => format!("{:?}", loaded.config),
            Err(error) => error.problems[0].to_string(),
        };
        assert_eq!(found, expected, "{words:?} {pairs:?}");
    };
    let two = [("TORC_MAXMEMORY_POLICY", "allkeys-lru"), ("TORC_PORT", "7000"), ("PATH", "/bin")];
    check(&[], &two, "{}");
    check(&["--env"], &two, r#"{"port": "7000", "maxmemory-policy": "allkeys-lru"}"#);
    check(&["--env", "--port", "1"], &two, r#"{"port": "1", "maxmemory-policy": "allkeys-lru"}"#);
    check(&["--env"], &[("TORC_BIND", "::1 127.0.0.1")], r#"{"bind": "::1 127.0.0.1"}"#);
    check(&["--env"], &[("TORC_SAVE", "")], r#"{"save": ""}"#);
    check(&["--env"], &[("TORC_REQUIREPASS", "'a b'")], r#"{"requirepass": "(hidden)"}"#);
    check(
        &["--env"],
        &[("TORC_NO_SUCH", "1")],
        "environment: 'TORC_NO_SUCH=1': Bad directive or wrong number of arguments",
    );
    check(
        &["--env"],
        &[("TORC_REQUIREPASS", "\"x")],
        "environment: 'TORC_REQUIREPASS (hidden)': Unbalanced quotes",
    );
}

#[test]
fn files_come_before_the_command_line() {
    let folder = Folder::new("order");
    let conf = folder.write("a.conf", "port 1\ntimeout 2\nsave 900 1\n");
    check(&[&conf, "--port", "7"], r#"{"port": "7", "timeout": "2", "save": "900 1"}"#);
    check(&[&conf, "--save", "100", "100"], r#"{"port": "1", "timeout": "2", "save": "900 1 100 100"}"#);
    check(&[&conf, "--save", ""], r#"{"port": "1", "timeout": "2", "save": ""}"#);
    check(&[&conf, "other.conf"], "unexpected argument");
    check(&["/no/such/file.conf"], "can't open config file '/no/such/file.conf': No such file or directory");
    let loaded = load(&conf).unwrap();
    assert_eq!(loaded.config.file().map(|path| path.display().to_string()), Some(conf));
}

#[test]
fn ignored_directives_and_settings_without_effect_are_noted() {
    let folder = Folder::new("notes");
    let conf = folder.write("a.conf", "port 1\nloadmodule /x.so\nio-threads 4\n");
    let notes = load(&conf).unwrap().notes;
    assert_eq!(
        notes,
        [
            format!("directive ignored: {conf}:2: 'loadmodule /x.so': modules are not supported"),
            "setting io-threads = '4' has no effect: every shard does its own input and output".into(),
        ]
    );
}

#[track_caller]
fn printed(words: &[&str]) -> (String, i32) {
    match start(&args(words), []) {
        Ok(Startup::Print { text, exit_code }) => (text, exit_code),
        other => panic!("{words:?}: {other:?}"),
    }
}

#[test]
fn check_config_reports_every_problem() {
    let folder = Folder::new("check");
    let bad = folder.write("bad.conf", "port 1\nfoo bar\ntimeout x\n");
    let expected = format!(
        "{bad}:2: 'foo bar': Bad directive or wrong number of arguments\n\
         {bad}:3: 'timeout x': argument couldn't be parsed into an integer\n"
    );
    assert_eq!(printed(&["--check-config", &bad]), (expected.clone(), 1));
    assert_eq!(printed(&[&bad, "--check-config"]), (expected, 1));
    let good = folder.write("good.conf", "port 1\nhz 5\n");
    let (text, code) = printed(&["--check-config", &good]);
    assert_eq!(code, 0);
    assert!(
        text.starts_with("warning: setting hz = '5'") && text.ends_with("configuration is fine\n"),
        "{text}"
    );
}

#[test]
fn version_and_help_win_over_everything() {
    for flag in ["-v", "--version"] {
        assert_eq!(printed(&[flag]), (format!("torc {}\n", env!("CARGO_PKG_VERSION")), 0));
    }
    for words in [&["-h"][..], &["--help"], &["--port", "x", "--help"]] {
        assert!(printed(words).0.starts_with("Usage: torc "), "{words:?}");
    }
    assert!(matches!(start(&[], []), Ok(Startup::Serve(_))));
}

#[test]
fn convert_gives_toml_that_means_the_same() {
    let folder = Folder::new("convert");
    let conf = folder.write(
        "redis.conf",
        "port 7000\nbind 127.0.0.1 -::1\nsave 900 1\nsave 300 10\nmaxmemory 100mb\nappendfsync always\n\
         client-output-buffer-limit pubsub 1mb 2mb 60\nrequirepass \"a \\\"b\"\nunixsocketperm 700\n\
         latency-tracking-info-percentiles 50 99.5\nslave-priority 7\nnotify-keyspace-events KEA\n\
         maxmemory-clients 5%\noom-score-adj-values 1 2 3\nloadmodule x\nprotected-mode no\nshards 3\n",
    );
    let (text, code) = printed(&["--convert", &conf]);
    assert_eq!(code, 0);
    for part in [
        "# directive ignored: ",
        "[network]\nport = 7000\nbind = [\"127.0.0.1\", \"-::1\"]\nprotected-mode = false\n",
        "unixsocketperm = \"700\"",
        "save = [\"900 1\", \"300 10\"]",
        "maxmemory = \"100mb\"",
        "latency-tracking-info-percentiles = [50.0, 99.5]",
        "[persistence.aof]\nappendfsync = \"always\"\n",
        "oom-score-adj-values = [1, 2, 3]",
        "shards = 3",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    let toml = folder.write("torc.toml", &text);
    let converted = load(&toml).unwrap_or_else(|error| panic!("{error}\n{text}")).config;
    let original = load(&conf).unwrap().config;
    assert_eq!(converted.get(&[b"*"]), original.get(&[b"*"]));
}
