// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Classification of packets: for a service, a reply, ICMP, a fragment, or none of these.

use core::mem::MaybeUninit;

use aya_ebpf::bindings::xdp_action;
use lb_common::{
    packet::{self, IPV4_LEN, Ip, Parsed, Part},
    reason::{Fate, Reason},
    schema::{AddressUse, Program},
};

use crate::{
    answer::answer,
    frame::Frame,
    icmp, later_fragment, parse, probe, reply, request, source,
    tables::{self, IpFamily},
    verdict::{Verdict, into_action, let_through},
};

/// Handles a packet; returns the XDP action.
#[inline(always)]
pub fn dispatch<A: IpFamily>(frame: &Frame) -> u32 {
    // The kernel accepts no unicast packet from a broadcast frame, and the director forwards none (RFC 1122, section
    // 3.3.6).
    if packet::is_group_frame(frame) != Ok(false) {
        return xdp_action::XDP_PASS;
    }
    let mut memory = MaybeUninit::uninit();
    let Some(parsed) = parse::parse::<A>(frame, &mut memory) else { return xdp_action::XDP_PASS };
    tables::sample_flow(&parsed.flow);
    // Routers neither forward nor answer packets whose source no host can have (RFC 1812, section 5.3.7; RFC 4291,
    // section 2.5.2). Such a packet for no service goes to the kernel, which drops it.
    let valid = parsed.flow.source.is_host();
    if is_rare(parsed) {
        return if valid { continue_rare::<A>(frame, parsed.part) } else { xdp_action::XDP_PASS };
    }
    if !tables::may_be_used(parsed.flow.destination) {
        // The destination is neither a VIP nor a real: the packet is a reply if its source is a real, else it is not
        // ours.
        if !valid || !tables::may_be_used(parsed.flow.source) {
            return into_action(Err(Reason::NotOurs.into()));
        }
        if let Some(sent) = reply::send_at_once(frame, parsed) {
            return let_through(parsed, into_action(sent));
        }
        return continue_reply(frame, parsed, AddressUse(0));
    }
    match request::service(&parsed.flow) {
        Ok(service) => {
            let source = if valid { source::check(frame, parsed) } else { Err(Reason::SourceInvalid) };
            let directed = match source {
                Ok(()) => request::handle(frame, parsed, service),
                Err(reason) => Err(Verdict::at(service.id, reason)),
            };
            let action = match directed {
                Err(verdict) if verdict.reason.fate() == Fate::Answered => {
                    tables::count_reason(verdict.service, verdict.reason);
                    answer(frame, parsed, verdict)
                }
                directed => into_action(directed),
            };
            let_through(parsed, action)
        }
        Err(used) if valid => continue_reply(frame, parsed, used),
        Err(_) => xdp_action::XDP_PASS,
    }
}

/// Returns whether a packet is ICMP or has no readable ports.
#[inline(always)]
fn is_rare<A: Ip>(parsed: &Parsed<A>) -> bool {
    !matches!(parsed.part, Part::Whole | Part::First) || parsed.flow.protocol == u32::from(A::ICMP)
}

/// Continues in the program that runs [`dispatch_rare`] or [`later_fragment::handle`]. Returns the action if there is no
/// such program.
#[inline(always)]
fn continue_rare<A: Ip>(frame: &Frame, part: Part) -> u32 {
    let program = if A::HEADER_LEN == IPV4_LEN {
        Program::Other
    } else if part == Part::Later {
        Program::Ipv6Fragment
    } else {
        Program::Ipv6Other
    };
    tables::tail_call(frame.ctx(), program);
    xdp_action::XDP_PASS
}

/// Runs [`reply::handle`] outside the entry program: in a function, or in another program. `used` has the uses of the
/// packet's destination.
#[inline(always)]
fn continue_reply<A: IpFamily>(frame: &Frame, parsed: &Parsed<A>, used: AddressUse) -> u32 {
    match A::as_ipv4(parsed) {
        Some(parsed) if parsed.part == Part::First => continue_rare::<A>(frame, parsed.part),
        Some(parsed) => {
            let action = reply::handle_ipv4(frame, parsed, used);
            probe::try_give_back(frame, parsed, action)
        }
        None => {
            tables::tail_call(frame.ctx(), Program::Ipv6Reply);
            xdp_action::XDP_PASS
        }
    }
}

/// Handles ICMP, and packets without readable ports. These packets are never answered.
#[inline(always)]
pub fn dispatch_rare<A: IpFamily>(frame: &Frame, parsed: &Parsed<A>) -> Result<u32, Verdict> {
    match parsed.part {
        Part::Tiny => Err(request::unreadable(parsed, Reason::FragmentTiny).into()),
        Part::Truncated => Err(request::unreadable(parsed, Reason::Truncated).into()),
        Part::Hidden => Err(request::unreadable(parsed, Reason::ExtensionHeader).into()),
        // IPv6 has programs of its own for the next two cases.
        Part::Later if A::HEADER_LEN == IPV4_LEN => later_fragment::handle(frame, parsed),
        Part::First if A::HEADER_LEN == IPV4_LEN && parsed.flow.protocol != u32::from(A::ICMP) => {
            reply::handle::<A, true>(frame, parsed, tables::address_use(parsed.flow.destination))
        }
        Part::Whole | Part::First | Part::Later => icmp::handle(frame, parsed),
    }
}
