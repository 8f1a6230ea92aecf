// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! The return path of a reply.

use lb_common::{
    ids::{IfIndex, RealId},
    packet::Ip,
    schema::{FlowKey, Fragment, ReturnPath},
    wire::{Be16, MacPair, Tags},
};

/// The return path of a reply, and the addresses and ports that the reply leaves with.
pub struct Way<A> {
    /// Id of the real that sent the reply.
    pub real: RealId,
    /// The new source address.
    pub vip: A,
    /// The new source port; 0 keeps the port.
    pub port: Be16,
    /// The new destination address, for `fnat`; zero keeps the address.
    pub client: A,
    /// The new destination port; 0 keeps the port.
    pub client_port: Be16,
    ifindex: IfIndex,
    to_client: MacPair,
    tags: Tags,
}

impl<A: Ip> Way<A> {
    /// Returns the return path of a later fragment.
    #[inline(always)]
    pub fn of_fragment(fragment: &Fragment<A>) -> Self {
        Self {
            real: fragment.real,
            vip: fragment.vip,
            port: Be16::ZERO,
            client: fragment.client,
            client_port: Be16::ZERO,
            ifindex: fragment.ifindex,
            to_client: fragment.to_client,
            tags: fragment.tags,
        }
    }

    /// Returns the return path to the client of a request.
    #[inline(always)]
    pub fn of_request(request: &FlowKey<A>, real: RealId, back: ReturnPath) -> Self {
        Self {
            real,
            vip: request.destination,
            port: request.destination_port,
            client: A::default(),
            client_port: Be16::ZERO,
            ifindex: back.ifindex,
            to_client: back.to_client,
            tags: back.tags,
        }
    }

    /// Sets the client as the new destination, for a reply to a SNAT address.
    #[inline(always)]
    pub fn for_client_of(self, request: &FlowKey<A>) -> Self {
        Self { client: request.source, client_port: request.source_port, ..self }
    }

    /// Returns the interface, MAC addresses and VLAN tags by which the reply leaves.
    #[inline(always)]
    pub fn back(&self) -> ReturnPath {
        ReturnPath { ifindex: self.ifindex, to_client: self.to_client, tags: self.tags }
    }
}
