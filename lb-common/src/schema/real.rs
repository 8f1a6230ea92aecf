// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Real servers: the next hop of their packets, and the forwarding method.

use super::{FlowKey, layout};
use crate::{
    ids::{IfIndex, ServiceId},
    packet::Ip,
    wire::{Be16, Be128, MacPair, Tags},
};

/// Value of `REALS`, an array by real id. Each real belongs to one service. Only the daemon writes it.
///
/// | offset | field            | meaning                                                       |
/// |-------:|------------------|---------------------------------------------------------------|
/// | 0      | `macs`           | destination and source MAC of frames to it; zero if unknown   |
/// | 12     | `ifindex`        | the interface that its packets leave by                       |
/// | 16     | `address`        | the RIP                                                       |
/// | 32     | `service`        | id of the service; [`ServiceId::NONE`] if the real does not exist |
/// | 36     | `port`           | the real's port, 0 = as the client sent it                    |
/// | 38     | `mtu`            | MTU towards the real in bytes, the machine's byte order       |
/// | 40     | `method`         | a [`Method`]                                                  |
/// | 42     | `flags`          | [`Real::SHARED`], `LEAVING`, `RESET`, `IPV6`, `NEEDS_FLOW`, `TAGGED`, `REPLACED`, `NEIGHBOUR`, `DOWN` |
/// | 44     | `tunnel`         | a [`Tunnel`], perhaps with [`Tunnel::CHECKED`]                |
/// | 46     | `tunnel_port`    | the real's port for [`Tunnel::Gue`]                           |
/// | 48     | `source`         | the director's address towards the RIP                        |
/// | 64     | `weight`         | share of new connections, 0 = none                            |
/// | 68     | `upper`          | upper threshold in connections, 0 = no limit                  |
/// | 72     | `lower`          | lower threshold in connections, 0 = 3/4 of upper              |
/// | 76     | `tags`           | VLAN tags of frames to it, with [`Real::TAGGED`]              |
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Real {
    /// Destination and source MAC address of frames to the real; all zero while the next hop is unknown.
    pub macs: MacPair,
    /// Ifindex of the interface by which packets for the real leave.
    pub ifindex: IfIndex,
    /// The RIP.
    pub address: Be128,
    /// Id of the service that the real belongs to.
    pub service: ServiceId,
    /// The real's port; 0 = as the client sent it.
    pub port: Be16,
    /// Size of the largest IP packet that fits the path to the real, in bytes.
    pub mtu: u16,
    /// The forwarding method, a [`Method`].
    pub method: u16,
    /// [`Real::SHARED`], [`Real::LEAVING`], [`Real::RESET`], [`Real::IPV6`], [`Real::NEEDS_FLOW`],
    /// [`Real::TAGGED`], [`Real::REPLACED`], [`Real::NEIGHBOUR`], [`Real::DOWN`].
    pub flags: u16,
    /// The headers between the outer header of `tun` and the packet: a [`Tunnel`], perhaps with
    /// [`Tunnel::CHECKED`].
    pub tunnel: u16,
    /// The real's UDP port for [`Tunnel::Gue`].
    pub tunnel_port: Be16,
    /// The director's own address towards the RIP (DIP), of the RIP's version: outer source of `tun`, and
    /// source of `fnat` requests if no SNAT addresses are configured.
    pub source: Be128,
    /// Share of new connections; 0 accepts none.
    pub weight: u32,
    /// Number of connections at which the real accepts no new ones; 0 = no limit.
    pub upper: u32,
    /// Number of connections below which the real accepts new ones again; 0 = three quarters of `upper`.
    pub lower: u32,
    /// VLAN tags of frames to the real, with [`Real::TAGGED`].
    pub tags: Tags,
}
layout!(Real, size: 80, align: 8);

impl Real {
    /// Another service has a `nat` real with the same address and port, so that the source of a reply alone
    /// does not identify the service.
    pub const SHARED: u16 = 1;
    /// The real was removed: only its existing TCP flows may still refer to it.
    pub const LEAVING: u16 = 2;
    /// The next packet of each flow on the removed real is answered with a reset.
    pub const RESET: u16 = 4;

    /// The RIP is an IPv6 address. Its version is that of the service, except with `tun`.
    pub const IPV6: u16 = 8;
    /// Replies need a flow table entry, regardless of the tracking of the service: `fnat`, and `nat` with
    /// [`Real::SHARED`].
    pub const NEEDS_FLOW: u16 = 16;
    /// [`Real::tags`], which may be none, replaces the tags of a frame. Without this flag, a frame keeps the
    /// tags that it arrived with if it leaves by the same interface, and has none if it leaves by another
    /// one.
    pub const TAGGED: u16 = 32;
    /// With [`Real::LEAVING`]: the real still exists, but new flows reach it by another method. All its flows
    /// with this method continue, UDP flows too.
    pub const REPLACED: u16 = 64;

    /// The real takes no new flows because of its health, the operator's state or its next hop, and its weight here is
    /// not the configured one. With [`Real::LEAVING`], its existing flows end as if it were removed.
    pub const DOWN: u16 = 256;

    /// Returns whether a flag is set.
    #[inline(always)]
    #[must_use]
    pub const fn is(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    /// No router is between the director and the real: frames from the real have the source MAC address to
    /// which frames for the real are sent.
    pub const NEIGHBOUR: u16 = 128;

    /// Returns whether only the MAC addresses and the time to live of packets to the real change: by `dr`, with the
    /// tags that they arrived with.
    #[inline(always)]
    #[must_use]
    pub const fn is_plain(&self) -> bool {
        self.method | self.flags & Self::TAGGED == Method::Dr as u16
    }

    /// Returns whether a flow of a protocol without a reset must leave the real, because the real was
    /// removed.
    #[inline(always)]
    #[must_use]
    pub const fn is_removed(&self) -> bool {
        self.flags & (Self::LEAVING | Self::REPLACED) == Self::LEAVING
    }

    /// Returns whether the real exists.
    #[inline(always)]
    #[must_use]
    pub const fn exists(&self) -> bool {
        !self.service.is_none()
    }

    /// Returns whether the next hop towards the real is known.
    #[inline(always)]
    #[must_use]
    pub const fn reachable(&self) -> bool {
        let [a, b, _] = self.macs.0;
        a != 0 || b != 0
    }

    /// Returns the key of the reply to a request, as a `nat` real sends it.
    #[inline(always)]
    #[must_use]
    pub fn reply_key<A: Ip>(&self, request: &FlowKey<A>) -> FlowKey<A> {
        let port = if self.port == Be16::ZERO { request.destination_port } else { self.port };
        FlowKey::new(
            A::narrow(self.address),
            request.source,
            port,
            request.source_port,
            request.protocol as u8,
        )
    }
}

/// The headers between the outer header of a tunnel and the inner packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u16)]
pub enum Tunnel {
    /// No header (RFC 2003, RFC 2473).
    Ipip = 0,
    /// A GRE header without key or sequence number (RFC 2784).
    Gre = 1,
    /// A UDP header and a GUE header of version 0 (draft-ietf-intarea-gue).
    Gue = 2,
}

impl Tunnel {
    /// Flag of a tunnel whose GRE or UDP header has a checksum over itself and all behind it. Without this
    /// flag, GRE has no checksum, and the UDP checksum is 0.
    pub const CHECKED: u16 = 4;

    /// Returns the number without [`Tunnel::CHECKED`].
    #[inline(always)]
    #[must_use]
    pub const fn kind(number: u16) -> u16 {
        number & !Self::CHECKED
    }

    /// Returns the number of bytes between outer header and inner packet for a tunnel with this number.
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

/// Forwarding method of a real.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u16)]
pub enum Method {
    /// Direct routing: only the MAC addresses change.
    Dr = 0,
    /// Tunnelling: an outer header carries the packet, see [`Tunnel`].
    Tun = 1,
    /// Masquerading: the destination becomes the real's, and replies return through the director.
    Nat = 2,
    /// The director itself is the real.
    Local = 3,
    /// Full NAT: source and destination change, so that replies return to the director by routing.
    Fnat = 4,
}

impl Method {
    /// Returns the method with this number, if it exists.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Be32;

    #[test]
    fn a_reply_has_the_address_and_port_of_the_real() {
        let [client, vip, rip] = [0x0a00_0001_u32, 0x0a00_0064, 0x0a00_000b].map(|ip| Be32(ip.to_be()));
        let request = FlowKey::new(client, vip, Be16::new(40_000), Be16::new(80), 6);
        let reply = |port| FlowKey::new(rip, client, Be16::new(port), Be16::new(40_000), 6);
        for (port, expected) in [(8080, reply(8080)), (0, reply(80))] {
            let real = Real { address: Be128::mapped(rip), port: Be16::new(port), ..Real::default() };
            assert_eq!(real.reply_key(&request), expected);
            assert_eq!(real.reply_key(&request.widened()), expected.widened());
        }
    }
}
