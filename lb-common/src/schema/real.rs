// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Real servers: where a packet for one goes, and how.

use super::{UNSET, layout};
use crate::wire::{Be16, Be128, MacPair, Tags};

/// Value of `REALS`, an array by real id. Each real belongs to one service. Written by the daemon alone.
///
/// | offset | field            | meaning                                                       |
/// |-------:|------------------|---------------------------------------------------------------|
/// | 0      | `macs`           | destination and source of its frames; zero while not known    |
/// | 12     | `ifindex`        | the device that its packets leave by                          |
/// | 16     | `address`        | the RIP                                                       |
/// | 32     | `service`        | id of the service; [`UNSET`] when there is no such real       |
/// | 36     | `port`           | the real's port, 0 = as the client sent it                    |
/// | 38     | `mtu`            | IP bytes that the device takes, the machine's order           |
/// | 40     | `method`         | a [`Method`]                                                  |
/// | 42     | `flags`          | [`Real::SHARED`], `LEAVING`, `RESET`, `IPV6`, `NEEDS_FLOW`, `TAGGED`, `REPLACED`, `NEIGHBOUR` |
/// | 44     | `tunnel`         | a [`Tunnel`], perhaps with [`Tunnel::CHECKED`]                |
/// | 46     | `tunnel_port`    | the real's port for [`Tunnel::Gue`]                           |
/// | 48     | `source`         | the director's address towards the RIP                        |
/// | 64     | `weight`         | its share of new connections, 0 = none                        |
/// | 68     | `upper`          | connections at which it takes no more, 0 = no limit           |
/// | 72     | `lower`          | connections below which it takes more again, 0 = 3/4 of upper |
/// | 76     | `tags`           | VLAN tags of its frames, with [`Real::TAGGED`]                |
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Real {
    /// Destination and source of its frames; all zero while the next hop is not known.
    pub macs: MacPair,
    /// The device that a packet for this real leaves by.
    pub ifindex: u32,
    /// The RIP.
    pub address: Be128,
    /// Id of the service that the real belongs to.
    pub service: u32,
    /// The real's port, 0 = as the client sent it.
    pub port: Be16,
    /// The largest IP packet that the device takes, in bytes.
    pub mtu: u16,
    /// The forwarding method, a [`Method`].
    pub method: u16,
    /// [`Real::SHARED`], [`Real::LEAVING`], [`Real::RESET`], [`Real::IPV6`], [`Real::NEEDS_FLOW`],
    /// [`Real::TAGGED`], [`Real::REPLACED`], [`Real::NEIGHBOUR`].
    pub flags: u16,
    /// What is between the outer header of `tun` and the packet: a [`Tunnel`], perhaps with [`Tunnel::CHECKED`].
    pub tunnel: u16,
    /// The real's UDP port for [`Tunnel::Gue`].
    pub tunnel_port: Be16,
    /// The director's own address towards the RIP, of its version: outer source of `tun`, source of `fnat` where no pool of
    /// addresses was given.
    pub source: Be128,
    /// Its share of new connections; 0 takes none.
    pub weight: u32,
    /// Connections at which it takes no more; 0 = no limit.
    pub upper: u32,
    /// Connections below which it takes more again; 0 = three quarters of `upper`.
    pub lower: u32,
    /// The VLAN tags of its frames, with [`Real::TAGGED`].
    pub tags: Tags,
}
layout!(Real, size: 80, align: 8);

impl Real {
    /// Another service sends by `nat` to the same address and port, so that a reply's source alone does not name the
    /// service.
    pub const SHARED: u16 = 1;
    /// The real was removed: only TCP flows that are on it may still name it.
    pub const LEAVING: u16 = 2;
    /// The next packet of each of those flows is answered with a reset.
    pub const RESET: u16 = 4;

    /// The RIP is one of IPv6. It is its service's version but for `tun`.
    pub const IPV6: u16 = 8;
    /// Replies need the flow's entry, whatever the service tracks: `fnat`, and `nat` with [`Real::SHARED`].
    pub const NEEDS_FLOW: u16 = 16;
    /// Its frames have a say about VLAN tags of their own: [`Real::tags`], which may be none. Without it a frame keeps those
    /// that it came with, if it leaves by the device that it came by, and has none if it leaves by another.
    pub const TAGGED: u16 = 32;
    /// With [`Real::LEAVING`]: the real is there as before, and new flows reach it by another method. All flows that are
    /// on it by this one go on, those of UDP too.
    pub const REPLACED: u16 = 64;

    /// Whether a flag is set.
    #[inline(always)]
    #[must_use]
    pub const fn is(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    /// No router lies between the director and the real: its frames come from the address that those to it go to.
    pub const NEIGHBOUR: u16 = 128;

    /// Returns whether a flow of a protocol without a reset must leave the real, because the real was removed.
    #[inline(always)]
    #[must_use]
    pub const fn is_removed(&self) -> bool {
        self.flags & (Self::LEAVING | Self::REPLACED) == Self::LEAVING
    }

    /// Whether there is such a real.
    #[inline(always)]
    #[must_use]
    pub const fn exists(&self) -> bool {
        self.service != UNSET
    }

    /// Whether the way to the real is known.
    #[inline(always)]
    #[must_use]
    pub const fn reachable(&self) -> bool {
        let [a, b, _] = self.macs.0;
        a != 0 || b != 0
    }
}

/// What is between the outer header of a tunnel and the packet in it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u16)]
pub enum Tunnel {
    /// Nothing (RFC 2003, RFC 2473).
    Ipip = 0,
    /// A header of generic routing encapsulation, without key or sequence number (RFC 2784).
    Gre = 1,
    /// UDP, and a header of generic UDP encapsulation, version 0 (draft-ietf-intarea-gue).
    Gue = 2,
}

impl Tunnel {
    /// With this bit, what a GRE header or a UDP header and all behind it hold is summed up in its checksum; without, GRE has
    /// none, and that of UDP is 0.
    pub const CHECKED: u16 = 4;

    /// The number without [`Tunnel::CHECKED`].
    #[inline(always)]
    #[must_use]
    pub const fn kind(number: u16) -> u16 {
        number & !Self::CHECKED
    }

    /// Bytes between outer header and packet for a tunnel of that number.
    #[inline(always)]
    #[must_use]
    pub const fn length(number: u16) -> usize {
        const GRE: u16 = Tunnel::Gre as u16;
        const GRE_CHECKED: u16 = GRE | Tunnel::CHECKED;
        const GUE: u16 = Tunnel::Gue as u16;
        match number {
            GRE => 4,
            GRE_CHECKED => 8,
            _ if Self::kind(number) == GUE => 12,
            _ => 0,
        }
    }
}

/// How packets reach a real.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u16)]
pub enum Method {
    /// Direct routing: only the MAC addresses change.
    Dr = 0,
    /// Tunnelling: a packet in a packet, see [`Tunnel`].
    Tun = 1,
    /// Masquerading: the destination becomes the real's, and replies come back through the director.
    Nat = 2,
    /// The director itself is the real.
    Local = 3,
    /// Full NAT: both ends change, so that replies come back by themselves.
    Fnat = 4,
}

impl Method {
    /// The method of that number, if there is one.
    #[inline(always)]
    #[must_use]
    pub const fn from_number(number: u16) -> Option<Self> {
        match number {
            0 => Some(Self::Dr),
            1 => Some(Self::Tun),
            2 => Some(Self::Nat),
            3 => Some(Self::Local),
            4 => Some(Self::Fnat),
            _ => None,
        }
    }
}
