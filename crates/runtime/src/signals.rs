//! Signals of the process. Owns the handlers and what they have seen.
//!
//! SIGTERM and SIGINT request a shutdown; a second one ends the process at once with code 1. SIGHUP is remembered for
//! whoever asks. SIGPIPE is ignored. A handler does only what is async-signal-safe: atomics, writes to event
//! counters, `_exit`.
#![allow(unsafe_code)]

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering};
use std::{mem, ptr};

use crate::wake::Wakers;

static SHUTDOWN_REQUESTS: AtomicU32 = AtomicU32::new(0);
/// The request has been noticed by whom it is for.
static SHUTDOWN_TAKEN: AtomicBool = AtomicBool::new(false);
static HANGUP: AtomicBool = AtomicBool::new(false);
/// Who is woken by a signal; installed once, never freed.
static WAKERS: AtomicPtr<Wakers> = AtomicPtr::new(ptr::null_mut());

/// Installs the handlers. Signals wake all shards of `wakers`, which then ask [`shutdown_requested`] and
/// [`take_hangup`].
pub fn install(wakers: &Arc<Wakers>) -> io::Result<()> {
    // One reference is given to the handlers for good: they may run at any time until the process ends.
    WAKERS.store(Arc::into_raw(Arc::clone(wakers)).cast_mut(), Ordering::Release);
    set_handler(libc::SIGTERM, on_shutdown as *const () as usize)?;
    set_handler(libc::SIGINT, on_shutdown as *const () as usize)?;
    set_handler(libc::SIGHUP, on_hangup as *const () as usize)?;
    set_handler(libc::SIGPIPE, libc::SIG_IGN)
}

/// Whether the process was asked to end.
pub fn shutdown_requested() -> bool {
    SHUTDOWN_REQUESTS.load(Ordering::Acquire) > 0
}

/// Whether the process was asked to end, once for each time it is asked.
pub fn take_shutdown_request() -> bool {
    SHUTDOWN_REQUESTS.load(Ordering::Acquire) > 0 && !SHUTDOWN_TAKEN.swap(true, Ordering::AcqRel)
}

/// The process cannot end now: the next request is as if it were the first one.
pub fn refuse_shutdown() {
    SHUTDOWN_REQUESTS.store(0, Ordering::Release);
    SHUTDOWN_TAKEN.store(false, Ordering::Release);
}

/// Whether a SIGHUP came since the last call.
pub fn take_hangup() -> bool {
    HANGUP.swap(false, Ordering::AcqRel)
}

fn set_handler(signal: libc::c_int, handler: usize) -> io::Result<()> {
    // SAFETY: sigaction is plain data for which all zeroes is valid; the handlers are `extern "C" fn(c_int)` that
    // keep to async-signal-safe calls. SA_RESTART: no system call elsewhere in the process sees EINTR because of us.
    let result = unsafe {
        let mut action: libc::sigaction = mem::zeroed();
        action.sa_sigaction = handler;
        action.sa_flags = libc::SA_RESTART;
        libc::sigaction(signal, &raw const action, ptr::null_mut())
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

extern "C" fn on_shutdown(_signal: libc::c_int) {
    if SHUTDOWN_REQUESTS.fetch_add(1, Ordering::AcqRel) > 0 {
        // SAFETY: _exit is async-signal-safe and does not return.
        unsafe { libc::_exit(1) };
    }
    wake_all();
}

extern "C" fn on_hangup(_signal: libc::c_int) {
    HANGUP.store(true, Ordering::Release);
    wake_all();
}

fn wake_all() {
    // SAFETY: null, or a reference that `install` has given away for good. errno belongs to the interrupted code,
    // so it is put back after the writes.
    unsafe {
        if let Some(wakers) = WAKERS.load(Ordering::Acquire).as_ref() {
            let errno = *libc::__errno_location();
            wakers.wake_all();
            *libc::__errno_location() = errno;
        }
    }
}
