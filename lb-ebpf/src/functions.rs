// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! What is not done in the program that begins, for want of stack.

use aya_ebpf::{
    bindings::{xdp_action, xdp_md},
    programs::XdpContext,
};
use lb_common::{
    packet::{self, ICMP_LEN, Ip as _, Parsed},
    reason::Reason,
    schema::{AddressUse, Program},
    wire::{Be32, Be128},
};

use crate::{
    direct::direct_rare,
    frame::Frame,
    icmp, reply, reset,
    stop::{Stop, settle},
    tables::{self, Version},
};

/// What is not done in the program that begins: its stack has 512 bytes.
///
/// Functions have theirs out of what is left of it. The verifier knows them by their types and looks at each once, not once
/// for each way that leads there. Programs have a stack of their own, and parse the packet anew.
pub trait Functions: Version {
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
