// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Packets left to the stack, for the guard.

use super::{clock::now, settings::mode};
use aya_ebpf::{btf_maps::Array, macros::btf_map};
use lb_common::{
    packet::Ip,
    schema::{FlowKey, Mode},
    ticks::{Tick, Ticks},
};

/// Tick at which a packet that the guard would drop was last left to the director's stack, by a hash of the flow. Of
/// the packets of services, the guard passes only those whose flow the XDP programs left to the stack a moment ago.
#[btf_map]
pub(super) static LEFT_TO_STACK: Array<u32, { LEFT_PLACES as usize }> = Array::new();

/// Number of entries of `LEFT_TO_STACK`, a power of two.
const LEFT_PLACES: u32 = 16_384;

/// Maximum time between the XDP program and the guard. A packet waits in at most one queue of received
/// packets (`net.core.netdev_max_backlog`), and in the merging of segments.
const LEFT_FOR: Ticks = Ticks(Ticks::of_seconds(1).0 / 4);

/// Returns the index of a flow in [`LEFT_TO_STACK`].
#[inline(always)]
fn left_place<A: Ip>(key: &FlowKey<A>) -> u32 {
    lb_common::hash::flow(key, 0) & (LEFT_PLACES - 1)
}

out_of_line! {
    /// Records that a packet is left to the director's stack.
    pub fn leave_to_stack [leave_to_stack, leave_to_stack6](; key: &FlowKey<A>;) -> () {
        if mode() == Mode::FORWARD
            && let Some(left) = LEFT_TO_STACK.get_ptr_mut(left_place(key))
        {
            // SAFETY: an aligned word of a map's value.
            unsafe { left.write_volatile(now().0 | 1) };
        }
    }
}

/// Returns whether a packet of this flow was left to the stack a moment ago.
#[inline(always)]
pub fn was_left_to_stack<A: Ip>(key: &FlowKey<A>) -> bool {
    let left = LEFT_TO_STACK.get(left_place(key)).map_or(0, |left| *left);
    left != 0 && Tick(left).age(now()) <= LEFT_FOR
}
