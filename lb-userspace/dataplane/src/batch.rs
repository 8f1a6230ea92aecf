// SPDX-License-Identifier: MIT OR Apache-2.0
//! Batch operations on maps: aya 0.14 has none, and two system calls per entry are too slow for a million
//! flows, as is one call per counter.
#![expect(unsafe_code, reason = "system calls that aya does not have")]

use std::{
    io,
    ops::{ControlFlow, Range},
    os::fd::BorrowedFd,
};

use aya::Pod;

/// `BPF_MAP_LOOKUP_BATCH` (Linux 5.6).
const LOOKUP_BATCH: libc::c_long = 24;
/// `BPF_MAP_UPDATE_BATCH` (Linux 5.6).
const UPDATE_BATCH: libc::c_long = 26;
/// Maximum number of entries per system call; in practice larger than any bucket of a hash map.
const BATCH: usize = 4096;
/// Approximate size of the values per system call, in bytes: an entry of a per-CPU map has a value for each CPU.
const BYTES: usize = 16 << 20;

/// The `batch` arm of `union bpf_attr` (include/uapi/linux/bpf.h).
#[repr(C)]
struct Attributes {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// Calls `each` with every entry of a hash map. Entries that are added or removed meanwhile may or may not be
/// included.
pub fn for_each<K: Pod, V: Pod>(map: BorrowedFd<'_>, mut each: impl FnMut(&K, &V)) -> io::Result<()> {
    batches(map, 1, None, BATCH, |keys: &[K], values| {
        keys.iter().zip(values).for_each(|(key, value)| each(key, value));
        ControlFlow::Continue(())
    })
}

/// Returns the entries `ids` of an array that has a value for each of `cpus` CPUs, 1 for other arrays; `sum`
/// combines the values of an entry.
pub fn per_cpu<V: Pod, S>(
    map: BorrowedFd<'_>,
    cpus: usize,
    ids: Range<u32>,
    sum: impl Fn(&[V]) -> S,
) -> io::Result<Vec<S>> {
    // The kernel rounds the size of each CPU's value up to 8 bytes.
    const { assert!(size_of::<V>().is_multiple_of(8)) };
    let count = ids.len();
    let mut sums = Vec::with_capacity(count);
    if count == 0 {
        return Ok(sums);
    }
    batches(map, cpus, ids.start.checked_sub(1), count, |keys: &[u32], values| {
        let entries = keys.iter().zip(values.chunks_exact(cpus)).take(count - sums.len());
        // An array is read without gaps.
        sums.extend(entries.map(|(_, values)| sum(values)));
        if sums.len() == count { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    Ok(sums)
}

/// Writes entries; there must be as many keys as values.
pub fn update<K: Pod, V: Pod>(map: BorrowedFd<'_>, keys: &[K], values: &[V]) -> io::Result<()> {
    use std::os::fd::AsRawFd as _;

    for (keys, values) in keys.chunks(BATCH).zip(values.chunks(BATCH)) {
        let mut attributes = Attributes {
            in_batch: 0,
            out_batch: 0,
            keys: keys.as_ptr() as u64,
            values: values.as_ptr() as u64,
            count: keys.len().min(values.len()) as u32,
            map_fd: map.as_raw_fd().cast_unsigned(),
            elem_flags: 0,
            flags: 0,
        };
        // SAFETY: the kernel reads `count` keys and values, and both slices have that many (the caller's K
        // and V have the map's sizes, checked when the map was opened).
        let result = unsafe {
            libc::syscall(libc::SYS_bpf, UPDATE_BATCH, &raw mut attributes, size_of::<Attributes>())
        };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Calls `each` with keys and values until it breaks; each key has `per_key` values. An array is read from
/// the entry after `after` on. A system call reads at most `most` entries.
fn batches<K: Pod, V: Pod>(
    map: BorrowedFd<'_>,
    per_key: usize,
    after: Option<u32>,
    most: usize,
    mut each: impl FnMut(&[K], &[V]) -> ControlFlow<()>,
) -> io::Result<()> {
    use std::os::fd::AsRawFd as _;

    let batch = (BYTES / (per_key * size_of::<V>()).max(1)).clamp(1, BATCH.min(most));
    let mut keys: Vec<K> = Vec::with_capacity(batch);
    let mut values: Vec<V> = Vec::with_capacity(batch * per_key);
    // Position: the number of a bucket in hash maps, the last index in arrays.
    let (mut from, mut to) = (after.unwrap_or_default(), 0u32);
    let mut first = after.is_none();
    loop {
        let mut attributes = Attributes {
            in_batch: if first { 0 } else { &raw const from as u64 },
            out_batch: &raw mut to as u64,
            keys: keys.as_mut_ptr() as u64,
            values: values.as_mut_ptr() as u64,
            count: batch as u32,
            map_fd: map.as_raw_fd().cast_unsigned(),
            elem_flags: 0,
            flags: 0,
        };
        // SAFETY: the kernel writes at most `count` keys and `per_key` values for each, and both vectors have
        // room for that (the caller's K and V have the map's sizes, checked when the map was opened), and one
        // u32 to `to`.
        let result = unsafe {
            libc::syscall(libc::SYS_bpf, LOOKUP_BATCH, &raw mut attributes, size_of::<Attributes>())
        };
        let end = if result == 0 {
            false
        } else {
            let error = io::Error::last_os_error();
            // ENOENT marks the end; the last entries come with it.
            if error.raw_os_error() != Some(libc::ENOENT) {
                return Err(error);
            }
            true
        };
        let count = (attributes.count as usize).min(BATCH);
        // SAFETY: the kernel has written `count` entries to both vectors, and every bit pattern is a `Pod`.
        unsafe {
            keys.set_len(count);
            values.set_len(count * per_key);
        }
        if each(&keys, &values).is_break() || end {
            return Ok(());
        }
        (from, first) = (to, false);
    }
}
