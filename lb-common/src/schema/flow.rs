// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! SNAT addresses and ports of `fnat` flows. The flow table itself is [`crate::flow_table`].

use super::layout;
use crate::{ids::RealId, wire::Be16};

/// A SNAT address and a port of it, reserved for one `fnat` flow. `TRANSLATIONS` and `TRANSLATIONS6` map the
/// [`super::FlowKey`] of a real's packets to this address and port to the client's own key. The programs
/// insert an entry when a `fnat` flow begins, and only if no other flow has the port towards that real; the
/// daemon deletes entries that no flow refers to.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct SnatBinding {
    /// Index into `SNAT_ADDRESSES` or `SNAT_ADDRESSES6`; 0: the director's address towards the real,
    /// [`super::Real::source`].
    pub address: u16,
    /// The port, network byte order; 0 if there is none.
    pub port: Be16,
}
layout!(SnatBinding, size: 4, align: 2);

impl SnatBinding {
    /// No SNAT address and port.
    pub const NONE: Self = Self { address: 0, port: Be16::ZERO };

    /// Number of addresses that `SNAT_ADDRESSES` holds, including the unused index 0.
    pub const ADDRESSES: usize = 256;

    /// Returns whether this is [`Self::NONE`].
    #[inline(always)]
    #[must_use]
    pub const fn is_none(self) -> bool {
        self.port.0 == 0
    }

    /// Packs address and port into one number.
    #[inline(always)]
    #[must_use]
    pub const fn packed(self) -> u32 {
        (self.address as u32) << 16 | self.port.0 as u32
    }

    /// Unpacks a result of [`Self::packed`].
    #[inline(always)]
    #[must_use]
    pub const fn unpacked(packed: u32) -> Self {
        Self { address: (packed >> 16) as u16, port: Be16(packed as u16) }
    }
}

/// Value of `BINDINGS` and `BINDINGS6`, keyed by the 5-tuple of a `fnat` flow as the client sends it: the SNAT address
/// and port of the flow, and the real towards which they are reserved. The programs insert an entry together with that of
/// `TRANSLATIONS`, and before the flow has one in `FLOWS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct SnatLease {
    /// Id of the real.
    pub real: RealId,
    /// The address and port.
    pub snat: SnatBinding,
}
layout!(SnatLease, size: 8, align: 4);
