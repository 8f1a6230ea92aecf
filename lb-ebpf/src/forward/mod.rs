// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! What happens to a packet for a real, by the real's method.

mod dr;
pub mod nat;
mod tun;

use aya_ebpf::bindings::xdp_action;
use aya_log_ebpf::debug;
use lb_common::{
    checksum::Delta,
    packet::{ETHERNET_LEN, Parsed, load, store},
    reason::Reason,
    schema::{Method, Real},
};
use network_types::ip::Ipv4Hdr;

use crate::{frame::Frame, tables};

/// Offset of time to live, protocol and checksum in the frame: one word of the IPv4 header.
const TTL: usize = ETHERNET_LEN + core::mem::offset_of!(Ipv4Hdr, ttl);

/// Sends a packet to its real and counts it.
///
/// Nothing is written before all that can be wrong with the packet has been looked at, so that a packet
/// that is passed or answered is still the client's.
#[inline(always)]
pub fn send(frame: &Frame, parsed: &Parsed, id: u32, real: &Real) -> Result<u32, Reason> {
    let method = Method::from_number(real.method).ok_or(Reason::NoReal)?;
    if method == Method::Local {
        tables::count_in(id, parsed.length);
        return Err(Reason::Local);
    }
    if !real.reachable() {
        return Err(Reason::NextHopUnknown);
    }
    may_hop(frame)?;
    match method {
        Method::Dr | Method::Local => dr::forward(frame, real)?,
        Method::Tun => tun::forward(frame, parsed, real)?,
        Method::Nat => nat::forward(frame, parsed, real)?,
    }
    let action = transmit(frame, real.ifindex)?;
    tables::count_in(id, parsed.length);
    Ok(action)
}

/// Whether the packet may take another hop (RFC 1812, section 5.3.1).
#[inline(always)]
pub fn may_hop(frame: &Frame) -> Result<(), Reason> {
    let ttl: u8 = load(frame, TTL)?;
    if ttl <= 1 { Err(Reason::TtlExceeded) } else { Ok(()) }
}

/// Takes one off the time to live, and applies that and another change of the header to its checksum.
#[inline(always)]
pub fn hop(frame: &Frame, change: Delta) -> Result<(), Reason> {
    let old: u32 = load(frame, TTL)?;
    let [ttl, protocol, c0, c1] = old.to_ne_bytes();
    let change = change
        .replace16(u16::from_ne_bytes([ttl, protocol]), u16::from_ne_bytes([ttl.wrapping_sub(1), protocol]));
    let [c0, c1] = change.apply(u16::from_ne_bytes([c0, c1])).to_ne_bytes();
    store(frame, TTL, u32::from_ne_bytes([ttl.wrapping_sub(1), protocol, c0, c1]))
}

/// Sends the frame: back out of the device that it came by, or redirected to another.
#[inline(always)]
pub fn transmit(frame: &Frame, ifindex: u32) -> Result<u32, Reason> {
    if ifindex == frame.ifindex() {
        return Ok(xdp_action::XDP_TX);
    }
    let action = tables::redirect(ifindex);
    if action.is_err() {
        debug!(frame.ctx(), "no redirect to device {}", ifindex);
    }
    action
}
