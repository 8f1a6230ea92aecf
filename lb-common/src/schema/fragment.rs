// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Fragmented datagrams: only the first fragment has ports, so it decides for the later ones.

use super::{SnatBinding, layout};
use crate::{
    ids::{IfIndex, RealId},
    ticks::Tick,
    wire::{Be32, Be128, MacPair, Tags},
};

/// Key of `FRAGMENTS` and `FRAGMENTS6`: the identity of a datagram (RFC 791, section 2.3; RFC 8200, section
/// 4.5).
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct FragmentKey<A = Be128> {
    /// Source address.
    pub source: A,
    /// Destination address.
    pub destination: A,
    /// Identification in network byte order: 16 bits in IPv4, 32 in IPv6.
    pub id: u32,
    /// IANA number in IPv4; 0 in IPv6, where the addresses and the identification are enough.
    pub protocol: u32,
}
layout!(FragmentKey<Be32>, size: 16, align: 4);
layout!(FragmentKey<Be128>, size: 40, align: 8);

/// The parts of a datagram that have arrived: up to four contiguous ranges, in words of 8 bytes. The lower
/// half of an element is the first word of a range, the upper half is the word after the last one; 0 is no
/// range. Further ranges are not tracked.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Coverage(pub [u32; 4]);

/// The relation of a fragment to the parts of its datagram that have arrived.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u32)]
pub enum Added {
    /// All bytes are new.
    New = 0,
    /// No byte is new: the fragment is within a part that has arrived, and most likely a duplicate.
    Nothing = 1,
    /// Some bytes are new, and others are not.
    Overlap = 2,
}

impl Coverage {
    /// Returns the coverage of a first fragment with `bytes` bytes.
    #[inline(always)]
    #[must_use]
    pub const fn first(bytes: u32) -> Self {
        Self([bytes.div_ceil(8) << 16, 0, 0, 0])
    }

    /// Coverage of every part: each further fragment overlaps.
    pub const ALL: Self = Self([u32::MAX << 16, 0, 0, 0]);

    /// Returns the relation of a fragment of `bytes` bytes that begins at word `start`.
    #[inline(always)]
    #[must_use]
    pub const fn look(&self, start: u16, bytes: u32) -> Added {
        let (start, end) = (start as u32, start as u32 + bytes.div_ceil(8));
        let mut i = 0;
        while i < 4 {
            let (from, to) = (self.0[i] & 0xffff, self.0[i] >> 16);
            if to != 0 && start < to && from < end {
                let within = from <= start && end <= to && self.0[i] != Self::ALL.0[0];
                return if within { Added::Nothing } else { Added::Overlap };
            }
            i += 1;
        }
        Added::New
    }

    /// Adds a fragment. After one overlap, all later fragments overlap (RFC 5722: the whole datagram is
    /// discarded).
    #[inline(always)]
    pub const fn add(&mut self, start: u16, bytes: u32) -> Added {
        let adds = self.look(start, bytes);
        match adds {
            Added::Nothing => return adds,
            Added::Overlap => {
                self.0[0] = Self::ALL.0[0];
                return adds;
            }
            Added::New => {}
        }
        let (start, end) = (start as u32, start as u32 + bytes.div_ceil(8));
        let mut i = 0;
        while i < 4 {
            let (from, to) = (self.0[i] & 0xffff, self.0[i] >> 16);
            let joined = if to == 0 {
                start | end << 16
            } else if to == start {
                from | end << 16
            } else if from == end {
                start | to << 16
            } else {
                i += 1;
                continue;
            };
            self.0[i] = joined;
            return adds;
        }
        adds
    }
}

/// Value of `FRAGMENTS` and `FRAGMENTS6`: the decision on the first fragment. Only the programs write and
/// read it. The table is least-recently-used, so that a flood of first fragments evicts the oldest.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Fragment<A = Be128> {
    /// Id of the real to which the datagram goes or, for a reply of `nat` or `fnat`, from which it comes.
    pub real: RealId,
    /// Tick at which the first fragment arrived.
    pub seen: Tick,
    /// The VIP, which replaces the source of a reply of `nat` or `fnat`. Zero for a request.
    pub vip: A,
    /// Ifindex of the interface by which a reply of `nat` or `fnat` leaves. Zero for a request.
    pub ifindex: IfIndex,
    /// Destination and source MAC address of a reply of `nat` or `fnat`. Zero for a request.
    pub to_client: MacPair,
    /// The client's address, which replaces the destination of a reply of `fnat`. Zero otherwise.
    pub client: A,
    /// SNAT address and port that replace the source of a `fnat` request. [`SnatBinding::NONE`] otherwise.
    pub snat: SnatBinding,
    /// VLAN tags of a reply of `nat` or `fnat`.
    pub tags: Tags,
    /// The parts of the datagram that have arrived.
    pub covered: Coverage,
}
layout!(Fragment<Be32>, size: 56, align: 4);
layout!(Fragment<Be128>, size: 80, align: 8);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fragments_in_any_order_are_new_once() {
        let mut covered = Coverage::first(1480);
        for (start, bytes) in [(555, 100), (185, 1480), (370, 1480)] {
            assert_eq!(covered.add(start, bytes), Added::New, "{start}");
        }
        assert_eq!(covered.add(185, 1480), Added::Nothing, "a fragment that came twice");
    }

    #[test]
    fn one_that_overlaps_spoils_the_datagram() {
        for (start, bytes) in [(184, 16), (0, 2000), (1, 1480)] {
            let mut covered = Coverage::first(1480);
            assert_eq!(covered.add(start, bytes), Added::Overlap, "{start}");
            assert_eq!(covered.add(370, 8), Added::Overlap);
        }
    }
}
