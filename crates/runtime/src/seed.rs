//! Random seeds from the kernel. Owns nothing; generators live in the crates that use them, so that a simulation
//! can give them a fixed seed instead.

use crate::sys;

/// `N` random bytes.
///
/// # Panics
/// When the kernel has no randomness to give, which it only reports on kernels older than this crate supports.
pub fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    sys::random_bytes(&mut bytes).expect("getrandom works on every supported kernel");
    bytes
}

/// A random seed.
pub fn random_u64() -> u64 {
    u64::from_ne_bytes(random_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_differ() {
        assert_ne!(random_u64(), random_u64());
        assert_ne!(random_bytes::<40>(), [0; 40]);
    }
}
