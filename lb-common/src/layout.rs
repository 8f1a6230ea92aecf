// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Memory layout of keys and values of maps.

/// Asserts the layout of a map's key or value, and is the only place that lets userspace copy it as bytes.
macro_rules! layout {
    ($type:ty, size: $size:literal, align: $align:literal) => {
        const _: () = assert!(size_of::<$type>() == $size && align_of::<$type>() == $align);

        // SAFETY: `repr(C)` without implicit padding (the asserted size is the sum of the fields' sizes) and
        // every bit pattern is a value.
        #[cfg(feature = "user")]
        #[expect(unsafe_code, reason = "userspace copies the type as bytes")]
        unsafe impl aya::Pod for $type {}
    };
}
pub(crate) use layout;
