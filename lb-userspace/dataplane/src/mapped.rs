// SPDX-License-Identifier: MIT OR Apache-2.0
//! Array maps in the memory of this process.
#![expect(unsafe_code, reason = "mmap, and words that the programs change")]

use std::{
    io,
    os::fd::{AsFd, AsRawFd as _},
    ptr::{self, NonNull},
    sync::atomic::AtomicU64,
};

/// The values of an array map with `BPF_F_MMAPABLE`, as words that this process and the programs share.
#[derive(Debug)]
pub struct MappedArray {
    first: NonNull<AtomicU64>,
    words: usize,
}

// SAFETY: atomic words, which any thread may use.
unsafe impl Send for MappedArray {}
// SAFETY: as above.
unsafe impl Sync for MappedArray {}

impl MappedArray {
    /// Maps the first `words` words of a map.
    ///
    /// # Errors
    /// If the map has fewer words, is no array, or lacks the flag.
    pub fn new(map: impl AsFd, words: usize) -> io::Result<Self> {
        let (read_write, shared) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        let bytes = words * size_of::<AtomicU64>();
        // SAFETY: new memory at an address that the kernel chooses. The kernel refuses more than the map has.
        let memory =
            unsafe { libc::mmap(ptr::null_mut(), bytes, read_write, shared, map.as_fd().as_raw_fd(), 0) };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let first = NonNull::new(memory.cast()).ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self { first, words })
    }

    /// Returns the words.
    #[must_use]
    pub fn words(&self) -> &[AtomicU64] {
        // SAFETY: so many words have been mapped, which remain until the drop. The programs change them by atomic
        // instructions or as whole words.
        unsafe { std::slice::from_raw_parts(self.first.as_ptr(), self.words) }
    }
}

impl Drop for MappedArray {
    fn drop(&mut self) {
        // SAFETY: what `new` has mapped; no reference to it outlives `self`.
        unsafe { libc::munmap(self.first.as_ptr().cast(), self.words * size_of::<AtomicU64>()) };
    }
}
