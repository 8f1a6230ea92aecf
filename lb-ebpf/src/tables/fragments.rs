// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Real and return path of the later fragments of a datagram.

use super::{family::IpFamily, settings::mode, trace::note};
use aya_ebpf::{btf_maps::LruHashMap, macros::btf_map};
use lb_common::{
    schema::{Added, Coverage, Fragment, FragmentKey, Step},
    wire::{Be32, Be128},
};

/// The real and the return path of a fragmented datagram.
#[btf_map]
pub(super) static FRAGMENTS: LruHashMap<FragmentKey<Be32>, Fragment<Be32>, 1> = LruHashMap::new();

#[btf_map]
pub(super) static FRAGMENTS6: LruHashMap<FragmentKey<Be128>, Fragment<Be128>, 1> = LruHashMap::new();

/// Returns the decision on a datagram's first fragment, and a pointer to its coverage for [`cover`].
#[inline(always)]
pub fn fragment<A: IpFamily>(key: &FragmentKey<A>) -> Option<(&'static Fragment<A>, *mut Coverage)> {
    let Some(kept) = A::fragments().get_ptr_mut(key) else {
        note(Step::NoFragment, 0, 0);
        return None;
    };
    // SAFETY: a value of this map, checked for null. The value is not copied, because the stack is small. If the table
    // is full, another datagram may get the entry meanwhile; then a fragment goes to a wrong host.
    let (fragment, covered) = unsafe { (&*kept, &raw mut (*kept).covered) };
    note(Step::Fragment, fragment.real.0, u32::from(fragment.vip != A::default()));
    Some((fragment, covered))
}

/// Adds a later fragment of `bytes` bytes, which begins at 8-byte word `start`, to the coverage of its datagram.
/// Returns the number of an [`Added`].
///
/// Out of line, because the verifier then checks its loops once. [`out_of_line`] declares no function that gets a
/// pointer to memory that the function changes.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn cover(covered: *mut Coverage, start: u32, bytes: u32) -> u32 {
    // SAFETY: the verifier accepts only null or memory of that size as an argument. The memory is a map's value; two
    // CPUs with fragments of one datagram may overwrite each other's changes.
    let Some(covered) = (unsafe { covered.as_mut() }) else { return Added::New as u32 };
    let start = start as u16;
    (if mode().is_dry() { covered.look(start, bytes) } else { covered.add(start, bytes) }) as u32
}

/// Records the decision on a first fragment. A failed insert costs the datagram.
#[inline(always)]
pub fn remember_fragment<A: IpFamily>(key: &FragmentKey<A>, fragment: &Fragment<A>) {
    if note(Step::RecordFragment, fragment.real.0, u32::from(fragment.vip != A::default())) {
        let _ = A::fragments().insert(key, fragment, 0);
    }
}
