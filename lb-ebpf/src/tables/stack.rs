// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Packets left to the stack, for the guard.

use super::{clock::now, settings::mode};
use aya_ebpf::{btf_maps::Array, macros::btf_map};
use lb_common::{
    packet::Ip,
    schema::{FlowKey, Mode},
    track,
};

/// When a packet that the guard would drop was last left to the director's stack, by a hash of its flow. The guard lets
/// through what the XDP programs left to the stack a moment ago, and nothing else.
#[btf_map]
pub(super) static LEFT_TO_STACK: Array<u32, { LEFT_PLACES as usize }> = Array::new();

/// Places in that table, a power of two.
const LEFT_PLACES: u32 = 16_384;

/// How long after it met the XDP program a packet may reach the guard. Between them lie at most a queue of received packets
/// (`net.core.netdev_max_backlog`) and the merging of segments.
const LEFT_FOR: u32 = track::ticks_of_seconds(1) / 4;

/// Returns where a flow is in [`LEFT_TO_STACK`].
#[inline(always)]
fn left_place<A: Ip>(key: &FlowKey<A>) -> u32 {
    lb_common::hash::flow(key, 0) & (LEFT_PLACES - 1)
}

/// Notes that a packet is left to the director's stack.
#[inline(always)]
pub fn leave_to_stack<A: Ip>(key: &FlowKey<A>) {
    if mode() == Mode::FORWARD
        && let Some(left) = LEFT_TO_STACK.get_ptr_mut(left_place(key))
    {
        // SAFETY: an aligned word of a map's value.
        unsafe { left.write_volatile(now() | 1) };
    }
}

/// Returns whether a packet of that flow was left to the stack a moment ago.
#[inline(always)]
pub fn was_left_to_stack<A: Ip>(key: &FlowKey<A>) -> bool {
    let left = LEFT_TO_STACK.get(left_place(key)).map_or(0, |left| *left);
    left != 0 && track::age(left, now()) <= LEFT_FOR
}
