// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Uses of addresses, the sources of replies, and return paths: they classify packets that are for no
//! service.

use super::{FlowKey, layout};
use crate::ids::{IfIndex, RealId, ServiceId};
use crate::packet::Ip;
use crate::wire::{Be16, Be32, Be128, MacPair, Tags};

/// Value of `ADDRESSES` and `ADDRESSES6`, keyed by an address: the uses of the address.
///
/// The map keeps packets of no service cheap: neither of their addresses is in it. The lower bits are flags;
/// with [`AddressUse::REAL`] the upper bits are the id of a real at that address.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct AddressUse(pub u32);
layout!(AddressUse, size: 4, align: 4);

impl AddressUse {
    /// A service has this VIP.
    pub const VIP: u32 = 1;
    /// A service has this VIP and port 0.
    pub const EVERY_PORT: u32 = 2;
    /// A real with method `nat` has this RIP.
    pub const NAT_REAL: u32 = 4;
    /// A real with method `fnat` has this RIP.
    pub const FNAT_REAL: u32 = 8;
    /// The VIP has no real that accepts connections, and must not answer pings meanwhile.
    pub const SILENT: u32 = 16;
    /// A real has this RIP: packets from it arrive by the interface that leads to it.
    pub const REAL: u32 = 32;
    /// The director itself has this address: no packet from it arrives.
    pub const OWN: u32 = 64;
    /// The broadcast or network address of a network of the director: no host has it.
    pub const BROADCAST: u32 = 128;
    /// A persistent FTP service (TCP, port 21) has this VIP: data connections to the VIP belong to that
    /// service too.
    pub const FTP: u32 = 256;

    /// Uses of an address to which packets are sent, or from which replies come.
    pub const FORWARDS: u32 = Self::VIP | Self::EVERY_PORT | Self::NAT_REAL | Self::FNAT_REAL;
    /// Uses of an address that forbid it as the source of a client's packet.
    pub const FORBIDS: u32 = Self::VIP | Self::REAL | Self::OWN | Self::BROADCAST;

    /// Number of bits for flags.
    const FLAGS: u32 = 12;

    /// Returns the use with the id of a real beside its flags. Leaves out ids that do not fit.
    #[must_use]
    pub const fn of_real(self, id: RealId) -> Self {
        if id.0 >> (32 - Self::FLAGS) == 0 { Self(self.0 | Self::REAL | id.0 << Self::FLAGS) } else { self }
    }

    /// Returns the use without a real's id.
    #[must_use]
    pub const fn without_real(self) -> Self {
        Self(self.0 & ((1 << Self::FLAGS) - 1) & !Self::REAL)
    }

    /// Returns the id of a real at this address; [`RealId::NONE`] if there is none.
    #[inline(always)]
    #[must_use]
    pub const fn real(self) -> RealId {
        RealId(self.0 >> Self::FLAGS)
    }

    /// Returns whether the address is that of nat reals only, so that no check but that for replies is
    /// necessary.
    #[inline(always)]
    #[must_use]
    pub const fn only_replies_by_nat(self) -> bool {
        const OTHERS: u32 = (1 << AddressUse::FLAGS) - 1 - AddressUse::REAL;
        self.0 & OTHERS == Self::NAT_REAL
    }

    /// Returns whether the address has one of these uses.
    #[inline(always)]
    #[must_use]
    pub const fn is(self, what: u32) -> bool {
        self.0 & what != 0
    }
}

/// Key of `SOURCES` and `SOURCES6`: the origin of a nat real's replies, in the encoding of the wire.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SourceKey<A: Ip = Be128> {
    /// The RIP.
    pub address: A,
    /// The real's port; 0 if the service is for every port.
    pub port: Be16,
    /// IANA number of TCP, UDP or SCTP.
    pub protocol: u16,
    /// Zero.
    pub reserved: A::Padding,
}
layout!(SourceKey<Be32>, size: 8, align: 4);
layout!(SourceKey<Be128>, size: 24, align: 8);

impl<A: Ip> SourceKey<A> {
    /// Returns a key from the fields of a packet or of a configuration.
    #[inline(always)]
    #[must_use]
    pub fn new(address: A, port: Be16, protocol: u8) -> Self {
        Self { address, port, protocol: protocol.into(), reserved: A::Padding::default() }
    }
}

/// Value of `SOURCES` and `SOURCES6`, and of `REPLIES` and `REPLIES6`, their counterpart per flow for sources
/// that several services share.
///
/// The daemon writes `SOURCES`. The programs write `REPLIES`, keyed by the reply's own [`super::FlowKey`],
/// for reals with [`super::Real::SHARED`] only.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Source<A: Ip = Be128> {
    /// The VIP, which replaces the source of a reply.
    pub vip: A,
    /// The service's port; 0 = as the real sent it.
    pub port: Be16,
    /// [`Source::SHARED`] and [`Source::HASHED`]. If neither is set, every flow of the service is tracked,
    /// and a reply without a flow table entry does not belong to the service.
    pub flags: u16,
    /// Id of the real that sends the reply; 0 in `REPLIES`.
    pub real: RealId,
    /// Id of the service; 0 in `REPLIES`.
    pub service: ServiceId,
    /// Zero.
    pub reserved: A::Padding,
}
layout!(Source<Be32>, size: 16, align: 4);
layout!(Source<Be128>, size: 32, align: 8);

impl Source {
    /// Several services share the source: `REPLIES` has the service of each flow. This entry is that of the
    /// oldest service, whose flows may be older than the sharing.
    pub const SHARED: u16 = 1;
    /// The service need not track its flows: the return path to the client is in `RETURN_PATHS`.
    pub const HASHED: u16 = 2;
}

impl<A: Ip> Source<A> {
    /// Returns a source from its fields.
    #[inline(always)]
    #[must_use]
    pub fn new(vip: A, port: Be16, flags: u16, real: RealId, service: ServiceId) -> Self {
        Self { vip, port, flags, real, service, reserved: A::Padding::default() }
    }

    /// Returns the request that a reply from this source answers.
    #[inline(always)]
    #[must_use]
    pub fn request_of(&self, reply: &FlowKey<A>) -> FlowKey<A> {
        let port = if self.port == Be16::ZERO { reply.source_port } else { self.port };
        FlowKey::new(reply.destination, self.vip, reply.destination_port, port, reply.protocol as u8)
    }
}

impl<A: Ip> Source<A> {
    /// Returns whether a flag is set.
    #[inline(always)]
    #[must_use]
    pub const fn is(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }
}

/// Value of `RETURN_PATHS` and `RETURN_PATHS6`, keyed by a client's address: the return path to the client,
/// learnt from its last packet.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ReturnPath {
    /// Ifindex of the interface by which the client's packets arrive.
    pub ifindex: IfIndex,
    /// Destination and source MAC address of frames to the client.
    pub to_client: MacPair,
    /// VLAN tags of frames to the client.
    pub tags: Tags,
}
layout!(ReturnPath, size: 20, align: 4);
