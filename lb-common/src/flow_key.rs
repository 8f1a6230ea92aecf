// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! The 5-tuple of a flow.

use crate::{
    layout::layout,
    wire::{Be16, Be32, Be128},
};

/// Key of `FLOWS` and, with addresses of 128 bits, of `FLOWS6`: the 5-tuple as the client sends it.
///
/// | offset  | field              | encoding           |
/// |--------:|--------------------|--------------------|
/// | 0       | `source`           | network byte order |
/// | 4, 16   | `destination`      | network byte order |
/// | 8, 32   | `source_port`      | network byte order |
/// | 10, 34  | `destination_port` | network byte order |
/// | 12, 36  | `protocol`         | IANA number, the machine's byte order |
///
/// Code that handles both IP versions, as all of userspace does, uses addresses of 128 bits.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct FlowKey<A = Be128> {
    /// The CIP.
    pub source: A,
    /// The VIP.
    pub destination: A,
    /// The client's port, network byte order.
    pub source_port: Be16,
    /// The service's port, network byte order.
    pub destination_port: Be16,
    /// IANA number of TCP, UDP or SCTP.
    pub protocol: u32,
}
layout!(FlowKey<Be32>, size: 16, align: 4);
layout!(FlowKey<Be128>, size: 40, align: 8);

impl<A: Copy> FlowKey<A> {
    /// Returns a key from the fields of a packet.
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

    /// Returns the flow with source and destination exchanged.
    #[inline(always)]
    #[must_use]
    pub const fn reversed(&self) -> Self {
        Self::new(self.destination, self.source, self.destination_port, self.source_port, self.protocol as u8)
    }
}

impl FlowKey<Be128> {
    /// Returns the key in `FLOWS`, if the flow is an IPv4 flow.
    #[must_use]
    pub const fn narrowed(&self) -> Option<FlowKey<Be32>> {
        let (Some(source), Some(destination)) = (self.source.as_v4(), self.destination.as_v4()) else {
            return None;
        };
        Some(FlowKey::new(source, destination, self.source_port, self.destination_port, self.protocol as u8))
    }
}

impl FlowKey<Be32> {
    /// Returns the flow with addresses of 128 bits.
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
