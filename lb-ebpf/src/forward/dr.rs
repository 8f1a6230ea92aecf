// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Direct routing: the real has the VIP too, so only the MAC addresses change.

use lb_common::{
    checksum::Delta,
    packet::{Ip, address_frame},
    reason::Reason,
    schema::Real,
};

use crate::frame::Frame;

#[inline(always)]
pub fn forward<A: Ip>(frame: &Frame, real: &Real) -> Result<(), Reason> {
    A::decrement_ttl(frame, Delta::new())?;
    address_frame(frame, real.macs)
}
