// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Flags of announced connections (`include/uapi/linux/ip_vs.h`).

/// Flags of a connection of IPVS.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Flags(
    /// The bits, in the machine's byte order.
    pub u32,
);

impl Flags {
    /// The bits of the forwarding method: [`Method`].
    pub const METHOD: u32 = 0x7;
    /// Replies do not pass the director.
    pub const NO_OUTPUT: u32 = 0x80;
    /// The connection is counted as inactive.
    pub const INACTIVE: u32 = 0x100;
    /// Sequence numbers of replies and of requests are changed by an application helper.
    pub const SEQUENCE: u32 = 0x600;
    /// The client's port is not known yet.
    pub const NO_CLIENT_PORT: u32 = 0x800;
    /// A persistence template.
    pub const TEMPLATE: u32 = 0x1000;
    /// The flags that a receiver accepts (`IP_VS_CONN_F_BACKUP_MASK`).
    pub const ACCEPTED: u32 = Self::METHOD
        | Self::NO_OUTPUT
        | Self::INACTIVE
        | Self::SEQUENCE
        | Self::NO_CLIENT_PORT
        | Self::TEMPLATE;

    /// Returns the flags of a connection with a method.
    #[must_use]
    pub const fn of(method: Method) -> Self {
        Self(method as u32)
    }

    /// Returns whether any of these bits is set.
    #[must_use]
    pub const fn has(self, bits: u32) -> bool {
        self.0 & bits != 0
    }

    /// Returns the flags with these bits.
    #[must_use]
    pub const fn with(self, bits: u32) -> Self {
        Self(self.0 | bits)
    }

    /// Returns the flags that a receiver accepts.
    #[must_use]
    pub const fn accepted(self) -> Self {
        Self(self.0 & Self::ACCEPTED)
    }

    /// Returns the method, if it is a known one. A receiver uses that of the real instead.
    #[must_use]
    pub const fn method(self) -> Option<Method> {
        Some(match self.0 & Self::METHOD {
            0 => Method::Masquerade,
            1 => Method::Local,
            2 => Method::Tunnel,
            3 => Method::Route,
            4 => Method::Bypass,
            _ => return None,
        })
    }
}

/// A forwarding method of IPVS.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u32)]
pub enum Method {
    /// `nat`. IPVS has no `fnat`: xvs announces its flows with this method, and a [parameter](super::Parameter).
    Masquerade = 0,
    /// `local`.
    Local = 1,
    /// `tun`.
    Tunnel = 2,
    /// `dr`.
    Route = 3,
    /// To the destination of the packet, without a real; no method of xvs.
    Bypass = 4,
}
