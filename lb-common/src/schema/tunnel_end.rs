// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Which tunnels the decapsulator of a real server takes.

use super::layout;

/// Value of `TUNNEL_ENDS`, keyed by an address of 128 bits: what it may be in the outer header of a tunnel. The entry of `::`
/// says what is not checked. Written by `xvs host setup` and the agent, read by the decapsulator.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct TunnelEnd(pub u32);
layout!(TunnelEnd, size: 4, align: 4);

impl TunnelEnd {
    /// An address of this host: tunnels to it end here. At `::`, any address is.
    pub const HERE: u32 = 1;
    /// A director: tunnels from it are taken. At `::`, those from any address are.
    pub const DIRECTOR: u32 = 2;
}
