//! The two file syntaxes: reading with errors at their lines, and CONFIG REWRITE.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::super::redis_conf::{join_words, split_words};
use super::super::{Config, ConfigError, Loaded};

/// A folder of a test's own, removed at the end.
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("torc-config-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Folder(path.canonicalize().unwrap())
    }

    pub(super) fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    /// Writes a file and returns its path.
    pub(super) fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Loads one file.
pub(super) fn load(path: &str) -> Result<Loaded, ConfigError> {
    Config::load(&[path.to_string()], [])
}

#[test]
fn words_are_split_and_unquoted() {
    let check = |line: &str, expected: Option<&[&str]>| {
        assert_eq!(
            split_words(line).as_deref(),
            expected.map(|words| words.iter().map(|w| w.to_string()).collect::<Vec<_>>()).as_deref(),
            "{line}"
        );
    };
    check("", Some(&[]));
    check("  a\tb  c ", Some(&["a", "b", "c"]));
    check(r#"a "" ''"#, Some(&["a", "", ""]));
    check(r#""a b" 'c d'"#, Some(&["a b", "c d"]));
    check(r#""\x41\n\r\t\b\a\"\\\q""#, Some(&["A\n\r\t\u{8}\u{7}\"\\q"]));
    check(r"'it\'s' '\n'", Some(&["it's", r"\n"]));
    check(r#"x"y""#, Some(&["xy"]));
    check(r#""caf\xc3\xa9""#, Some(&["café"]));
    check(r#""\xff""#, None);
    check(r#""open"#, None);
    check("'open", None);
    check(r#""a"b"#, None);
    check("port 1 # not a comment", Some(&["port", "1", "#", "not", "a", "comment"]));
}

#[test]
fn quoting_is_the_inverse_of_splitting() {
    let words = ["plain", "", "a b", "\"", "'", "\\", "a\nb\r\t", "\u{1}", "é#", "#x", "-1"];
    let words: Vec<String> = words.iter().map(|word| word.to_string()).collect();
    let mut expected = vec!["name".to_string()];
    expected.extend(words.clone());
    assert_eq!(split_words(&join_words("name", &words)), Some(expected));
}

/// Loads a file; expected are the problems as `line: text`, or the changed settings.
#[track_caller]
fn check(folder: &Folder, name: &str, text: &str, expected: &str) {
    let path = folder.write(name, text);
    let found = match load(&path) {
        Ok(loaded) => format!("{:?}", loaded.config),
        Err(error) => {
            let lines: Vec<_> = error
                .problems
                .iter()
                .map(|problem| problem.to_string().replace(&format!("{path}:"), ""))
                .collect();
            lines.join("\n")
        }
    };
    assert_eq!(found, expected, "{text}");
}

#[test]
fn redis_conf_lines() {
    let folder = Folder::new("conf");
    let check = |text: &str, expected: &str| check(&folder, "a.conf", text, expected);
    const BAD: &str = "Bad directive or wrong number of arguments";
    check("", "{}");
    check("# comment\n\n  # another\n\tPort\t7\r\n", r#"{"port": "7"}"#);
    check("timeout 5\ntimeout 6\n", r#"{"timeout": "6"}"#);
    check("save 900 1\nsave 5 5\n", r#"{"save": "900 1 5 5"}"#);
    check("save 900 1\nsave \"\"\nsave 7 7\n", r#"{"save": "7 7"}"#);
    check("bind \"127.0.0.1 ::1\"", r#"{"bind": "127.0.0.1 ::1"}"#);
    check("list-max-ziplist-entries 5\nio-threads-do-reads yes\n", "{}");
    check("port 1\n\nfoo bar\n", &format!("3: 'foo bar': {BAD}"));
    check("port", "1: 'port': wrong number of arguments");
    check("port 1 # one", "1: 'port 1 # one': wrong number of arguments");
    check("port \"unbal", "1: 'port \"unbal': Unbalanced quotes in configuration line");
    check("save abc", "1: 'save abc': Invalid save parameters");
    check("vm-enabled yes", &format!("1: 'vm-enabled yes': {BAD}"));
    check("rename-command FLUSHALL \"\"", "{}");
    check("rename-command FLUSHALL", "1: 'rename-command FLUSHALL': wrong number of arguments");
    check("include", "1: 'include': wrong number of arguments");
}

#[test]
fn the_error_has_the_shape_tools_look_for() {
    let folder = Folder::new("shape");
    let path = folder.write("a.conf", "port 1\n\n  foo bar\n");
    let error = load(&path).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "\n*** FATAL CONFIG FILE ERROR (torc {}) ***\nReading the configuration file, at line 3 of {path}\n\
             >>> 'foo bar'\nBad directive or wrong number of arguments",
            env!("CARGO_PKG_VERSION")
        )
    );
}

#[test]
fn includes() {
    let folder = Folder::new("include");
    let check = |text: &str, expected: &str| check(&folder, "a.conf", text, expected);
    let one = folder.write("one.inc", "port 1\ntimeout 1\n");
    folder.write("two.inc", "port 2\n");
    folder.write(".hidden.inc", "bad\n");
    let all = one.replace("one.inc", "*.inc");
    check(&format!("timeout 9\ninclude {one}\nport 3"), r#"{"port": "3", "timeout": "1"}"#);
    check(&format!("include {all}"), r#"{"port": "2", "timeout": "1"}"#);
    check(&format!("include {}", one.replace("one", "none-*")), "{}");
    check("include /no/such/folder/*.conf", "{}");
    check("include /no/such/file", "1: can't open config file '/no/such/file': No such file or directory");
    let bad = folder.write("bad.conf", "\nfoo\n");
    check(&format!("include {bad}"), &format!("{bad}:2: 'foo': Bad directive or wrong number of arguments"));
    let path = folder.write("a.conf", "");
    check(&format!("include {path}"), &format!("1: 'include {path}': more than 16 files include each other"));
}

#[test]
fn files_that_are_no_text() {
    let folder = Folder::new("text");
    let path = folder.write("a.conf", "");
    fs::write(&path, b"port \xff").unwrap();
    let error = load(&path).unwrap_err();
    assert_eq!(error.problems[0].to_string(), format!("{path}: the file is not valid UTF-8"));
    fs::write(&path, vec![b'\n'; (4 << 20) + 1]).unwrap();
    let error = load(&path).unwrap_err();
    assert_eq!(error.problems[0].to_string(), format!("{path}: the file is larger than 4194304 bytes"));
}

#[test]
fn toml_values() {
    let folder = Folder::new("toml");
    let check = |text: &str, expected: &str| check(&folder, "a.toml", text, expected);
    check("", "{}");
    check("[network]\nport = 7_000\n", r#"{"port": "7000"}"#);
    check("network.port = 7\n[runtime]\nshards = 4\n", r#"{"port": "7", "shards": "4"}"#);
    check("[network]\nbind = [\"::1\", \"127.0.0.1\"]\n", r#"{"bind": "::1 127.0.0.1"}"#);
    check("[network]\nbind = \"::1 127.0.0.1\"\n", r#"{"bind": "::1 127.0.0.1"}"#);
    check("[network]\nbind = []\n", r#"{"bind": ""}"#);
    check("[memory]\nmaxmemory = \"4gb\"\n", r#"{"maxmemory": "4294967296"}"#);
    check("[memory]\nmaxmemory = 100\n", r#"{"maxmemory": "100"}"#);
    check("[persistence]\nsave = [\"900 1\", \"300 10\"]\n", r#"{"save": "900 1 300 10"}"#);
    check("[persistence.aof]\nappendfsync = \"always\"\n", r#"{"appendfsync": "always"}"#);
    check(
        "[latency]\nlatency-tracking-info-percentiles = [50, 99.5]\n",
        r#"{"latency-tracking-info-percentiles": "50 99.5"}"#,
    );
    check("[network]\nunixsocketperm = \"700\"\n", r#"{"unixsocketperm": "700"}"#);
}

#[test]
fn toml_mistakes() {
    let folder = Folder::new("toml-bad");
    let check = |text: &str, expected: &str| check(&folder, "a.toml", text, expected);
    check("\n[network]\nprot = 1\n", "3: 'prot = 1': unknown setting 'prot' in [network]");
    check("[netwrok]\nport = 1\n", "1: '[netwrok]': unknown section [netwrok]");
    check(
        "port = 1\n",
        "1: 'port = 1': unknown setting 'port' at the top of the file: it is 'port' in [network]",
    );
    check(
        "[latency]\nslowlog-max-len = 1\n",
        "2: 'slowlog-max-len = 1': unknown setting 'slowlog-max-len' in [latency]: it is \
         'commandlog-slow-execution-max-len' in [latency]",
    );
    check("[network]\nport = \"1\"\n", "2: 'port = \"1\"': expected an integer");
    check("[network]\nport = 0x10\n", "2: 'port = 0x10': expected an integer");
    check("[network]\nport = 70000\n", "2: 'port = 70000': argument must be between 0 and 65535 inclusive");
    check("[network]\nprotected-mode = \"yes\"\n", "2: 'protected-mode = \"yes\"': expected true or false");
    check(
        "[network]\nunixsocketperm = 0o700\n",
        "2: 'unixsocketperm = 0o700': expected permission bits as a string such as \"700\"",
    );
    check("[network]\nbind = [true]\n", "2: 'bind = [true]': expected an array of strings or numbers");
    check(
        "[security]\naclfile = \"x\"\n",
        "2: 'aclfile = \"x\"': users are not available in this version; `requirepass` sets one password",
    );
    check("[modules]\nloadmodule = \"x\"\n", "1: '[modules]': unknown section [modules]");
    check("[network]\nloadmodule = \"x\"\n", "2: 'loadmodule = \"x\"': modules are not supported");
    check(
        "[network]\nport = 1\nport = 2\nbind = x\n",
        "3: 'port = 2': duplicate key\n4: 'bind = x': string values must be quoted, expected literal string",
    );
}

/// Loads `old`, changes settings, rewrites, and compares the file.
#[track_caller]
fn check_rewrite(name: &str, old: &str, changes: &[(&str, &str)], expected: &str) {
    let folder = Folder::new(&format!("rewrite-{name}-{}", changes.len() + old.len() * 100 + expected.len()));
    let path = folder.write(name, old);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let mut config = load(&path).unwrap_or_else(|error| panic!("{error}")).config;
    let pairs: Vec<(&[u8], &[u8])> =
        changes.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
    config.set(&pairs, true).unwrap();
    config.rewrite().unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), expected, "{changes:?}");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    let again = load(&path).unwrap_or_else(|error| panic!("{error}\n{expected}")).config;
    assert_eq!(again.get(&[b"*"]), config.get(&[b"*"]), "the file gives other values");
    assert_eq!(fs::read_dir(path.rsplit_once('/').unwrap().0).unwrap().count(), 1, "something is left over");
}

#[test]
fn rewrite_of_redis_conf() {
    let check = |old: &str, changes: &[(&str, &str)], expected: &str| {
        check_rewrite("a.conf", old, changes, expected);
    };
    const OLD: &str = "# my comment\nport 21310\n\nmaxmemory 100mb\n  # indented\nsave 900 1\nsave 300 10\n\
                       client-output-buffer-limit normal 0 0 0\n# tail\nslave-priority 50\ntimeout 5\ntimeout 7\n";
    // Nothing changed: not a byte differs.
    check(OLD, &[], OLD);
    check(
        OLD,
        &[("maxmemory", "1500000"), ("save", "1 1"), ("timeout", "9"), ("replica-priority", "60")],
        "# my comment\nport 21310\n\nmaxmemory 1500000\n  # indented\nsave 1 1\n\
         client-output-buffer-limit normal 0 0 0\n# tail\nslave-priority 60\ntimeout 9\n",
    );
    check(
        "port 1\n",
        &[
            ("requirepass", "a b\""),
            ("bind", "127.0.0.1 ::1"),
            ("client-output-buffer-limit", "pubsub 1mb 1 1"),
        ],
        "port 1\n\n# Generated by CONFIG REWRITE\nbind 127.0.0.1 ::1\n\
         client-output-buffer-limit normal 0 0 0\nclient-output-buffer-limit replica 256mb 64mb 60\n\
         client-output-buffer-limit pubsub 1mb 1 1\nrequirepass \"a b\\\"\"\n",
    );
    check("save 1 1\n", &[("save", "")], "save \"\"\n");
    check("timeout 1\n", &[("timeout", "0")], "timeout 0\n");
    check(
        "# Generated by CONFIG REWRITE\ntimeout 1\n",
        &[("hz", "20")],
        "# Generated by CONFIG REWRITE\ntimeout 1\nhz 20\n",
    );
    check(
        "loadmodule x\n",
        &[("timeout", "1")],
        "loadmodule x\n\n# Generated by CONFIG REWRITE\ntimeout 1\n",
    );
}

#[test]
fn rewrite_of_toml() {
    let check = |old: &str, changes: &[(&str, &str)], expected: &str| {
        check_rewrite("a.toml", old, changes, expected);
    };
    const OLD: &str = "# top\n[network] # here\nport   =  21310 # why\n\n[memory]\nmaxmemory = \"100mb\"\n";
    check(OLD, &[], OLD);
    check(
        OLD,
        &[("port", "7"), ("maxmemory", "1500000"), ("timeout", "3")],
        "# top\n[network] # here\nport   =  7 # why\n\n[memory]\nmaxmemory = \"1500000\"\n\n[clients]\ntimeout = 3\n",
    );
    check("network = { port = 1 }\n", &[("bind", "::1")], "[network]\nport = 1\nbind = [\"::1\"]\n");
    check(
        "",
        &[("appendfsync", "no"), ("save", "1 2 3 4")],
        "[persistence]\nsave = [\"1 2\", \"3 4\"]\n\n[persistence.aof]\nappendfsync = \"no\"\n",
    );
    check("[clients]\ntimeout = 3\n", &[("timeout", "0")], "[clients]\ntimeout = 0\n");
    check("persistence.save = \"1 1\"\n", &[("save", "")], "persistence.save = []\n");
}

#[test]
fn rewrite_needs_a_file_it_may_replace() {
    assert_eq!(
        Config::default().rewrite().unwrap_err().to_string(),
        "ERR The server is running without a config file"
    );
    let folder = Folder::new("readonly");
    let path = folder.write("a.conf", "port 1\n");
    let mut config = load(&path).unwrap().config;
    config.set(&[(b"timeout", b"5")], false).unwrap();
    fs::remove_file(&path).unwrap();
    assert_eq!(
        config.rewrite().unwrap_err().to_string(),
        format!("ERR Rewriting config file: {path}: No such file or directory")
    );
    // A folder in the way of the temporary file stands for any failure to write.
    folder.write("a.conf", "port 1\n");
    let obstacle = folder.0.join(format!(".a.conf.{}.tmp", std::process::id()));
    fs::create_dir(&obstacle).unwrap();
    assert_eq!(
        config.rewrite().unwrap_err().to_string(),
        format!("ERR Rewriting config file: {path}: Is a directory")
    );
    assert_eq!(fs::read_to_string(&path).unwrap(), "port 1\n");
    let toml = folder.write("a.toml", "");
    let config = load(&toml).unwrap().config;
    fs::write(&toml, "requirepass = hunter2").unwrap();
    let error = config.rewrite().unwrap_err().to_string();
    assert!(error.starts_with("ERR Rewriting config file: ") && !error.contains("hunter2"), "{error}");
}

/// Kubernetes mounts files as links: the link stays, its target changes.
#[test]
fn rewrite_follows_links() {
    let folder = Folder::new("links");
    let target = folder.write("real.conf", "timeout 1\n");
    let link = folder.0.join("link.conf");
    std::os::unix::fs::symlink(&target, &link).unwrap();
    let mut config = Config::load(&[link.display().to_string()], []).unwrap().config;
    config.set(&[(b"timeout", b"2")], false).unwrap();
    config.rewrite().unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(fs::read_to_string(&target).unwrap(), "timeout 2\n");
}
