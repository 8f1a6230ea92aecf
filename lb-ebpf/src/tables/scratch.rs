// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Memory of one CPU for one packet, beside the stack.

use crate::{select::Look, vlan::Taken};
use aya_ebpf::{btf_maps::PerCpuArray, macros::btf_map};
use lb_common::{
    packet::Parsed,
    wire::{Be128, Tags},
};

/// What was taken off the frame that a CPU is busy with.
#[btf_map]
pub(super) static TAKEN: PerCpuArray<Taken, 1> = PerCpuArray::new();

/// What is known of the IPv6 packet that a CPU is busy with.
#[btf_map]
pub(super) static PARSED6: PerCpuArray<Parsed<Be128>, 1> = PerCpuArray::new();

/// What `lblc` and `lblcr` are looking at.
#[btf_map]
pub(super) static LOOKS: PerCpuArray<Look, 1> = PerCpuArray::new();

/// Keeps what is known of an IPv6 packet off the stack.
#[inline(always)]
pub fn keep_parsed(parsed: &Parsed<Be128>) -> Option<&'static Parsed<Be128>> {
    let kept = PARSED6.get_ptr_mut(0)?;
    // SAFETY: this CPU's copy, checked for null; programs on one CPU do not interrupt each other, and one keeps one packet.
    unsafe {
        *kept = *parsed;
        // LLVM would keep it on the stack, too, if it knew what it reads.
        core::hint::black_box(kept).as_ref()
    }
}

/// Where this CPU looks at the reals of a set.
#[inline(always)]
pub fn look() -> Option<&'static mut Look> {
    // SAFETY: this CPU's copy, checked for null; programs on one CPU do not interrupt each other, and the callback that
    // asks for it too runs while nobody else uses it.
    LOOKS.get_ptr_mut(0).map(|look| unsafe { &mut *look })
}

/// What was taken off the frame.
#[inline(always)]
pub fn taken() -> Taken {
    TAKEN.get(0).copied().unwrap_or(Taken { tags: Tags::NONE, bare: 0 })
}

/// Says that the frame has got all the tags that it is to have. Returns those that it came with.
#[inline(always)]
pub fn set_dressed() -> Tags {
    let Some(taken) = TAKEN.get_ptr_mut(0) else { return Tags::NONE };
    // SAFETY: as in `count_in`.
    unsafe {
        (*taken).bare = 0;
        (*taken).tags
    }
}

/// Says what was taken off the frame.
#[inline(always)]
pub fn set_taken(new: Taken) {
    if let Some(taken) = TAKEN.get_ptr_mut(0) {
        // SAFETY: as in `count_in`.
        unsafe { *taken = new };
    }
}
