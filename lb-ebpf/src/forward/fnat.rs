// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Full NAT: both ends of the packet change, so that replies return to the director by routing. `nat` changes one end;
//! this module changes the other end first.

use lb_common::{
    packet::{Ip, Parsed},
    reason::Reason,
    schema::{Dip, Real},
};

use super::nat::{self, Change, End};
use crate::{frame::Frame, subprograms::Subprograms, tables};

/// Replaces the source of a packet to the real with a SNAT address and port.
#[inline(always)]
pub fn leave_from<A: Subprograms>(
    frame: &Frame,
    parsed: &Parsed<A>,
    real: &Real,
    dip: Dip,
) -> Result<(), Reason> {
    let address = tables::dip_address(dip, real).ok_or(Reason::NoFlow)?;
    A::other_end(frame, parsed, Change { end: End::Source, address, port: dip.port })
}

/// Changes the end that `nat` does not change. Does not decrement the TTL.
#[inline(always)]
pub fn other_end<A: Ip>(frame: &Frame, parsed: &Parsed<A>, change: Change<A>) -> Result<(), Reason> {
    let delta = nat::translate_end(frame, parsed, change)?;
    A::apply(frame, delta)
}
