// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! The scheduler: chooses the real of a new connection. The rules are in [`lb_common::schedule`].

use lb_common::{
    ids::RealId,
    packet::Ip,
    reason::Reason,
    schedule::twos,
    schema::{FlowKey, Real, Scheduler, Service, Step},
    wire::Be128,
};

use super::{
    locality,
    slot::Slot,
    walk::{candidate, entry, index_of_turn, least_loaded, next_slot, next_turn, usable, walk},
};
use crate::tables;

/// Returns the real for a new connection.
#[inline(always)]
pub fn choose<A: Ip>(service: &Service, key: &FlowKey<A>) -> Result<RealId, Reason> {
    let slot = if Scheduler::hashes(service.scheduler) { tables::slot_of(service, key) } else { 0 };
    let chosen = schedule(service, &key.destination.wide(), slot);
    tables::note(Step::Scheduled, chosen.0, 0);
    match chosen {
        RealId::NONE => Err(Reason::NoReal),
        OVERLOADED => Err(Reason::Overloaded),
        id => Ok(id),
    }
}

/// Result of [`schedule`] if the hashed real is overloaded. Not an id: ids are below the size of `REALS`.
const OVERLOADED: RealId = RealId(u32::MAX);

out_of_line! {
    /// Returns the id of the real for a new connection to this address, [`RealId::NONE`] or [`OVERLOADED`]. `slot` is the slot
    /// of hashing schedulers.
    fn schedule [schedule](; service: &Service, destination: &Be128; slot: u32) -> RealId {
        const ROTATE: u32 = Scheduler::Rotate as u32;
        const TWOS: u32 = Scheduler::Twos as u32;
        const LBLC: u32 = Scheduler::Lblc as u32;
        const LBLCR: u32 = Scheduler::Lblcr as u32;
        if service.slots == 0 {
            return RealId::NONE;
        }
        match service.scheduler {
            ROTATE => match tables::next_position(service.id) {
                Some(position) => walk(service, index_of_turn(position, service.slots), next_turn),
                None => RealId::NONE,
            },
            TWOS => of_two(service),
            LBLC => locality::choose(service, *destination, false),
            LBLCR => locality::choose(service, *destination, true),
            scheduler if Scheduler::hashes(scheduler) => by_hash(service, slot),
            _ => least_loaded(service, service.scheduler),
        }
    }
}

/// Returns the real of the hashed slot. If that real is overloaded and the service falls back, returns the real of the
/// next usable slot.
#[inline(always)]
fn by_hash(service: &Service, slot: u32) -> RealId {
    let Ok(slot) = Slot::at(service, slot) else { return RealId::NONE };
    let Some(real) = tables::real(slot.current()) else { return RealId::NONE };
    if !tables::is_overloaded(slot.current(), real) {
        return slot.current();
    }
    if service.is(Service::FALLBACK) { walk(service, slot.index, next_slot) } else { OVERLOADED }
}

/// Returns the real of a random turn, if it accepts connections.
#[inline(always)]
fn draw(service: &Service) -> Option<(RealId, &'static Real)> {
    let id = entry(service.first, lb_common::hash::reduce(tables::random(), service.slots))?;
    Some((id, usable(service.id, id)?))
}

/// Returns the less loaded real of two random turns. If neither accepts connections, returns the first real of the
/// table that does.
#[inline(always)]
fn of_two(service: &Service) -> RealId {
    match (draw(service), draw(service)) {
        (Some((one, first)), Some((other, second))) => {
            if twos::better(&candidate(one, first), &candidate(other, second)) { other } else { one }
        }
        (Some((id, _)), None) | (None, Some((id, _))) => id,
        (None, None) => walk(service, 0, next_slot),
    }
}
