// SPDX-License-Identifier: MIT OR Apache-2.0
//! The canary: a datagram of the prober to itself. It passes the veth pair, `director_probe`, the maps of probes, and
//! the redirect by which replies return, and no interface of the host. If it does not come back, the director is sick.
#![forbid(unsafe_code)]

use std::{io, net::SocketAddr, os::fd::OwnedFd};

use lb_common::{
    ids::{IfIndex, RealId},
    schema::{FlowKey, Probe, ProbeReply, SnatBinding},
    wire::{Be16, MacPair},
};

use super::{
    ProbeProgram, TableError,
    namespace::{OWN_ADDRESS, ROUTER},
    socket,
};

/// Port of echo services.
const ECHO: u16 = 7;
/// The packet goes as far as a probe to the nearest real.
const TTL: u8 = 2;

/// The canary's addresses. No probe has its source, so that any port of the probers is free.
pub(super) struct Canary {
    from: SocketAddr,
    to: SocketAddr,
}

impl Canary {
    pub(super) const fn new(port: u16) -> Self {
        Self { from: SocketAddr::new(OWN_ADDRESS, port), to: SocketAddr::new(ROUTER, ECHO) }
    }

    /// Writes the entries by which the program returns the datagram to the interface `ifindex`.
    pub(super) fn write(
        &self,
        program: &mut ProbeProgram,
        ifindex: IfIndex,
        to_prober: MacPair,
    ) -> Result<(), TableError> {
        let reply = ProbeReply {
            source: self.to.ip().into(),
            destination: self.from.ip().into(),
            source_port: Be16::new(self.to.port()),
            destination_port: Be16::new(self.from.port()),
            ifindex,
            to_prober,
            reserved: 0,
        };
        program.put_reply(&key(self.to, self.from), reply)?;
        program.put_probe(&key(self.from, self.to), Probe { real: RealId::NONE, snat: SnatBinding::NONE })
    }

    /// Removes the entries.
    pub(super) fn remove(&self, program: &mut ProbeProgram) -> Result<(), TableError> {
        program.remove(&key(self.from, self.to), &key(self.to, self.from))
    }

    /// Opens the socket, and returns the address to connect it to.
    pub(super) fn socket(&self) -> io::Result<(OwnedFd, SocketAddr)> {
        Ok((socket::open_udp(self.from, TTL)?, self.to))
    }
}

fn key(from: SocketAddr, to: SocketAddr) -> FlowKey {
    let ports = (Be16::new(from.port()), Be16::new(to.port()));
    FlowKey::new(from.ip().into(), to.ip().into(), ports.0, ports.1, lb_common::protocol::UDP)
}
