// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! The data plane: XDP programs, of which `director` forwards and `decap` serves real servers.
//!
//! The way of a packet, by module:
//!
//! - [`direct`]: which of these it passes through
//! - [`vlan`]: its VLAN tags are taken off and put on
//! - [`frame`]: bounds-checked access to it
//! - [`request`]: a client's packet: its service, its real
//! - [`select`]: which real: the flow table, then the scheduler's table
//! - [`fragment`]: later fragments follow their first one
//! - [`forward`]: dr, tun, nat, local: what happens to the packet
//! - [`reply`]: a nat real's packet on its way back
//! - [`icmp`]: errors about flows, and errors that we make
//! - [`reset`]: TCP connections whose real was removed
//! - [`stop`]: packets that are not forwarded, and why
//! - [`functions`]: what the stack has no room for otherwise
//! - [`object`]: what every object must have
//! - [`source`]: whether a client can have sent it
//! - [`guard`]: what keeps it from the stack where no XDP program is attached
//! - [`decap`]: tunnels' ends on real servers
//! - [`tables`]: every map, and the only code that touches one
#![cfg_attr(target_arch = "bpf", no_std, no_main, feature(asm_experimental_arch))]
#![expect(missing_docs, clippy::needless_pass_by_value, reason = "the macro `xdp` makes the functions so")]
#![cfg_attr(not(target_arch = "bpf"), expect(dead_code, reason = "on the host it is only type-checked"))]

mod decap;
mod direct;
mod forward;
mod fragment;
mod frame;
mod functions;
mod guard;
mod icmp;
mod object;
mod reply;
mod request;
mod reset;
mod select;
mod source;
mod stop;
mod tables;
mod vlan;

use aya_ebpf::{
    bindings::xdp_action,
    macros::{classifier, xdp},
    programs::{TcContext, XdpContext},
};
use direct::{direct, direct_rare, let_through};
use frame::Frame;
use lb_common::{
    packet::{self, Ip as _},
    schema::Program,
    wire::{Be32, Be128, Tags},
};
use stop::{Stop, settle};

/// The director: forwards what is for a service, and passes everything else untouched.
#[xdp]
#[inline(always)]
pub fn director(ctx: XdpContext) -> u32 {
    tables::begin_trace();
    let frame = Frame::new(&ctx);
    let ether_type = packet::ether_type(&frame);
    if ether_type == Be32::ETHER_TYPE {
        return direct::<Be32>(&frame);
    }
    if ether_type == Be128::ETHER_TYPE {
        return direct::<Be128>(&frame);
    }
    if Tags::is_tag(ether_type) {
        tables::go_on_in(&ctx, Program::Tagged);
    }
    xdp_action::XDP_PASS
}

/// The director, for IPv6 packets that are neither TCP, UDP nor SCTP, or cannot be read.
#[xdp]
#[inline(always)]
pub fn director6_other(ctx: XdpContext) -> u32 {
    let frame = Frame::new(&ctx);
    let Ok(parsed) = packet::parse::<Be128>(&frame) else { return xdp_action::XDP_PASS };
    let Some(parsed) = tables::keep_parsed(&parsed) else { return xdp_action::XDP_PASS };
    settle(direct_rare(&frame, parsed))
}

/// The director, for IPv6 packets that have ports and are for no service.
#[xdp]
#[inline(always)]
pub fn director6_reply(ctx: XdpContext) -> u32 {
    let frame = Frame::new(&ctx);
    let Ok(parsed) = packet::parse::<Be128>(&frame) else { return xdp_action::XDP_PASS };
    let Some(parsed) = tables::keep_parsed(&parsed) else { return xdp_action::XDP_PASS };
    let used = tables::address_use(parsed.flow.destination);
    let_through(parsed, settle(reply::direct::<_, true>(&frame, parsed, used)))
}

/// The director, for later fragments in IPv6.
#[xdp]
#[inline(always)]
pub fn director6_fragment(ctx: XdpContext) -> u32 {
    let frame = Frame::new(&ctx);
    let Ok(parsed) = packet::parse::<Be128>(&frame) else { return xdp_action::XDP_PASS };
    let Some(parsed) = tables::keep_parsed(&parsed) else { return xdp_action::XDP_PASS };
    settle(fragment::later(&frame, parsed))
}

/// The director, for IPv4 packets that are neither TCP, UDP nor SCTP, or have no ports.
#[xdp]
#[inline(always)]
pub fn director_other(ctx: XdpContext) -> u32 {
    let frame = Frame::new(&ctx);
    let Ok(parsed) = packet::parse::<Be32>(&frame) else { return xdp_action::XDP_PASS };
    let_through(&parsed, settle(direct_rare(&frame, &parsed)))
}

/// The director, for frames with VLAN tags.
#[xdp]
#[inline(always)]
pub fn director_tagged(ctx: XdpContext) -> u32 {
    vlan::direct(&Frame::new(&ctx))
}

/// Keeps packets of services from the director's stack where no XDP program takes them.
#[classifier]
#[inline(always)]
pub fn guard(ctx: TcContext) -> i32 {
    guard::watch(&ctx)
}

/// Tells the daemon how many ticks the director's clock is ahead of `CLOCK_MONOTONIC`.
#[xdp]
#[inline(always)]
pub fn clock(_: XdpContext) -> u32 {
    tables::now().wrapping_sub(tables::monotonic())
}

/// Takes the tunnel's outer header off, on a real server.
#[xdp]
#[inline(always)]
pub fn decap(ctx: XdpContext) -> u32 {
    decap::strip(&Frame::new(&ctx))
}

#[cfg(not(target_arch = "bpf"))]
fn main() {}
