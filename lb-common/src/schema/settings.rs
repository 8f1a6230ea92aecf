// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Options known at load time.

use super::{Mode, layout};
use crate::{ticks::Ticks, wire::Be128};

/// Value of the frozen global `SETTINGS`: the verifier knows its values, and removes the code that they rule
/// out.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Settings {
    /// Key of the flow hash.
    pub seed: u64,
    /// Maximum number of ICMP errors per CPU and second.
    pub icmp_per_second: u64,
    /// UDP port of generic UDP encapsulation on which the decapsulator of real servers listens.
    pub gue_port: u64,
    /// First SNAT port of `fnat`, the machine's byte order.
    pub first_dip_port: u64,
    /// Number of consecutive SNAT ports, at least one.
    pub dip_ports: u64,
    /// Last index in use of `SNAT_ADDRESSES`; 0: the director's address towards each real is used.
    pub dips: u64,
    /// Last index in use of `SNAT_ADDRESSES6`; 0: the director's address towards each real is used.
    pub dips6: u64,
    /// Outer source addresses of IPv4 tunnels.
    pub tunnel_source: TunnelSource,
    /// Outer source addresses of IPv6 tunnels.
    pub tunnel_source6: TunnelSource,
    /// Number of possible CPUs.
    pub cpus: u64,
    /// Number of entries of `SERVICE_CACHE`, a power of two, less one.
    pub service_mask: u64,
    /// Number of entries of `SOURCE_CACHE`, a power of two, less one.
    pub source_mask: u64,
    /// Number of elements of `SOURCE_FILTER` that hold addresses, a power of two, less one.
    pub source_marks_mask: u64,
    /// Duration of a jiffy of the kernel in nanoseconds; 0 if unknown.
    pub jiffy: u64,
    /// 1: a connection begins with a SYN with every scheduler, and the packets of unknown ones go to the director's
    /// stack, whose IPVS knows them. 0: a scheduler that hashes finds the real of an unknown connection.
    pub beside_ipvs: u64,
    /// Tracing of steps, and writes to maps.
    pub mode: Mode,
}
layout!(Settings, size: 160, align: 8);

impl Settings {
    /// Default settings. Each CPU makes at most as many ICMP errors as Linux sends (`icmp_msgs_per_sec`).
    ///
    /// The SNAT ports are those below the ports that Linux uses for its own connections
    /// (`ip_local_port_range`).
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
        beside_ipvs: 0,
        mode: Mode::FORWARD,
    };
}

/// Choice of the outer source addresses of tunnels.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TunnelSource {
    /// The network; an IPv4 network in 128 bits.
    pub network: Be128,
    /// Bits of the address's last word that each flow chooses for itself, in network byte order, and
    /// [`TunnelSource::GIVEN`]; 0 if the source is the director's address towards the real.
    pub hosts: u64,
}

impl TunnelSource {
    /// The source is the director's address towards the real.
    pub const ROUTE: Self = Self { network: Be128::ZERO, hosts: 0 };

    /// Flag of a source with a network.
    pub const GIVEN: u64 = 1 << 32;

    /// Returns the source for a flow with this hash.
    #[inline(always)]
    #[must_use]
    pub const fn of_flow(&self, hash: u32) -> Be128 {
        let [high, low] = self.network.0;
        Be128([high, low | ((hash.to_be() & self.hosts as u32) as u64) << 32])
    }
}

/// Value of the only element of `TIMEOUTS`. The daemon writes it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Timeouts {
    /// Idle time after which an established TCP flow has ended.
    pub tcp: Ticks,
    /// Idle time after which a closing TCP flow has ended.
    pub tcp_fin: Ticks,
    /// Idle time after which a UDP flow has ended.
    pub udp: Ticks,
}
layout!(Timeouts, size: 12, align: 4);

impl Timeouts {
    /// Timeouts of IPVS.
    pub const DEFAULT: Self =
        Self { tcp: Ticks::of_seconds(900), tcp_fin: Ticks::of_seconds(120), udp: Ticks::of_seconds(300) };
}
