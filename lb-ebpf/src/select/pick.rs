// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Selection of the real for a packet without a flow table entry.

use lb_common::{
    ids::RealId,
    packet::{Parsed, tcp_flags},
    protocol,
    reason::Reason,
    schema::{Method, Real, Service},
    ticks::Ticks,
    track,
};

use super::{is_one_packet, opens, persistence, places_unknown, schedule, slot::Slot};
use crate::tables::{self, IpFamily};

/// The real that was picked for a packet without a flow table entry.
#[derive(Clone, Copy)]
pub struct Picked {
    /// Id of the real.
    pub id: RealId,
    /// Whether the packet begins a flow that needs a flow table entry.
    pub record: bool,
    /// Whether the real was chosen by a slot in transition.
    pub moved: bool,
    /// Whether the packet is a datagram under one-packet scheduling.
    pub one_packet: bool,
}

impl Picked {
    const RECORD: u64 = 1 << 32;
    const MOVED: u64 = 1 << 33;
    const ONE_PACKET: u64 = 1 << 34;

    /// Packs the choice into one number, whose lower half is the id.
    #[inline(always)]
    fn packed(self) -> u64 {
        let Self { id, record, moved, one_packet } = self;
        let bit = |set: bool, bit: u64| if set { bit } else { 0 };
        u64::from(id.0)
            | bit(record, Self::RECORD)
            | bit(moved, Self::MOVED)
            | bit(one_packet, Self::ONE_PACKET)
    }

    /// Unpacks a result of [`Self::packed`].
    #[inline(always)]
    fn unpacked(packed: u64) -> Self {
        let has = |bit: u64| packed & bit != 0;
        Self {
            id: RealId(packed as u32),
            record: has(Self::RECORD),
            moved: has(Self::MOVED),
            one_packet: has(Self::ONE_PACKET),
        }
    }
}

register! {
    Picked as u64: Self::packed, Self::unpacked;
    // Without a real, the lower half is [`RealId::NONE`] and the upper half is the reason.
    Result<Picked, Reason> as u64: |picked: Self| match picked {
        Ok(picked) => picked.packed(),
        Err(reason) => u64::from(reason.index()) << 32 | u64::from(RealId::NONE.0),
    }, |bits: u64| if RealId(bits as u32).is_none() {
        Err(Reason::from_number((bits >> 32) as u32).unwrap_or(Reason::NoReal))
    } else {
        Ok(Picked::unpacked(bits))
    };
}

out_of_line! {
    /// Picks the real for a packet without a flow table entry. `slot` is the slot of the flow if the service hashes and
    /// does not track every flow.
    pub fn pick [pick, pick6](; parsed: &Parsed<A>, service: &Service; slot: Slot) -> Result<Picked, Reason> {
        let protocol = parsed.flow.protocol as u8;
        let (id, wanted) = candidate(parsed, service, slot)?;
        let real = tables::real(id).ok_or(Reason::NoReal)?;
        if real.is(Real::RESET) && protocol == protocol::TCP {
            return Err(Reason::RealRemoved);
        }
        // A stray RST is useless to any other host, yet by hash it still reaches the real that may know it.
        let begins = begins(parsed, service);
        let full = real.method == Method::Fnat as u16;
        if full && (!begins || track::is_connection(protocol) && !opens(parsed)) {
            // The SNAT port that the flow had at its real is unknown.
            return Err(Reason::NoFlow);
        }
        // Under one-packet scheduling there is no flow: a reply is identified by its source.
        let one_packet = is_one_packet(parsed, service);
        let record = begins && !one_packet && (wanted || real.is(Real::NEEDS_FLOW));
        Ok(Picked { id, record, moved: slot.is_some(), one_packet })
    }
}

/// Returns whether a packet without a flow table entry may begin a flow. An FTP data connection that the server opens
/// towards the client, past the director, begins here with the client's answer to the server's SYN, as in IPVS.
#[inline(always)]
fn begins<A>(parsed: &Parsed<A>, service: &Service) -> bool {
    let flags = parsed.tcp_flags;
    let answers = service.is(Service::FTP) && flags & (tcp_flags::SYN | tcp_flags::RST) == tcp_flags::SYN;
    answers || track::begins(parsed.flow.protocol as u8, flags, !places_unknown(service))
}

/// Returns the id of the real, and whether the state of the service requires a flow table entry.
#[inline(always)]
fn candidate<A: IpFamily>(
    parsed: &Parsed<A>,
    service: &Service,
    slot: Slot,
) -> Result<(RealId, bool), Reason> {
    let (now, protocol) = (tables::now(), parsed.flow.protocol as u8);
    if slot.is_some() {
        let (id, record) = slot.choose(service, protocol, now, opens(parsed));
        if id.is_none() {
            return Err(Reason::NoReal);
        }
        // Only TCP follows the previous real of its slot if that real was removed.
        let left = protocol != protocol::TCP && tables::real(id).is_some_and(Real::is_removed);
        return Ok((if left { slot.current() } else { id }, record));
    }
    if !places_unknown(service) && !begins(parsed, service) {
        return Err(Reason::NoFlow);
    }
    if service.persistent != Ticks::ZERO
        && !is_one_packet(parsed, service)
        && let Some(id) = persistence::real(service, &parsed.flow, now)
    {
        return Ok((id, true));
    }
    Ok((schedule::choose(service, &parsed.flow)?, true))
}
