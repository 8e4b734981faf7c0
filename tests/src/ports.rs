//! Free TCP ports, one holder each among all test processes of this machine.

use std::fs::{self, File};
use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

/// Below Linux's ephemeral range, so that no outgoing connection takes a port between the check and its use.
const FIRST_PORT: u16 = 22_000;
const PORT_COUNT: u16 = 10_000;

/// A port that nobody else gets from [`free_port`] while this value lives.
#[derive(Debug)]
pub struct Port {
    pub number: u16,
    lock: File,
}

impl Port {
    /// The same port for the next server, while this value still lives.
    pub(crate) fn take_over(&self) -> Port {
        Port { number: self.number, lock: self.lock.try_clone().expect("a file can be shared") }
    }
}

/// A port that is free on IPv4 and, where there is IPv6, there as well.
///
/// A lock file per port keeps other test processes away: a server that listens with SO_REUSEPORT would otherwise
/// share its port with another one in silence.
pub fn free_port() -> Port {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let locks = std::env::temp_dir().join("torc-test-ports");
    fs::create_dir_all(&locks).expect("the folder of temporary files is writable");
    let start = (std::process::id() as u16).wrapping_mul(97) % PORT_COUNT;
    for _ in 0..PORT_COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let number = FIRST_PORT + (start + step % PORT_COUNT) % PORT_COUNT;
        let Ok(lock) = File::create(locks.join(number.to_string())) else { continue };
        if lock.try_lock().is_ok() && is_free(number) {
            return Port { number, lock };
        }
    }
    panic!("no free port between {FIRST_PORT} and {}", FIRST_PORT + PORT_COUNT);
}

fn is_free(number: u16) -> bool {
    let v6_taken =
        TcpListener::bind(("::1", number)).is_err_and(|error| error.kind() == std::io::ErrorKind::AddrInUse);
    TcpListener::bind(("127.0.0.1", number)).is_ok() && !v6_taken
}
