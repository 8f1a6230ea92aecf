// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Counters of a real, and of the reasons of a service.

use super::layout;
use crate::reason::Reason;

/// Value of `COUNTERS`, a per-CPU array by real id.
///
/// A real belongs to one service, so the service's counters are the sum over its reals: one update per packet
/// serves both. Bytes are those of the IP packet (total length), as IPVS counts them. Each CPU writes its own
/// copy; userspace adds the copies.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// Packets sent to the real.
    pub packets_in: u64,
    /// IP bytes sent to the real, before any encapsulation.
    pub bytes_in: u64,
    /// Packets of the real sent back to clients (`nat`, `fnat`).
    pub packets_out: u64,
    /// IP bytes of the real sent back to clients (`nat`, `fnat`).
    pub bytes_out: u64,
    /// Flows that began on the real.
    pub new_flows: u64,
}
layout!(Counters, size: 40, align: 8);

impl Counters {
    /// Adds another set of counters.
    pub const fn add(&mut self, other: &Self) {
        let Self { packets_in, bytes_in, packets_out, bytes_out, new_flows } = other;
        self.packets_in += *packets_in;
        self.bytes_in += *bytes_in;
        self.packets_out += *packets_out;
        self.bytes_out += *bytes_out;
        self.new_flows += *new_flows;
    }
}

/// Value of `REASONS`, a per-CPU array by service id: the number of packets for each reason. Service 0 counts
/// packets of no particular service.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ReasonCounts(pub [u64; Reason::SLOTS]);
layout!(ReasonCounts, size: 256, align: 8);

impl ReasonCounts {
    /// Adds the counts of another CPU.
    pub fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(count, more)| *count += more);
    }

    /// Returns every reason and its count.
    pub fn iter(&self) -> impl Iterator<Item = (Reason, u64)> {
        Reason::ALL.iter().copied().zip(self.0)
    }
}
