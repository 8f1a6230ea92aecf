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
}

impl Program {
    /// Every one.
    pub const ALL: [Self; 2] = [Self::Ipv6, Self::Ipv6Other];

    /// Its name in the object.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ipv6 => "director6",
            Self::Ipv6Other => "director6_other",
        }
    }
}
