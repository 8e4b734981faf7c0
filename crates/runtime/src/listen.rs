//! Listening sockets and the options and names of accepted ones. Owns how sockets are made; never accepts.
//!
//! Every shard has its own `SO_REUSEPORT` socket per address, so the kernel spreads connections. `SO_REUSEPORT` also
//! lets a second server of the same user share the port in silence, so the first socket of an address is bound
//! without it: a port in use is found there. Only then it joins the group, and the other sockets follow.

use std::fs::{self, Permissions};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::sys::{self, SocketName};

/// How long a port in use is tried again. After a server was killed, the kernel takes its rings apart in the
/// background, and until then an accept in flight keeps the old listener alive: a quick restart would fail.
pub const PORT_PATIENCE: Duration = Duration::from_millis(1_000);
const PORT_RETRY_PAUSE: Duration = Duration::from_millis(20);

/// A socket that listens; give it to a shard's `Net`.
#[derive(Debug)]
pub struct Listener {
    fd: OwnedFd,
    kind: ListenerKind,
}

/// What a listener listens on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenerKind {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Listener {
    pub fn kind(&self) -> &ListenerKind {
        &self.kind
    }

    /// The TCP port, also when the kernel chose it.
    pub fn port(&self) -> Option<u16> {
        match &self.kind {
            ListenerKind::Tcp(address) => Some(address.port()),
            ListenerKind::Unix(_) => None,
        }
    }

    /// A second descriptor of the same socket, so that several shards accept from one unix socket.
    pub fn try_clone(&self) -> io::Result<Listener> {
        Ok(Listener { fd: self.fd.try_clone()?, kind: self.kind.clone() })
    }

    pub(crate) fn into_fd(self) -> OwnedFd {
        self.fd
    }
}

/// Why a listening socket could not be made. Displays as Redis reports it.
#[derive(Debug)]
pub struct ListenError {
    what: String,
    step: &'static str,
    error: io::Error,
}

impl ListenError {
    /// The address does not exist on this machine, or its family is not supported: what a leading `-` in the
    /// setting `bind` forgives.
    pub fn is_unavailable(&self) -> bool {
        matches!(
            self.error.raw_os_error(),
            Some(libc::EADDRNOTAVAIL | libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT | libc::ENOPROTOOPT)
        )
    }

    pub fn io_error(&self) -> &io::Error {
        &self.error
    }
}

impl std::fmt::Display for ListenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ListenError { what, step, error } = self;
        write!(f, "Could not create server {what}: {step}: {}", os_text(error))
    }
}

impl std::error::Error for ListenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

/// The text of an error without std's "(os error N)".
fn os_text(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

/// Makes the listening sockets of one address, one per shard, all on the same port.
///
/// `address` is `*` (all IPv4 addresses), an IPv4 or IPv6 address, `::*` or `::` (all IPv6 addresses, and only
/// those), or a host name. Port 0 lets the kernel choose one for all shards. `backlog` is cut by the kernel at
/// `net.core.somaxconn`. A port in use is reported after [`PORT_PATIENCE`].
pub fn listen_tcp(
    address: &str,
    port: u16,
    backlog: i32,
    shards: usize,
) -> Result<Vec<Listener>, ListenError> {
    listen_on(address, port, backlog, shards, |wanted| {
        let first = tcp_socket(wanted, false)?;
        bind_patiently(&first, wanted)?;
        sys::set_option(first.as_fd(), libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
        Ok(first)
    })
}

/// The same for a process that listens already: its own sockets may be in the way, and a port in use is reported at
/// once.
pub fn listen_tcp_anew(
    address: &str,
    port: u16,
    backlog: i32,
    shards: usize,
) -> Result<Vec<Listener>, ListenError> {
    listen_on(address, port, backlog, shards, |wanted| {
        let first = tcp_socket(wanted, true)?;
        sys::bind(first.as_fd(), wanted)?;
        Ok(first)
    })
}

/// Makes one ordinary listening socket for a thread that is no shard; `address` is written as for [`listen_tcp`]. A port
/// in use is reported at once, unless `patient`.
pub fn listen_aside(address: &str, port: u16, patient: bool) -> Result<TcpListener, ListenError> {
    const BACKLOG: i32 = 64;
    let fail = |step| {
        move |error| ListenError { what: format!("TCP listening socket {address}:{port}"), step, error }
    };
    let wanted = resolve(address, port).map_err(fail("resolve"))?;
    let socket = tcp_socket(wanted, false).map_err(fail("socket"))?;
    let bound = if patient { bind_patiently(&socket, wanted) } else { sys::bind(socket.as_fd(), wanted) };
    bound.map_err(fail("bind"))?;
    sys::listen(socket.as_fd(), BACKLOG).map_err(fail("listen"))?;
    let listener = TcpListener::from(socket);
    listener.set_nonblocking(false).map_err(fail("fcntl"))?;
    Ok(listener)
}

/// `bind_first` makes and binds the socket that settles the port.
fn listen_on(
    address: &str,
    port: u16,
    backlog: i32,
    shards: usize,
    bind_first: impl FnOnce(SocketAddr) -> io::Result<OwnedFd>,
) -> Result<Vec<Listener>, ListenError> {
    let fail = |step| {
        move |error| ListenError { what: format!("TCP listening socket {address}:{port}"), step, error }
    };
    let wanted = resolve(address, port).map_err(fail("resolve"))?;
    let first = bind_first(wanted).map_err(fail("bind"))?;
    let bound = match sys::local_name(first.as_fd()).map_err(fail("getsockname"))? {
        SocketName::Inet(bound) => bound,
        SocketName::Unix(_) => unreachable!("an inet socket has an inet name"),
    };
    let mut sockets = vec![first];
    for _ in 1..shards {
        let socket = tcp_socket(bound, true).map_err(fail("socket"))?;
        sys::bind(socket.as_fd(), bound).map_err(fail("bind"))?;
        sockets.push(socket);
    }
    // Listening starts when all are bound: until then connections are refused rather than spread unevenly.
    for socket in &sockets {
        sys::listen(socket.as_fd(), backlog).map_err(fail("listen"))?;
    }
    Ok(sockets.into_iter().map(|fd| Listener { fd, kind: ListenerKind::Tcp(bound) }).collect())
}

fn bind_patiently(socket: &OwnedFd, address: SocketAddr) -> io::Result<()> {
    let give_up = Instant::now() + PORT_PATIENCE;
    loop {
        match sys::bind(socket.as_fd(), address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < give_up => {
                thread::sleep(PORT_RETRY_PAUSE);
            }
            result => return result,
        }
    }
}

fn resolve(address: &str, port: u16) -> io::Result<SocketAddr> {
    let ip: IpAddr = match address {
        "*" | "" => Ipv4Addr::UNSPECIFIED.into(),
        "::*" => Ipv6Addr::UNSPECIFIED.into(),
        other => match other.parse() {
            Ok(ip) => ip,
            Err(_) => {
                let mut found = (other, port).to_socket_addrs()?;
                return found.next().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound));
            }
        },
    };
    Ok(SocketAddr::new(ip, port))
}

fn tcp_socket(address: SocketAddr, reuse_port: bool) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let socket = sys::stream_socket(family)?;
    sys::set_option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
    if address.is_ipv6() {
        sys::set_option(socket.as_fd(), libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1)?;
    }
    if reuse_port {
        sys::set_option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
    }
    Ok(socket)
}

/// Makes a listening unix socket with the given permission bits (`None`: as the umask says). A stale socket file
/// (nobody answers there) is removed first; a live one and any other kind of file are left alone: address in use.
/// Remove the file with [`remove_unix`] at the end.
pub fn listen_unix(path: &Path, permissions: Option<u32>, backlog: i32) -> Result<Listener, ListenError> {
    let fail = |step| {
        move |error| ListenError { what: format!("Unix listening socket {}", path.display()), step, error }
    };
    remove_stale(path).map_err(fail("bind"))?;
    let listener = UnixListener::bind(path).map_err(fail("bind"))?;
    if let Some(bits) = permissions {
        fs::set_permissions(path, Permissions::from_mode(bits)).map_err(fail("chmod"))?;
    }
    let fd = OwnedFd::from(listener);
    // std listens with a backlog of its own; a second listen replaces it.
    sys::listen(fd.as_fd(), backlog).map_err(fail("listen"))?;
    Ok(Listener { fd, kind: ListenerKind::Unix(path.to_owned()) })
}

fn remove_stale(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(file) if file.file_type().is_socket() => match UnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
            _ => Err(io::Error::from_raw_os_error(libc::EADDRINUSE)),
        },
        Ok(_) => Err(io::Error::from_raw_os_error(libc::EADDRINUSE)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Removes the file of a unix socket; one that is gone already is fine.
pub fn remove_unix(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Sets what an accepted TCP connection needs: no delay, and keep-alive probes after `keepalive_s` idle seconds, a
/// third of that apart, three before the connection is given up (0: no keep-alive). Harmless on unix sockets.
pub fn tune_accepted(fd: BorrowedFd<'_>, keepalive_s: u32) -> io::Result<()> {
    const PROBES: i32 = 3;
    if matches!(sys::local_name(fd)?, SocketName::Unix(_)) {
        return Ok(());
    }
    sys::set_option(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1)?;
    if keepalive_s == 0 {
        return Ok(());
    }
    let idle_s = i32::try_from(keepalive_s).unwrap_or(i32::MAX);
    sys::set_option(fd, libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1)?;
    sys::set_option(fd, libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, idle_s)?;
    sys::set_option(fd, libc::IPPROTO_TCP, libc::TCP_KEEPINTVL, (idle_s / PROBES).max(1))?;
    sys::set_option(fd, libc::IPPROTO_TCP, libc::TCP_KEEPCNT, PROBES)
}

/// Addresses of a connection as Redis prints them in CLIENT LIST.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionNames {
    /// The client: `127.0.0.1:1234`, `[::1]:1234`, or for a unix socket the server's path and port 0.
    pub peer: String,
    /// This side: `127.0.0.1:6379`, `[::1]:6379`, `/run/torc.sock:0`.
    pub local: String,
    /// The client's IP address; `None` on a unix socket.
    pub peer_ip: Option<IpAddr>,
}

/// Reads the addresses of an accepted connection.
pub fn connection_names(fd: BorrowedFd<'_>) -> io::Result<ConnectionNames> {
    match sys::local_name(fd)? {
        SocketName::Unix(path) => {
            let name = format!("{}:0", String::from_utf8_lossy(&path));
            Ok(ConnectionNames { peer: name.clone(), local: name, peer_ip: None })
        }
        SocketName::Inet(local) => match sys::peer_name(fd)? {
            SocketName::Inet(peer) => Ok(ConnectionNames {
                peer: peer.to_string(),
                local: local.to_string(),
                peer_ip: Some(peer.ip()),
            }),
            SocketName::Unix(_) => unreachable!("both ends of a socket have one family"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    const BACKLOG: i32 = 64;

    fn accept(listener: &Listener) -> Option<OwnedFd> {
        let std_listener = TcpListener::from(listener.try_clone().unwrap().into_fd());
        std_listener.accept().ok().map(|(stream, _)| stream.into())
    }

    /// Containers often have none.
    fn has_ipv6() -> bool {
        match listen_tcp("::1", 0, BACKLOG, 1) {
            Err(error) if error.is_unavailable() => {
                eprintln!("skipped IPv6: {error}");
                false
            }
            _ => true,
        }
    }

    #[test]
    fn all_shards_share_one_port_and_all_get_connections() {
        // Room for all of them on one listener: a full one drops what the kernel has sent its way.
        let listeners = listen_tcp("127.0.0.1", 0, 511, 4).unwrap();
        let port = listeners[0].port().unwrap();
        assert!(port != 0 && listeners.iter().all(|listener| listener.port() == Some(port)));
        let clients: Vec<_> = (0..200).map(|_| TcpStream::connect(("127.0.0.1", port)).unwrap()).collect();
        let per_shard: Vec<usize> =
            listeners.iter().map(|listener| std::iter::from_fn(|| accept(listener)).count()).collect();
        assert_eq!(per_shard.iter().sum::<usize>(), clients.len());
        assert!(per_shard.iter().all(|&count| count > 10), "{per_shard:?}");
    }

    #[test]
    fn a_second_server_is_told_that_the_port_is_in_use() {
        let first = listen_tcp("127.0.0.1", 0, BACKLOG, 2).unwrap();
        let port = first[0].port().unwrap();
        let error = listen_tcp("127.0.0.1", port, BACKLOG, 2).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "Could not create server TCP listening socket 127.0.0.1:{port}: bind: Address already in use"
            )
        );
        let everywhere = listen_tcp("*", port, BACKLOG, 2).unwrap_err();
        assert!(everywhere.to_string().contains(&format!("socket *:{port}: bind: Address already in use")));
        assert!(!everywhere.is_unavailable());
        drop(first);
        listen_tcp("127.0.0.1", port, BACKLOG, 2).unwrap();
    }

    #[test]
    fn ipv4_and_ipv6_of_one_port_do_not_collide() {
        if !has_ipv6() {
            return;
        }
        let v6 = listen_tcp("::*", 0, BACKLOG, 2).unwrap();
        let v4 = listen_tcp("*", v6[0].port().unwrap(), BACKLOG, 2).unwrap();
        assert_eq!(v4[1].port(), v6[1].port());
    }

    #[test]
    fn an_address_of_another_machine_is_unavailable() {
        let error = listen_tcp("192.0.2.1", 0, BACKLOG, 1).unwrap_err();
        assert!(error.is_unavailable(), "{error}");
    }

    #[test]
    fn names_are_printed_as_redis_does() {
        let families = [("127.0.0.1", "127.0.0.1:"), ("::1", "[::1]:")];
        for (address, pattern) in families.into_iter().take(if has_ipv6() { 2 } else { 1 }) {
            let listener = listen_tcp(address, 0, BACKLOG, 1).unwrap().remove(0);
            let port = listener.port().unwrap();
            let client = TcpStream::connect((address, port)).unwrap();
            let served = accept(&listener).unwrap();
            tune_accepted(served.as_fd(), 300).unwrap();
            let names = connection_names(served.as_fd()).unwrap();
            assert_eq!(names.peer, format!("{pattern}{}", client.local_addr().unwrap().port()));
            assert_eq!(names.local, format!("{pattern}{port}"));
            assert_eq!(names.peer_ip, Some(address.parse().unwrap()));
        }
    }

    #[test]
    fn unix_sockets_replace_stale_files_only() {
        let directory = std::env::temp_dir().join(format!("torc-listen-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let path = directory.join("torc.sock");

        let listener = listen_unix(&path, Some(0o700), BACKLOG).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        let client = UnixStream::connect(&path).unwrap();
        let served = UnixListener::from(listener.try_clone().unwrap().into_fd()).accept().unwrap().0;
        let names = connection_names(served.as_fd()).unwrap();
        assert_eq!((names.peer.clone(), names.peer_ip), (format!("{}:0", path.display()), None));
        tune_accepted(served.as_fd(), 300).unwrap();

        let in_use = listen_unix(&path, None, BACKLOG).unwrap_err();
        assert!(in_use.to_string().ends_with("torc.sock: bind: Address already in use"), "{in_use}");
        drop((listener, client, served));
        listen_unix(&path, None, BACKLOG).unwrap();

        remove_unix(&path).unwrap();
        remove_unix(&path).unwrap();
        fs::write(&path, "not a socket").unwrap();
        listen_unix(&path, None, BACKLOG).unwrap_err();
        assert_eq!(fs::read(&path).unwrap(), b"not a socket");
        fs::remove_dir_all(&directory).unwrap();
    }
}
