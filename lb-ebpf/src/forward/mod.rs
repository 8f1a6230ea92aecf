// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Forwarding of a packet to its real, by the method of the real.

mod dr;
pub mod fnat;
pub mod nat;
pub mod tun;

use aya_ebpf::bindings::xdp_action;
use lb_common::{
    ids::{IfIndex, RealId},
    packet::{ETHERNET_LEN, Ip, Parsed, Part, load},
    reason::Reason,
    schema::{Method, Real},
};

use crate::{
    frame::Frame,
    select::Chosen,
    tables::{self, IpFamily},
    vlan,
};

/// Sends a packet to its real; `COUNTED` is whether the packet counts as one of the real's.
///
/// All checks precede the first write, so that a packet that is passed or answered is unmodified.
#[inline(always)]
pub fn send<A: IpFamily, const COUNTED: bool>(
    frame: &Frame,
    parsed: &Parsed<A>,
    chosen: &Chosen,
) -> Result<u32, Reason> {
    let Chosen { id, real, snat } = *chosen;
    tables::sample_real(id);
    if real.is_plain() && real.reachable() && parsed.length <= real.mtu.into() && A::hop(frame, real.macs) {
        // Most packets are done here. What is not, the rest finds the reason for.
        return sent::<A, COUNTED>(frame, parsed, id, real);
    }
    let method = Method::from_number(real.method).ok_or(Reason::NoReal)?;
    if method == Method::Local {
        if COUNTED {
            tables::count_in(id, parsed.length);
        }
        return Err(Reason::Local);
    }
    if !real.reachable() {
        return Err(Reason::NextHopUnknown);
    }
    check_ttl::<A>(frame)?;
    if method != Method::Tun {
        fits(parsed, 0, real)?;
    }
    match method {
        Method::Dr | Method::Local => dr::forward::<A>(frame, real)?,
        Method::Tun => tun::forward(frame, parsed, id, real)?,
        Method::Nat | Method::Fnat => {
            if method == Method::Fnat {
                fnat::leave_from(frame, parsed, real, snat)?;
            }
            nat::forward(frame, parsed, real)?;
        }
    }
    if real.is(Real::TAGGED) {
        vlan::push_tags_for_vlan(frame, real.tags)?;
    }
    sent::<A, COUNTED>(frame, parsed, id, real)
}

/// Sends the finished frame, and counts its packet.
#[inline(always)]
fn sent<A, const COUNTED: bool>(
    frame: &Frame,
    parsed: &Parsed<A>,
    id: RealId,
    real: &Real,
) -> Result<u32, Reason> {
    let action = transmit(frame, real.ifindex)?;
    if COUNTED {
        tables::count_in(id, parsed.length);
    }
    Ok(action)
}

/// Checks that the packet, grown by `growth` bytes, fits the MTU towards the real. The director fragments nothing.
#[inline(always)]
fn fits<A>(parsed: &Parsed<A>, growth: usize, real: &Real) -> Result<(), Reason> {
    if parsed.length as usize + growth <= real.mtu as usize {
        return Ok(());
    }
    Err(if parsed.part == Part::Later { Reason::TooBigFragment } else { Reason::TooBig })
}

/// Checks that the TTL permits another hop (RFC 1812, section 5.3.1; RFC 8200, section 3).
#[inline(always)]
pub fn check_ttl<A: Ip>(frame: &Frame) -> Result<(), Reason> {
    let ttl: u8 = load(frame, ETHERNET_LEN + A::TTL)?;
    if ttl <= 1 { Err(Reason::TtlExceeded) } else { Ok(()) }
}

/// Sends the frame: out of the interface that it came in by, or redirected to another one.
#[inline(always)]
pub fn transmit(frame: &Frame, ifindex: IfIndex) -> Result<u32, Reason> {
    if ifindex == frame.ifindex() {
        return Ok(xdp_action::XDP_TX);
    }
    tables::redirect(ifindex)
}
