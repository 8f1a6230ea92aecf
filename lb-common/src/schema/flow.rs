// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Flows: which real a connection is on.

use super::layout;
use crate::wire::{Be16, Be32, Be128, MacPair, Tags};

/// Key of `FLOWS` and, with addresses of 128 bits, of `FLOWS6`: the 5-tuple as the client sends it.
///
/// | offset  | field              | encoding           |
/// |--------:|--------------------|--------------------|
/// | 0       | `source`           | network byte order |
/// | 4, 16   | `destination`      | network byte order |
/// | 8, 32   | `source_port`      | network byte order |
/// | 10, 34  | `destination_port` | network byte order |
/// | 12, 36  | `protocol`         | IANA number, the machine's order |
///
/// Where a table of either version is meant, as everywhere in userspace, addresses have 128 bits.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct FlowKey<A = Be128> {
    /// The CIP.
    pub source: A,
    /// The VIP.
    pub destination: A,
    /// The client's port.
    pub source_port: Be16,
    /// The service's port.
    pub destination_port: Be16,
    /// TCP or UDP.
    pub protocol: u32,
}
layout!(FlowKey<Be32>, size: 16, align: 4);
layout!(FlowKey<Be128>, size: 40, align: 8);

impl<A: Copy> FlowKey<A> {
    /// A key from the fields of a packet.
    #[inline(always)]
    #[must_use]
    pub const fn new(
        source: A,
        destination: A,
        source_port: Be16,
        destination_port: Be16,
        protocol: u8,
    ) -> Self {
        Self { source, destination, source_port, destination_port, protocol: protocol as u32 }
    }

    /// The same flow seen from its other end.
    #[inline(always)]
    #[must_use]
    pub const fn reversed(&self) -> Self {
        Self::new(self.destination, self.source, self.destination_port, self.source_port, self.protocol as u8)
    }
}

impl FlowKey<Be128> {
    /// The key in `FLOWS`, if the flow is one of IPv4.
    #[must_use]
    pub const fn narrowed(&self) -> Option<FlowKey<Be32>> {
        let (Some(source), Some(destination)) = (self.source.as_v4(), self.destination.as_v4()) else {
            return None;
        };
        Some(FlowKey::new(source, destination, self.source_port, self.destination_port, self.protocol as u8))
    }
}

impl FlowKey<Be32> {
    /// The same flow with addresses of 128 bits.
    #[must_use]
    pub const fn widened(&self) -> FlowKey<Be128> {
        FlowKey::new(
            Be128::mapped(self.source),
            Be128::mapped(self.destination),
            self.source_port,
            self.destination_port,
            self.protocol as u8,
        )
    }
}

/// Value of `FLOWS` and `FLOWS6`, a least-recently-used table: when it is full the flow that was silent longest makes room.
///
/// Written by the programs at a flow's first packet and when its state or the client's way changes; the
/// daemon deletes ended flows and those of removed reals.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Flow {
    /// The real that the flow is on.
    pub real: u32,
    /// When the last packet came, in ticks (see [`crate::track::tick`]).
    pub seen: u32,
    /// The device that the client's packets come in by: replies of `nat` leave by it.
    pub ifindex: u32,
    /// Destination and source of a frame to the client, learnt from the client's last one.
    pub to_client: MacPair,
    /// A [`crate::track::State`].
    pub state: u32,
    /// What its packets come from at the real; [`Dip::NONE`] but for `fnat`.
    pub dip: Dip,
    /// The VLAN tags of frames to the client, learnt in the same way. Replies of `nat` and `fnat` need them.
    pub tags: Tags,
}
layout!(Flow, size: 36, align: 4);

impl Flow {
    /// No flow at all: its real is [`super::UNSET`].
    pub const NONE: Self = Self {
        real: super::UNSET,
        seen: 0,
        ifindex: 0,
        to_client: MacPair::ZERO,
        state: 0,
        dip: Dip::NONE,
        tags: Tags::NONE,
    };
}

/// An address of the director (DIP) and a port of it, which a flow by `fnat` has for itself. In `TRANSLATIONS` and
/// `TRANSLATIONS6`, which are keyed by the [`FlowKey`] of a real's packets to it as they are on the wire, is the client's
/// own key. The programs write there when such a flow begins, and only if nobody has the port towards that real; the daemon
/// deletes what no flow names any more.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Dip {
    /// Index into `DIPS` or `DIPS6`; 0: the director's address towards the real, [`super::Real::source`].
    pub address: u16,
    /// The port; 0 if there is none.
    pub port: Be16,
}
layout!(Dip, size: 4, align: 2);

impl Dip {
    /// None.
    pub const NONE: Self = Self { address: 0, port: Be16::ZERO };

    /// How many addresses a table of them holds, the unused one of index 0 with them.
    pub const ADDRESSES: usize = 256;

    /// Whether there is none.
    #[inline(always)]
    #[must_use]
    pub const fn is_none(self) -> bool {
        self.port.0 == 0
    }

    /// Both in one number.
    #[inline(always)]
    #[must_use]
    pub const fn packed(self) -> u32 {
        (self.address as u32) << 16 | self.port.0 as u32
    }

    /// The way back.
    #[inline(always)]
    #[must_use]
    pub const fn unpacked(packed: u32) -> Self {
        Self { address: (packed >> 16) as u16, port: Be16(packed as u16) }
    }
}
