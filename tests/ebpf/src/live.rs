// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Source and sink of live frames (`BPF_F_TEST_XDP_LIVE_FRAMES`).
#![expect(unsafe_code, reason = "pointers to values of maps, and helpers of the kernel")]

use aya_ebpf::{
    bindings::xdp_action,
    btf_maps::PerCpuArray,
    helpers::bpf_redirect,
    macros::{btf_map, xdp},
    programs::XdpContext,
};
use lb_common::{
    packet::{ETHERNET_LEN, IPV4_LEN, Packet as _, Word as _, load},
    protocol,
};
use lb_tests_ebpf::FIRST_PORT;

use crate::{ORDER, frame::Frame};

/// Number of frames that ended in the sink.
#[btf_map]
static SUNK: PerCpuArray<u64, 1> = PerCpuArray::new();

/// Length of the beginning of a frame that is written again for each packet, in bytes: pages come back with the changes
/// of their receiver.
const HEADERS: usize = 64;

/// Sends a datagram of the next flow.
#[xdp]
pub fn live(ctx: XdpContext) -> u32 {
    let Some(order) = ORDER.get_ptr_mut(0) else { return xdp_action::XDP_ABORTED };
    // SAFETY: a value of this map, which no other code uses meanwhile.
    let order = unsafe { &mut *order };
    let Ok(start) = Frame::new(&ctx).at::<HEADERS>(0) else { return xdp_action::XDP_ABORTED };
    let start: *mut u8 = start.cast();
    let port = FIRST_PORT.wrapping_add(order.next as u16);
    // SAFETY: `at` checked the bounds.
    unsafe {
        for (n, word) in order.frame.iter().enumerate().take(HEADERS / 4) {
            word.write::<0>(start.add(4 * n));
        }
        port.to_be().write::<0>(start.add(ETHERNET_LEN + IPV4_LEN));
    }
    order.next = if order.next + 1 >= order.flows { 0 } else { order.next + 1 };
    // SAFETY: the helper takes numbers, and returns an action.
    let action = unsafe { bpf_redirect(order.device, 0) };
    u32::try_from(action).unwrap_or(xdp_action::XDP_ABORTED)
}

/// Counts and drops UDP datagrams and IP-in-IP packets, and passes all other packets.
#[xdp]
pub fn sink(ctx: XdpContext) -> u32 {
    let frame = Frame::new(&ctx);
    let (Ok(ether_type), Ok(number)) = (load::<u16>(&frame, 12), load::<u8>(&frame, ETHERNET_LEN + 9)) else {
        return xdp_action::XDP_PASS;
    };
    if ether_type != 0x800_u16.to_be() || ![protocol::UDP, protocol::IPIP].contains(&number) {
        return xdp_action::XDP_PASS;
    }
    if let Some(count) = SUNK.get_ptr_mut(0) {
        // SAFETY: this CPU's, checked for null.
        unsafe { *count += 1 };
    }
    xdp_action::XDP_DROP
}
