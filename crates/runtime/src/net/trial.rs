//! Tries out on small rings what a kernel can do. Owns the experiments; `probe` owns what follows from them.

use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::time::Duration;

use super::buffers::Buffers;
use super::ring::{Completion, EnterWait, Op, Ring};
use crate::probe::Capabilities;
use crate::seed;

/// An experiment that has not completed by then has failed. None of them waits for anything outside this process.
const PATIENCE: Duration = Duration::from_millis(200);
const MARK: u64 = 7;

/// Whether a ring with these set-up flags can be made and entered.
pub(crate) fn ring_works(capabilities: &Capabilities) -> bool {
    Ring::new(capabilities).and_then(|mut ring| ring.enter(EnterWait::No)).is_ok()
}

/// Whether one accept stays for more.
pub(crate) fn multishot_accept(capabilities: &Capabilities) -> bool {
    let attempt = || -> io::Result<bool> {
        let name = format!("torc-probe-{:016x}", seed::random_u64());
        let address = SocketAddr::from_abstract_name(name)?;
        let listener = UnixListener::bind_addr(&address)?;
        let mut ring = Ring::new(capabilities)?;
        ring.push(Op::Accept { fd: listener.as_raw_fd(), multishot: true }, MARK)?;
        ring.enter(EnterWait::No)?;
        let _client = UnixStream::connect_addr(&address)?;
        Ok(completion(&mut ring)?.is_some_and(|accepted| {
            if accepted.result >= 0 {
                drop(super::accepted_fd(accepted.result));
            }
            accepted.result >= 0 && accepted.has_more()
        }))
    };
    attempt().unwrap_or(false)
}

/// Whether a ring of provided buffers can be registered.
pub(crate) fn buffer_ring(capabilities: &Capabilities) -> bool {
    let attempt = || -> io::Result<()> {
        let ring = Ring::new(capabilities)?;
        Buffers::register(&ring, 4, 64)?.unregister(&ring)
    };
    attempt().is_ok()
}

/// Whether one receive stays for more and picks its buffers.
pub(crate) fn multishot_recv(capabilities: &Capabilities) -> bool {
    let attempt = || -> io::Result<bool> {
        let (mut client, served) = UnixStream::pair()?;
        let mut ring = Ring::new(capabilities)?;
        let buffers = Buffers::register(&ring, 4, 64)?;
        ring.push(Op::ReceiveMulti { fd: served.as_raw_fd() }, MARK)?;
        ring.enter(EnterWait::No)?;
        client.write_all(b"probe")?;
        let received = completion(&mut ring)?;
        let works = received.is_some_and(|received| match received.buffer() {
            Some(id) if received.result == 5 => buffers.bytes(id, 5) == b"probe" && received.has_more(),
            _ => false,
        });
        buffers.unregister(&ring)?;
        Ok(works)
    };
    attempt().unwrap_or(false)
}

/// Whether one ring can post into another.
pub(crate) fn msg_ring(capabilities: &Capabilities) -> bool {
    let attempt = || -> io::Result<bool> {
        let (mut sender, mut receiver) = (Ring::new(capabilities)?, Ring::new(capabilities)?);
        sender.push(Op::Message { ring: receiver.fd(), user_data: MARK }, MARK)?;
        sender.enter(EnterWait::No)?;
        Ok(completion(&mut receiver)?.is_some_and(|posted| posted.user_data == MARK && posted.result == 0))
    };
    attempt().unwrap_or(false)
}

fn completion(ring: &mut Ring) -> io::Result<Option<Completion>> {
    ring.enter(EnterWait::AtMost(PATIENCE))?;
    Ok(ring.pop())
}
