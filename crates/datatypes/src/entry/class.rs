//! Allocation sizes of entries: the size classes of jemalloc, numbered, so that an entry remembers the size of
//! its allocation in one byte. With another allocator the sizes are still valid, only less tight.

/// Largest size whose classes are 16 bytes apart.
const LINEAR_BYTES: usize = 128;
/// Number of the class of `LINEAR_BYTES`.
const LINEAR_CLASSES: usize = LINEAR_BYTES / 16;

/// Number of the smallest class that holds `bytes` (at least 1).
#[inline]
pub(crate) fn class_for(bytes: usize) -> u8 {
    if bytes <= LINEAR_BYTES {
        return bytes.div_ceil(16).max(1) as u8;
    }
    // Four classes per doubling: 160, 192, 224, 256, 320, …
    let last = bytes - 1;
    let magnitude = last.ilog2() as usize;
    let quarter = (last >> (magnitude - 2)) & 3;
    (LINEAR_CLASSES + (magnitude - 7) * 4 + quarter + 1) as u8
}

/// Size in bytes of class number `class`.
#[inline]
pub(crate) fn class_bytes(class: u8) -> usize {
    let class = usize::from(class);
    if class <= LINEAR_CLASSES {
        return class * 16;
    }
    let above = class - LINEAR_CLASSES - 1;
    (5 + (above & 3)) << (5 + above / 4)
}

/// What an allocation of `bytes` takes from the allocator; 0 for none.
pub(crate) fn allocated_bytes(bytes: usize) -> usize {
    if bytes == 0 { 0 } else { class_bytes(class_for(bytes)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_those_of_jemalloc() {
        for (bytes, expected) in [
            (1, 16),
            (16, 16),
            (17, 32),
            (90, 96),
            (96, 96),
            (97, 112),
            (128, 128),
            (129, 160),
            (160, 160),
            (161, 192),
            (256, 256),
            (257, 320),
            (1 << 14, 1 << 14),
            ((1 << 14) + 1, 20 * 1024),
            (512 << 20, 512 << 20),
        ] {
            assert_eq!(class_bytes(class_for(bytes)), expected, "{bytes}");
        }
    }

    #[test]
    fn every_size_gets_the_smallest_class_that_holds_it() {
        for bytes in (1..70_000).step_by(if cfg!(miri) { 997 } else { 1 }) {
            let class = class_for(bytes);
            assert!(class_bytes(class) >= bytes);
            assert!(class == 1 || class_bytes(class - 1) < bytes);
        }
    }
}
