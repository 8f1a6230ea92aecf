// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Numbers as they lie on the wire.
//!
//! They are held in integers rather than in byte arrays, because a BPF machine has registers and an aligned
//! stack: an address in an array of bytes costs four loads and four stores where an integer costs one.

use core::net::Ipv4Addr;

/// A 16-bit number in network byte order.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Be16(pub u16);

/// A 32-bit number or an IPv4 address in network byte order.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Be32(pub u32);

// SAFETY: an integer: no padding, and every bit pattern is a value.
#[cfg(feature = "user")]
unsafe impl aya::Pod for Be16 {}
// SAFETY: an integer: no padding, and every bit pattern is a value.
#[cfg(feature = "user")]
unsafe impl aya::Pod for Be32 {}

impl Be16 {
    /// Zero, which is the same in every order.
    pub const ZERO: Self = Self(0);

    /// Converts from the machine's order.
    #[inline(always)]
    #[must_use]
    pub const fn new(number: u16) -> Self {
        Self(number.to_be())
    }

    /// Converts to the machine's order.
    #[inline(always)]
    #[must_use]
    pub const fn get(self) -> u16 {
        u16::from_be(self.0)
    }
}

impl Be32 {
    /// Zero, which is the same in every order.
    pub const ZERO: Self = Self(0);

    /// The address of those four bytes.
    #[inline(always)]
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 4]) -> Self {
        Self(u32::from_ne_bytes(bytes))
    }

    /// Converts to the machine's order.
    #[inline(always)]
    #[must_use]
    pub const fn get(self) -> u32 {
        u32::from_be(self.0)
    }
}

impl From<Ipv4Addr> for Be32 {
    fn from(address: Ipv4Addr) -> Self {
        Self::from_bytes(address.octets())
    }
}

impl From<Be32> for Ipv4Addr {
    fn from(address: Be32) -> Self {
        address.0.to_ne_bytes().into()
    }
}

/// Destination and source of a frame, the first twelve bytes of Ethernet, as three words in memory order.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct MacPair(pub [u32; 3]);

impl MacPair {
    /// All zero: an address that is not known.
    pub const ZERO: Self = Self([0; 3]);

    /// The pair of two addresses.
    #[must_use]
    pub const fn new(destination: [u8; 6], source: [u8; 6]) -> Self {
        let (d, s) = (destination, source);
        Self([
            u32::from_ne_bytes([d[0], d[1], d[2], d[3]]),
            u32::from_ne_bytes([d[4], d[5], s[0], s[1]]),
            u32::from_ne_bytes([s[2], s[3], s[4], s[5]]),
        ])
    }

    /// Who receives the frame.
    #[must_use]
    pub const fn destination(self) -> [u8; 6] {
        let (a, b) = (self.0[0].to_ne_bytes(), self.0[1].to_ne_bytes());
        [a[0], a[1], a[2], a[3], b[0], b[1]]
    }

    /// Who sent it.
    #[must_use]
    pub const fn source(self) -> [u8; 6] {
        let (b, c) = (self.0[1].to_ne_bytes(), self.0[2].to_ne_bytes());
        [b[2], b[3], c[0], c[1], c[2], c[3]]
    }

    /// The pair of the answer: 96 bits turned by 48.
    #[inline(always)]
    #[must_use]
    pub const fn swapped(self) -> Self {
        const { assert!(cfg!(target_endian = "little"), "words are taken apart in little-endian order") };
        let [a, b, c] = self.0;
        Self([b >> 16 | c << 16, c >> 16 | a << 16, a >> 16 | b << 16])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_taken_apart_and_swapped() {
        let (d, s) = ([1, 2, 3, 4, 5, 6], [7, 8, 9, 10, 11, 12]);
        let pair = MacPair::new(d, s);
        assert_eq!((pair.destination(), pair.source()), (d, s));
        assert_eq!(pair.swapped(), MacPair::new(s, d));
    }

    #[test]
    fn numbers_lie_in_network_order() {
        assert_eq!(Be16::new(0x1234).0.to_ne_bytes(), [0x12, 0x34]);
        assert_eq!(Be32::from_bytes([10, 0, 0, 1]).get(), 0x0a00_0001);
        assert_eq!(Ipv4Addr::from(Be32::from(Ipv4Addr::new(10, 0, 0, 1))), Ipv4Addr::new(10, 0, 0, 1));
    }
}
