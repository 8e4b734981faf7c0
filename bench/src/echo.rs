//! The control of the pause measurement: answers `+OK` to every `request_bytes` received and does nothing else, so
//! whatever pauses the generator sees here are the generator's, the scheduler's or the machine's.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};

use crate::options::EchoOptions;

const REPLY: &[u8] = b"+OK\r\n";
const EVENTS_PER_TURN: usize = 64;
const READ_BYTES: usize = 256 * 1024;
const CONNECTIONS_MAX: usize = 1024;
const LISTENER: u64 = u64::MAX;
const FOREVER: isize = -1;

struct Client {
    stream: TcpStream,
    bytes_seen: usize,
}

/// Serves until the process is ended. The reply of a turn is far smaller than a socket buffer, so a blocking
/// write never waits for long.
pub(crate) fn run(options: &EchoOptions) -> io::Result<()> {
    let listener = TcpListener::bind(&options.address)?;
    listener.set_nonblocking(true)?;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
    println!("ready");
    let mut clients: Vec<Option<Client>> = Vec::new();
    let mut events = [EpollEvent::empty(); EVENTS_PER_TURN];
    let mut buffer = vec![0; READ_BYTES];
    let mut replies = Vec::new();
    loop {
        let ready = match epoll.wait(&mut events, FOREVER) {
            Ok(ready) => ready,
            Err(nix::errno::Errno::EINTR) => 0,
            Err(error) => return Err(error.into()),
        };
        for event in &events[..ready] {
            if event.data() == LISTENER {
                accept(&listener, &epoll, &mut clients)?;
                continue;
            }
            let slot = &mut clients[event.data() as usize];
            let open = match slot {
                Some(client) => answer(client, options.request_bytes, &mut buffer, &mut replies),
                None => continue,
            };
            if !matches!(open, Ok(true)) {
                *slot = None; // closing the socket takes it out of the epoll
            }
        }
    }
}

fn accept(listener: &TcpListener, epoll: &Epoll, clients: &mut Vec<Option<Client>>) -> io::Result<()> {
    let stream = match listener.accept() {
        Ok((stream, _)) => stream,
        Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
        Err(error) => return Err(error),
    };
    let index = clients.iter().position(Option::is_none).unwrap_or(clients.len());
    if index == CONNECTIONS_MAX {
        return Ok(());
    }
    if index == clients.len() {
        clients.push(None);
    }
    stream.set_nodelay(true)?;
    epoll.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, index as u64))?;
    clients[index] = Some(Client { stream, bytes_seen: 0 });
    Ok(())
}

/// Returns false when the client has gone.
fn answer(
    client: &mut Client,
    request_bytes: usize,
    buffer: &mut [u8],
    replies: &mut Vec<u8>,
) -> io::Result<bool> {
    let read = client.stream.read(buffer)?;
    if read == 0 {
        return Ok(false);
    }
    client.bytes_seen += read;
    replies.clear();
    while client.bytes_seen >= request_bytes {
        client.bytes_seen -= request_bytes;
        replies.extend_from_slice(REPLY);
    }
    client.stream.write_all(replies)?;
    Ok(true)
}
