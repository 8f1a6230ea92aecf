// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Tunnelling: the packet travels to the real inside another one (IP in IP, RFC 2003 and RFC 2473), of either version.

use core::mem::offset_of;

use lb_common::{
    checksum::Delta,
    packet::{Header, Ip, Parsed, Part, address_frame, store},
    reason::Reason,
    schema::Real,
    wire::{Be32, Be128},
};
use network_types::eth::EthHdr;

use crate::frame::Frame;

#[inline(always)]
pub fn forward<A: Ip>(frame: &Frame, parsed: &Parsed<A>, real: &Real) -> Result<(), Reason> {
    if real.is(Real::IPV6) {
        within::<A, Be128, { Be128::HEADER_LEN }>(frame, parsed, real)
    } else {
        within::<A, Be32, { Be32::HEADER_LEN }>(frame, parsed, real)
    }
}

/// The packet of version `A` within one of version `O`, whose header has `LENGTH` bytes.
#[inline(always)]
fn within<A: Ip, O: Ip, const LENGTH: usize>(
    frame: &Frame,
    parsed: &Parsed<A>,
    real: &Real,
) -> Result<(), Reason> {
    let length = parsed.length as usize + LENGTH;
    if length > real.mtu as usize {
        return Err(if parsed.part == Part::Later { Reason::TooBigFragment } else { Reason::TooBig });
    }
    // 1. Read what must survive, and finish with the inner packet.
    let traffic_class = A::traffic_class(frame)?;
    A::hop(frame, Delta::new())?;
    // 2. Grow. Every offset into the frame is now LENGTH further.
    frame.grow::<LENGTH>()?;
    // 3. Write once.
    address_frame(frame, real.macs)?;
    store(frame, offset_of!(EthHdr, ether_type), O::ETHER_TYPE.0)?;
    let (source, destination) = (O::narrow(real.tunnel_source), O::narrow(real.address));
    O::write(frame, &Header { length, traffic_class, protocol: A::TUNNELLED, source, destination })
}
