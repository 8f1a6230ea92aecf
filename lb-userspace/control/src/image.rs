// SPDX-License-Identifier: MIT OR Apache-2.0
//! Desired contents of the maps: services and reals compiled to ids, keys and values. These functions are
//! pure.
#![forbid(unsafe_code)]

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

use lb_common::{
    ids::{IfIndex, RealId, ServiceId as ServiceNumber},
    schema::{
        self, AddressUse, Method, Real as RealValue, Service as ServiceValue, ServiceKey, Source, SourceKey,
    },
    ticks::Ticks,
    wire::{Be16, Be128, MacPair, Tags},
};

use super::{
    effective,
    ids::Ids,
    neighbours::{NextHop, Resolution},
    own_addresses::OwnAddresses,
    pool::{self, Cut, HealthTable, Mode, Pool},
};
use lb_dataplane::{TableError, Tables};
use lb_model::{
    Desired, Endpoint, Forward, OnRemoval, Persistence, Protocol, Real, RealKey, SchedulerFlag, Service,
    ServiceId, Tracking, Tunnel, health::OnAllDown,
};
use lb_schedule::TableSpec;

mod part;
mod sharing;

pub use part::{Part, has_same_shape};
pub use sharing::ambiguous_one_packet;
use sharing::shared_sources;

/// Contents of the maps, actual or desired.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Image {
    /// Contents of `SERVICES`.
    pub services: BTreeMap<ServiceKey, ServiceValue>,
    /// Contents of `REALS`, by id.
    pub reals: BTreeMap<RealId, RealValue>,
    /// Specifications of the tables in `TABLES`, by service id.
    pub tables: BTreeMap<ServiceNumber, TableSpec>,
    /// Contents of `ADDRESSES`.
    pub addresses: BTreeMap<Be128, u32>,
    /// Contents of `SOURCES`.
    pub sources: BTreeMap<SourceKey, SourceValue>,
}

/// A value of `SOURCES`.
pub type SourceValue = Source;

/// Everything from which the entries of a service follow.
#[derive(Clone, Copy)]
struct Origin<'a> {
    desired: &'a Desired,
    ids: &'a Ids,
    next_hops: &'a BTreeMap<IpAddr, Resolution>,
    health: &'a HealthTable,
    /// Whether several services may own the replies from a source, which is one of a real.
    is_shared: &'a dyn Fn(&SourceKey, RealId) -> bool,
}

impl Image {
    /// Compiles services to the desired contents of the maps. `ids` must have an id for each of them.
    #[must_use]
    pub fn compile(
        desired: &Desired,
        ids: &Ids,
        next_hops: &BTreeMap<IpAddr, Resolution>,
        health: &HealthTable,
    ) -> Self {
        let mut image = Self::default();
        let shared = shared_sources(desired);
        let is_shared = |source: &SourceKey, _| shared.contains(source);
        let origin = Origin { desired, ids, next_hops, health, is_shared: &is_shared };
        for (id, wanted) in &desired.services {
            image.add(id, wanted, &origin);
        }
        image
    }

    /// Adds the entries of a service.
    fn add(&mut self, id: &ServiceId, wanted: &Service, origin: &Origin<'_>) {
        let Origin { desired, ids, next_hops, health, is_shared } = *origin;
        let Some(&number) = ids.services.get(id) else { return };
        let endpoints = desired.endpoints(id);
        let Pool { service, cuts, mode, .. } = pool::weigh(id, wanted, health);
        let service = &effective::service(id, service, next_hops);
        let spec = ids.table_spec(id, &endpoints, wanted, service, &cuts);
        for endpoint in &endpoints {
            let key = service_key(endpoint);
            let mut value = service_value(number, endpoint, service, &spec);
            if mode == Mode::AllDown && wanted.health.on_all_down == OnAllDown::Drop {
                value.flags |= ServiceValue::DROP;
            }
            self.services.insert(key, value);
            self.use_address(key.address, AddressUse::VIP);
            if key.port == Be16::ZERO {
                self.use_address(key.address, AddressUse::EVERY_PORT);
            }
            if is_ftp(endpoint, service) {
                self.use_address(key.address, AddressUse::FTP);
            }
        }
        let is_tracked = spec.tracking == schema::Tracking::Full;
        self.tables.insert(number, spec);
        for (index, (key, (address, real))) in wanted.all_keys().zip(service.all_reals()).enumerate() {
            let Some(real_id) = ids.real(id, &key) else { continue };
            let is_leaving = index >= service.reals.len();
            let rip = Be128::from(address.ip());
            let mut shares_source = false;
            if real.forward == Forward::Nat {
                self.use_address(rip, AddressUse::NAT_REAL);
                for endpoint in &endpoints {
                    let (key, source) = (service_key(endpoint), source_key(rip, address, endpoint));
                    let shared = is_shared(&source, real_id);
                    shares_source |= shared;
                    // A datagram that is scheduled on its own has no flow table entry by which its reply could be
                    // recognised.
                    let alone = service.one_packet && endpoint.protocol == Protocol::Udp;
                    let hashed = alone || !is_tracked;
                    let flags =
                        if shared { Source::SHARED } else { 0 } | if hashed { Source::HASHED } else { 0 };
                    let value = Source::new(key.address, key.port, flags, real_id, number);
                    // Ids are allocated in ascending order: the oldest service has the lowest.
                    let oldest = self.sources.entry(source).or_insert(value);
                    if number < oldest.service {
                        *oldest = value;
                    }
                }
            }
            if real.forward == Forward::Fnat {
                self.use_address(rip, AddressUse::FNAT_REAL);
            }
            let mut value = RealValue {
                address: rip,
                port: Be16::new(address.port()),
                service: number,
                method: real.forward.method() as u16,
                flags: flags(wanted, real, is_leaving.then_some(key), address.ip(), shares_source)
                    | health_flags(is_leaving, &cuts, address, real, wanted.reals.get(address)),
                weight: if is_leaving { 0 } else { real.weight },
                upper: real.upper,
                lower: real.lower,
                tunnel: real.tunnel.programs(),
                tunnel_port: Be16::new(real.tunnel.port()),
                ..RealValue::default()
            };
            if real.forward != Forward::Local {
                self.use_real(rip, real_id);
                if let Some(Ok(hop)) = next_hops.get(&address.ip()) {
                    route(&mut value, hop);
                }
            }
            self.reals.insert(real_id, value);
        }
    }

    /// Reads the contents of the maps. Slot tables are not read: they can be computed again.
    ///
    /// # Errors
    /// [`TableError`] if a map cannot be read.
    pub fn read(tables: &Tables) -> Result<Self, TableError> {
        Ok(Self {
            services: tables.services()?.into_iter().collect(),
            reals: tables.reals()?.into_iter().collect(),
            tables: BTreeMap::new(),
            addresses: tables.addresses()?.into_iter().map(|(address, used)| (address, used.0)).collect(),
            sources: tables.sources()?.into_iter().collect(),
        })
    }

    /// Marks the VIPs whose services have no real for new connections, so that they do not answer pings.
    pub fn silence(&mut self) {
        let serving = self.serving();
        let answers = |(key, service): (&ServiceKey, &ServiceValue)| {
            serving.contains(&service.id).then_some(key.address)
        };
        let answering: BTreeSet<Be128> = self.services.iter().filter_map(answers).collect();
        let vips: BTreeSet<Be128> = self.services.keys().map(|key| key.address).collect();
        for vip in vips.difference(&answering) {
            self.use_address(*vip, AddressUse::SILENT);
        }
    }

    /// Returns the services that have a real for new connections.
    fn serving(&self) -> BTreeSet<ServiceNumber> {
        let takes_connections =
            |real: &&RealValue| real.weight > 0 && (real.method == Method::Local as u16 || real.reachable());
        self.reals.values().filter(takes_connections).map(|real| real.service).collect()
    }

    /// Forbids addresses as sources of clients' packets: `own` has the director's addresses, and broadcast
    /// addresses.
    pub fn forbid_sources(&mut self, own: &OwnAddresses) {
        for (addresses, used) in [(&own.addresses, AddressUse::OWN), (&own.broadcast, AddressUse::BROADCAST)]
        {
            for address in addresses.iter().map(|address| Be128::from(*address)) {
                // A VIP is forbidden already.
                if !self.addresses.get(&address).is_some_and(|used| AddressUse(*used).is(AddressUse::VIP)) {
                    self.use_address(address, used);
                }
            }
        }
    }

    /// Accepts packets with the source address of a real from every interface.
    pub fn trust_reals(&mut self) {
        for used in self.addresses.values_mut() {
            *used = AddressUse(*used).without_real().0;
        }
        self.addresses.retain(|_, used| *used != 0);
    }

    fn use_real(&mut self, rip: Be128, id: RealId) {
        let used = self.addresses.entry(rip).or_insert(0);
        if AddressUse(*used).real().is_none() {
            *used = AddressUse(*used).of_real(id).0;
        }
    }

    fn use_address(&mut self, address: Be128, used: u32) {
        *self.addresses.entry(address).or_insert(0) |= used;
    }
}

/// Writes a next hop into the entry of a real.
fn route(value: &mut RealValue, hop: &NextHop) {
    value.macs = MacPair::new(hop.next_hop_mac, hop.source_mac);
    value.ifindex = IfIndex(hop.ifindex);
    value.mtu = u16::try_from(hop.mtu).unwrap_or(u16::MAX);
    value.source = hop.source_ip.into();
    if hop.on_link {
        value.flags |= RealValue::NEIGHBOUR;
    }
    if hop.tags != 0 || hop.trunk {
        value.flags |= RealValue::TAGGED;
        value.tags = Tags(hop.tags);
    }
}

/// Returns the source of the replies to an endpoint: a real without a port answers from the endpoint's port.
fn source_key(rip: Be128, real: &SocketAddr, endpoint: &Endpoint) -> SourceKey {
    let port = if real.port() == 0 { endpoint.address.port() } else { real.port() };
    SourceKey::new(rip, Be16::new(port), endpoint.protocol.number())
}

/// Returns the protocol with the longest timeouts: that of all endpoints, or TCP for groups with both
/// protocols.
pub(super) fn longest_lived(endpoints: &[Endpoint]) -> u8 {
    let tcp = endpoints.is_empty() || endpoints.iter().any(|endpoint| endpoint.protocol != Protocol::Udp);
    if tcp { Protocol::Tcp.number() } else { Protocol::Udp.number() }
}

/// Returns the tracking mode of the programs. Schedulers that do not hash, thresholds, persistence and port
/// allocation require that every flow is tracked.
#[must_use]
pub fn tracking(service: &Service) -> schema::Tracking {
    let counts = service.reals.values().any(|real| real.upper > 0);
    let gives_ports = service.all_reals().any(|(_, real)| real.forward == Forward::Fnat);
    if !service.scheduler.hashes() || service.persistence.is_some() || counts || gives_ports {
        return schema::Tracking::Full;
    }
    match service.tracking {
        Tracking::Full => schema::Tracking::Full,
        Tracking::Auto => schema::Tracking::Auto,
        Tracking::None => schema::Tracking::None,
    }
}

/// Returns whether FTP data connections belong to the service: persistence keeps clients on their reals, and
/// no real needs the addresses within the control connection translated.
fn is_ftp(endpoint: &Endpoint, service: &Service) -> bool {
    let translates = |real: &Real| matches!(real.forward, Forward::Nat | Forward::Fnat);
    endpoint.protocol == Protocol::Tcp
        && endpoint.address.port() == 21
        && service.persistence.is_some()
        && !service.all_reals().any(|(_, real)| translates(real))
}

fn service_value(
    id: ServiceNumber,
    endpoint: &Endpoint,
    service: &Service,
    spec: &TableSpec,
) -> ServiceValue {
    let has = |flag, bit| if service.has(flag) { bit } else { 0 };
    let flags = has(SchedulerFlag::MhPort, ServiceValue::PORTS)
        | has(SchedulerFlag::ShPort, ServiceValue::PORTS)
        | has(SchedulerFlag::MhFallback, ServiceValue::FALLBACK)
        | has(SchedulerFlag::ShFallback, ServiceValue::FALLBACK)
        | if service.one_packet { ServiceValue::ONE_PACKET } else { 0 }
        | if is_ftp(endpoint, service) { ServiceValue::FTP } else { 0 };
    let (persistent, prefix) = match service.persistence {
        Some(Persistence { seconds, prefix }) => (Ticks::of_seconds(seconds.into()), prefix),
        None => (Ticks::ZERO, Persistence::WHOLE_ADDRESS),
    };
    let prefix = match endpoint.address {
        SocketAddr::V4(_) => 96 + u16::from(prefix.min(32)),
        SocketAddr::V6(_) => u16::from(prefix),
    };
    ServiceValue {
        id,
        first: spec.span.first,
        slots: spec.span.slots,
        scheduler: service.scheduler.programs() as u32,
        tracking: spec.tracking as u32,
        persistent,
        prefix,
        // The tables allocate it.
        number: 0,
        flags,
    }
}

fn flags(service: &Service, real: &Real, leaving: Option<RealKey>, rip: IpAddr, is_shared: bool) -> u16 {
    let mut flags = if is_shared { RealValue::SHARED } else { 0 };
    if is_shared || real.forward == Forward::Fnat {
        flags |= RealValue::NEEDS_FLOW;
    }
    if rip.is_ipv6() {
        flags |= RealValue::IPV6;
    }
    if let Some(key) = leaving {
        flags |= RealValue::LEAVING;
        if service.is_replaced(&key) {
            flags |= RealValue::REPLACED;
        } else if service.on_removal == OnRemoval::Reset {
            flags |= RealValue::RESET;
        }
    }
    flags
}

/// Returns the flags that follow from the health of a real.
fn health_flags(
    is_leaving: bool,
    cuts: &BTreeMap<SocketAddr, Cut>,
    address: &SocketAddr,
    real: &Real,
    wanted: Option<&Real>,
) -> u16 {
    let Some(wanted) = wanted.filter(|_| !is_leaving) else { return 0 };
    match cuts.get(address) {
        Some(Cut::Keep | Cut::Reschedule) => RealValue::DOWN | RealValue::LEAVING,
        Some(Cut::Reset) => RealValue::DOWN | RealValue::LEAVING | RealValue::RESET,
        None if wanted.weight > 0 && real.weight == 0 => RealValue::DOWN,
        None => 0,
    }
}

/// Returns the key of a service.
#[must_use]
pub fn service_key(endpoint: &Endpoint) -> ServiceKey {
    let Endpoint { protocol, address } = endpoint;
    ServiceKey::new(address.ip().into(), Be16::new(address.port()), protocol.number())
}

/// Returns the endpoint of a key; `None` if services cannot have its protocol.
#[must_use]
pub fn endpoint(key: &ServiceKey) -> Option<Endpoint> {
    let protocol = Protocol::from_number(u8::try_from(key.protocol).ok()?)?;
    Some(Endpoint { protocol, address: socket_address(key.address, key.port) })
}

/// Returns the key of a real, which is unique within its service.
#[must_use]
pub fn real_key(real: &RealValue) -> RealKey {
    let forward = Forward::ALL.iter().find(|forward| forward.method() as u16 == real.method);
    RealKey {
        address: real_address(real),
        forward: forward.copied().unwrap_or(Forward::Dr),
        tunnel: Tunnel::from_programs(real.tunnel, real.tunnel_port.get()),
    }
}

/// Returns RIP and port of a real.
#[must_use]
pub fn real_address(real: &RealValue) -> SocketAddr {
    socket_address(real.address, real.port)
}

/// Converts an address and a port from network byte order.
#[must_use]
pub fn socket_address(address: Be128, port: Be16) -> SocketAddr {
    SocketAddr::new(address.into(), port.get())
}

/// Returns whether a real's replies return through the director.
#[must_use]
pub fn is_nat(real: &RealValue) -> bool {
    real.method == Method::Nat as u16
}
