// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Slots of hashing schedulers: the packet alone determines the real.

use lb_common::{
    ids::RealId,
    packet::Ip,
    reason::Reason,
    schema::{FlowKey, Service, Step, Tracking},
    slot::{self, MOVED},
    ticks::Tick,
    track,
};

use crate::tables;

/// A slot of a hashing scheduler's table.
#[derive(Clone, Copy)]
pub struct Slot {
    pub index: u32,
    entry: u32,
}

impl Slot {
    /// No slot. Not an `Option`: LLVM would compute with the absent value, which the verifier rejects.
    pub const NONE: Self = Self { index: u32::MAX, entry: u32::MAX };

    /// Returns whether this is a slot, and not [`Self::NONE`].
    #[inline(always)]
    pub const fn is_some(self) -> bool {
        self.index != u32::MAX
    }

    /// Packs the slot into one number.
    #[inline(always)]
    const fn packed(self) -> u64 {
        (self.index as u64) << 32 | self.entry as u64
    }

    /// Unpacks a result of [`Self::packed`].
    #[inline(always)]
    const fn unpacked(packed: u64) -> Self {
        Self { index: (packed >> 32) as u32, entry: packed as u32 }
    }

    /// Returns the slot of a flow.
    #[inline(always)]
    pub fn of<A: Ip>(service: &Service, key: &FlowKey<A>) -> Result<Self, Reason> {
        Self::at(service, tables::slot_of(service, key))
    }

    /// Returns the slot with this index.
    #[inline(always)]
    pub fn at(service: &Service, index: u32) -> Result<Self, Reason> {
        if service.slots == 0 {
            return Err(Reason::NoReal);
        }
        let entry = tables::table_entry(service.first, index).ok_or(Reason::NoReal)?;
        tables::note(Step::Slot, index, entry);
        Ok(Self { index, entry })
    }

    /// Returns the id of the real for new flows.
    #[inline(always)]
    pub const fn current(self) -> RealId {
        RealId(self.entry & !MOVED)
    }

    /// Returns whether the slot is in transition.
    #[inline(always)]
    pub const fn is_moved(self) -> bool {
        self.entry & MOVED != 0
    }

    /// Returns the real of an untracked flow, and whether the flow needs an entry. `opens` is whether the packet is a
    /// SYN.
    #[inline(always)]
    pub fn choose(self, service: &Service, protocol: u8, now: Tick, opens: bool) -> (RealId, bool) {
        if !self.is_moved() || service.tracking != Tracking::Auto as u32 {
            return (self.current(), false);
        }
        let Some(moved) = tables::slot_move(service.first, self.index) else {
            return (self.current(), false);
        };
        let timeout = track::longest_timeout(protocol, &tables::timeouts());
        let choice = slot::choose(self.current(), moved.base, moved.since, now, timeout, opens);
        (choice.real, choice.record)
    }
}

register! { Slot as u64: Self::packed, Self::unpacked; }
