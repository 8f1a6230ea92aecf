// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! The programs of `cargo xtask bench`.
//!
//! `BPF_PROG_TEST_RUN` with more than one repetition passes a program its own output as the next input, which is wrong
//! for a program that rewrites packets. Therefore a trampoline restores the frame, stamps it with the next flow, and
//! continues in the program under test. The bench does the same for [`limit`], which sends the frame back. The cost of
//! a program is its time above that of [`limit`].
//!
//! - [`floor`]: the least that a balancer can do, as a baseline
//! - [`floor_table`]: the baseline with the flow table
//! - [`mod@table`]: a flow table in maps, and the global functions of an insertion
//! - [`live`]: source and sink of live frames
//! - [`frame`]: bounds-checked access to the packet
//! - [`object`]: parts that every object needs
#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]
#![expect(unsafe_code, reason = "pointers into the packet and to values of maps")]
#![expect(missing_docs, clippy::needless_pass_by_value, reason = "the macro `xdp` makes the functions so")]

use core::mem::offset_of;

#[macro_use]
mod table;
mod floor;
mod floor_table;
mod frame;
mod live;
mod object;

use aya_ebpf::{
    bindings::xdp_action,
    btf_maps::{Array, ProgramArray},
    macros::{btf_map, xdp},
    programs::XdpContext,
};
use frame::Frame;
use lb_common::{
    packet::{ETHERNET_LEN, Ip, Packet as _, TcpHeader, Word as _, tcp_flags},
    reason::Reason,
    wire::{Be32, Be128},
};
use lb_tests_ebpf::{self as bench, Ends, NONE, Order, SHORT};

/// The packets to send. Its runner is pinned to a CPU, so no other code uses the value meanwhile.
#[btf_map]
static ORDER: Array<Order, 1> = Array::new();

/// Headers of the packets that the director sent, by turn.
#[btf_map]
static ENDS: Array<Ends, 1> = Array::new();

/// The program under test.
#[btf_map]
static TARGET: ProgramArray<1> = ProgramArray::new();

/// Sends the frame back to its sender, which measures the cost of XDP itself.
#[xdp]
pub fn limit(ctx: XdpContext) -> u32 {
    let Ok(start) = Frame::new(&ctx).at::<12>(0) else { return xdp_action::XDP_DROP };
    let start: *mut u8 = start.cast();
    // SAFETY: `at` checked the bounds.
    unsafe {
        let to: [u16; 3] = core::array::from_fn(|n| u16::read::<0>(start.add(2 * n)));
        for (n, half) in to.into_iter().enumerate() {
            u16::read::<0>(start.add(6 + 2 * n)).write::<0>(start.add(2 * n));
            half.write::<0>(start.add(6 + 2 * n));
        }
    }
    xdp_action::XDP_TX
}

/// Sends packets of clients over IPv4.
#[xdp]
pub fn request(ctx: XdpContext) -> u32 {
    send::<Be32, 64>(&ctx, stamp_request::<Be32>)
}

/// Sends packets of clients over IPv6.
#[xdp]
pub fn request6(ctx: XdpContext) -> u32 {
    send::<Be128, 80>(&ctx, stamp_request::<Be128>)
}

/// Sends the replies of reals to the packets in `ENDS`, over IPv4.
#[xdp]
pub fn reply(ctx: XdpContext) -> u32 {
    send::<Be32, 64>(&ctx, stamp_reply::<Be32>)
}

/// Sends the replies of reals to the packets in `ENDS`, over IPv6.
#[xdp]
pub fn reply6(ctx: XdpContext) -> u32 {
    send::<Be128, 80>(&ctx, stamp_reply::<Be128>)
}

/// Sends ICMP errors about packets from services to clients.
#[xdp]
pub fn error(ctx: XdpContext) -> u32 {
    send::<Be32, 72>(&ctx, stamp_error::<Be32>)
}

/// Sends `ICMPv6` errors about packets from services to clients.
#[xdp]
pub fn error6(ctx: XdpContext) -> u32 {
    send::<Be128, 112>(&ctx, stamp_error::<Be128>)
}

/// Restores the frame of `N` bytes, stamps it, and continues in the program under test.
#[inline(always)]
fn send<A: Ip, const N: usize>(ctx: &XdpContext, stamp: impl FnOnce(&Order, *mut u8, u32)) -> u32 {
    if prepare::<A, N>(ctx, stamp).is_some() {
        // SAFETY: the context is the one that the kernel gave.
        unsafe { TARGET.tail_call(ctx, 0) };
    }
    if let Some(order) = ORDER.get_ptr_mut(0) {
        // SAFETY: a value of this map, which no other code uses meanwhile.
        unsafe { (*order).missed += 1 };
    }
    xdp_action::XDP_ABORTED
}

#[inline(always)]
fn prepare<A: Ip, const N: usize>(ctx: &XdpContext, stamp: impl FnOnce(&Order, *mut u8, u32)) -> Option<()> {
    // SAFETY: a value of this map, which no other code uses meanwhile.
    let order = unsafe { &mut *ORDER.get_ptr_mut(0)? };
    let frame = Frame::new(ctx);
    if order.learn != 0 && order.last != NONE {
        learn::<A>(&frame, order.last).ok()?;
    }
    // Also if nothing needs to be restored, so that the cost is the same for each program under test. A negative cut
    // grows the frame.
    frame.shrink(frame.len().wrapping_sub(N)).ok()?;
    let start: *mut u8 = frame.at::<N>(0).ok()?.cast();
    for (n, word) in order.frame.iter().enumerate().take(N / 4) {
        // SAFETY: `at` checked the bounds.
        unsafe { word.write::<0>(start.add(4 * n)) };
    }
    let turn = order.next;
    order.last = turn;
    let next = turn.wrapping_add(order.step);
    order.next = if order.flows != 0 && next >= order.flows { next - order.flows } else { next };
    stamp(order, start, turn);
    Some(())
}

/// Returns the offset of the last two bytes of an address that begins at `offset` of an IP header.
#[inline(always)]
const fn end_of<A: Ip>(offset: usize) -> usize {
    ETHERNET_LEN + offset + size_of::<A>() - 2
}

/// Returns the client, its port and the service of a flow, in network byte order.
#[inline(always)]
fn ends_of(order: &Order, number: u32) -> [u16; 3] {
    let flow = bench::flow(number);
    let (client, port) = bench::client(flow);
    let service = order.first_service + bench::service(flow, order.services);
    [client.to_be(), port.to_be(), (service as u16).to_be()]
}

#[inline(always)]
fn stamp_request<A: Ip>(order: &Order, start: *mut u8, turn: u32) {
    let mut number = turn;
    if order.packets == SHORT {
        number = turn / SHORT;
        // In a word, not in an array: the verifier would not know that the index is within the array.
        let all = u32::from_le_bytes([tcp_flags::SYN, tcp_flags::ACK, tcp_flags::FIN | tcp_flags::ACK, 0]);
        let flags = (all >> (8 * (turn % SHORT))) as u8;
        // SAFETY: within the frame.
        unsafe { flags.write::<0>(start.add(ETHERNET_LEN + A::HEADER_LEN + offset_of!(TcpHeader, flags))) };
    }
    let [client, port, service] = ends_of(order, number);
    // SAFETY: all of this is within the frame.
    unsafe {
        client.write::<0>(start.add(end_of::<A>(A::SOURCE)));
        service.write::<0>(start.add(end_of::<A>(A::DESTINATION)));
        port.write::<0>(start.add(ETHERNET_LEN + A::HEADER_LEN));
    }
    check::<A>(start, order.sum + u32::from(client) + u32::from(service));
}

#[inline(always)]
fn stamp_error<A: Ip>(order: &Order, start: *mut u8, turn: u32) {
    const ICMP: usize = lb_common::packet::ICMP_LEN;
    let [client, port, service] = ends_of(order, turn);
    let quote = A::HEADER_LEN + ICMP;
    // SAFETY: all of this is within the frame.
    unsafe {
        service.write::<0>(start.add(end_of::<A>(A::DESTINATION)));
        service.write::<0>(start.add(quote + end_of::<A>(A::SOURCE)));
        client.write::<0>(start.add(quote + end_of::<A>(A::DESTINATION)));
        port.write::<0>(start.add(quote + ETHERNET_LEN + A::HEADER_LEN + 2));
    }
    check::<A>(start, order.sum + u32::from(service));
}

#[inline(always)]
fn stamp_reply<A: Ip>(order: &Order, start: *mut u8, turn: u32) {
    let Some(ends) = ENDS.get(turn) else { return };
    let mut sum = order.sum;
    // SAFETY: all of this is within the frame.
    unsafe {
        for n in 0..size_of::<A>() / 4 {
            let (from, to) = (ends.destination[n], ends.source[n]);
            from.write::<0>(start.add(ETHERNET_LEN + A::SOURCE + 4 * n));
            to.write::<0>(start.add(ETHERNET_LEN + A::DESTINATION + 4 * n));
            sum += (from & 0xffff) + (from >> 16) + (to & 0xffff) + (to >> 16);
        }
        ends.ports.rotate_left(16).write::<0>(start.add(ETHERNET_LEN + A::HEADER_LEN));
    }
    check::<A>(start, sum);
}

/// Writes the checksum of the IPv4 header; IPv6 has none. Sums of words in network byte order are in network byte order
/// too (RFC 1071).
#[inline(always)]
fn check<A: Ip>(start: *mut u8, sum: u32) {
    if size_of::<A>() == 4 {
        let folded = (sum & 0xffff) + (sum >> 16);
        let folded = (folded & 0xffff) + (folded >> 16);
        // SAFETY: within the frame.
        unsafe { (!(folded as u16)).write::<0>(start.add(ETHERNET_LEN + 10)) };
    }
}

/// Records the headers of the last packet.
#[inline(always)]
fn learn<A: Ip>(frame: &Frame<'_>, turn: u32) -> Result<(), Reason> {
    let Some(ends) = ENDS.get_ptr_mut(turn) else { return Err(Reason::Truncated) };
    // The fields that are read of an IPv6 frame fit into the shortest frame that is sent.
    let start: *mut u8 = frame.at::<58>(0)?.cast();
    // SAFETY: a value of this map, which no other code uses meanwhile; all of this is within the frame.
    unsafe {
        for n in 0..size_of::<A>() / 4 {
            (*ends).source[n] = u32::read::<0>(start.add(ETHERNET_LEN + A::SOURCE + 4 * n));
            (*ends).destination[n] = u32::read::<0>(start.add(ETHERNET_LEN + A::DESTINATION + 4 * n));
        }
        (*ends).ports = u32::read::<0>(start.add(ETHERNET_LEN + A::HEADER_LEN));
        (*ends).mac = u32::read::<0>(start);
        (*ends).mac_end = u16::read::<4>(start).into();
    }
    Ok(())
}

/// Does nothing: on the host, clippy only checks this crate.
#[cfg(not(target_arch = "bpf"))]
fn main() {}
