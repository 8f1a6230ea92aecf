// SPDX-License-Identifier: MIT OR Apache-2.0
//! Selection of the real of a client's packet: the real of its flow, else the choice of the scheduler. Also
//! adds the entries that the flow needs (docs/architecture.md, "Tracking").

use std::net::SocketAddr;

use lb_common::reason::Reason;

use super::{
    Chance, Model, Tuple,
    bytes::octets,
    connection::{State, begins, is_connection},
    director::Arrival,
    parse::{
        Packet, flag,
        number::{TCP, UDP},
    },
    state::Flow,
    world::{Method, Real, Service, Slot, Tracking, World},
};

/// A real for a packet.
#[derive(Clone, Copy, Debug)]
pub struct Chosen {
    /// Id of the real.
    pub real: u32,
    /// By `fnat`: the port of the director that the packet comes from.
    pub dip: Option<u16>,
}

/// The real that was picked for a packet of an unknown flow.
struct Picked {
    real: u32,
    /// True if the flow is tracked.
    record: bool,
}

impl Slot {
    /// Returns the real of an untracked flow, and whether the flow must be tracked. In a slot in transition a
    /// SYN goes to the new real; other packets, whose flows are older than the move, go to the previous real.
    pub fn choose(self, service: &Service, opens: bool) -> (u32, bool) {
        match self.moved {
            Some((base, long_ago)) if service.tracking == Tracking::Auto && !long_ago => {
                (if opens { self.now } else { base }, true)
            }
            _ => (self.now, false),
        }
    }
}

impl Model {
    /// Returns the real of a client's packet.
    pub fn choose(
        &mut self,
        arrival: &Arrival,
        service: &Service,
        chance: &mut Chance,
    ) -> Result<Chosen, Reason> {
        let packet = &arrival.packet;
        let mut slot = None;
        if service.tracking != Tracking::Full {
            if service.table.is_empty() {
                return Err(Reason::NoReal);
            }
            let named = service.table[service.place(&packet.tuple, self.world.seed)];
            let untracked = named.moved.is_none() || service.tracking == Tracking::None;
            if untracked
                && let Some(real) = self.world.reals.get(&named.now).cloned()
                && !real.needs_flow
            {
                self.learn_way_back(arrival, &real);
                if packet.opens() {
                    self.state.count(named.now).new_flows += 1;
                }
                return Ok(Chosen { real: named.now, dip: None });
            }
            slot = Some(named);
        }
        // A datagram that is scheduled by itself belongs to no flow.
        let alone = service.one_packet && packet.tuple.protocol == UDP;
        let known = self.state.flows.get(&packet.tuple).filter(|_| !alone).cloned();
        if let Some(flow) = &known
            && self.goes_on(arrival, service, flow)?
        {
            return Ok(self.go_on(arrival, slot, flow));
        }
        let picked = self.pick(arrival, service, slot, alone, chance)?;
        let real = self.world.reals.get(&picked.real).cloned().ok_or(Reason::NoReal)?;
        if slot.is_some() || alone {
            self.learn_way_back(arrival, &real);
        }
        if !picked.record {
            if alone {
                self.state.count(picked.real).new_flows += 1;
            }
            return Ok(Chosen { real: picked.real, dip: None });
        }
        let dip = match real.method {
            Method::Fnat if real.macs.is_none() => return Err(Reason::NextHopUnknown),
            Method::Fnat => Some(self.lease(&packet.tuple, picked.real, chance)?),
            _ => None,
        };
        self.begin(arrival, &picked, known.as_ref(), dip, slot.is_some());
        self.remember_reply(&packet.tuple, &real);
        if service.persistent.is_some() {
            self.state.clients.insert(client(service, &packet.tuple), picked.real);
        }
        Ok(Chosen { real: picked.real, dip })
    }

    /// Returns whether a known flow continues on its real.
    fn goes_on(&self, arrival: &Arrival, service: &Service, flow: &Flow) -> Result<bool, Reason> {
        let packet = &arrival.packet;
        let Some(real) = self.world.reals.get(&flow.real) else { return Ok(false) };
        let lease = self.state.leases.get(&packet.tuple).filter(|(real, _)| *real == flow.real);
        let lost_its_port = real.method == Method::Fnat && lease.is_none();
        if flow.state.is_over_by(packet.flags) || real.service != service.id || lost_its_port {
            return Ok(false);
        }
        match (real.leaving, real.reset) {
            // Only connections of TCP stay on a real that was removed; all flows stay on one that was
            // replaced.
            (true, _) if packet.opens() || packet.tuple.protocol != TCP && !real.replaced => Ok(false),
            (true, true) => Err(Reason::RealRemoved),
            _ => Ok(true),
        }
    }

    /// Continues a known flow.
    fn go_on(&mut self, arrival: &Arrival, slot: Option<Slot>, flow: &Flow) -> Chosen {
        let packet = &arrival.packet;
        let real = self.world.reals[&flow.real].clone();
        self.remember_reply(&packet.tuple, &real);
        let state = flow.state.after_client(packet.flags);
        self.state.load(flow.real, flow.state, -1);
        self.state.load(flow.real, state, 1);
        self.state.flows.insert(packet.tuple, Flow { state, back: arrival.back(), ..flow.clone() });
        if slot.is_some() {
            self.learn_way_back(arrival, &real);
        }
        Chosen { real: flow.real, dip: flow.dip }
    }

    /// Returns the real for a packet whose flow is unknown.
    fn pick(
        &mut self,
        arrival: &Arrival,
        service: &Service,
        slot: Option<Slot>,
        alone: bool,
        chance: &mut Chance,
    ) -> Result<Picked, Reason> {
        let packet = &arrival.packet;
        let tuple = &packet.tuple;
        let (id, wanted) = match slot {
            Some(slot) => {
                let (id, record) = slot.choose(service, packet.opens());
                let left = self.world.reals.get(&id).is_some_and(|real| real.leaving && !real.replaced);
                // Only TCP follows a real that was removed.
                (if left && tuple.protocol != TCP { slot.now } else { id }, record)
            }
            None if !service.hashes() && !may_begin(packet, service) => return Err(Reason::NoFlow),
            None => match self.kept(service, tuple).filter(|_| !alone) {
                Some(id) => (id, true),
                None => (self.schedule(service, tuple, chance)?, true),
            },
        };
        let real = self.world.reals.get(&id).ok_or(Reason::NoReal)?;
        if real.reset && tuple.protocol == TCP {
            return Err(Reason::RealRemoved);
        }
        let begins = may_begin(packet, service);
        if real.method == Method::Fnat && (!begins || is_connection(tuple.protocol) && !packet.opens()) {
            // The SNAT port that the flow had is unknown.
            return Err(Reason::NoFlow);
        }
        // A datagram by itself belongs to no flow.
        let record = begins && !alone && (wanted || real.needs_flow);
        Ok(Picked { real: id, record })
    }

    /// Returns the real on which persistence keeps a client, if the real still exists.
    fn kept(&self, service: &Service, tuple: &Tuple) -> Option<u32> {
        service.persistent?;
        let id = *self.state.clients.get(&client(service, tuple))?;
        let real = self.world.reals.get(&id)?;
        (real.service == service.id && !real.leaving).then_some(id)
    }

    /// Adds the entry of a flow. `known` is the earlier entry of the same tuple.
    fn begin(
        &mut self,
        arrival: &Arrival,
        picked: &Picked,
        known: Option<&Flow>,
        dip: Option<u16>,
        moved: bool,
    ) {
        let (tuple, flags) = (arrival.packet.tuple, arrival.packet.flags);
        let state = State::first(tuple.protocol, flags);
        self.state.flows.insert(tuple, Flow { real: picked.real, state, back: arrival.back(), dip });
        if let Some(known) = known {
            self.state.load(known.real, known.state, -1);
        }
        self.state.load(picked.real, state, 1);
        // In a slot in transition, an older flow gets its entry at its next packet: it is not a new flow.
        if !moved || !is_connection(tuple.protocol) || flags & flag::SYN != 0 {
            self.state.count(picked.real).new_flows += 1;
        }
    }

    /// Records the return path to a client, which replies of a `nat` real need if its flows are not tracked.
    fn learn_way_back(&mut self, arrival: &Arrival, real: &Real) {
        if real.method != Method::Nat || real.shared {
            return;
        }
        let tuple = &arrival.packet.tuple;
        self.state.ways_back.insert(tuple.source.ip(), arrival.back());
        if arrival.packet.opens() {
            // It may have spoken to the real itself from the same port.
            self.state.direct.remove(&reply_to(tuple, real));
        }
    }

    /// Records the service of the replies of a `nat` real that several services share.
    fn remember_reply(&mut self, tuple: &Tuple, real: &Real) {
        if real.method == Method::Nat && real.shared {
            self.state.replies.insert(reply_to(tuple, real), tuple.destination);
        }
    }

    /// Changes the desired state. If another service now has the same `nat` real too, the real's flows are
    /// older than that, and the service of their replies must be recorded from now on.
    pub fn change(&mut self, world: World) {
        let before = std::mem::replace(&mut self.world, world);
        for (tuple, flow) in self.state.flows.clone() {
            let was_alone = before.reals.get(&flow.real).is_some_and(|real| !real.shared);
            if let Some(real) = self.world.reals.get(&flow.real).cloned()
                && was_alone
            {
                self.remember_reply(&tuple, &real);
            }
        }
    }

    /// Returns a port of the director for a new flow to a `fnat` real: the previous port of the same client
    /// if it stays on its real, else one that no flow has towards that real.
    fn lease(&mut self, request: &Tuple, id: u32, chance: &Chance) -> Result<u16, Reason> {
        let reply = |real: &Real, dip| Tuple {
            source: reply_to(request, real).source,
            destination: SocketAddr::new(real.director, dip),
            ..*request
        };
        if let Some((old, dip)) = self.state.leases.get(request).copied()
            && let Some(real) = self.world.reals.get(&old)
            && self.state.translations.get(&reply(real, dip)) == Some(request)
        {
            if old == id {
                return Ok(dip);
            }
            self.state.translations.remove(&reply(real, dip));
        }
        let real = &self.world.reals[&id];
        let free = |dip: &u16| {
            self.world.dip_ports.contains(dip) && !self.state.translations.contains_key(&reply(real, *dip))
        };
        let dip = chance.port.filter(&free).or_else(|| self.world.dip_ports.clone().find(&free));
        let dip = dip.ok_or(Reason::PortsExhausted)?;
        self.state.translations.insert(reply(real, dip), *request);
        self.state.leases.insert(*request, (id, dip));
        Ok(dip)
    }
}

/// Returns whether a packet of an unknown flow may begin one. A data connection of an active FTP server
/// begins with the client's answer.
fn may_begin(packet: &Packet, service: &Service) -> bool {
    let answers = service.ftp && packet.flags & flag::SYN != 0 && packet.flags & flag::RST == 0;
    answers || begins(packet.tuple.protocol, packet.flags, !service.hashes())
}

/// Returns a `nat` real's reply to a request.
fn reply_to(request: &Tuple, real: &Real) -> Tuple {
    let port = match real.address.port() {
        0 => request.destination.port(),
        port => port,
    };
    let source = SocketAddr::new(real.address.ip(), port);
    Tuple { protocol: request.protocol, source, destination: request.source }
}

/// Returns the persistence key of a client of a service: the leading bits of its address, taken as an IPv6
/// address in any case.
fn client(service: &Service, tuple: &Tuple) -> (u32, Vec<u8>) {
    let address = tuple.source.ip();
    let unused = if address.is_ipv4() { 96 } else { 0 };
    let bits = service.persistent.map_or(0, |prefix| prefix.saturating_sub(unused));
    let masked = octets(address).into_iter().enumerate().map(|(i, byte)| {
        let kept = bits.saturating_sub(8 * i as u32).min(8);
        byte & !(0xff_u16 >> kept) as u8
    });
    (service.id, masked.collect())
}
