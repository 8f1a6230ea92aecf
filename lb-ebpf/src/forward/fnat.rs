// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Full NAT: both ends of the packet change, so that replies come back to the director by themselves. One end is changed as
//! by `nat`, and the other one here, before.

use lb_common::{
    packet::{Ip, Parsed},
    reason::Reason,
    schema::{Dip, Real},
};

use super::nat::{self, Change, End};
use crate::{frame::Frame, subprograms::Subprograms, tables};

/// Towards the real: the source becomes the director's own.
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

/// Changes the other end than `nat` does. It takes no hop.
#[inline(always)]
pub fn other_end<A: Ip>(frame: &Frame, parsed: &Parsed<A>, change: Change<A>) -> Result<(), Reason> {
    let delta = nat::translate_end(frame, parsed, change)?;
    A::apply(frame, delta)
}
