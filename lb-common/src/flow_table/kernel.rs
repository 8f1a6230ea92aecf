// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Buckets in an array map of the kernel.
#![expect(unsafe_code, reason = "words of a map's value, and atomic instructions")]

use core::marker::PhantomData;

use super::Words;

/// A bucket of `N` words in a map's value; `N` is a power of two. An index beyond the end wraps around, so that the
/// verifier sees its bound.
#[derive(Clone, Copy)]
pub struct MapWords<'a, const N: usize> {
    first: *mut u64,
    lifetime: PhantomData<&'a mut u64>,
}

impl<'a, const N: usize> MapWords<'a, N> {
    /// Returns the bucket in a map's value.
    #[inline(always)]
    #[must_use]
    pub fn new(value: *mut [u64; N]) -> Self {
        Self { first: value.cast(), lifetime: PhantomData }
    }

    #[inline(always)]
    fn at(self, index: usize) -> *mut u64 {
        self.first.wrapping_add(index & (N - 1))
    }
}

/// The instructions exist since Linux 5.12. Each is a full barrier.
impl<const N: usize> Words for MapWords<'_, N> {
    #[inline(always)]
    fn load(self, index: usize) -> u64 {
        // SAFETY: an aligned word of a map's value, which the verifier checks.
        unsafe { self.at(index).read_volatile() }
    }

    #[inline(always)]
    fn store(self, index: usize, value: u64) {
        // SAFETY: as in `load`.
        unsafe { self.at(index).write_volatile(value) };
    }

    #[inline(always)]
    fn swap(self, index: usize, value: u64) -> u64 {
        let mut value = value;
        // SAFETY: as in `load`.
        unsafe {
            core::arch::asm!(
                "{value} = xchg_64({word} + 0, {value})",
                word = in(reg) self.at(index),
                value = inout(reg) value,
            );
        }
        value
    }

    #[inline(always)]
    fn compare_exchange(self, index: usize, expected: u64, new: u64) -> u64 {
        let mut expected = expected;
        // SAFETY: as in `load`.
        unsafe {
            core::arch::asm!(
                "r0 = cmpxchg_64({word} + 0, r0, {new})",
                word = in(reg) self.at(index),
                new = in(reg) new,
                inout("r0") expected,
            );
        }
        expected
    }
}
