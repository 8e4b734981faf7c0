//! A flag between one party that raises it and looks once more, and another that acts and then looks at the flag:
//! at least one of them sees the other. The atom of both protocols of this crate (`wake`, `mesh`). Hot path.
//!
//! The atomics come from `super::atomic`, so that the same source runs under the model checker.

use super::atomic::{AtomicBool, Ordering, fence};

pub(crate) struct Flag(AtomicBool);

impl Flag {
    pub(crate) fn new() -> Flag {
        Flag(AtomicBool::new(false))
    }

    /// Raises the flag. What the caller looks at afterwards is not older than what a later [`Flag::claim`] missed.
    pub(crate) fn raise(&self) {
        self.0.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    pub(crate) fn lower(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    pub(crate) fn is_raised(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Lowers a raised flag: `true` for exactly one caller per raise. What the caller did before is visible to the
    /// raiser's last look, unless this sees the flag.
    pub(crate) fn claim(&self) -> bool {
        fence(Ordering::SeqCst);
        self.0.load(Ordering::Relaxed) && self.0.swap(false, Ordering::Relaxed)
    }
}
