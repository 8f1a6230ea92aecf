// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! The director's programs.

/// Index into `PROGRAMS`, an array of programs that the one that is attached goes on in. Each has a stack of its own,
/// which is 512 bytes and would not hold what is rare, too.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u32)]
pub enum Program {
    /// `director`: the program that is attached, for what had tags.
    Director = 0,
    /// `director_tagged`: takes VLAN tags off, has the rest done, and puts them on again.
    Tagged = 1,
    /// `director_other`: what becomes of an IPv4 packet that is neither TCP, UDP nor SCTP, or has no ports.
    Other = 2,
    /// `director6_other`: what becomes of an IPv6 packet that is neither TCP, UDP nor SCTP, or cannot be read.
    Ipv6Other = 3,
    /// `director6_fragment`: what becomes of a later fragment in IPv6.
    Ipv6Fragment = 4,
    /// `director6_reply`: what becomes of an IPv6 packet that has ports and is for no service: a reply, or not ours.
    Ipv6Reply = 5,
}

impl Program {
    /// Every one.
    pub const ALL: [Self; 6] =
        [Self::Director, Self::Tagged, Self::Other, Self::Ipv6Other, Self::Ipv6Fragment, Self::Ipv6Reply];

    /// Its name in the object.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ipv6Other => "director6_other",
            Self::Tagged => "director_tagged",
            Self::Director => "director",
            Self::Other => "director_other",
            Self::Ipv6Fragment => "director6_fragment",
            Self::Ipv6Reply => "director6_reply",
        }
    }
}
