// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Health probes on the forwarding path: the real of each probe, and the way of the real's replies to the
//! prober.
//!
//! Both maps are keyed by a [`super::FlowKey`] with addresses of 128 bits. Only the daemon writes them.

use super::{SnatBinding, layout};
use crate::{
    ids::{IfIndex, RealId},
    wire::{Be16, Be128, MacPair},
};

/// Value of `PROBES`, keyed by the 5-tuple of a probe as the prober sends it: the prober's address and port,
/// the VIP and the port of the service. The ports of an ICMP echo are its identifier and 0.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Probe {
    /// Id of the real to which the probe goes. [`RealId::NONE`]: the program returns the packet to the prober by
    /// `PROBE_REPLIES`, whose key is the reverse 5-tuple.
    pub real: RealId,
    /// For a `fnat` real: the SNAT address and port that replace the source of the probe. No flow owns the
    /// port, so that it must be outside the SNAT ports of the flows.
    pub snat: SnatBinding,
}
layout!(Probe, size: 8, align: 4);

/// Value of `PROBE_REPLIES`, keyed by the 5-tuple of a reply as it arrives from the real. The ports of an ICMP
/// echo reply are 0 and its identifier.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ProbeReply {
    /// The VIP: the source of the reply as the prober gets it.
    pub source: Be128,
    /// The prober's address: the destination of the reply as the prober gets it.
    pub destination: Be128,
    /// The port of the service.
    pub source_port: Be16,
    /// The prober's port.
    pub destination_port: Be16,
    /// Ifindex of the director's end of the link to the prober.
    pub ifindex: IfIndex,
    /// Destination and source MAC address of frames on that link.
    pub to_prober: MacPair,
    /// Zero.
    pub reserved: u32,
}
layout!(ProbeReply, size: 56, align: 8);
