// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! The director's programs.

/// Index into `PROGRAMS`, an array of programs that the one that is attached goes on in. Each has a stack of its own,
/// which is 512 bytes and would not hold both versions of IP.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u32)]
pub enum Program {
    /// `director6`: what becomes of an IPv6 packet.
    Ipv6 = 0,
    /// `director6_other`: the same, if it is no client's for a service.
    Ipv6Other = 1,
    /// `director_tagged`: takes VLAN tags off, has the rest done, and puts them on again.
    Tagged = 2,
    /// `director`: the program that is attached, for what had tags.
    Director = 3,
    /// `director_other`: what becomes of an IPv4 packet that is neither TCP, UDP nor SCTP, or has no ports.
    Other = 4,
}

impl Program {
    /// Every one.
    pub const ALL: [Self; 5] = [Self::Ipv6, Self::Ipv6Other, Self::Tagged, Self::Director, Self::Other];

    /// Its name in the object.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ipv6 => "director6",
            Self::Ipv6Other => "director6_other",
            Self::Tagged => "director_tagged",
            Self::Director => "director",
            Self::Other => "director_other",
        }
    }
}
