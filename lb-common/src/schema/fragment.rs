// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Fragmented datagrams: only the first fragment has ports, so it decides for the later ones.

use super::{Dip, layout};
use crate::wire::{Be32, Be128, MacPair, Tags};

/// Key of `FRAGMENTS` and `FRAGMENTS6`: what names a datagram (RFC 791, section 2.3; RFC 8200, section 4.5).
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct FragmentKey<A = Be128> {
    /// Source address.
    pub source: A,
    /// Destination address.
    pub destination: A,
    /// Identification as it lies on the wire: 16 bits in IPv4, 32 in IPv6.
    pub id: u32,
    /// IANA number in IPv4; 0 in IPv6, where the addresses and the identification are enough.
    pub protocol: u32,
}
layout!(FragmentKey<Be32>, size: 16, align: 4);
layout!(FragmentKey<Be128>, size: 40, align: 4);

/// Value of `FRAGMENTS` and `FRAGMENTS6`: what the first fragment's decision was. Written and read by the programs alone; a
/// least-recently-used table, so that a flood of first fragments pushes out the oldest.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Fragment<A = Be128> {
    /// The real that the datagram goes to or, for a reply of `nat` or `fnat`, comes from.
    pub real: u32,
    /// When the first fragment came, in ticks.
    pub seen: u32,
    /// For a reply of `nat` or `fnat`: the VIP that its source becomes. Zero for a request.
    pub vip: A,
    /// For a reply of `nat` or `fnat`: the device that it leaves by. Zero for a request.
    pub ifindex: u32,
    /// For a reply of `nat` or `fnat`: destination and source of its frames. Zero for a request.
    pub to_client: MacPair,
    /// For a reply of `fnat`: the client, which its destination becomes. Zero for anything else.
    pub client: A,
    /// For a request by `fnat`: what its source becomes. [`Dip::NONE`] for anything else.
    pub dip: Dip,
    /// For a reply of `nat` or `fnat`: the VLAN tags of its frames.
    pub tags: Tags,
}
layout!(Fragment<Be32>, size: 40, align: 4);
layout!(Fragment<Be128>, size: 64, align: 4);
