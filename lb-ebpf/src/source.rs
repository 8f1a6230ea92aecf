// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Checks whether a client can have sent a packet for a service from its source address. The kernel checks received
//! packets likewise (martian addresses, `rp_filter`) before IPVS gets them; XDP programs run before the kernel.

use lb_common::{
    packet::{Parsed, frame_macs},
    protocol,
    reason::Reason,
    schema::{AddressUse, Real},
};

use crate::{
    frame::Frame,
    tables::{self, IpFamily},
};

/// Returns an error if no client can have sent the packet. Most packets cost one access to a filter.
#[inline(always)]
pub fn check<A: IpFamily>(frame: &Frame, parsed: &Parsed<A>) -> Result<(), Reason> {
    if tables::may_be_forged(parsed.flow.source) { check_known(frame, parsed) } else { Ok(()) }
}

out_of_line! {
    /// Checks a source address that may be in `ADDRESSES`.
    ///
    /// A real may be a client of another service. Its packets then come in by the interface that leads to the real. If no
    /// router is between, datagrams must also come from the real's own MAC address: a forged datagram could make two
    /// servers answer each other endlessly. (A connection cannot: the second server resets it.)
    fn check_known [check_source, check_source6](frame; parsed: &Parsed<A>;) -> Result<(), Reason> {
        let used = tables::address_use(parsed.flow.source);
        if used.is(AddressUse::VIP | AddressUse::OWN) {
            return Err(Reason::SourceOwn);
        }
        if used.is(AddressUse::BROADCAST) {
            return Err(Reason::SourceInvalid);
        }
        if !used.is(AddressUse::REAL) {
            return Ok(());
        }
        let Some(real) = tables::real(used.real()) else { return Ok(()) };
        if !real.reachable() {
            return Ok(());
        }
        if tables::controller(frame.ifindex()) != real.ifindex {
            return Err(Reason::SourceReal);
        }
        let from = frame_macs(frame)?.source();
        if real.is(Real::NEIGHBOUR)
            && parsed.flow.protocol as u8 == protocol::UDP
            && from != real.macs.destination()
        {
            return Err(Reason::SourceReal);
        }
        Ok(())
    }
}
