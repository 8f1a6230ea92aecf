// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Parsing of the frame into the program's memory: ordinary packets at once, others in a global function.
#![expect(unsafe_code, reason = "memory that a global function writes")]

use core::{cell::UnsafeCell, mem::MaybeUninit};

use lb_common::packet::{self, Parsed};

use crate::{frame::Frame, tables::IpFamily};

/// Memory for a parsed packet, as an argument of a global function.
#[repr(transparent)]
struct Memory<A>(UnsafeCell<MaybeUninit<Parsed<A>>>);

/// Parses the frame into memory, as [`packet::parse`] does. Returns nothing if the packet is not ours.
///
/// Ordinary packets are parsed here, and others in a global function, whose paths do not multiply those behind it.
#[inline(always)]
pub fn parse<'a, A: IpFamily>(frame: &Frame, into: &'a mut MaybeUninit<Parsed<A>>) -> Option<&'a Parsed<A>> {
    let into: *mut MaybeUninit<Parsed<A>> = into;
    // SAFETY: the memory is exclusively borrowed; the function below writes it as a cell.
    unsafe {
        if !A::ordinary(frame, &mut *into) {
            // The verifier of Linux 6.1 accepts only written memory as an argument.
            into.write(MaybeUninit::zeroed());
            if !parse_any(frame, &*into.cast::<Memory<A>>()) {
                return None;
            }
        }
        // Both ways have written it. LLVM would otherwise keep each field in a register too, of which there are few.
        touch(into.cast());
        Some((*into).assume_init_ref())
    }
}

out_of_line! {
    /// Parses any packet into memory. Returns whether it may be ours.
    fn parse_any [parse_any, parse_any6](frame; into: &Memory<A>;) -> bool {
        let Ok(parsed) = packet::parse_any::<A>(frame) else { return false };
        // SAFETY: the caller has borrowed the memory exclusively.
        unsafe { (*into.0.get()).write(parsed) };
        true
    }
}

/// Hides from LLVM what memory contains.
#[inline(always)]
fn touch(memory: *mut u8) {
    #[cfg(target_arch = "bpf")]
    // SAFETY: no instruction at all; as in `lb_common::flow_table`, only a named register need not occur in the text.
    unsafe {
        core::arch::asm!("", in("r0") memory, options(nostack, preserves_flags));
    }
    #[cfg(not(target_arch = "bpf"))]
    core::hint::black_box(memory);
}
