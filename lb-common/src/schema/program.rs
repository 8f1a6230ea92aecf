// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! The director's programs.

/// Index into `PROGRAMS`, an array of programs in which the attached one continues. Each program has a stack
/// of its own: the 512 bytes of one stack do not suffice for the rare cases too.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u32)]
pub enum Program {
    /// `director`: the attached program, which `director_tagged` also calls for a frame without its VLAN
    /// tags.
    Director = 0,
    /// `director_tagged`: removes VLAN tags, calls `director`, and adds the tags again.
    Tagged = 1,
    /// `director_other`: handles IPv4 packets that are neither TCP, UDP nor SCTP, or have no readable ports.
    Other = 2,
    /// `director6_other`: handles IPv6 packets that are neither TCP, UDP nor SCTP, or have no readable ports.
    Ipv6Other = 3,
    /// `director6_fragment`: handles later IPv6 fragments.
    Ipv6Fragment = 4,
    /// `director6_reply`: handles IPv6 packets that have ports and are for no service: replies, or packets
    /// that are not ours.
    Ipv6Reply = 5,
    /// `director_probe_reply`: handles packets from VIPs and reals that are not ours otherwise: replies to
    /// health probes, and ICMP errors about probes.
    ProbeReply = 6,
}

impl Program {
    /// All programs.
    pub const ALL: [Self; 7] = [
        Self::Director,
        Self::Tagged,
        Self::Other,
        Self::Ipv6Other,
        Self::Ipv6Fragment,
        Self::Ipv6Reply,
        Self::ProbeReply,
    ];

    /// Returns the name in the object.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ipv6Other => "director6_other",
            Self::Tagged => "director_tagged",
            Self::Director => "director",
            Self::Other => "director_other",
            Self::Ipv6Fragment => "director6_fragment",
            Self::Ipv6Reply => "director6_reply",
            Self::ProbeReply => "director_probe_reply",
        }
    }
}
