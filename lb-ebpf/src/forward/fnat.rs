// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Full NAT: both ends of the packet change, so that replies return to the director by routing. `nat` changes one end;
//! this module changes the other end first.

use lb_common::{
    packet::Parsed,
    reason::Reason,
    schema::{Real, SnatBinding},
    wire::Be16,
};

use super::nat::{self, Change, End};
use crate::{
    frame::Frame,
    out_of_line::Truncated,
    tables::{self, IpFamily},
};

/// Replaces the source of a packet to the real with a SNAT address and port.
#[inline(always)]
pub fn leave_from<A: IpFamily>(
    frame: &Frame,
    parsed: &Parsed<A>,
    real: &Real,
    snat: SnatBinding,
) -> Result<(), Reason> {
    let address = tables::snat_address(snat, real).ok_or(Reason::NoFlow)?;
    Ok(change_end(frame, parsed, &address, End::Source, snat.port)?)
}

out_of_line! {
    /// Replaces the address and port of the end that `nat` does not change. Does not decrement the TTL.
    pub fn change_end [change_end, change_end6](
        frame; parsed: &Parsed<A>, address: &A; end: End, port: Be16
    ) -> Result<(), Truncated> {
        let delta = nat::translate_end(frame, parsed, Change { end, address: *address, port })?;
        Ok(A::apply(frame, delta)?)
    }
}
