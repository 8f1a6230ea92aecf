// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Flows: which real a connection is on.

use super::layout;
use crate::wire::{Be16, Be32, MacPair};

/// Key of `FLOWS`: the 5-tuple as the client sends it.
///
/// | offset | field              | encoding           |
/// |-------:|--------------------|--------------------|
/// | 0      | `source`           | network byte order |
/// | 4      | `destination`      | network byte order |
/// | 8      | `source_port`      | network byte order |
/// | 10     | `destination_port` | network byte order |
/// | 12     | `protocol`         | IANA number, the machine's order |
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct FlowKey {
    /// The CIP.
    pub source: Be32,
    /// The VIP.
    pub destination: Be32,
    /// The client's port.
    pub source_port: Be16,
    /// The service's port.
    pub destination_port: Be16,
    /// TCP or UDP.
    pub protocol: u32,
}
layout!(FlowKey, size: 16, align: 4);

impl FlowKey {
    /// A key from the fields of a packet.
    #[inline(always)]
    #[must_use]
    pub const fn new(
        source: Be32,
        destination: Be32,
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

/// Value of `FLOWS`, a least-recently-used table: when it is full the flow that was silent longest makes room.
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
}
layout!(Flow, size: 28, align: 4);
