//! One CPU hint: bring a cache line near before it is needed. Unsafe because the intrinsic is; it never reads.
#![allow(unsafe_code)]

/// Asks the CPU to load the cache line at `target` for reading. A hint without any effect on results.
#[inline(always)]
pub fn prefetch<T>(target: &T) {
    prefetch_address(std::ptr::from_ref(target).cast());
}

/// As [`prefetch`], for the first bytes of a slice.
#[inline(always)]
pub(crate) fn prefetch_slice<T>(target: &[T]) {
    prefetch_address(target.as_ptr().cast());
}

/// As [`prefetch`], for an address that may lie past the end of an object: prefetching never faults.
#[inline(always)]
pub(crate) fn prefetch_address(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch instruction dereferences nothing and cannot fault, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
    }
    #[cfg(target_arch = "aarch64")]
    {
        // SAFETY: PRFM is a hint: it dereferences nothing and cannot fault, whatever the address.
        unsafe { std::arch::asm!("prfm pldl1keep, [{0}]", in(reg) address, options(nostack, readonly)) };
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = address;
}
