// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! What the addresses of packets that are for no service mean: is it a VIP, is it a reply of a nat real?

use super::layout;
use crate::wire::{Be16, Be32};

/// Value of `ADDRESSES`, keyed by a [`Be32`]: what the address is used for.
///
/// It keeps everything that is not ours cheap: neither end of such a packet is in this map.
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

    /// Whether the address is used for that.
    #[inline(always)]
    #[must_use]
    pub const fn is(self, what: u32) -> bool {
        self.0 & what != 0
    }
}

/// Key of `SOURCES`: where the replies of a nat real come from, as they appear on the wire.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SourceKey {
    /// The RIP.
    pub address: Be32,
    /// The real's port; 0 when the service is for every port.
    pub port: Be16,
    /// TCP or UDP.
    pub protocol: u16,
}
layout!(SourceKey, size: 8, align: 4);

impl SourceKey {
    /// A key from the fields of a packet or of a configuration.
    #[inline(always)]
    #[must_use]
    pub const fn new(address: Be32, port: Be16, protocol: u8) -> Self {
        Self { address, port, protocol: protocol as u16 }
    }
}

/// Value of `SOURCES`, and of `REPLIES`, its counterpart per flow for sources that several services share.
///
/// `SOURCES` is written by the daemon. `REPLIES` is keyed by the reply's own [`super::FlowKey`] and written
/// by the programs, only for reals with [`super::Real::shared`] set.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Source {
    /// The VIP that the reply's source becomes.
    pub vip: Be32,
    /// The service's port; 0 = as the real sent it.
    pub port: Be16,
    /// 1 if several services share the source, so that `REPLIES` must tell.
    pub shared: u16,
}
layout!(Source, size: 8, align: 4);
