// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Atomic additions and barriers.

/// Orders reads: the reads after this call happen after the reads before it, between a generation and its data.
#[inline(always)]
pub(super) fn full_barrier(mine: *mut u64) {
    // An atomic instruction that returns a value is a full barrier.
    fetch_add(mine, 0);
}

/// Adds to a number that all CPUs share, and returns the previous value.
#[cfg(target_arch = "bpf")]
#[inline(always)]
pub(super) fn fetch_add(number: *mut u64, add: u64) -> u64 {
    let mut value = add;
    // `AtomicU64::fetch_add` does not exist for this target; the instruction does since Linux 5.12.
    // SAFETY: the pointer is a map value's, checked for null, 8 bytes and aligned.
    unsafe {
        core::arch::asm!(
            "{value} = atomic_fetch_add((u64 *)({number} + 0), {value})",
            number = in(reg) number,
            value = inout(reg) value,
        );
    }
    value
}

#[cfg(not(target_arch = "bpf"))]
pub(super) fn fetch_add(_: *mut u64, _: u64) -> u64 {
    unreachable!("the programs run in the kernel only")
}

/// Replaces a number that all CPUs share, if it is still `old`. Returns whether it was.
#[cfg(all(feature = "samples", target_arch = "bpf"))]
#[inline(always)]
pub(super) fn exchange(number: *mut u64, old: u64, new: u64) -> bool {
    let mut found = old;
    // The instruction exists since Linux 5.12.
    // SAFETY: as in `fetch_add`.
    unsafe {
        core::arch::asm!(
            "r0 = cmpxchg_64({number} + 0, r0, {new})",
            number = in(reg) number,
            new = in(reg) new,
            inout("r0") found,
        );
    }
    found == old
}

#[cfg(all(feature = "samples", not(target_arch = "bpf")))]
pub(super) fn exchange(_: *mut u64, _: u64, _: u64) -> bool {
    unreachable!("the programs run in the kernel only")
}
