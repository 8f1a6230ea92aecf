// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! The data plane: XDP programs that forward packets of services, and the programs beside them.
//!
//! | program | started by | handles | why it is a program of its own |
//! |---|---|---|---|
//! | [`director`] | the driver, at every frame | IPv4 and IPv6 packets of TCP, UDP and SCTP | most packets stay in it |
//! | [`director_tagged`] | [`director`] | frames with VLAN tags: removes and restores them | most networks have none |
//! | [`director_other`] | [`director`] | IPv4 ICMP, fragments and packets without readable ports | stack of 512 bytes |
//! | [`director6_other`] | [`director`] | `ICMPv6` and IPv6 packets without readable ports | stack |
//! | [`director6_fragment`] | [`director`] | later IPv6 fragments | stack |
//! | [`director6_reply`] | [`director`] | IPv6 packets to no service: replies of reals | stack |
//! | [`director_probe_reply`] | the programs above | packets from VIPs and reals that are not ours otherwise: replies to health probes | stack |
//! | [`director_probe`] | the daemon's veth pair | health probes | other interface |
//! | [`guard`] | `tcx` or `clsact`, behind XDP | packets of services that bypassed XDP: drops them | other hook |
//! | [`decap`] | the driver of a real server | tunnelled packets: removes the outer header | other host |
//! | [`clock`] | the daemon, once | no packet: returns the offset of the programs' clock | test run only |
//!
//! A program starts another one by a tail call, [`tables::tail_call`]. The path of a client's packet, by module:
//!
//! 1. [`frame`] checks bounds; `lb_common::packet` parses.
//! 2. [`dispatch`] classifies the packet: for a service, a real's reply, ICMP, a fragment, or none of these.
//! 3. [`request`] finds the service, [`source`] checks the source address.
//! 4. [`select`] chooses the real: the real of the flow table entry, else the choice of the scheduler.
//! 5. [`forward`] rewrites or encapsulates the packet (`dr`, `tun`, `nat`, `fnat`, `local`).
//! 6. [`verdict`] counts a packet that is not forwarded, and maps its reason to an XDP action: the packet is passed to
//!    the stack, dropped, or answered ([`answer`]).
//!
//! [`reply`] returns replies of `nat` and `fnat` reals to their clients by the return path in [`way`], [`first_fragment`]
//! and [`later_fragment`] keep the fragments of a datagram together, [`vlan`] handles VLAN tags, [`tables`] has every
//! map, and [`object`] has the parts that every object needs. [`out_of_line`] declares the functions that are not
//! inlined into the programs; each is declared where its logic is.
#![cfg_attr(target_arch = "bpf", no_std, no_main, feature(asm_experimental_arch))]
#![expect(missing_docs, clippy::needless_pass_by_value, reason = "the macro `xdp` makes the functions so")]
#![cfg_attr(not(target_arch = "bpf"), expect(dead_code, reason = "on the host it is only type-checked"))]

#[macro_use]
mod out_of_line;
mod answer;
mod decap;
mod dispatch;
mod first_fragment;
mod forward;
mod frame;
mod guard;
mod icmp;
mod later_fragment;
mod object;
mod parse;
mod probe;
mod reply;
mod request;
mod reset;
mod select;
mod source;
mod tables;
mod verdict;
mod vlan;
mod way;

use aya_ebpf::{
    bindings::xdp_action,
    macros::{classifier, xdp},
    programs::{TcContext, XdpContext},
};
use dispatch::{dispatch, dispatch_rare};
use frame::Frame;
use lb_common::{
    packet::{self, Ip as _, Ipv4, Ipv6},
    schema::Program,
    wire::Tags,
};
use tables::end_sample;
use verdict::{into_action, let_through};

/// Forwards packets of services, and passes all others unmodified. This program is attached to the interfaces.
#[xdp]
#[inline(always)]
pub fn director(ctx: XdpContext) -> u32 {
    tables::begin_trace();
    let frame = Frame::new(&ctx);
    tables::begin_sample(&frame);
    let ether_type = packet::ether_type(&frame);
    if ether_type == Ipv4::ETHER_TYPE {
        return end_sample(dispatch::<Ipv4>(&frame));
    }
    if ether_type == Ipv6::ETHER_TYPE {
        return end_sample(dispatch::<Ipv6>(&frame));
    }
    if Tags::is_tag(ether_type) {
        tables::tail_call(&ctx, Program::Tagged);
    }
    xdp_action::XDP_PASS
}

/// Continues [`director`] with `ICMPv6`, and with IPv6 packets that have no readable ports.
#[xdp]
#[inline(always)]
pub fn director6_other(ctx: XdpContext) -> u32 {
    let frame = Frame::new(&ctx);
    let Ok(parsed) = packet::parse_any::<Ipv6>(&frame) else { return xdp_action::XDP_PASS };
    let Some(parsed) = tables::keep_parsed(&parsed) else { return xdp_action::XDP_PASS };
    let action = into_action(dispatch_rare(&frame, parsed));
    end_sample(probe::try_give_back(&frame, parsed, action))
}

/// Continues [`director`] with IPv6 packets that have ports and are for no service.
#[xdp]
#[inline(always)]
pub fn director6_reply(ctx: XdpContext) -> u32 {
    let frame = Frame::new(&ctx);
    let Ok(parsed) = packet::parse::<Ipv6>(&frame) else { return xdp_action::XDP_PASS };
    let Some(parsed) = tables::keep_parsed(&parsed) else { return xdp_action::XDP_PASS };
    let used = tables::address_use(parsed.flow.destination);
    let action = let_through(parsed, into_action(reply::handle::<_, true>(&frame, parsed, used)));
    end_sample(probe::try_give_back(&frame, parsed, action))
}

/// Continues [`director`] with later IPv6 fragments.
#[xdp]
#[inline(always)]
pub fn director6_fragment(ctx: XdpContext) -> u32 {
    let frame = Frame::new(&ctx);
    let Ok(parsed) = packet::parse_any::<Ipv6>(&frame) else { return xdp_action::XDP_PASS };
    let Some(parsed) = tables::keep_parsed(&parsed) else { return xdp_action::XDP_PASS };
    end_sample(into_action(later_fragment::handle(&frame, parsed)))
}

/// Continues [`director`] with ICMP, and with IPv4 packets that have no readable ports.
#[xdp]
#[inline(always)]
pub fn director_other(ctx: XdpContext) -> u32 {
    let frame = Frame::new(&ctx);
    let Ok(parsed) = packet::parse_any::<Ipv4>(&frame) else { return xdp_action::XDP_PASS };
    let action = let_through(&parsed, into_action(dispatch_rare(&frame, &parsed)));
    end_sample(probe::try_give_back(&frame, &parsed, action))
}

/// Continues [`director`] with frames that have VLAN tags.
#[xdp]
#[inline(always)]
pub fn director_tagged(ctx: XdpContext) -> u32 {
    vlan::handle(&Frame::new(&ctx))
}

/// Continues the other programs of the director with packets that may be replies to health probes.
#[xdp]
#[inline(always)]
pub fn director_probe_reply(ctx: XdpContext) -> u32 {
    let frame = Frame::new(&ctx);
    if packet::ether_type(&frame) == Ipv4::ETHER_TYPE {
        let Ok(parsed) = packet::parse_any::<Ipv4>(&frame) else { return xdp_action::XDP_PASS };
        return end_sample(probe::give_back(&frame, &parsed));
    }
    let Ok(parsed) = packet::parse_any::<Ipv6>(&frame) else { return xdp_action::XDP_PASS };
    let Some(parsed) = tables::keep_parsed(&parsed) else { return xdp_action::XDP_PASS };
    end_sample(probe::give_back(&frame, parsed))
}

/// Forwards health probes. This program is attached to the director's end of the veth pair of the prober.
#[xdp]
#[inline(always)]
pub fn director_probe(ctx: XdpContext) -> u32 {
    let frame = Frame::new(&ctx);
    let ether_type = packet::ether_type(&frame);
    if ether_type == Ipv4::ETHER_TYPE {
        return probe::forward::<Ipv4>(&frame);
    }
    if ether_type == Ipv6::ETHER_TYPE {
        return probe::forward::<Ipv6>(&frame);
    }
    xdp_action::XDP_DROP
}

/// Drops packets of services that no XDP program has processed, before the stack resets their connections.
#[classifier]
#[inline(always)]
pub fn guard(ctx: TcContext) -> i32 {
    guard::watch(&ctx)
}

/// Returns the number of ticks by which the programs' clock is ahead of `CLOCK_MONOTONIC`.
#[xdp]
#[inline(always)]
pub fn clock(_: XdpContext) -> u32 {
    tables::now().0.wrapping_sub(tables::monotonic().0)
}

/// Removes the outer header of tunnelled packets, on a real server.
#[xdp]
#[inline(always)]
pub fn decap(ctx: XdpContext) -> u32 {
    decap::strip(&Frame::new(&ctx))
}

#[cfg(not(target_arch = "bpf"))]
fn main() {}
