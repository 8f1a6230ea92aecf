// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Numbers in network byte order.
//!
//! They are integers and not byte arrays, because a BPF machine has registers and an aligned stack: an
//! address in an array of bytes costs four loads and four stores, an integer one of each.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A 16-bit number in network byte order.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Be16(pub u16);

/// A 32-bit number or an IPv4 address in network byte order.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Be32(pub u32);

/// 128 bits in network byte order, as two words in memory order: an IPv6 address, or an IPv4 address as
/// `::ffff:a.b.c.d` (RFC 4291, section 2.5.5.2).
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Be128(pub [u64; 2]);

// SAFETY: an integer: no padding, and every bit pattern is a value.
#[cfg(feature = "user")]
#[expect(unsafe_code, reason = "userspace copies the type as bytes")]
unsafe impl aya::Pod for Be16 {}
// SAFETY: integers: no padding, and every bit pattern is a value.
#[cfg(feature = "user")]
#[expect(unsafe_code, reason = "userspace copies the type as bytes")]
unsafe impl aya::Pod for Be128 {}
// SAFETY: an integer: no padding, and every bit pattern is a value.
#[cfg(feature = "user")]
#[expect(unsafe_code, reason = "userspace copies the type as bytes")]
unsafe impl aya::Pod for Be32 {}

impl Be16 {
    /// Zero, which does not depend on the byte order.
    pub const ZERO: Self = Self(0);

    /// Converts from the machine's byte order.
    #[inline(always)]
    #[must_use]
    pub const fn new(number: u16) -> Self {
        Self(number.to_be())
    }

    /// Converts to the machine's byte order.
    #[inline(always)]
    #[must_use]
    pub const fn get(self) -> u16 {
        u16::from_be(self.0)
    }
}

impl Be32 {
    /// Zero, which does not depend on the byte order.
    pub const ZERO: Self = Self(0);

    /// Returns the address of these four bytes.
    #[inline(always)]
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 4]) -> Self {
        Self(u32::from_ne_bytes(bytes))
    }

    /// Converts to the machine's byte order.
    #[inline(always)]
    #[must_use]
    pub const fn get(self) -> u32 {
        u32::from_be(self.0)
    }
}

/// The 32 bits before an IPv4 address in the second word of 128 bits.
const MAPPED: u32 = 0xffff_u32.to_be();

impl Be128 {
    /// Zero: the unspecified address.
    pub const ZERO: Self = Self([0; 2]);

    /// Returns the address of these sixteen bytes.
    #[must_use]
    pub const fn from_bytes(b: [u8; 16]) -> Self {
        Self([
            u64::from_ne_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]),
            u64::from_ne_bytes([b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]]),
        ])
    }

    /// Returns an IPv4 address in 128 bits.
    #[inline(always)]
    #[must_use]
    pub const fn mapped(address: Be32) -> Self {
        const { assert!(cfg!(target_endian = "little"), "words are put together in little-endian order") };
        Self([0, MAPPED as u64 | (address.0 as u64) << 32])
    }

    /// Returns the IPv4 address, if this is an IPv4-mapped address.
    #[inline(always)]
    #[must_use]
    pub const fn as_v4(self) -> Option<Be32> {
        let [high, low] = self.0;
        if high == 0 && low as u32 == MAPPED { Some(self.last()) } else { None }
    }

    /// Returns the last 32 bits: the IPv4 address of an IPv4-mapped address.
    #[inline(always)]
    #[must_use]
    pub const fn last(self) -> Be32 {
        Be32((self.0[1] >> 32) as u32)
    }

    /// Returns the first `prefix` bits; the other bits are zero.
    #[inline(always)]
    #[must_use]
    pub const fn masked(self, prefix: u32) -> Self {
        let [high, low] = self.0;
        Self([high & mask(prefix, 0), low & mask(prefix, 64)])
    }
}

/// Returns the bits of a word that a prefix covers, in memory order. The word begins at bit `from`.
#[inline(always)]
const fn mask(prefix: u32, from: u32) -> u64 {
    if prefix >= from + 64 {
        u64::MAX
    } else if prefix <= from {
        0
    } else {
        (u64::MAX << (from + 64 - prefix)).to_be()
    }
}

impl From<Ipv6Addr> for Be128 {
    fn from(address: Ipv6Addr) -> Self {
        Self::from_bytes(address.octets())
    }
}

impl From<IpAddr> for Be128 {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => Self::mapped(v4.into()),
            IpAddr::V6(v6) => v6.into(),
        }
    }
}

impl From<Be128> for IpAddr {
    fn from(address: Be128) -> Self {
        if let Some(v4) = address.as_v4() {
            return Self::V4(v4.into());
        }
        let mut bytes = [0; 16];
        for (chunk, word) in bytes.chunks_mut(8).zip(address.0) {
            chunk.copy_from_slice(&word.to_ne_bytes());
        }
        Self::V6(bytes.into())
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

/// Destination and source MAC address of a frame, the first twelve bytes of Ethernet, as three words in
/// memory order.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct MacPair(pub [u32; 3]);

impl MacPair {
    /// All zero: an unknown pair.
    pub const ZERO: Self = Self([0; 3]);

    /// Returns the pair of two addresses.
    #[must_use]
    pub const fn new(destination: [u8; 6], source: [u8; 6]) -> Self {
        let (d, s) = (destination, source);
        Self([
            u32::from_ne_bytes([d[0], d[1], d[2], d[3]]),
            u32::from_ne_bytes([d[4], d[5], s[0], s[1]]),
            u32::from_ne_bytes([s[2], s[3], s[4], s[5]]),
        ])
    }

    /// Returns the destination address.
    #[must_use]
    pub const fn destination(self) -> [u8; 6] {
        let (a, b) = (self.0[0].to_ne_bytes(), self.0[1].to_ne_bytes());
        [a[0], a[1], a[2], a[3], b[0], b[1]]
    }

    /// Returns the source address.
    #[must_use]
    pub const fn source(self) -> [u8; 6] {
        let (b, c) = (self.0[1].to_ne_bytes(), self.0[2].to_ne_bytes());
        [b[2], b[3], c[0], c[1], c[2], c[3]]
    }

    /// Returns the pair with destination and source exchanged: 96 bits rotated by 48.
    #[inline(always)]
    #[must_use]
    pub const fn swapped(self) -> Self {
        const { assert!(cfg!(target_endian = "little"), "words are taken apart in little-endian order") };
        let [a, b, c] = self.0;
        Self([b >> 16 | c << 16, c >> 16 | a << 16, a >> 16 | b << 16])
    }
}

/// The VLAN tags of a frame (IEEE 802.1Q), packed: the outer tag in the lower half, the inner tag in the
/// upper half. A half is the control information of a tag in the machine's byte order, except for the drop
/// eligible bit: it is set for a service tag (802.1ad, `0x88a8`), and clear for a customer tag (`0x8100`).
/// Zero is no tag.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Tags(pub u32);

impl Tags {
    /// No tags.
    pub const NONE: Self = Self(0);
    /// The priority of the outer tag.
    pub const PRIORITY: u32 = 0xe000;
    const SERVICE: u16 = 0x1000;
    const CUSTOMER_TYPE: Be16 = Be16::new(0x8100);
    const SERVICE_TYPE: Be16 = Be16::new(0x88a8);

    /// Returns whether a tag follows this `EtherType`.
    #[inline(always)]
    #[must_use]
    pub const fn is_tag(ether_type: Be16) -> bool {
        ether_type.0 == Self::CUSTOMER_TYPE.0 || ether_type.0 == Self::SERVICE_TYPE.0
    }

    /// Returns the tag of a VLAN, as a customer or a service tag.
    #[must_use]
    pub const fn vlan(id: u16, service: bool) -> Self {
        Self((id & 0x0fff | if service { Self::SERVICE } else { 0 }) as u32)
    }

    /// Returns these tags with `inner` as the inner tag.
    #[must_use]
    pub const fn around(self, inner: Self) -> Self {
        Self(self.0 | inner.0 << 16)
    }

    /// Returns the number of tags.
    #[inline(always)]
    #[must_use]
    pub const fn count(self) -> usize {
        (self.0 != 0) as usize + (self.0 >> 16 != 0) as usize
    }

    /// Returns the outer or the inner tag as a word of a frame, in memory order.
    #[inline(always)]
    #[must_use]
    pub const fn word(self, inner: bool) -> u32 {
        let half = if inner { (self.0 >> 16) as u16 } else { self.0 as u16 };
        let ether_type = if half & Self::SERVICE == 0 { Self::CUSTOMER_TYPE } else { Self::SERVICE_TYPE };
        let control = Be16::new(half & !Self::SERVICE);
        (ether_type.0 as u32) | (control.0 as u32) << 16
    }

    /// Returns the tag in a word of a frame, as the only tag.
    #[inline(always)]
    #[must_use]
    pub const fn of(word: u32) -> Self {
        let control = Be16((word >> 16) as u16).get() & !Self::SERVICE;
        Self((control | if word as u16 == Self::SERVICE_TYPE.0 { Self::SERVICE } else { 0 }) as u32)
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
    fn an_address_of_either_version_comes_back() {
        for text in ["192.0.2.1", "2001:db8::1", "::", "::1"] {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(IpAddr::from(Be128::from(address)), address);
        }
        assert_eq!(Be128::from(IpAddr::from([192, 0, 2, 1])).as_v4(), Some(Be32::from_bytes([192, 0, 2, 1])));
    }

    #[test]
    fn a_prefix_is_what_is_left_under_its_mask() {
        let address = Ipv6Addr::new(0xffff, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff);
        for prefix in 0..=128 {
            let expected = u128::MAX.checked_shl(128 - prefix).unwrap_or(0);
            assert_eq!(IpAddr::from(Be128::from(address).masked(prefix)), Ipv6Addr::from_bits(expected));
        }
    }

    #[test]
    fn tags_lie_in_a_frame_as_they_should() {
        assert_eq!(Tags::vlan(10, false).word(false).to_ne_bytes(), [0x81, 0, 0, 10]);
        let both = Tags::vlan(100, true).around(Tags::vlan(10, false));
        assert_eq!(both.word(false).to_ne_bytes(), [0x88, 0xa8, 0, 100]);
        assert_eq!(both.word(true).to_ne_bytes(), [0x81, 0, 0, 10]);
        assert_eq!([Tags::NONE.count(), Tags::vlan(10, false).count(), both.count()], [0, 1, 2]);
        assert_eq!(Tags::of(both.word(false)).around(Tags::of(both.word(true))), both);
    }

    #[test]
    fn numbers_lie_in_network_order() {
        assert_eq!(Be16::new(0x1234).0.to_ne_bytes(), [0x12, 0x34]);
        assert_eq!(Be32::from_bytes([10, 0, 0, 1]).get(), 0x0a00_0001);
        assert_eq!(Ipv4Addr::from(Be32::from(Ipv4Addr::new(10, 0, 0, 1))), Ipv4Addr::new(10, 0, 0, 1));
    }
}
