// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Fragmented datagrams: only the first fragment has ports, so it decides for the later ones.

use super::layout;
use crate::wire::{Be16, Be32, MacPair};

/// Key of `FRAGMENTS`: what RFC 791 says names a datagram.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct FragmentKey {
    /// Source address.
    pub source: Be32,
    /// Destination address.
    pub destination: Be32,
    /// Identification.
    pub id: Be16,
    /// IANA number.
    pub protocol: u16,
}
layout!(FragmentKey, size: 12, align: 4);

impl FragmentKey {
    /// A key from the fields of an IPv4 header.
    #[inline(always)]
    #[must_use]
    pub const fn new(source: Be32, destination: Be32, id: Be16, protocol: u8) -> Self {
        Self { source, destination, id, protocol: protocol as u16 }
    }
}

/// Value of `FRAGMENTS`: what the first fragment's decision was. Written and read by the programs alone; a
/// least-recently-used table, so that a flood of first fragments pushes out the oldest.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Fragment {
    /// The real that the datagram goes to or, for a reply of `nat`, comes from.
    pub real: u32,
    /// When the first fragment came, in ticks.
    pub seen: u32,
    /// For a reply of `nat`: the VIP that its source becomes. Zero for a request.
    pub vip: Be32,
    /// For a reply of `nat`: the device that it leaves by. Zero for a request.
    pub ifindex: u32,
    /// For a reply of `nat`: destination and source of its frames. Zero for a request.
    pub to_client: MacPair,
}
layout!(Fragment, size: 28, align: 4);
