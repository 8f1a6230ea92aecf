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

use aya_ebpf::{
    bindings::{xdp_action, xdp_md},
    macros::xdp,
    programs::XdpContext,
};
use frame::Frame;
use lb_common::{
    packet::{self, ICMP_LEN, Ip, Parsed, Part},
    reason::{Fate, Reason},
    schema::{AddressUse, Program, Real, Tunnel, UNSET},
    wire::{Be32, Be128},
};
use tables::Version;

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
        let outer = if real.is(Real::IPV6) { Be128::HEADER_LEN } else { Be32::HEADER_LEN };
        let growth = outer + Tunnel::length(real.tunnel);
        Self { reason, service: real.service, mtu: real.mtu.saturating_sub(growth as u16) }
    }
}

/// The director: forwards what is for a service, and passes everything else untouched.
#[xdp]
#[inline(always)]
pub fn director(ctx: XdpContext) -> u32 {
    let frame = Frame::new(&ctx);
    let ether_type = packet::ether_type(&frame);
    if ether_type == Be32::ETHER_TYPE {
        return direct::<Be32>(&frame);
    }
    if ether_type == Be128::ETHER_TYPE {
        tables::go_on_in(&ctx, Program::Ipv6);
    }
    xdp_action::XDP_PASS
}

/// The director, for IPv6.
#[xdp]
#[inline(always)]
pub fn director6(ctx: XdpContext) -> u32 {
    direct::<Be128>(&Frame::new(&ctx))
}

/// The director, for IPv6 packets that are no client's for a service.
#[xdp]
#[inline(always)]
pub fn director6_other(ctx: XdpContext) -> u32 {
    let frame = Frame::new(&ctx);
    let Ok(parsed) = packet::parse::<Be128>(&frame) else { return xdp_action::XDP_PASS };
    settle(if is_rare(&parsed) {
        direct_rare(&frame, &parsed)
    } else {
        reply::direct(&frame, &parsed, tables::address_use(parsed.flow.destination))
    })
}

/// The way of a packet, and what the driver is told about it.
#[inline(always)]
fn direct<A: Functions>(frame: &Frame) -> u32 {
    // The kernel takes no unicast packet from a broadcast frame, and neither do we (RFC 1122, section 3.3.6).
    if packet::is_group_frame(frame) != Ok(false) {
        return xdp_action::XDP_PASS;
    }
    let Ok(parsed) = packet::parse::<A>(frame) else { return xdp_action::XDP_PASS };
    if is_rare(&parsed) {
        return A::rare(frame);
    }
    let Some(parsed) = A::keep(&parsed) else { return xdp_action::XDP_PASS };
    match request::service(&parsed.flow) {
        Ok(service) => match request::direct(frame, parsed, &service) {
            Err(stop) if stop.reason.fate() == Fate::Answered => {
                tables::count_reason(stop.service, stop.reason);
                A::answer(frame, parsed, stop)
            }
            directed => settle(directed),
        },
        Err(used) => A::reply(frame, parsed, used),
    }
}

/// Whether a packet is not of TCP or UDP, or has no ports.
#[inline(always)]
fn is_rare<A: Ip>(parsed: &Parsed<A>) -> bool {
    !matches!(parsed.part, Part::Whole | Part::First) || parsed.flow.protocol == u32::from(A::ICMP)
}

/// The way of such a packet. It is never answered.
#[inline(always)]
fn direct_rare<A: Version>(frame: &Frame, parsed: &Parsed<A>) -> Result<u32, Stop> {
    match parsed.part {
        Part::Truncated => Err(request::unreadable(parsed, Reason::Truncated).into()),
        Part::Hidden => Err(request::unreadable(parsed, Reason::ExtensionHeader).into()),
        Part::Later => fragment::later(frame, parsed),
        Part::Whole | Part::First => icmp::direct(frame, parsed),
    }
}

/// What the driver is told about a packet. It is counted if it is stopped.
#[inline(always)]
fn settle(directed: Result<u32, Stop>) -> u32 {
    let stop = match directed {
        Ok(action) => return action,
        Err(stop) => stop,
    };
    if stop.reason == Reason::NotOurs {
        return xdp_action::XDP_PASS;
    }
    tables::count_reason(stop.service, stop.reason);
    match stop.reason.fate() {
        Fate::Sent | Fate::Passed => xdp_action::XDP_PASS,
        Fate::Dropped | Fate::Answered => xdp_action::XDP_DROP,
    }
}

/// What is not done in the program that begins: its stack has 512 bytes.
///
/// Functions have theirs out of what is left of it. The verifier knows them by their types and looks at each once, not once
/// for each way that leads there. Programs have a stack of their own, and parse the packet anew.
trait Functions: Version {
    /// Keeps what is known of a packet off the stack, if it is too much for it.
    fn keep(parsed: &Parsed<Self>) -> Option<&Parsed<Self>>;

    /// [`direct_rare`].
    fn rare(frame: &Frame) -> u32;

    /// [`reply::direct`], with what the packet's destination is used for.
    fn reply(frame: &Frame, parsed: &Parsed<Self>, used: AddressUse) -> u32;

    /// Answers a packet that was stopped.
    fn answer(frame: &Frame, parsed: &Parsed<Self>, stop: Stop) -> u32;
}

impl Functions for Be32 {
    #[inline(always)]
    fn keep(parsed: &Parsed<Self>) -> Option<&Parsed<Self>> {
        Some(parsed)
    }

    #[inline(always)]
    fn rare(frame: &Frame) -> u32 {
        rare(frame.ctx().ctx)
    }

    #[inline(always)]
    fn reply(frame: &Frame, parsed: &Parsed<Self>, used: AddressUse) -> u32 {
        reply(frame.ctx().ctx, parsed, used.0)
    }

    #[inline(always)]
    fn answer(frame: &Frame, parsed: &Parsed<Self>, stop: Stop) -> u32 {
        answer(frame.ctx().ctx, parsed, stop.reason.index(), stop.mtu.into(), stop.service)
    }
}

impl Functions for Be128 {
    #[inline(always)]
    fn keep(parsed: &Parsed<Self>) -> Option<&Parsed<Self>> {
        tables::keep_parsed(parsed)
    }

    #[inline(always)]
    fn rare(frame: &Frame) -> u32 {
        tables::go_on_in(frame.ctx(), Program::Ipv6Other);
        xdp_action::XDP_PASS
    }

    #[inline(always)]
    fn reply(frame: &Frame, _: &Parsed<Self>, _: AddressUse) -> u32 {
        Self::rare(frame)
    }

    #[inline(always)]
    fn answer(frame: &Frame, parsed: &Parsed<Self>, stop: Stop) -> u32 {
        answer6(frame.ctx().ctx, parsed, stop.reason.index(), stop.mtu.into(), stop.service)
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn rare(ctx: *mut xdp_md) -> u32 {
    let ctx = XdpContext::new(ctx);
    let frame = Frame::new(&ctx);
    let Ok(parsed) = packet::parse::<Be32>(&frame) else { return xdp_action::XDP_PASS };
    settle(direct_rare(&frame, &parsed))
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn reply(ctx: *mut xdp_md, parsed: *const Parsed<Be32>, used: u32) -> u32 {
    let ctx = XdpContext::new(ctx);
    let frame = Frame::new(&ctx);
    // SAFETY: the verifier lets nobody call this with anything but memory of that size or null.
    let Some(parsed) = (unsafe { parsed.as_ref() }) else { return xdp_action::XDP_PASS };
    // Until Linux 6.3 the key of a map could not be in memory of that kind: hence a copy, which LLVM must not leave out.
    let copy = *parsed;
    settle(reply::direct(&frame, core::hint::black_box(&copy), AddressUse(used)))
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn answer(
    ctx: *mut xdp_md,
    parsed: *const Parsed<Be32>,
    reason: u32,
    mtu: u32,
    service: u32,
) -> u32 {
    // SAFETY: the verifier lets nobody call this with anything but memory of that size or null.
    let Some(parsed) = (unsafe { parsed.as_ref() }) else { return xdp_action::XDP_DROP };
    let ctx = XdpContext::new(ctx);
    answer_as::<Be32, { Be32::HEADER_LEN + ICMP_LEN }>(&Frame::new(&ctx), parsed, reason, mtu, service)
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn answer6(
    ctx: *mut xdp_md,
    parsed: *const Parsed<Be128>,
    reason: u32,
    mtu: u32,
    service: u32,
) -> u32 {
    // SAFETY: the verifier lets nobody call this with anything but memory of that size or null.
    let Some(parsed) = (unsafe { parsed.as_ref() }) else { return xdp_action::XDP_DROP };
    let ctx = XdpContext::new(ctx);
    answer_as::<Be128, { Be128::HEADER_LEN + ICMP_LEN }>(&Frame::new(&ctx), parsed, reason, mtu, service)
}

/// Answers a packet that was stopped: [`Stop::reason`], [`Stop::mtu`], [`Stop::service`]. `ERROR` is what an ICMP error has
/// before its quote.
#[inline(always)]
fn answer_as<A: Version, const ERROR: usize>(
    frame: &Frame,
    parsed: &Parsed<A>,
    reason: u32,
    mtu: u32,
    service: u32,
) -> u32 {
    if reason == Reason::RealRemoved.index() {
        return reset::answer(frame, parsed);
    }
    let too_big = reason == Reason::TooBig.index();
    let error = if too_big { packet::Error::TooBig(mtu as u16) } else { packet::Error::PortUnreachable };
    icmp::answer::<A, ERROR>(frame, parsed, error, service)
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
