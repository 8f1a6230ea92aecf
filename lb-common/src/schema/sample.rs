// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Samples: packets with their verdicts, for `xvs trace`.
//!
//! Only the tracing build of the programs (feature `samples` of `lb-ebpf`) takes samples. It replaces the attached
//! programs while a trace runs; its maps exist as long.

use super::{FlowKey, layout};
use crate::{
    ids::{IfIndex, RealId, ServiceId},
    reason::Reason,
    wire::{Be16, Be128},
};

/// Maximum number of traces at a time.
pub const TRACES: usize = 4;

/// Number of bytes of a frame for which the programs have room. A power of two.
pub const SAMPLE_BYTES: usize = 2048;

/// Largest number of bytes of a frame in a sample.
pub const LONGEST_SAMPLE: u32 = SAMPLE_BYTES as u32;

/// Value of the only element of `SAMPLE_GATE`: whether the programs copy frames.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct SampleGate {
    /// Time of `CLOCK_MONOTONIC` in nanoseconds from which on no frame is copied. The daemon moves it on while it
    /// lives.
    pub until: u64,
    /// Number of bytes to copy.
    pub snaplen: u32,
    /// Zero.
    pub reserved: u32,
}
layout!(SampleGate, size: 16, align: 8);

/// Value of `SAMPLE_FILTERS`, an array by number of the trace: the packets that a trace selects.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct SampleFilter {
    /// Mean time between two samples in nanoseconds; 0: there is no such trace.
    pub interval: u64,
    /// Time in nanoseconds whose samples may follow each other at once.
    pub burst: u64,
    /// The RIP; zero selects any.
    pub real: Be128,
    /// Network of the client, with [`Self::client_mask`].
    pub client: Be128,
    /// Bits of a client's address that must be those of [`Self::client`]; zero selects any.
    pub client_mask: Be128,
    /// 5-tuple as the client sends it; protocol 0 selects any. Replies belong to it too.
    pub flow: FlowKey,
    /// Reasons, a bit each by number.
    pub reasons: u32,
    /// Id of the service; [`ServiceId::NONE`] selects any.
    pub service: ServiceId,
    /// Number of bytes of a frame to keep.
    pub snaplen: u32,
    /// Port of the real; zero selects any.
    pub real_port: Be16,
    /// Zero.
    pub reserved: u16,
}
layout!(SampleFilter, size: 120, align: 8);

impl SampleFilter {
    /// Returns whether a packet is selected.
    #[inline(always)]
    #[must_use]
    pub fn selects(&self, sample: &Sample) -> bool {
        if self.reasons & 1 << (sample.reason & (u32::BITS - 1)) == 0
            || !self.service.is_none() && self.service != sample.service
        {
            return false;
        }
        if self.real != Be128::ZERO
            && (self.real != sample.real_address
                || self.real_port != Be16::ZERO && self.real_port != sample.real_port)
        {
            return false;
        }
        let ([a, b], [c, d]) = (sample.client.0, self.client_mask.0);
        if self.client != Be128([a & c, b & d]) {
            return false;
        }
        self.flow.protocol == 0 || self.is_of_flow(sample)
    }

    #[inline(always)]
    fn is_of_flow(&self, sample: &Sample) -> bool {
        self.flow.protocol == sample.flow.protocol
            && self.flow.source == sample.client
            && self.flow.source_port == sample.client_port
            // The daemon looks up the service of the flow, which replies belong to.
            && (sample.is(Sample::REPLY)
                || self.flow.destination == sample.flow.destination
                    && self.flow.destination_port == sample.flow.destination_port)
    }

    /// Returns the state of the rate limit after one more sample at `now`, or `None` if the sample exceeds the rate:
    /// the generic cell rate algorithm (ITU-T I.371). `next` is the state, a time in nanoseconds.
    #[inline(always)]
    #[must_use]
    pub const fn admit(&self, next: u64, now: u64) -> Option<u64> {
        let earliest = now.saturating_sub(self.burst);
        let start = if next > earliest { next } else { earliest };
        if start > now { None } else { Some(start + self.interval) }
    }

    /// Returns the bits of [`Self::reasons`] for some reasons.
    #[must_use]
    pub fn bits<'a>(reasons: impl IntoIterator<Item = &'a Reason>) -> u32 {
        reasons.into_iter().fold(0, |bits, reason| bits | 1 << reason.index())
    }
}

/// Value of `SAMPLE_COUNTS`, an array by CPU and number of the trace.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct SampleCounts {
    /// Packets that the filter selects.
    pub selected: u64,
    /// Packets of these beyond the rate.
    pub limited: u64,
    /// Packets of these for which the buffer had no room.
    pub lost: u64,
}
layout!(SampleCounts, size: 24, align: 8);

/// Beginning of a record in `SAMPLES`; [`Self::captured`] bytes of the frame follow, as received.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Sample {
    /// Time of the verdict by `CLOCK_MONOTONIC`, in nanoseconds.
    pub time: u64,
    /// The packet's 5-tuple as received; protocol 0 if it could not be parsed.
    pub flow: FlowKey,
    /// Address of the client.
    pub client: Be128,
    /// The RIP; zero if no real was chosen.
    pub real_address: Be128,
    /// The client's port.
    pub client_port: Be16,
    /// Port of the real; zero if no real was chosen, or the packet has no ports.
    pub real_port: Be16,
    /// The forwarding method, a [`super::Method`].
    pub method: u16,
    /// [`Self::REPLY`].
    pub flags: u16,
    /// Traces that take the sample, a bit each.
    pub traces: u32,
    /// Action, as returned to the driver (`enum xdp_action`).
    pub action: u32,
    /// Number of the [`Reason`].
    pub reason: u32,
    /// Id of the service; [`ServiceId::NONE`] if there is none.
    pub service: ServiceId,
    /// Id of the real; [`RealId::NONE`] if there is none.
    pub real: RealId,
    /// Interface of arrival.
    pub ifindex: IfIndex,
    /// Interface of departure; zero if the packet does not leave.
    pub egress: IfIndex,
    /// Length of the frame as received, in bytes.
    pub length: u32,
    /// Number of bytes that follow.
    pub captured: u32,
    /// Zero.
    pub reserved: u32,
}
layout!(Sample, size: 128, align: 8);

impl Sample {
    /// The packet came from a real.
    pub const REPLY: u16 = 1;

    /// A packet about which nothing is known.
    pub const EMPTY: Self = Self {
        time: 0,
        flow: FlowKey {
            source: Be128::ZERO,
            destination: Be128::ZERO,
            source_port: Be16::ZERO,
            destination_port: Be16::ZERO,
            protocol: 0,
        },
        client: Be128::ZERO,
        real_address: Be128::ZERO,
        client_port: Be16::ZERO,
        real_port: Be16::ZERO,
        method: 0,
        flags: 0,
        traces: 0,
        action: 0,
        reason: Reason::NotOurs.index(),
        service: ServiceId::NONE,
        real: RealId::NONE,
        ifindex: IfIndex::NONE,
        egress: IfIndex::NONE,
        length: 0,
        captured: 0,
        reserved: 0,
    };

    /// Returns whether a flag is set.
    #[inline(always)]
    #[must_use]
    pub const fn is(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::IpAddr;

    fn address(text: &str) -> Be128 {
        Be128::from(text.parse::<IpAddr>().unwrap())
    }

    fn sample() -> Sample {
        let flow = FlowKey::new(
            address("198.51.100.7"),
            address("192.0.2.100"),
            Be16::new(40_000),
            Be16::new(80),
            6,
        );
        Sample {
            flow,
            client: flow.source,
            client_port: flow.source_port,
            real_address: address("10.0.0.11"),
            real_port: Be16::new(8080),
            reason: Reason::Forwarded.index(),
            service: ServiceId(3),
            real: RealId(5),
            ..Sample::EMPTY
        }
    }

    fn all() -> SampleFilter {
        SampleFilter { reasons: u32::MAX, ..SampleFilter::default() }
    }

    #[test]
    fn each_field_of_a_filter_restricts_and_zero_does_not() {
        let packet = sample();
        assert!(all().selects(&packet));
        assert!(!SampleFilter::default().selects(&packet), "no reason");
        let forwarded = SampleFilter::bits(&[Reason::Forwarded, Reason::NoReal]);
        let dropped = SampleFilter::bits(&[Reason::NoReal]);
        for (filter, expected) in [
            (SampleFilter { reasons: forwarded, ..all() }, true),
            (SampleFilter { reasons: dropped, ..all() }, false),
            (SampleFilter { service: ServiceId(3), ..all() }, true),
            (SampleFilter { service: ServiceId(4), ..all() }, false),
            (SampleFilter { real: address("10.0.0.11"), ..all() }, true),
            (SampleFilter { real: address("10.0.0.12"), ..all() }, false),
            (SampleFilter { real: address("10.0.0.11"), real_port: Be16::new(8080), ..all() }, true),
            (SampleFilter { real: address("10.0.0.11"), real_port: Be16::new(80), ..all() }, false),
        ] {
            assert_eq!(filter.selects(&packet), expected, "{filter:?}");
        }
        for (network, prefix, expected) in [
            ("198.51.100.0", 120, true),
            ("198.51.101.0", 120, false),
            ("0.0.0.0", 96, true),
            ("::", 0, true),
        ] {
            let client_mask = Be128([u64::MAX; 2]).masked(prefix);
            let filter = SampleFilter { client: address(network).masked(prefix), client_mask, ..all() };
            assert_eq!(filter.selects(&packet), expected, "{network}/{prefix}");
        }
    }

    #[test]
    fn a_flow_has_both_directions() {
        let request = sample();
        let filter = SampleFilter { flow: request.flow, ..all() };
        assert!(filter.selects(&request));
        let reply = Sample {
            flow: FlowKey::new(
                request.real_address,
                request.client,
                request.real_port,
                request.client_port,
                6,
            ),
            flags: Sample::REPLY,
            ..request
        };
        assert!(filter.selects(&reply));
        assert!(!filter.selects(&Sample { client_port: Be16::new(40_001), ..reply }));
        let to_another = FlowKey { destination_port: Be16::new(443), ..request.flow };
        assert!(!filter.selects(&Sample { flow: to_another, ..request }));
    }

    #[test]
    fn the_rate_holds_after_a_burst() {
        const SECOND: u64 = 1_000_000_000;
        let filter = SampleFilter { interval: SECOND / 100, burst: SECOND, ..all() };
        let (mut next, mut admitted) = (0, Vec::new());
        // A packet each 100 microseconds, for ten seconds.
        for now in (0..10 * SECOND).step_by(100_000).map(|time| time + 1000 * SECOND) {
            if let Some(after) = filter.admit(next, now) {
                next = after;
                admitted.push(now);
            }
        }
        assert!((1099..=1101).contains(&admitted.len()), "{}", admitted.len());
        let first = admitted.iter().filter(|time| **time < 1001 * SECOND).count();
        assert!((199..=201).contains(&first), "{first}");
    }
}
