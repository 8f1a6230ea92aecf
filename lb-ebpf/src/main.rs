// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! The data plane: XDP programs, of which `director` forwards and `decap` serves real servers.
//!
//! The way of a packet, by module:
//!
//! - [`frame`]: bounds-checked access to it
//! - [`request`]: a client's packet: its service, its real
//! - [`select`]: which real: the flow table, then the scheduler's table
//! - [`fragment`]: later fragments follow their first one
//! - [`forward`]: dr, tun, nat, local: what happens to the packet
//! - [`reply`]: a nat real's packet on its way back
//! - [`icmp`]: errors about flows, and errors that we make
//! - [`reset`]: TCP connections whose real was removed
//! - [`decap`]: IPIP on real servers without an ipip device
//! - [`tables`]: every map, and the only code that touches one
#![cfg_attr(target_arch = "bpf", no_std, no_main, feature(asm_experimental_arch))]
#![expect(missing_docs, clippy::needless_pass_by_value, reason = "the macro `xdp` makes the functions so")]
#![cfg_attr(not(target_arch = "bpf"), expect(dead_code, reason = "on the host it is only type-checked"))]

mod decap;
mod forward;
mod fragment;
mod frame;
mod icmp;
mod reply;
mod request;
mod reset;
mod select;
mod tables;

use aya_ebpf::{bindings::xdp_action, macros::xdp, programs::XdpContext};
use frame::Frame;
use lb_common::{
    packet::{self, IPV4_LEN, Part},
    protocol,
    reason::{Fate, Reason},
    schema::{Real, UNSET},
};

/// Why a packet is not forwarded.
#[derive(Clone, Copy)]
struct Stop {
    reason: Reason,
    /// The service that counts it; [`UNSET`] if none in particular.
    service: u32,
    /// For [`Reason::TooBig`]: the largest packet that would have gone through, in bytes.
    mtu: u16,
}

impl From<Reason> for Stop {
    #[inline(always)]
    fn from(reason: Reason) -> Self {
        Self::at(UNSET, reason)
    }
}

impl Stop {
    /// A packet of a service is stopped.
    #[inline(always)]
    fn at(service: u32, reason: Reason) -> Self {
        Self { reason, service, mtu: 0 }
    }

    /// A packet for a real is stopped.
    #[inline(always)]
    fn on_the_way_to(real: &Real, reason: Reason) -> Self {
        Self { reason, service: real.service, mtu: real.mtu.saturating_sub(IPV4_LEN as u16) }
    }
}

/// The director: forwards what is for a service, and passes everything else untouched.
#[xdp]
#[inline(always)]
pub fn director(ctx: XdpContext) -> u32 {
    let frame = Frame::new(&ctx);
    let stop = match direct(&frame) {
        Ok(action) => return action,
        Err(stop) => stop,
    };
    if stop.reason == Reason::NotOurs {
        return xdp_action::XDP_PASS;
    }
    tables::count_reason(stop.service, stop.reason);
    match stop.reason.fate() {
        Fate::Sent | Fate::Passed => xdp_action::XDP_PASS,
        Fate::Dropped => xdp_action::XDP_DROP,
        Fate::Answered if stop.reason == Reason::RealRemoved => reset::answer(&frame),
        Fate::Answered => icmp::answer(&frame, stop),
    }
}

/// The way of a packet.
#[inline(always)]
fn direct(frame: &Frame) -> Result<u32, Stop> {
    // The kernel takes no unicast packet from a broadcast frame, and neither do we (RFC 1122, section 3.3.6).
    if packet::is_group_frame(frame)? {
        return Err(Reason::NotOurs.into());
    }
    let parsed = packet::parse(frame)?;
    match (parsed.part, parsed.flow.protocol as u8) {
        (Part::Truncated, _) => Err(request::truncated(&parsed).into()),
        (Part::Later, _) => fragment::later(frame, &parsed),
        (_, protocol::ICMP) => icmp::direct(frame, &parsed),
        _ => match request::service(&parsed.flow) {
            Ok(service) => request::direct(frame, &parsed, &service),
            Err(used) => reply::direct(frame, &parsed, used),
        },
    }
}

/// Takes the tunnel's outer header off, on a real server.
#[xdp]
#[inline(always)]
pub fn decap(ctx: XdpContext) -> u32 {
    decap::strip(&Frame::new(&ctx));
    xdp_action::XDP_PASS
}

/// The kernel lends its helpers to programs under a GPL-compatible licence.
#[cfg(target_arch = "bpf")]
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// No panic can be reached: a reachable endless loop would not pass the verifier.
#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}

#[cfg(not(target_arch = "bpf"))]
fn main() {}
