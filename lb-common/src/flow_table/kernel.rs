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

impl<const N: usize> MapWords<'_, N> {
    /// Returns the bucket in a map's value.
    #[inline(always)]
    #[must_use]
    pub const fn new(value: *mut [u64; N]) -> Self {
        Self { first: value.cast(), lifetime: PhantomData }
    }

    /// Returns the pointer to the bucket.
    #[inline(always)]
    #[must_use]
    pub const fn as_ptr(self) -> *mut [u64; N] {
        self.first.cast()
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
        exchange(self.at(index), value)
    }

    #[inline(always)]
    fn compare_exchange(self, index: usize, expected: u64, new: u64) -> u64 {
        compare_exchange(self.at(index), expected, new)
    }
}

#[cfg(target_arch = "bpf")]
#[inline(always)]
fn exchange(word: *mut u64, value: u64) -> u64 {
    let mut value = value;
    // SAFETY: an aligned word of a map's value, which the verifier checks.
    unsafe {
        core::arch::asm!(
            "{value} = xchg_64({word} + 0, {value})",
            word = in(reg) word,
            value = inout(reg) value,
        );
    }
    value
}

#[cfg(target_arch = "bpf")]
#[inline(always)]
fn compare_exchange(word: *mut u64, expected: u64, new: u64) -> u64 {
    let mut expected = expected;
    // SAFETY: as in `exchange`.
    unsafe {
        core::arch::asm!(
            "r0 = cmpxchg_64({word} + 0, r0, {new})",
            word = in(reg) word,
            new = in(reg) new,
            inout("r0") expected,
        );
    }
    expected
}

#[cfg(not(target_arch = "bpf"))]
fn exchange(_: *mut u64, _: u64) -> u64 {
    unreachable!("the programs run in the kernel only")
}

#[cfg(not(target_arch = "bpf"))]
fn compare_exchange(_: *mut u64, _: u64, _: u64) -> u64 {
    unreachable!("the programs run in the kernel only")
}
