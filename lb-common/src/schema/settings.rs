// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Options known at load time.

use super::{Mode, layout};
use crate::{track, wire::Be128};

/// The frozen global `SETTINGS`: the verifier knows its values and drops what they rule out.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Settings {
    /// Key of the flow hash.
    pub seed: u64,
    /// ICMP errors and TCP resets that each CPU makes in a second at most.
    pub icmp_per_second: u64,
    /// UDP port of generic UDP encapsulation that the decapsulator of real servers listens on.
    pub gue_port: u64,
    /// The first port that `fnat` gives out, the machine's order.
    pub first_dip_port: u64,
    /// How many ports in a row it gives out, at least one.
    pub dip_ports: u64,
    /// The last index in use of `DIPS`; 0: the director's address towards each real is used.
    pub dips: u64,
    /// The same for `DIPS6`.
    pub dips6: u64,
    /// Outer sources of tunnels of IPv4.
    pub tunnel_source: TunnelSource,
    /// Outer sources of tunnels of IPv6.
    pub tunnel_source6: TunnelSource,
    /// How many CPUs there may be.
    pub cpus: u64,
    /// One less than how many entries `SERVICE_CACHE` has, a power of two.
    pub service_mask: u64,
    /// One less than how many entries `SOURCE_CACHE` has, a power of two.
    pub source_mask: u64,
    /// One less than how many elements of `SOURCE_MARKS` hold addresses, a power of two.
    pub source_marks_mask: u64,
    /// How many nanoseconds a jiffy of the kernel lasts; 0 if that is not known.
    pub jiffy: u64,
    /// Whether steps are told, and maps written.
    pub mode: Mode,
}
layout!(Settings, size: 152, align: 8);

impl Settings {
    /// No more ICMP errors than Linux sends (`icmp_msgs_per_sec`).
    ///
    /// Ports for `fnat` are those below the ones that Linux gives to its own connections (`ip_local_port_range`).
    pub const DEFAULT: Self = Self {
        seed: 0,
        icmp_per_second: 1000,
        gue_port: 6080,
        first_dip_port: 1024,
        dip_ports: 31_744,
        dips: 0,
        dips6: 0,
        tunnel_source: TunnelSource::ROUTE,
        tunnel_source6: TunnelSource::ROUTE,
        cpus: 1,
        service_mask: 0,
        source_mask: 0,
        source_marks_mask: 0,
        jiffy: 0,
        mode: Mode::FORWARD,
    };
}

/// Where the outer source addresses of tunnels come from.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TunnelSource {
    /// The network; one of IPv4 in 128 bits.
    pub network: Be128,
    /// Which bits of its last word each flow chooses for itself, as they lie in memory, and [`TunnelSource::GIVEN`]; 0 if the
    /// source is the director's address towards the real.
    pub hosts: u64,
}

impl TunnelSource {
    /// The director's address towards the real.
    pub const ROUTE: Self = Self { network: Be128::ZERO, hosts: 0 };

    /// There is a network.
    pub const GIVEN: u64 = 1 << 32;

    /// The source for a flow of that hash.
    #[inline(always)]
    #[must_use]
    pub const fn of_flow(&self, hash: u32) -> Be128 {
        let [high, low] = self.network.0;
        Be128([high, low | ((hash.to_be() & self.hosts as u32) as u64) << 32])
    }
}

/// Value of the one element of `TIMEOUTS`, in ticks (see [`track::tick`]). Written by the daemon.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Timeouts {
    /// Idle time after which an established TCP flow has ended.
    pub tcp: u32,
    /// Idle time after which a closing TCP flow has ended.
    pub tcp_fin: u32,
    /// Idle time after which a UDP flow has ended.
    pub udp: u32,
}
layout!(Timeouts, size: 12, align: 4);

impl Timeouts {
    /// Those of IPVS.
    pub const DEFAULT: Self = Self {
        tcp: track::ticks_of_seconds(900),
        tcp_fin: track::ticks_of_seconds(120),
        udp: track::ticks_of_seconds(300),
    };
}
