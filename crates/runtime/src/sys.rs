//! Safe functions around the libc calls this crate needs. Owns the `unsafe` of plain system calls and nothing
//! else: no state, no policy. Rings and their memory are in `net::ring` and `net::buffers`.
#![allow(unsafe_code)]

use std::io::{self, IoSlice};
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;
use std::{mem, ptr};

/// Linux refuses more slices than this in one `sendmsg` (`IOV_MAX`).
pub(crate) const SLICES_MAX: usize = 1024;

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn check_len(result: libc::ssize_t) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

// ---- sockets ------------------------------------------------------------------------------------------------

/// A close-on-exec, non-blocking stream socket of the given address family.
pub(crate) fn stream_socket(family: libc::c_int) -> io::Result<OwnedFd> {
    // SAFETY: plain system call without pointers; the new descriptor has no other owner.
    unsafe {
        let fd =
            check(libc::socket(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK, 0))?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// Sets an integer socket option.
pub(crate) fn set_option(
    fd: BorrowedFd<'_>,
    level: libc::c_int,
    name: libc::c_int,
    value: i32,
) -> io::Result<()> {
    // SAFETY: the pointer and the length describe a live i32; the kernel copies it.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            name,
            ptr::from_ref(&value).cast(),
            mem::size_of::<i32>() as libc::socklen_t,
        )
    };
    check(result).map(drop)
}

/// Binds a TCP socket to an IPv4 or IPv6 address.
pub(crate) fn bind(fd: BorrowedFd<'_>, address: SocketAddr) -> io::Result<()> {
    match address {
        SocketAddr::V4(v4) => {
            let raw = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                sin_zero: [0; 8],
            };
            bind_raw(fd, &raw)
        }
        SocketAddr::V6(v6) => {
            let raw = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: v6.flowinfo(),
                sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                sin6_scope_id: v6.scope_id(),
            };
            bind_raw(fd, &raw)
        }
    }
}

fn bind_raw<T>(fd: BorrowedFd<'_>, address: &T) -> io::Result<()> {
    // SAFETY: `address` is one of the C socket address structures, its size is passed along, the kernel copies it.
    let result = unsafe {
        libc::bind(fd.as_raw_fd(), ptr::from_ref(address).cast(), mem::size_of::<T>() as libc::socklen_t)
    };
    check(result).map(drop)
}

pub(crate) fn listen(fd: BorrowedFd<'_>, backlog: i32) -> io::Result<()> {
    // SAFETY: plain system call without pointers.
    check(unsafe { libc::listen(fd.as_raw_fd(), backlog) }).map(drop)
}

/// What a socket is bound to (`getsockname`) or connected to (`getpeername`).
pub(crate) enum SocketName {
    Inet(SocketAddr),
    /// The path, empty for an unnamed socket.
    Unix(Vec<u8>),
}

pub(crate) fn local_name(fd: BorrowedFd<'_>) -> io::Result<SocketName> {
    socket_name(fd, libc::getsockname)
}

pub(crate) fn peer_name(fd: BorrowedFd<'_>) -> io::Result<SocketName> {
    socket_name(fd, libc::getpeername)
}

type NameCall = unsafe extern "C" fn(libc::c_int, *mut libc::sockaddr, *mut libc::socklen_t) -> libc::c_int;

fn socket_name(fd: BorrowedFd<'_>, call: NameCall) -> io::Result<SocketName> {
    // SAFETY: sockaddr_storage is plain data for which all zeroes is valid.
    let mut storage: libc::sockaddr_storage = unsafe { mem::zeroed() };
    let mut len = mem::size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes into `storage`, which is that large.
    check(unsafe { call(fd.as_raw_fd(), ptr::from_mut(&mut storage).cast(), &raw mut len) })?;
    match libc::c_int::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says that the storage holds a sockaddr_in, and it is large and aligned enough.
            let raw = unsafe { &*ptr::from_ref(&storage).cast::<libc::sockaddr_in>() };
            let ip = raw.sin_addr.s_addr.to_ne_bytes().into();
            Ok(SocketName::Inet(SocketAddrV4::new(ip, u16::from_be(raw.sin_port)).into()))
        }
        libc::AF_INET6 => {
            // SAFETY: as above, for sockaddr_in6.
            let raw = unsafe { &*ptr::from_ref(&storage).cast::<libc::sockaddr_in6>() };
            let ip = raw.sin6_addr.s6_addr.into();
            Ok(SocketName::Inet(SocketAddrV6::new(ip, u16::from_be(raw.sin6_port), 0, 0).into()))
        }
        libc::AF_UNIX => {
            // SAFETY: as above, for sockaddr_un.
            let raw = unsafe { &*ptr::from_ref(&storage).cast::<libc::sockaddr_un>() };
            let path_len = (len as usize).saturating_sub(mem::offset_of!(libc::sockaddr_un, sun_path));
            let path = raw.sun_path[..path_len].iter().map(|&c| c as u8).take_while(|&c| c != 0).collect();
            Ok(SocketName::Unix(path))
        }
        family => Err(io::Error::other(format!("socket of unexpected address family {family}"))),
    }
}

/// Sends what the socket takes right now, without waiting and without SIGPIPE. At most [`SLICES_MAX`] slices.
pub(crate) fn send_now(fd: RawFd, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    debug_assert!(slices.len() <= SLICES_MAX);
    let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
    let sent = match slices {
        // SAFETY: pointer and length come from one live slice; the kernel only reads it.
        [one] => unsafe { libc::send(fd, one.as_ptr().cast(), one.len(), flags) },
        // SAFETY: IoSlice has the layout of iovec (documented by std); the kernel only reads through the message
        // header, which outlives the call, and all its other fields may be zero.
        _ => unsafe {
            let mut message: libc::msghdr = mem::zeroed();
            message.msg_iov = slices.as_ptr().cast_mut().cast();
            message.msg_iovlen = slices.len() as _;
            libc::sendmsg(fd, &raw const message, flags)
        },
    };
    check_len(sent)
}

/// Receives what is there, without waiting.
pub(crate) fn receive_now(fd: RawFd, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the kernel writes at most `buffer.len()` bytes into the exclusively borrowed buffer.
    check_len(unsafe { libc::recv(fd, buffer.as_mut_ptr().cast(), buffer.len(), libc::MSG_DONTWAIT) })
}

// ---- event descriptors --------------------------------------------------------------------------------------

/// A non-blocking event counter.
pub(crate) fn event_fd() -> io::Result<OwnedFd> {
    // SAFETY: plain system call without pointers; the new descriptor has no other owner.
    unsafe { Ok(OwnedFd::from_raw_fd(check(libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK))?)) }
}

/// Adds one to an event counter. Async-signal-safe. A full counter is as good as one more: not an error.
pub(crate) fn event_ring(fd: RawFd) {
    let one = 1u64;
    // SAFETY: reads eight bytes of a live u64.
    unsafe { libc::write(fd, ptr::from_ref(&one).cast(), mem::size_of::<u64>()) };
}

/// Takes what an event counter has counted; 0 when nothing.
pub(crate) fn event_drain(fd: RawFd) -> u64 {
    let mut count = 0u64;
    // SAFETY: writes at most eight bytes into a live u64.
    unsafe { libc::read(fd, ptr::from_mut(&mut count).cast(), mem::size_of::<u64>()) };
    count
}

/// Takes back the memory for I/O that was registered on a ring, if any was.
pub(crate) fn unregister_buffers(ring: RawFd) {
    const IORING_UNREGISTER_BUFFERS: libc::c_long = 1;
    // SAFETY: plain system call without pointers. It fails for what is no ring, or has no such memory.
    unsafe { libc::syscall(libc::SYS_io_uring_register, ring, IORING_UNREGISTER_BUFFERS, 0, 0) };
}

// ---- process ------------------------------------------------------------------------------------------------

/// Soft and hard value of a resource limit; `u64::MAX` is "unlimited".
pub(crate) fn limit(resource: libc::__rlimit_resource_t) -> io::Result<(u64, u64)> {
    let mut value = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel fills in the structure.
    check(unsafe { libc::getrlimit(resource, &raw mut value) })?;
    Ok((value.rlim_cur, value.rlim_max))
}

pub(crate) fn set_limit(resource: libc::__rlimit_resource_t, soft: u64, hard: u64) -> io::Result<()> {
    let value = libc::rlimit { rlim_cur: soft, rlim_max: hard };
    // SAFETY: the kernel reads the structure.
    check(unsafe { libc::setrlimit(resource, &raw const value) }).map(drop)
}

/// CPU numbers this process may run on, ascending.
pub(crate) fn affinity() -> io::Result<Vec<usize>> {
    let set = affinity_of(0)?;
    // SAFETY: CPU_ISSET reads the set; every number is below CPU_SETSIZE.
    Ok((0..libc::CPU_SETSIZE as usize).filter(|&cpu| unsafe { libc::CPU_ISSET(cpu, &set) }).collect())
}

/// CPU numbers the main thread of this process may run on, which is never bound to a core of its own.
pub(crate) fn process_affinity() -> io::Result<libc::cpu_set_t> {
    affinity_of(std::process::id() as libc::pid_t)
}

/// Where the thread of this number may run; 0 is the calling one.
fn affinity_of(thread: libc::pid_t) -> io::Result<libc::cpu_set_t> {
    // SAFETY: cpu_set_t is plain data for which all zeroes is valid; the kernel writes at most its size.
    unsafe {
        let mut set: libc::cpu_set_t = mem::zeroed();
        check(libc::sched_getaffinity(thread, mem::size_of::<libc::cpu_set_t>(), &raw mut set))?;
        Ok(set)
    }
}

/// Where the calling thread may run.
pub(crate) fn set_thread_affinity(set: &libc::cpu_set_t) -> io::Result<()> {
    // SAFETY: the kernel reads the set, which is as long as it is told.
    check(unsafe { libc::sched_setaffinity(0, mem::size_of::<libc::cpu_set_t>(), set) }).map(drop)
}

/// The kernel's `struct sched_attr` in its first version.
#[repr(C)]
struct SchedAttr {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime_ns: u64,
    deadline_ns: u64,
    period_ns: u64,
}

/// Makes the calling thread one of the policy `SCHED_BATCH`, with this nice value, and with slices of this length where
/// the kernel lets a thread choose (Linux 6.12).
pub(crate) fn set_thread_batch(nice: i32, slice: Duration) -> io::Result<()> {
    let attr = SchedAttr {
        size: mem::size_of::<SchedAttr>() as u32,
        policy: libc::SCHED_BATCH as u32,
        flags: 0,
        nice,
        priority: 0,
        runtime_ns: slice.as_nanos() as u64,
        deadline_ns: 0,
        period_ns: 0,
    };
    // SAFETY: the kernel reads a structure whose length is in it.
    let result = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attr, 0) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

// ---- files --------------------------------------------------------------------------------------------------

/// Starts to write a range of a file back to the disk; `waits`: and waits until all of it is there.
pub(crate) fn write_back(fd: BorrowedFd<'_>, offset: u64, len: u64, waits: bool) -> io::Result<()> {
    let flags = match waits {
        false => libc::SYNC_FILE_RANGE_WRITE,
        true => {
            libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WRITE | libc::SYNC_FILE_RANGE_WAIT_AFTER
        }
    };
    // SAFETY: plain system call without pointers.
    check(unsafe { libc::sync_file_range(fd.as_raw_fd(), offset as i64, len as i64, flags) }).map(drop)
}

/// Gives up what the page cache holds of a range of a file and is on the disk.
pub(crate) fn forget_pages(fd: BorrowedFd<'_>, offset: u64, len: u64) {
    // SAFETY: plain system call without pointers. It is an advice: nothing depends on its success.
    unsafe { libc::posix_fadvise(fd.as_raw_fd(), offset as i64, len as i64, libc::POSIX_FADV_DONTNEED) };
}

/// Bytes of physical memory of the machine.
pub(crate) fn physical_memory_bytes() -> u64 {
    // SAFETY: plain library call without pointers.
    let (pages, page_bytes) =
        unsafe { (libc::sysconf(libc::_SC_PHYS_PAGES), libc::sysconf(libc::_SC_PAGESIZE)) };
    u64::try_from(pages).unwrap_or(0) * u64::try_from(page_bytes).unwrap_or(0)
}

/// Time of a clock in nanoseconds.
pub(crate) fn clock_ns(clock: libc::clockid_t) -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel fills in the structure. It fails only for clocks that do not exist; ours do.
    unsafe { libc::clock_gettime(clock, &raw mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Fills the buffer with random bytes from the kernel.
pub(crate) fn random_bytes(mut buffer: &mut [u8]) -> io::Result<()> {
    while !buffer.is_empty() {
        // SAFETY: the kernel writes at most `buffer.len()` bytes into the exclusively borrowed buffer.
        let got = unsafe { libc::getrandom(buffer.as_mut_ptr().cast(), buffer.len(), 0) };
        match check_len(got) {
            Ok(count) => buffer = &mut buffer[count..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// CPU time a process or a thread has used so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuTimes {
    pub user: Duration,
    pub system: Duration,
}

impl CpuTimes {
    /// User and system time together.
    pub fn total(self) -> Duration {
        self.user + self.system
    }
}

/// Whose CPU time [`cpu_times`] reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CpuTimesOf {
    /// All threads of this process.
    Process,
    /// The calling thread.
    Thread,
    /// Children that were waited for.
    Children,
}

/// CPU time used so far (`getrusage`).
pub fn cpu_times(whose: CpuTimesOf) -> CpuTimes {
    let who = match whose {
        CpuTimesOf::Process => libc::RUSAGE_SELF,
        CpuTimesOf::Thread => libc::RUSAGE_THREAD,
        CpuTimesOf::Children => libc::RUSAGE_CHILDREN,
    };
    // SAFETY: rusage is plain data for which all zeroes is valid; the kernel fills it in, and the constants above
    // are the ones it accepts.
    let usage = unsafe {
        let mut usage: libc::rusage = mem::zeroed();
        libc::getrusage(who, &raw mut usage);
        usage
    };
    let duration = |time: libc::timeval| {
        Duration::from_secs(time.tv_sec as u64) + Duration::from_micros(time.tv_usec as u64)
    };
    CpuTimes { user: duration(usage.ru_utime), system: duration(usage.ru_stime) }
}
