//! A server as a child process: torc, or the reference it is compared with.
//!
//! Started on a port of its own, in a folder of its own, and killed by its process id when dropped. Every wait is
//! bounded, and a failure shows the end of the server's log.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use crate::client::{Client, PATIENCE};
use crate::ports::{Port, free_port};
use crate::process::{Signal, scratch_dir, wait_until};
use crate::torc_binary;

/// How long a server may take until it accepts connections.
const START_LIMIT: Duration = Duration::from_secs(30);

/// How long a server may take to end after a request to do so.
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// A port may be taken between the check and its use.
const START_ATTEMPTS: usize = 3;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    Torc { shards: usize },
    Reference { binary: PathBuf, version: Version },
}

/// How to start a server.
#[derive(Clone, Debug)]
pub struct Launch {
    kind: Kind,
    /// Stands before everything else on the command line.
    config_file: Option<PathBuf>,
    args: Vec<String>,
    env: Vec<(String, PathBuf)>,
    /// A user and group for the process, other than those of the test.
    user: Option<u32>,
    listen: bool,
}

#[derive(Debug)]
pub struct Server {
    child: Child,
    port: Port,
    dir: PathBuf,
    kind: Kind,
}

impl Launch {
    pub fn torc(shards: usize) -> Launch {
        Launch::of(Kind::Torc { shards })
    }

    pub fn of(kind: Kind) -> Launch {
        Launch { kind, config_file: None, args: Vec::new(), env: Vec::new(), user: None, listen: true }
    }

    /// A setting as on the command line: `.setting("maxclients", "10")`.
    pub fn setting(self, name: &str, value: &str) -> Launch {
        self.arg(&format!("--{name}")).arg(value)
    }

    pub fn arg(mut self, arg: &str) -> Launch {
        self.args.push(arg.to_string());
        self
    }

    pub fn env(mut self, name: &str, value: &Path) -> Launch {
        self.env.push((name.to_string(), value.to_path_buf()));
        self
    }

    pub fn config_file(mut self, path: &Path) -> Launch {
        self.config_file = Some(path.to_path_buf());
        self
    }

    /// The server runs as this user, for whom permissions are more than advice.
    pub fn user(mut self, id: u32) -> Launch {
        self.user = Some(id);
        self
    }

    /// Only the given arguments: neither port nor the settings tests usually want. See [`Launch::run_to_end`].
    pub fn bare(mut self) -> Launch {
        self.listen = false;
        self
    }

    /// Starts the server and waits until it accepts connections; panics with its log if it does not.
    pub fn start(&self) -> Server {
        for _ in 0..START_ATTEMPTS {
            let mut server = self.spawn(free_port());
            match server.wait_ready() {
                Ok(()) => return server,
                Err(log) if log.to_lowercase().contains("in use") => continue,
                Err(log) => panic!("{:?} did not start:\n{log}", self.kind),
            }
        }
        panic!("{:?} found no free port in {START_ATTEMPTS} attempts", self.kind);
    }

    /// Starts a torc and waits only until it takes connections: it may still be reading its data.
    pub fn start_loading(&self) -> Server {
        let mut server = self.spawn(free_port());
        let runs =
            wait_until(START_LIMIT, || server.log().contains("the shards run") || !server.is_running());
        assert!(runs && server.is_running(), "{:?} did not start:\n{}", self.kind, server.log());
        server
    }

    /// Starts a server on the port of one that has ended.
    pub fn restart(&self, mut ended: Server) -> Server {
        ended.kill9();
        let port = ended.port.take_over();
        drop(ended);
        let mut server = self.spawn(port);
        if let Err(log) = server.wait_ready() {
            panic!("{:?} did not start again:\n{log}", self.kind);
        }
        server
    }

    /// Starts a server that should end by itself: its exit status and all it printed.
    pub fn run_to_end(&self) -> (ExitStatus, String) {
        let mut server = self.spawn(free_port());
        let status = server.wait_exit(STOP_LIMIT);
        let log = server.log();
        match status {
            Some(status) => (status, log),
            None => panic!("{:?} did not end within {STOP_LIMIT:?}:\n{log}", self.kind),
        }
    }

    fn spawn(&self, port: Port) -> Server {
        let dir = scratch_dir("server");
        let log = File::create(dir.join("log")).expect("the server's folder is writable");
        let mut binary = match &self.kind {
            Kind::Torc { .. } => torc_binary().to_path_buf(),
            Kind::Reference { binary, .. } => binary.clone(),
        };
        if self.user.is_some() {
            // Where it was built may be nobody else's business.
            let copy = dir.join("server");
            fs::copy(&binary, &copy).expect("the server's folder is writable");
            binary = copy;
        }
        let mut command = Command::new(binary);
        if let Some(user) = self.user {
            chown(&dir, Some(user), Some(user)).expect("only root starts servers for others");
            command.uid(user).gid(user);
        }
        command.args(&self.config_file);
        if self.listen {
            command.args(["--port", &port.number.to_string(), "--save", ""]);
            command.args(["--enable-debug-command", "yes"]);
            if let Kind::Torc { shards } = self.kind {
                command.args(["--shards", &shards.to_string(), "--metrics-port", "0"]);
            }
        }
        command
            .args(&self.args)
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .current_dir(&dir)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file can be shared"))
            .stderr(log);
        // A process that another thread has just forked may still hold the copy as it was written.
        let mut spawned = command.spawn();
        wait_until(PATIENCE, || {
            let is_held = matches!(&spawned, Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy);
            if is_held {
                spawned = command.spawn();
            }
            !is_held
        });
        let child = spawned.unwrap_or_else(|error| panic!("{:?} cannot be started: {error}", self.kind));
        Server { child, port, dir, kind: self.kind.clone() }
    }
}

impl Server {
    /// A torc with the given number of shards and default settings.
    pub fn torc(shards: usize) -> Server {
        Launch::torc(shards).start()
    }

    pub fn port(&self) -> u16 {
        self.port.number
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// The working folder of the process, removed with it.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A new connection; panics if the server refuses it.
    pub fn client(&self) -> Client {
        match Client::connect("127.0.0.1", self.port()) {
            Ok(client) => client,
            Err(error) => panic!("no connection to {:?}: {error}\n{}", self.kind, self.log()),
        }
    }

    /// A new connection that has said HELLO 3.
    pub fn client_resp3(&self) -> Client {
        let mut client = self.client();
        let hello = client.cmd("HELLO 3");
        assert!(!hello.is_error(), "{hello}");
        client
    }

    pub fn signal(&self, signal: Signal) {
        signal.send(self.pid());
    }

    /// Kills without warning, as a crash would, and waits for the end.
    pub fn kill9(&mut self) {
        // Fails only when it has ended already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks for an orderly end and waits for it.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::Term);
        self.wait_exit(STOP_LIMIT).unwrap_or_else(|| panic!("no end after SIGTERM:\n{}", self.log()))
    }

    /// The exit status, if the process ends within the limit.
    pub fn wait_exit(&mut self, limit: Duration) -> Option<ExitStatus> {
        let mut status = None;
        wait_until(limit, || {
            status = self.child.try_wait().expect("the child can be waited for");
            status.is_some()
        });
        status
    }

    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// All that the server has printed so far.
    pub fn log(&self) -> String {
        fs::read(self.dir.join("log"))
            .map(|log| String::from_utf8_lossy(&log).into_owned())
            .unwrap_or_default()
    }

    /// Waits until the data are read; panics with the log if that does not end.
    pub fn wait_loaded(&mut self) {
        if let Err(log) = self.wait_ready() {
            panic!("{:?} did not load its data:\n{log}", self.kind);
        }
    }

    /// Both servers print `ready to accept connections`, in their own capitals.
    fn wait_ready(&mut self) -> Result<(), String> {
        let ready = wait_until(START_LIMIT, || {
            self.log().to_lowercase().contains("ready to accept connections") || !self.is_running()
        });
        if ready && self.is_running() { Ok(()) } else { Err(self.log()) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill9();
        if std::thread::panicking() {
            eprintln!("log of {:?} on port {}:\n{}", self.kind, self.port(), tail(&self.log()));
        }
        // Left-over files in the folder of temporary files do no harm.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn tail(log: &str) -> String {
    const SHOWN_LINES: usize = 40;
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")
}

/// A release of Redis or Valkey, for `@since` marks. Valkey continues Redis's numbers from 7.2 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    pub major: u32,
    pub minor: u32,
}

impl Version {
    /// `7.2` or `7.2.4`.
    pub fn parse(text: &str) -> Option<Version> {
        let mut numbers = text.split('.').map(|number| number.parse().ok());
        Some(Version { major: numbers.next()??, minor: numbers.next()?? })
    }
}

/// The real server to compare with: `REFERENCE_SERVER`, or `redis-server` from the path; `None` if there is none.
pub fn reference() -> Option<Kind> {
    static REFERENCE: OnceLock<Option<Kind>> = OnceLock::new();
    let found = REFERENCE.get_or_init(|| {
        let binary = std::env::var_os("REFERENCE_SERVER").map_or("redis-server".into(), PathBuf::from);
        match reference_version(&binary) {
            Ok(version) => Some(Kind::Reference { binary, version }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => panic!("{} does not tell its version: {error}", binary.display()),
        }
    });
    found.clone()
}

/// The Valkey to compare with besides: `VALKEY_SERVER`.
pub fn valkey() -> Option<Kind> {
    let binary = PathBuf::from(std::env::var_os("VALKEY_SERVER")?);
    match reference_version(&binary) {
        Ok(version) => Some(Kind::Reference { binary, version }),
        Err(error) => panic!("VALKEY_SERVER={}: {error}", binary.display()),
    }
}

/// [`reference`], or a line that says what is skipped; in CI a missing reference is a failure.
pub fn reference_or_skip(what: &str) -> Option<Kind> {
    let found = reference();
    if found.is_none() {
        skip_or_fail(&format!("{what}: redis-server is not installed"));
    }
    found
}

/// Says what is skipped and why; in CI nothing may be.
pub fn skip_or_fail(reason: &str) {
    let in_ci = std::env::var("CI").is_ok_and(|value| value == "true" || value == "1");
    assert!(!in_ci, "not to be skipped in CI: {reason}");
    eprintln!("skipped: {reason}");
}

/// `Redis server v=7.0.15 sha=…` or `Valkey server v=8.1.0 …`; 255.255.255 stands for a development tree.
fn reference_version(binary: &Path) -> io::Result<Version> {
    let output = Command::new(binary).arg("--version").output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version = text.split_whitespace().find_map(|word| Version::parse(word.strip_prefix("v=")?));
    version.ok_or_else(|| io::Error::other(text.into_owned()))
}
