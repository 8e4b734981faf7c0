//! The submission and completion queues of one socket ring. Hot path.
//!
//! Owns the ring and the one place where `io_uring_enter` is called. Only builds operations that hold no pointers
//! into our memory ([`Op`]), so pushing one is safe whatever happens to the caller's data; received bytes go through
//! the registered buffers of `net::buffers`.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use io_uring::{EnterFlags, IoUring, cqueue, opcode, squeue, types};

use crate::limits::retry_locked_memory;
use crate::probe::Capabilities;

/// Entries of the submission queue. A full queue is submitted at once, so this bounds nothing but batching.
pub(crate) const SUBMISSION_ENTRIES: u32 = 512;

/// Entries of the completion queue. More completions than this wait inside the kernel (`IORING_FEAT_NODROP`).
pub(crate) const COMPLETION_ENTRIES: u32 = 4096;

/// An operation that holds no pointer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Op {
    /// Accepts connections until cancelled (or one connection, on old kernels).
    Accept { fd: RawFd, multishot: bool },
    /// Receives into buffers of group 0 until cancelled.
    ReceiveMulti { fd: RawFd },
    /// Completes once when one of the poll events holds.
    Poll { fd: RawFd, events: i16 },
    /// Completes every time one of the poll events comes up.
    PollMulti { fd: RawFd, events: i16 },
    /// Makes the content of a file durable (fdatasync).
    SyncData { fd: RawFd },
    /// Drops clean pages of a file from the page cache.
    Forget { fd: RawFd, offset: u64, len: u32 },
    /// Finds room on the disk behind the end of a file, which stays where it is.
    Reserve { fd: RawFd, offset: u64, len: u32 },
    /// Ends the operation with this user data.
    Cancel { user_data: u64 },
    /// Posts a completion with this user data into another ring.
    Message { ring: RawFd, user_data: u64 },
}

/// A write into a file.
pub(crate) struct FileWrite {
    pub(crate) fd: RawFd,
    pub(crate) offset: u64,
    pub(crate) bytes: *const u8,
    pub(crate) len: u32,
    pub(crate) user_data: u64,
    /// It completes when what was written is durable.
    pub(crate) is_durable: bool,
}

/// One completion.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Completion {
    pub(crate) user_data: u64,
    /// What the operation returned; negative: an errno.
    pub(crate) result: i32,
    flags: u32,
}

impl Completion {
    /// Whether the operation goes on and will complete again.
    pub(crate) fn has_more(self) -> bool {
        cqueue::more(self.flags)
    }

    /// The number of the buffer that holds the received bytes.
    pub(crate) fn buffer(self) -> Option<u16> {
        cqueue::buffer_select(self.flags)
    }
}

/// How long to wait for the first completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EnterWait {
    No,
    AtMost(Duration),
    Forever,
}

pub(crate) struct Ring {
    ring: IoUring,
    has_taskrun_flag: bool,
    /// Flags of every enter.
    enter_flags: u32,
    enters: u64,
}

impl Ring {
    pub(crate) fn new(capabilities: &Capabilities) -> io::Result<Ring> {
        let mut builder = IoUring::builder();
        builder.setup_cqsize(COMPLETION_ENTRIES);
        if capabilities.submit_all {
            builder.setup_submit_all();
        }
        let has_taskrun_flag = capabilities.coop_taskrun || capabilities.defer_taskrun;
        if has_taskrun_flag {
            builder.setup_coop_taskrun().setup_taskrun_flag();
        }
        if capabilities.defer_taskrun {
            builder.setup_single_issuer().setup_defer_taskrun();
        }
        let ring = retry_locked_memory(|| builder.build(SUBMISSION_ENTRIES))?;
        // GETEVENTS also without waiting: it runs deferred task work and flushes overflown completions.
        let mut enter_flags = EnterFlags::GETEVENTS.bits();
        if ring.params().is_feature_no_iowait() {
            // A server that waits for clients does not wait for disks: without this an idle one shows as 100 % I/O
            // wait in every monitor, and in /proc/pressure/io (Linux 6.15).
            enter_flags |= EnterFlags::NO_IOWAIT.bits();
        }
        Ok(Ring { ring, has_taskrun_flag, enter_flags, enters: 0 })
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.ring.as_raw_fd()
    }

    /// For registering buffers.
    pub(crate) fn submitter(&self) -> io_uring::Submitter<'_> {
        self.ring.submitter()
    }

    /// How often the kernel was entered so far.
    pub(crate) fn enters(&self) -> u64 {
        self.enters
    }

    /// Queues an operation; it starts with the next [`Ring::enter`]. A full queue is submitted first.
    pub(crate) fn push(&mut self, op: Op, user_data: u64) -> io::Result<()> {
        let entry = op.entry().user_data(user_data);
        loop {
            // SAFETY: `Op` holds no pointers; descriptors that were closed by mistake fail with EBADF.
            if unsafe { self.ring.submission().push(&entry) }.is_ok() {
                return Ok(());
            }
            self.enter(EnterWait::No)?;
        }
    }

    /// Queues a write into a file.
    ///
    /// # Safety
    /// The `len` bytes at `bytes` must stay readable and unchanged until the write has completed.
    pub(crate) unsafe fn push_file_write(&mut self, write: FileWrite) -> io::Result<()> {
        let entry = opcode::Write::new(types::Fd(write.fd), write.bytes, write.len)
            .offset(write.offset)
            .rw_flags(if write.is_durable { libc::RWF_DSYNC } else { 0 })
            .build()
            .user_data(write.user_data);
        loop {
            // SAFETY: the caller vouches for the bytes.
            if unsafe { self.ring.submission().push(&entry) }.is_ok() {
                return Ok(());
            }
            self.enter(EnterWait::No)?;
        }
    }

    /// Submits what is queued and waits for a completion, in one system call; or in none, when there is nothing to
    /// submit, to wait for, or to run. Being interrupted or timing out is no error.
    pub(crate) fn enter(&mut self, wait: EnterWait) -> io::Result<()> {
        let (queued, has_work) = {
            let mut queue = self.ring.submission();
            queue.sync();
            (queue.len(), queue.taskrun() || queue.cq_overflow())
        };
        if wait == EnterWait::No && queued == 0 && self.has_taskrun_flag && !has_work {
            return Ok(());
        }
        self.enters += 1;
        let flags = self.enter_flags;
        let submitter = self.ring.submitter();
        let result = match wait {
            EnterWait::AtMost(limit) => {
                let time = types::Timespec::from(limit);
                let args = types::SubmitArgs::new().timespec(&time);
                // SAFETY: the arguments and the time they point to live across the call; EXT_ARG announces them.
                unsafe { submitter.enter(queued as u32, 1, flags | EXT_ARG, Some(&args)) }
            }
            // SAFETY: without an argument there is no memory involved.
            EnterWait::Forever => unsafe { submitter.enter::<libc::sigset_t>(queued as u32, 1, flags, None) },
            // SAFETY: as above.
            EnterWait::No => unsafe { submitter.enter::<libc::sigset_t>(queued as u32, 0, flags, None) },
        };
        match result {
            Ok(_) => Ok(()),
            Err(error) => match error.raw_os_error() {
                // EBUSY and EAGAIN: the kernel wants completions to be taken first, which the caller does next.
                Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
                _ => Err(error),
            },
        }
    }

    /// Completions that are ready now.
    pub(crate) fn ready(&mut self) -> usize {
        self.ring.completion().len()
    }

    /// Whether completions wait inside the kernel because the queue was full.
    pub(crate) fn has_overflown(&mut self) -> bool {
        self.ring.submission().cq_overflow()
    }

    /// The oldest completion.
    pub(crate) fn pop(&mut self) -> Option<Completion> {
        let entry = self.ring.completion().next()?;
        Some(Completion { user_data: entry.user_data(), result: entry.result(), flags: entry.flags() })
    }
}

const EXT_ARG: u32 = EnterFlags::EXT_ARG.bits();

impl Op {
    fn entry(self) -> squeue::Entry {
        match self {
            Op::Accept { fd, multishot: true } => opcode::AcceptMulti::new(types::Fd(fd))
                .flags(libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK)
                .build(),
            Op::Accept { fd, multishot: false } => {
                opcode::Accept::new(types::Fd(fd), std::ptr::null_mut(), std::ptr::null_mut())
                    .flags(libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK)
                    .build()
            }
            Op::ReceiveMulti { fd } => opcode::RecvMulti::new(types::Fd(fd), BUFFER_GROUP).build(),
            Op::Poll { fd, events } => opcode::PollAdd::new(types::Fd(fd), events as u16 as u32).build(),
            Op::PollMulti { fd, events } => {
                opcode::PollAdd::new(types::Fd(fd), events as u16 as u32).multi(true).build()
            }
            Op::SyncData { fd } => {
                opcode::Fsync::new(types::Fd(fd)).flags(types::FsyncFlags::DATASYNC).build()
            }
            Op::Forget { fd, offset, len } => {
                opcode::Fadvise::new(types::Fd(fd), libc::off_t::from(len), libc::POSIX_FADV_DONTNEED)
                    .offset(offset)
                    .build()
            }
            Op::Reserve { fd, offset, len } => opcode::Fallocate::new(types::Fd(fd), u64::from(len))
                .offset(offset)
                .mode(libc::FALLOC_FL_KEEP_SIZE)
                .build(),
            Op::Cancel { user_data } => opcode::AsyncCancel::new(user_data).build(),
            Op::Message { ring, user_data } => opcode::MsgRingData::new(types::Fd(ring), 0, user_data, None)
                .build()
                .flags(squeue::Flags::SKIP_SUCCESS),
        }
    }
}

/// The only group of provided buffers on a socket ring.
pub(crate) const BUFFER_GROUP: u16 = 0;
