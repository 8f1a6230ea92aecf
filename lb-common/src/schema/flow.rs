// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Flows: the flow table, and the SNAT addresses and ports of `fnat`.

use super::layout;
use crate::{
    ids::{IfIndex, RealId},
    ticks::Tick,
    wire::{Be16, MacPair, Tags},
};

/// Value of `FLOWS` and `FLOWS6`, least-recently-used tables: a full table evicts the flow that was silent
/// longest.
///
/// The programs write it at the first packet of a flow, and when the state or the return path changes; the
/// daemon deletes ended flows and those of removed reals.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Flow {
    /// Id of the real that serves the flow.
    pub real: RealId,
    /// Tick of the last packet.
    pub seen: Tick,
    /// Ifindex of the interface by which the client's packets arrive: replies of `nat` and `fnat` leave by
    /// it.
    pub ifindex: IfIndex,
    /// Destination and source MAC address of a frame to the client, learnt from the client's last frame.
    pub to_client: MacPair,
    /// The state, a [`crate::track::State`].
    pub state: u32,
    /// SNAT address and port of the flow's packets at the real; [`SnatBinding::NONE`] except with `fnat`.
    pub snat: SnatBinding,
    /// VLAN tags of frames to the client, learnt from the client's last frame. Replies of `nat` and `fnat`
    /// need them.
    pub tags: Tags,
}
layout!(Flow, size: 36, align: 4);

impl Flow {
    /// No flow: the real is [`RealId::NONE`].
    pub const NONE: Self = Self {
        real: RealId::NONE,
        seen: Tick(0),
        ifindex: IfIndex::NONE,
        to_client: MacPair::ZERO,
        state: 0,
        snat: SnatBinding::NONE,
        tags: Tags::NONE,
    };
}

/// A SNAT address and a port of it, reserved for one `fnat` flow. `TRANSLATIONS` and `TRANSLATIONS6` map the
/// [`super::FlowKey`] of a real's packets to this address and port to the client's own key. The programs
/// insert an entry when a `fnat` flow begins, and only if no other flow has the port towards that real; the
/// daemon deletes entries that no flow refers to.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct SnatBinding {
    /// Index into `SNAT_ADDRESSES` or `SNAT_ADDRESSES6`; 0: the director's address towards the real,
    /// [`super::Real::source`].
    pub address: u16,
    /// The port, network byte order; 0 if there is none.
    pub port: Be16,
}
layout!(SnatBinding, size: 4, align: 2);

impl SnatBinding {
    /// No SNAT address and port.
    pub const NONE: Self = Self { address: 0, port: Be16::ZERO };

    /// Number of addresses that `SNAT_ADDRESSES` holds, including the unused index 0.
    pub const ADDRESSES: usize = 256;

    /// Returns whether this is [`Self::NONE`].
    #[inline(always)]
    #[must_use]
    pub const fn is_none(self) -> bool {
        self.port.0 == 0
    }

    /// Packs address and port into one number.
    #[inline(always)]
    #[must_use]
    pub const fn packed(self) -> u32 {
        (self.address as u32) << 16 | self.port.0 as u32
    }

    /// Unpacks a result of [`Self::packed`].
    #[inline(always)]
    #[must_use]
    pub const fn unpacked(packed: u32) -> Self {
        Self { address: (packed >> 16) as u16, port: Be16(packed as u16) }
    }
}
