// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! The words of a bucket, which all CPUs and the daemon share.

#[cfg(not(target_arch = "bpf"))]
use core::sync::atomic::{AtomicU64, Ordering};

/// The words of a bucket.
///
/// [`Self::swap`] and [`Self::compare_exchange`] are full barriers, as the kernel's instructions are. Later
/// loads of a CPU are not moved before earlier ones.
pub trait Words: Copy {
    /// Reads a word.
    fn load(self, index: usize) -> u64;

    /// Writes a word.
    fn store(self, index: usize, value: u64);

    /// Writes a word, and returns its previous value.
    fn swap(self, index: usize, value: u64) -> u64;

    /// Writes a word if it has the expected value, and returns its previous value.
    fn compare_exchange(self, index: usize, expected: u64, new: u64) -> u64;
}

/// Memory of this process, or the mapping of an array map. An index beyond the end is a mistake and panics.
#[cfg(not(target_arch = "bpf"))]
impl Words for &[AtomicU64] {
    fn load(self, index: usize) -> u64 {
        self[index].load(Ordering::Acquire)
    }

    fn store(self, index: usize, value: u64) {
        self[index].store(value, Ordering::Release);
    }

    fn swap(self, index: usize, value: u64) -> u64 {
        self[index].swap(value, Ordering::SeqCst)
    }

    fn compare_exchange(self, index: usize, expected: u64, new: u64) -> u64 {
        match self[index].compare_exchange(expected, new, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(previous) | Err(previous) => previous,
        }
    }
}
