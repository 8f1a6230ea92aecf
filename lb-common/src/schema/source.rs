// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! What the addresses of packets that are for no service mean: is it a VIP, is it a reply of a nat real?

use super::{FlowKey, layout};
use crate::packet::Ip;
use crate::wire::{Be16, Be32, Be128, MacPair, Tags};

/// Value of `ADDRESSES` and `ADDRESSES6`, keyed by an address: what it is used for.
///
/// It keeps everything that is not ours cheap: neither end of such a packet is in this map. The lower bits are flags; with
/// [`AddressUse::REAL`] the upper ones are the id of a real at that address.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct AddressUse(pub u32);
layout!(AddressUse, size: 4, align: 4);

impl AddressUse {
    /// Some service has this VIP.
    pub const VIP: u32 = 1;
    /// Some service has this VIP and port 0.
    pub const EVERY_PORT: u32 = 2;
    /// Some real with method `nat` has this RIP.
    pub const NAT_REAL: u32 = 4;
    /// Some real with method `fnat` has this RIP.
    pub const FNAT_REAL: u32 = 8;
    /// The VIP has no real that takes connections, and is to be silent to pings then.
    pub const SILENT: u32 = 16;
    /// Some real has this RIP: packets from it come in by the way that leads to it.
    pub const REAL: u32 = 32;
    /// The director itself has this address: no packet from it comes in.
    pub const OWN: u32 = 64;
    /// A broadcast address, or that of a network, of a network that the director is in: no host has it.
    pub const BROADCAST: u32 = 128;
    /// Some persistent service for FTP (TCP, port 21) has this VIP: data connections to it are that service's, too.
    pub const FTP: u32 = 256;

    /// Uses of an address as one that packets go to, or that replies come from.
    pub const FORWARDS: u32 = Self::VIP | Self::EVERY_PORT | Self::NAT_REAL | Self::FNAT_REAL;
    /// Uses of an address that speak against it as the source of a client's packet.
    pub const FORBIDS: u32 = Self::VIP | Self::REAL | Self::OWN | Self::BROADCAST;

    /// Bits of flags.
    const FLAGS: u32 = 12;

    /// Returns the use with a real's id beside its flags. Ids that do not fit are left out.
    #[must_use]
    pub const fn of_real(self, id: u32) -> Self {
        if id >> (32 - Self::FLAGS) == 0 { Self(self.0 | Self::REAL | id << Self::FLAGS) } else { self }
    }

    /// Returns the use without a real's id.
    #[must_use]
    pub const fn without_real(self) -> Self {
        Self(self.0 & ((1 << Self::FLAGS) - 1) & !Self::REAL)
    }

    /// Returns the id of a real at this address; [`super::UNSET`] if there is none.
    #[inline(always)]
    #[must_use]
    pub const fn real(self) -> u32 {
        self.0 >> Self::FLAGS
    }

    /// Returns whether replies alone come from the address, those of reals by `nat`: nothing else must be asked.
    #[inline(always)]
    #[must_use]
    pub const fn only_replies_by_nat(self) -> bool {
        const OTHERS: u32 = (1 << AddressUse::FLAGS) - 1 - AddressUse::REAL;
        self.0 & OTHERS == Self::NAT_REAL
    }

    /// Whether the address is used for that.
    #[inline(always)]
    #[must_use]
    pub const fn is(self, what: u32) -> bool {
        self.0 & what != 0
    }
}

/// Key of `SOURCES` and `SOURCES6`: where the replies of a nat real come from, as they appear on the wire.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SourceKey<A: Ip = Be128> {
    /// The RIP.
    pub address: A,
    /// The real's port; 0 when the service is for every port.
    pub port: Be16,
    /// TCP or UDP.
    pub protocol: u16,
    /// Zero.
    pub reserved: A::Padding,
}
layout!(SourceKey<Be32>, size: 8, align: 4);
layout!(SourceKey<Be128>, size: 24, align: 8);

impl<A: Ip> SourceKey<A> {
    /// A key from the fields of a packet or of a configuration.
    #[inline(always)]
    #[must_use]
    pub fn new(address: A, port: Be16, protocol: u8) -> Self {
        Self { address, port, protocol: protocol.into(), reserved: A::Padding::default() }
    }
}

/// Value of `SOURCES` and `SOURCES6`, and of `REPLIES` and `REPLIES6`, the counterpart per flow for sources that several services share.
///
/// `SOURCES` is written by the daemon. `REPLIES` is keyed by the reply's own [`super::FlowKey`] and written
/// by the programs, only for reals with [`super::Real::SHARED`] set.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Source<A: Ip = Be128> {
    /// The VIP that the reply's source becomes.
    pub vip: A,
    /// The service's port; 0 = as the real sent it.
    pub port: Be16,
    /// [`Source::SHARED`] and [`Source::HASHED`], or neither: then every flow of the service is written down, and a
    /// reply to none of them is none of the service's.
    pub flags: u16,
    /// The real that the reply comes from. 0 in `REPLIES`.
    pub real: u32,
    /// Id of the service. 0 in `REPLIES`.
    pub service: u32,
    /// Zero.
    pub reserved: A::Padding,
}
layout!(Source<Be32>, size: 16, align: 4);
layout!(Source<Be128>, size: 32, align: 8);

impl Source {
    /// Several services share the source: `REPLIES` tells which one the flow is of. This is the oldest of them, whose
    /// flows may be older than the sharing.
    pub const SHARED: u16 = 1;
    /// The service's flows need not be written down: the way back to the client is in `WAYS_BACK`.
    pub const HASHED: u16 = 2;
}

impl<A: Ip> Source<A> {
    /// A source from its fields.
    #[inline(always)]
    #[must_use]
    pub fn new(vip: A, port: Be16, flags: u16, real: u32, service: u32) -> Self {
        Self { vip, port, flags, real, service, reserved: A::Padding::default() }
    }

    /// The request that a reply from there answers.
    #[inline(always)]
    #[must_use]
    pub fn request_of(&self, reply: &FlowKey<A>) -> FlowKey<A> {
        let port = if self.port == Be16::ZERO { reply.source_port } else { self.port };
        FlowKey::new(reply.destination, self.vip, reply.destination_port, port, reply.protocol as u8)
    }
}

impl<A: Ip> Source<A> {
    /// Whether that flag is set.
    #[inline(always)]
    #[must_use]
    pub const fn is(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }
}

/// Value of `WAYS_BACK` and `WAYS_BACK6`, keyed by a client's address: how to send to it, learnt from what it sent.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct WayBack {
    /// The device that its packets come in by.
    pub ifindex: u32,
    /// Destination and source of frames to it.
    pub to_client: MacPair,
    /// Their VLAN tags.
    pub tags: Tags,
}
layout!(WayBack, size: 20, align: 4);
