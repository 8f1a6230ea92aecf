// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Arithmetic that LLVM must not turn into branches.
#![cfg_attr(target_arch = "bpf", expect(unsafe_code, reason = "an empty instruction that hides a number"))]

/// Returns the number, and hides from LLVM what it knows about it. LLVM makes branches of arithmetic on conditions,
/// and the verifier walks both sides of each.
#[cfg(target_arch = "bpf")]
#[inline(always)]
pub(super) fn opaque(number: u64) -> u64 {
    let mut number = number;
    // The text must be empty: LLVM would give a comment a line in the debug information, and the kernel refuses two
    // lines for one instruction. Only a named register need not occur in the text.
    // SAFETY: no instruction at all.
    unsafe { core::arch::asm!("", inout("r0") number, options(pure, nomem, nostack, preserves_flags)) };
    number
}

/// Returns the number.
#[cfg(not(target_arch = "bpf"))]
#[inline(always)]
pub(super) const fn opaque(number: u64) -> u64 {
    number
}
