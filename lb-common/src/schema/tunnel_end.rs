// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Tunnels that the decapsulator of a real server accepts.

use super::layout;

/// Value of `TUNNEL_ENDS`, keyed by an address of 128 bits: the roles that the address may have in the outer
/// header of a tunnel. The entry of `::` disables checks. `xvs host setup` and the agent write the map; the
/// decapsulator reads it.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct TunnelEnd(pub u32);
layout!(TunnelEnd, size: 4, align: 4);

impl TunnelEnd {
    /// An address of this host, at which tunnels end. At `::`: tunnels to any address end here.
    pub const HERE: u32 = 1;
    /// A director, from which tunnels are accepted. At `::`: tunnels from any address are accepted.
    pub const DIRECTOR: u32 = 2;
}
