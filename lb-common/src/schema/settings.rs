// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Options known at load time.

use super::{Mode, layout};
use crate::track;

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
    /// How many CPUs there may be.
    pub cpus: u64,
    /// Whether steps are told, and maps written.
    pub mode: Mode,
}
layout!(Settings, size: 72, align: 8);

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
        cpus: 1,
        mode: Mode::FORWARD,
    };
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
