// SPDX-License-Identifier: MIT OR Apache-2.0
//! A packet on its way to a real, by the real's method (docs/forwarding.md).

use std::net::SocketAddr;

use lb_common::reason::Reason;

use super::{
    Chance, Model,
    director::{Arrival, Sent, Stop},
    frame::Frame,
    parse::Part,
    select::Chosen,
    state::Decision,
    translate::{End, hop, replace_end},
    tunnel,
    world::{Method, Service},
};
use crate::packet::Action;

impl Model {
    /// Forwards a client's packet for a service.
    pub fn request(
        &mut self,
        arrival: &Arrival,
        service: &Service,
        chance: &mut Chance,
    ) -> Result<Sent, Stop> {
        let chosen = self.choose(arrival, service, chance);
        let Chosen { real, dip } = chosen.map_err(|reason| Stop::at(service.id, reason))?;
        if arrival.packet.header.part == Part::First {
            self.state
                .datagrams
                .insert(arrival.datagram(), (Decision::Request { real, dip }, arrival.come()));
        }
        self.forward(arrival, real, dip)
    }

    /// Sends a packet to a real; with `fnat` from this port of the director.
    pub fn forward(&mut self, arrival: &Arrival, id: u32, dip: Option<u16>) -> Result<Sent, Stop> {
        self.forward_changed(arrival, arrival.frame.packet.clone(), id, dip)
    }

    /// Forwards a packet in which another part has already been changed.
    pub fn forward_changed(
        &mut self,
        arrival: &Arrival,
        mut packet: Vec<u8>,
        id: u32,
        dip: Option<u16>,
    ) -> Result<Sent, Stop> {
        let real = self.world.reals[&id].clone();
        let parsed = &arrival.packet;
        let (header, stop) = (&parsed.header, |reason| Stop::before(&real, reason));
        if real.method == Method::Local {
            self.count_in(id, header.length);
            return Err(stop(Reason::Local));
        }
        let macs = real.macs.ok_or_else(|| stop(Reason::NextHopUnknown))?;
        may_hop(arrival).map_err(stop)?;
        if real.is_too_small_for(header.length) {
            let later = header.part == Part::Later;
            return Err(stop(if later { Reason::TooBigFragment } else { Reason::TooBig }));
        }
        hop(&mut packet, header.version);
        let mut version = header.version;
        match real.method {
            Method::Dr | Method::Local => {}
            Method::Tun => (version, packet) = tunnel::within(&packet, parsed, &real),
            Method::Nat => replace_end(&mut packet, parsed, End::Destination, real.address),
            Method::Fnat => {
                let director = SocketAddr::new(real.director, dip.expect("flows by fnat have a port"));
                replace_end(&mut packet, parsed, End::Source, director);
                replace_end(&mut packet, parsed, End::Destination, real.address);
            }
        }
        let action = self.action(arrival, real.device).map_err(stop)?;
        let tags = match &real.tags {
            // Its own, and the priority of the frame.
            Some(tags) => with_priority(tags, arrival.frame.priority()),
            None if action == Action::Tx => arrival.frame.tags.clone(),
            None => Vec::new(),
        };
        self.count_in(id, header.length);
        Ok(Sent { action, frame: Frame { macs, tags, version, packet }, real: id })
    }

    /// Returns the action for a frame that leaves by the interface of its arrival, or by another one that
    /// accepts frames.
    pub fn action(&self, arrival: &Arrival, device: u32) -> Result<Action, Reason> {
        match device {
            _ if device == arrival.device => Ok(Action::Tx),
            _ if self.world.devices.contains(&device) => Ok(Action::Redirect),
            _ => Err(Reason::RedirectFailed),
        }
    }

    fn count_in(&mut self, real: u32, bytes: usize) {
        let counters = self.state.count(real);
        counters.packets_in += 1;
        counters.bytes_in += bytes as u64;
    }
}

/// Checks that the TTL of a packet permits another hop (RFC 1812, section 5.3.1; RFC 8200, section 3).
pub fn may_hop(arrival: &Arrival) -> Result<(), Reason> {
    let hops = arrival.frame.packet[arrival.packet.header.version.hops()];
    if hops > 1 { Ok(()) } else { Err(Reason::TtlExceeded) }
}

/// Returns the tags with this priority in the outer one.
fn with_priority(tags: &[[u8; 4]], priority: u8) -> Vec<[u8; 4]> {
    let mut tags = tags.to_vec();
    if let Some(outer) = tags.first_mut() {
        outer[2] = outer[2] & 0x1f | priority;
    }
    tags
}
