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
layout!(FragmentKey<Be128>, size: 40, align: 8);

/// Which parts of a datagram have come: up to four ranges without a gap, in words of eight bytes, the first word in the lower
/// half and the one after the last in the upper; 0 is no range. More gaps than that are not looked at.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Covered(pub [u32; 4]);

/// What a fragment adds to the parts of its datagram that have come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u32)]
pub enum Adds {
    /// Bytes that nobody has had.
    New = 0,
    /// Nothing: it is a part of what has come, most likely the same fragment again.
    Nothing = 1,
    /// Bytes that another one has had, and others.
    Overlap = 2,
}

impl Covered {
    /// What the first fragment covers, which has so many bytes.
    #[inline(always)]
    #[must_use]
    pub const fn first(bytes: u32) -> Self {
        Self([bytes.div_ceil(8) << 16, 0, 0, 0])
    }

    /// Every part: whatever comes is too much.
    pub const ALL: Self = Self([u32::MAX << 16, 0, 0, 0]);

    /// What a fragment adds that begins at word `start` and has so many bytes.
    #[inline(always)]
    #[must_use]
    pub const fn look(&self, start: u16, bytes: u32) -> Adds {
        let (start, end) = (start as u32, start as u32 + bytes.div_ceil(8));
        let mut i = 0;
        while i < 4 {
            let (from, to) = (self.0[i] & 0xffff, self.0[i] >> 16);
            if to != 0 && start < to && from < end {
                let within = from <= start && end <= to && self.0[i] != Self::ALL.0[0];
                return if within { Adds::Nothing } else { Adds::Overlap };
            }
            i += 1;
        }
        Adds::New
    }

    /// Adds it. Once one has overlapped, all do (RFC 5722: all of the datagram is discarded).
    #[inline(always)]
    pub const fn add(&mut self, start: u16, bytes: u32) -> Adds {
        let adds = self.look(start, bytes);
        match adds {
            Adds::Nothing => return adds,
            Adds::Overlap => {
                self.0[0] = Self::ALL.0[0];
                return adds;
            }
            Adds::New => {}
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
    /// Which of its bytes have come.
    pub covered: Covered,
}
layout!(Fragment<Be32>, size: 56, align: 4);
layout!(Fragment<Be128>, size: 80, align: 8);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fragments_in_any_order_are_new_once() {
        let mut covered = Covered::first(1480);
        for (start, bytes) in [(555, 100), (185, 1480), (370, 1480)] {
            assert_eq!(covered.add(start, bytes), Adds::New, "{start}");
        }
        assert_eq!(covered.add(185, 1480), Adds::Nothing, "a fragment that came twice");
    }

    #[test]
    fn one_that_overlaps_spoils_the_datagram() {
        for (start, bytes) in [(184, 16), (0, 2000), (1, 1480)] {
            let mut covered = Covered::first(1480);
            assert_eq!(covered.add(start, bytes), Adds::Overlap, "{start}");
            assert_eq!(covered.add(370, 8), Adds::Overlap);
        }
    }
}
