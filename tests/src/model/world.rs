// SPDX-License-Identifier: MIT OR Apache-2.0
//! The desired state: services, their reals, the schedulers' tables. The model reads it from the maps that
//! the daemon writes, and derives the rest (the VIPs, the service of a real's replies) on its own.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

pub use lb_common::schema::{Method, Scheduler, Tracking, Tunnel};
use lb_common::{
    reason::Reason,
    schema::{self, Settings},
    slot::{LONG_AGO, MOVED},
    wire::Tags,
};
use lb_dataplane::{TableError, Tables};

use super::{
    Tuple,
    frame::Macs,
    hash,
    parse::number::{TCP, UDP},
};

/// A virtual service. Several endpoints may have the same one.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "as many flags as the map has")]
pub struct Service {
    /// Id of the service.
    pub id: u32,
    /// The scheduler.
    pub scheduler: Scheduler,
    /// The flows that are tracked.
    pub tracking: Tracking,
    /// Prefix length by which clients are grouped for persistence, if there is persistence.
    pub persistent: Option<u32>,
    /// True if the hash covers the ports.
    pub ports: bool,
    /// True if another real serves a connection whose hashed real is overloaded.
    pub fallback: bool,
    /// True with one-packet scheduling.
    pub one_packet: bool,
    /// True if FTP data connections to the VIP belong to the service too.
    pub ftp: bool,
    /// The scheduler's table: real ids, and the state of moved ones.
    pub table: Vec<Slot>,
}

/// An entry of a scheduler's table.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Slot {
    /// The real that new flows go to.
    pub now: u32,
    /// The real of older flows, and whether the move was long ago, if a pool change moved the slot.
    pub moved: Option<(u32, bool)>,
}

/// A real server.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "as many flags as the map has")]
pub struct Real {
    /// The service that it belongs to.
    pub service: u32,
    /// The forwarding method.
    pub method: Method,
    /// The headers between the outer header of `tun` and the packet, and the port of GUE.
    pub tunnel: (Tunnel, u16),
    /// True if GRE or UDP has a checksum.
    pub checked: bool,
    /// RIP and port; 0: as the client sent it.
    pub address: SocketAddr,
    /// Destination and source of its frames, if they are known.
    pub macs: Option<Macs>,
    /// Ifindex of the interface by which packets for the real leave.
    pub device: u32,
    /// The largest packet that it takes.
    pub mtu: usize,
    /// The VLAN tags of frames to the real, which may be none, if the director sets them.
    pub tags: Option<Vec<[u8; 4]>>,
    /// Share of new connections.
    pub weight: u32,
    /// Upper and lower threshold in connections; 0 is no limit, and three quarters of the upper threshold.
    pub thresholds: (u32, u32),
    /// The director's address towards it.
    pub director: IpAddr,
    /// True if another service has the same `nat` real.
    pub shared: bool,
    /// True if replies need a flow table entry.
    pub needs_flow: bool,
    /// True if the real was removed.
    pub leaving: bool,
    /// Leaving only because it is reached by another method now.
    pub replaced: bool,
    /// True if the connections of the removed real are reset.
    pub reset: bool,
    /// True if no router is between the director and the real.
    pub neighbour: bool,
}

/// The service of the replies of a `nat` real.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Source {
    /// VIP and port; 0: as the real sent it.
    pub vip: SocketAddr,
    /// Id of the real.
    pub real: u32,
    /// Id of the service.
    pub service: u32,
    /// True if the replies may be those of another service too.
    pub shared: bool,
    /// True if the source is sufficient, because flows are not tracked.
    pub hashed: bool,
}

/// All that the operator wants.
#[derive(Clone, Debug)]
pub struct World {
    /// By protocol and VIP with port, 0 for every port.
    pub services: BTreeMap<(u8, SocketAddr), Service>,
    /// Reals by id.
    pub reals: BTreeMap<u32, Real>,
    /// By protocol, RIP and port.
    pub sources: BTreeMap<(u8, SocketAddr), Source>,
    /// All VIPs.
    pub vips: BTreeSet<IpAddr>,
    /// True if a VIP does not answer pings while none of its reals accepts connections.
    pub silent: bool,
    /// Addresses of the director.
    pub own: BTreeSet<IpAddr>,
    /// Addresses that no host has.
    pub broadcast: BTreeSet<IpAddr>,
    /// RIPs of `nat` reals.
    pub nat_reals: BTreeSet<IpAddr>,
    /// RIPs of `fnat` reals.
    pub fnat_reals: BTreeSet<IpAddr>,
    /// Devices that frames may be redirected to.
    pub devices: BTreeSet<u32>,
    /// Key of the flow hash.
    pub seed: u64,
    /// True if ICMP errors may be sent.
    pub may_answer: bool,
    /// The ports of the director that `fnat` allocates.
    pub dip_ports: std::ops::Range<u16>,
}

impl World {
    /// Reads it from the maps. Frames may be redirected to `devices`.
    ///
    /// # Errors
    /// If a map cannot be read.
    pub fn read(
        tables: &Tables,
        settings: &Settings,
        devices: impl IntoIterator<Item = u32>,
    ) -> Result<Self, TableError> {
        let reals = tables.reals()?.into_iter().map(|(id, real)| (id.0, Real::read(&real))).collect();
        let mut services = BTreeMap::new();
        for (key, service) in tables.services()? {
            let vip = SocketAddr::new(key.address.into(), key.port.get());
            services.insert((key.protocol as u8, vip), Service::read(tables, &service)?);
        }
        let first = settings.first_dip_port as u16;
        let mut world = Self {
            vips: services.keys().map(|(_, vip)| vip.ip()).collect(),
            services,
            reals,
            silent: false,
            sources: BTreeMap::new(),
            own: BTreeSet::new(),
            broadcast: BTreeSet::new(),
            nat_reals: BTreeSet::new(),
            fnat_reals: BTreeSet::new(),
            devices: devices.into_iter().collect(),
            seed: settings.seed,
            may_answer: settings.icmp_per_second > 0,
            dip_ports: first..first + settings.dip_ports as u16,
        };
        world.find_sources();
        Ok(world)
    }

    /// Finds the service of the replies of each `nat` real: the oldest service, if several have the real.
    fn find_sources(&mut self) {
        let by = |method| self.reals.values().filter(move |real| real.method == method);
        self.fnat_reals = by(Method::Fnat).map(|real| real.address.ip()).collect();
        self.nat_reals = by(Method::Nat).map(|real| real.address.ip()).collect();
        let mut users: BTreeMap<(u8, SocketAddr), Vec<Source>> = BTreeMap::new();
        for ((protocol, vip), service) in &self.services {
            for (&id, real) in &self.reals {
                if real.method != Method::Nat || real.service != service.id {
                    continue;
                }
                let port = if real.address.port() == 0 { vip.port() } else { real.address.port() };
                let source = SocketAddr::new(real.address.ip(), port);
                // A datagram by itself has no flow that the reply could be known by.
                let hashed = service.tracking != Tracking::Full || service.one_packet && *protocol == UDP;
                let user = Source { vip: *vip, real: id, service: service.id, shared: false, hashed };
                users.entry((*protocol, source)).or_default().push(user);
            }
        }
        for ((protocol, source), of) in &users {
            let other_port = |(p, other): &(u8, SocketAddr)| {
                p == protocol
                    && other.ip() == source.ip()
                    && other.port() != source.port()
                    && (other.port() == 0 || source.port() == 0)
            };
            let shared = of.len() > 1 || users.keys().any(other_port);
            let oldest = of.iter().min_by_key(|user| user.service).expect("somebody uses it");
            self.sources.insert((*protocol, *source), Source { shared, ..*oldest });
        }
    }

    /// Returns the service of a packet: by protocol, address and port; else the FTP service, for a data
    /// connection; else by protocol, address and port 0.
    pub fn service(&self, tuple: &Tuple) -> Option<&Service> {
        let at = |port| (tuple.protocol, SocketAddr::new(tuple.destination.ip(), port));
        let port = tuple.destination.port();
        // A client's FTP data connections: to a port that a server announced, or from the server's port 20.
        let ftp = || {
            let control = self.services.get(&at(21)).filter(|service| service.ftp)?;
            (tuple.protocol == TCP && (port == 20 || port >= 1024)).then_some(control)
        };
        self.services.get(&at(port)).or_else(ftp).or_else(|| self.services.get(&at(0)))
    }

    /// Returns the reason why no client can have sent a packet to a service from this source, interface and
    /// MAC address, if there is one.
    pub fn forgery(&self, tuple: &Tuple, device: u32, from: [u8; 6]) -> Option<Reason> {
        let source = tuple.source.ip();
        if self.vips.contains(&source) || self.own.contains(&source) {
            return Some(Reason::SourceOwn);
        }
        if self.broadcast.contains(&source) {
            return Some(Reason::SourceInvalid);
        }
        let real =
            self.reals.values().find(|real| real.address.ip() == source && real.method != Method::Local)?;
        let macs = real.macs?;
        let stranger = real.neighbour && tuple.protocol == UDP && macs[..6] != from;
        (device != real.device || stranger).then_some(Reason::SourceReal)
    }

    /// Returns whether a VIP answers pings.
    pub fn answers_pings(&self, vip: IpAddr) -> bool {
        let takes = |real: &Real| real.weight > 0 && (real.method == Method::Local || real.macs.is_some());
        let mut services = self.services.iter().filter(|((_, address), _)| address.ip() == vip);
        !self.silent
            || services
                .any(|(_, service)| self.reals.values().any(|real| real.service == service.id && takes(real)))
    }

    /// Returns whether an address is the VIP of a service.
    pub fn is_vip(&self, address: IpAddr) -> bool {
        self.vips.contains(&address)
    }
}

impl Service {
    fn read(tables: &Tables, service: &schema::Service) -> Result<Self, TableError> {
        let entries = tables.table(service.first, service.slots)?;
        let moves = tables.moves(service.first, service.slots)?;
        let slot = |(&entry, moved): (&u32, &schema::Move)| Slot {
            now: entry & !MOVED,
            moved: (entry & MOVED != 0).then_some((moved.base.0, moved.since == LONG_AGO)),
        };
        Ok(Self {
            id: service.id.0,
            scheduler: scheduler(service.scheduler),
            tracking: match service.tracking {
                0 => Tracking::Auto,
                1 => Tracking::Full,
                _ => Tracking::None,
            },
            persistent: (service.persistent.0 != 0).then_some(service.prefix.into()),
            ports: service.is(schema::Service::PORTS),
            fallback: service.is(schema::Service::FALLBACK),
            one_packet: service.is(schema::Service::ONE_PACKET),
            ftp: service.is(schema::Service::FTP),
            table: entries.iter().zip(&moves).map(slot).collect(),
        })
    }

    /// Returns the slot of a flow in the table of a hashing scheduler.
    pub fn place(&self, tuple: &Tuple, seed: u64) -> usize {
        match self.scheduler {
            Scheduler::Sh => {
                let port = if self.ports { tuple.source.port() } else { 0 };
                hash::ipvs(tuple.source.ip(), port)
            }
            Scheduler::Dh => hash::ipvs(tuple.destination.ip(), 0),
            _ if self.ports => hash::place(hash::flow(tuple, seed), self.table.len()),
            _ => hash::place(hash::client(tuple.source.ip(), seed), self.table.len()),
        }
    }

    /// Returns whether the packet alone determines the real.
    pub const fn hashes(&self) -> bool {
        matches!(self.scheduler, Scheduler::Mh | Scheduler::Sh | Scheduler::Dh)
    }
}

fn scheduler(number: u32) -> Scheduler {
    use Scheduler::{Dh, Fo, Lblc, Lblcr, Lc, Mh, Nq, Ovf, Rotate, Sed, Sh, Twos, Wlc};
    [Mh, Sh, Dh, Rotate, Lc, Wlc, Sed, Nq, Fo, Ovf, Twos, Lblc, Lblcr][number as usize]
}

impl Real {
    fn read(real: &schema::Real) -> Self {
        let macs: Macs =
            [real.macs.destination(), real.macs.source()].concat().try_into().expect("twelve bytes");
        Self {
            service: real.service.0,
            method: Method::from_number(real.method).expect("the daemon knows the methods"),
            tunnel: (
                [Tunnel::Ipip, Tunnel::Gre, Tunnel::Gue][usize::from(real.tunnel & 3)],
                real.tunnel_port.get(),
            ),
            checked: real.tunnel & Tunnel::CHECKED != 0,
            address: SocketAddr::new(real.address.into(), real.port.get()),
            macs: (macs != [0; 12]).then_some(macs),
            device: real.ifindex.0,
            mtu: real.mtu.into(),
            tags: real.is(schema::Real::TAGGED).then(|| tags(real.tags)),
            weight: real.weight,
            thresholds: (real.upper, real.lower),
            director: real.source.into(),
            shared: real.is(schema::Real::SHARED),
            needs_flow: real.is(schema::Real::NEEDS_FLOW),
            leaving: real.is(schema::Real::LEAVING),
            replaced: real.is(schema::Real::REPLACED),
            reset: real.is(schema::Real::RESET),
            neighbour: real.is(schema::Real::NEIGHBOUR),
        }
    }
}

/// Tags as they lie in a frame.
fn tags(tags: Tags) -> Vec<[u8; 4]> {
    [false, true][..tags.count()].iter().map(|&inner| tags.word(inner).to_ne_bytes()).collect()
}
