//! Who gets in, what they may call, and what nobody gets to see.

use std::fs;
use std::net::UdpSocket;
use std::path::PathBuf;

use torc_resp::Value;
use torc_tests::raw::{ok, simple};
use torc_tests::{Client, Launch, scratch_dir};

const UNKNOWN: &str = "ERR unknown command";

fn file(name: &str, text: &str) -> PathBuf {
    let path = scratch_dir("security").join(name);
    fs::write(&path, text).expect("the folder is writable");
    path
}

/// An address of this machine that is not the loopback interface's, if there is one. Nothing is sent.
fn outer_address() -> Option<String> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback()).then(|| address.to_string())
}

#[test]
fn protected_mode_tells_strangers_why() {
    let server = Launch::torc(2).start();
    assert_eq!(server.client().cmd("PING"), simple("PONG"));
    let Some(outer) = outer_address() else {
        return eprintln!("skipped: this machine has only the loopback interface");
    };
    let mut stranger = Client::connect(&outer, server.port()).expect("the port is open");
    let Value::Error(text) = stranger.receive().expect("the reason comes at once") else {
        panic!("a stranger came in")
    };
    assert!(
        text.starts_with("DENIED Redis is running in protected mode because protected mode is enabled"),
        "{text}"
    );
    assert!(
        text.ends_with("in order for the server to start accepting connections from the outside."),
        "{text}"
    );
    assert!(stranger.closed_within(torc_tests::PATIENCE));
    let mut friend = server.client();
    assert_eq!(friend.cmd("CONFIG SET requirepass secret"), ok());
    let mut stranger = Client::connect(&outer, server.port()).expect("the port is open");
    assert!(stranger.cmd("PING").to_string().contains("NOAUTH"));
    assert_eq!(stranger.cmd("AUTH secret"), ok());
    assert_eq!(stranger.cmd("PING"), simple("PONG"));
}

#[test]
fn the_password_may_be_in_a_file() {
    let path = file("password", "s3cret\n");
    let server = Launch::torc(2).setting("requirepass_file", path.to_str().expect("a plain path")).start();
    let mut client = server.client();
    assert!(client.cmd("GET k").to_string().contains("NOAUTH"));
    assert!(client.cmd("AUTH wrong").to_string().contains("WRONGPASS"));
    assert_eq!(client.cmd("AUTH s3cret"), ok());
    for line in ["CONFIG GET *", "INFO everything", "SLOWLOG GET -1"] {
        let reply = client.cmd(line).to_string();
        assert!(!reply.contains("s3cret"), "{line}: {reply}");
    }
    assert!(!server.log().contains("s3cret"), "{}", server.log());
    for (text, problem) in [("", "the file holds no password"), ("\n", "the file holds no password")] {
        let path = file("bad", text);
        let launch = Launch::torc(1).setting("requirepass-file", path.to_str().expect("a plain path"));
        let (status, log) = launch.run_to_end();
        assert_eq!(status.code(), Some(1), "{log}");
        assert!(log.contains(problem), "{log}");
    }
    let (status, log) = Launch::torc(1).setting("requirepass-file", "/no/such/file").run_to_end();
    assert_eq!(status.code(), Some(1), "{log}");
}

#[test]
fn secrets_are_not_shown() {
    let server = Launch::torc(2).setting("slowlog-log-slower-than", "0").start();
    let mut client = server.client();
    assert_eq!(client.cmd("CONFIG SET requirepass hunter2"), ok());
    client.cmd("AUTH hunter2");
    client.cmd("HELLO 2 AUTH default hunter2");
    for line in ["CONFIG GET requirepass", "CONFIG GET *", "INFO everything", "SLOWLOG GET -1", "CLIENT LIST"]
    {
        let reply = client.cmd(line).to_string();
        assert!(!reply.contains("hunter2"), "{line}: {reply}");
    }
    assert_eq!(client.cmd("CONFIG SET requirepass (hidden)"), ok());
    assert_eq!(client.cmd("AUTH hunter2"), ok());
    assert!(!server.log().contains("hunter2"), "{}", server.log());
}

/// `enable-debug-command` and `enable-protected-configs`: only at the start, and `local` for this machine's clients.
#[test]
fn guarded_commands_and_settings_need_a_switch() {
    let start = |switch: &str| {
        let launch = Launch::torc(2).setting("enable-debug-command", switch);
        launch.setting("enable-protected-configs", switch).start()
    };
    let closed = start("no");
    let mut client = closed.client();
    let refused = client.cmd("DEBUG SLEEP 0").to_string();
    assert!(refused.contains("ERR DEBUG command not allowed. If the enable-debug-command option is set to"));
    for (line, problem) in [
        ("CONFIG SET dir /", "can't set protected config"),
        ("CONFIG SET dbfilename other", "can't set protected config"),
        ("CONFIG SET enable-debug-command yes", "can't set immutable config"),
        ("CONFIG SET enable-protected-configs yes", "can't set immutable config"),
    ] {
        let reply = client.cmd(line).to_string();
        assert!(reply.contains(problem), "{line}: {reply}");
    }
    for switch in ["local", "yes"] {
        let server = start(switch);
        let mut client = server.client();
        assert_eq!(client.cmd("DEBUG SLEEP 0"), ok());
        assert_eq!(client.cmd("CONFIG SET dbfilename other.rdb"), ok());
    }
}

#[test]
fn commands_can_be_renamed_and_taken_away() {
    let toml = "[security.rename-command]\nFLUSHALL = \"\"\nCONFIG = \"torc-config\"\nset = \"put\"\n";
    let conf = "rename-command FLUSHALL \"\"\nrename-command config torc-config\nrename-command SET put\n";
    for path in [file("a.toml", toml), file("a.conf", conf)] {
        let server = Launch::torc(2).config_file(&path).start();
        let mut client = server.client();
        for line in ["FLUSHALL", "CONFIG GET port", "SET k v", "set k v"] {
            let reply = client.cmd(line).to_string();
            assert!(reply.contains(UNKNOWN), "{line}: {reply}");
        }
        assert_eq!(client.cmd("PUT k v"), ok());
        assert_eq!(client.text("GET k"), "v");
        assert!(!client.cmd("Torc-Config GET port").is_error());
    }
    for (line, problem) in [
        ("rename-command nothing x", "No such command 'nothing'"),
        ("rename-command get set", "Target command name 'set' already exists"),
    ] {
        let path = file("bad.conf", line);
        let (status, log) = Launch::torc(1).config_file(&path).run_to_end();
        assert_eq!(status.code(), Some(1), "{log}");
        assert!(log.contains(problem), "{log}");
    }
}
