// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Per-CPU memory for one packet, beside the stack.

use aya_ebpf::{btf_maps::PerCpuArray, macros::btf_map};
use lb_common::{
    flow_table::Wide,
    packet::Parsed,
    schema::SnatLease,
    wire::{Be128, Tags},
};

/// The tags that were removed from a frame.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct VlanState {
    /// The removed tags.
    pub tags: Tags,
    /// 1 if the frame still lacks the tags that it must leave with; 0 also for a frame without tags.
    pub lacks_tags: u32,
}

/// The VLAN tags of the frame that a CPU processes.
#[btf_map]
pub(super) static VLAN_STATE: PerCpuArray<VlanState, 1> = PerCpuArray::new();

/// The parsed IPv6 packet that a CPU processes.
#[btf_map]
pub(super) static PARSED6: PerCpuArray<Parsed<Be128>, 1> = PerCpuArray::new();

/// The flow that a CPU looked up last.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct LastFlow {
    pub key: Wide,
    /// The numbers of both buckets.
    pub buckets: [u32; 2],
    /// The number of the bucket with the entry, and the index of the entry's value in it, if there is one. The index has
    /// [`Self::IS_BEFORE`] if the bucket is in the table that this one replaces.
    pub place: [u32; 2],
    /// In a dry run, the lease that the flow would have got; of the real [`lb_common::ids::RealId::NONE`] if there is none.
    pub lease: SnatLease,
}

impl LastFlow {
    /// Flag of an index in `place`.
    pub const IS_BEFORE: u32 = 1 << 31;
}

#[btf_map]
pub(super) static LAST_FLOW: PerCpuArray<LastFlow, 1> = PerCpuArray::new();

/// Returns the memory for the flow that this CPU looked up last.
#[inline(always)]
pub(super) fn looked_up() -> Option<*mut LastFlow> {
    LAST_FLOW.get_ptr_mut(0)
}

/// Stores a parsed IPv6 packet outside the stack.
#[inline(always)]
pub fn keep_parsed(parsed: &Parsed<Be128>) -> Option<&'static Parsed<Be128>> {
    let kept = PARSED6.get_ptr_mut(0)?;
    // SAFETY: this CPU's copy, checked for null; programs on one CPU do not interrupt each other, and a program keeps
    // one packet.
    unsafe {
        *kept = *parsed;
        // LLVM would keep the packet on the stack too, if it knew the source of the reads.
        core::hint::black_box(kept).as_ref()
    }
}

/// Returns the tags that were removed from the frame.
#[inline(always)]
pub fn vlan_state() -> VlanState {
    VLAN_STATE.get(0).copied().unwrap_or(VlanState { tags: Tags::NONE, lacks_tags: 0 })
}

/// Marks the tags of the frame as final. Returns the tags that the frame arrived with.
#[inline(always)]
pub fn set_tags_final() -> Tags {
    let Some(taken) = VLAN_STATE.get_ptr_mut(0) else { return Tags::NONE };
    // SAFETY: as in `count_in`.
    unsafe {
        (*taken).lacks_tags = 0;
        (*taken).tags
    }
}

/// Records the tags that were removed from the frame.
#[inline(always)]
pub fn set_vlan_state(new: VlanState) {
    if let Some(taken) = VLAN_STATE.get_ptr_mut(0) {
        // SAFETY: as in `count_in`.
        unsafe { *taken = new };
    }
}
