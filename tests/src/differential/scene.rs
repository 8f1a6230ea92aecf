// SPDX-License-Identifier: MIT OR Apache-2.0
//! Services and reals at random, in the daemon's own words.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use lb_common::{schema::Settings, wire::Tags};
use lb_control::neighbours::NextHop;
use lb_model::{
    Desired, Endpoint, Forward, OnRemoval, Persistence, Protocol, Real, RealKey, Scheduler, SchedulerFlag,
    Service, ServiceId, Tracking, Tunnel,
};

use super::random::Random;
use crate::packet::{device::Devices, net};

/// Ports of the director, so few that a scene may run out of them.
pub const SETTINGS: Settings = Settings {
    seed: 0x5eed,
    // No second of a scene has more packets.
    icmp_per_second: u64::MAX,
    first_dip_port: 5000,
    dip_ports: 40,
    ..Settings::DEFAULT
};

/// The desired state, and the next hops of the reals.
#[derive(Clone, Debug)]
pub struct Scene {
    /// Services and reals.
    pub desired: Desired,
    /// The way to each RIP, if it is known.
    pub hops: BTreeMap<IpAddr, Option<NextHop>>,
    /// True if VIPs without a real that accepts connections do not answer pings.
    pub silent: bool,
}

/// Returns the address, or the IPv6 address that stands for it, as in the other packet tests.
pub fn address(six: bool, [a, b, c, d]: [u8; 4]) -> IpAddr {
    if six {
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]))
            .into()
    } else {
        Ipv4Addr::new(a, b, c, d).into()
    }
}

/// Returns the RIP with this number.
fn rip(six: bool, number: usize) -> IpAddr {
    address(six, [10, 0, 0, 11 + number as u8])
}

/// Number of RIPs of each version: few, so that services share them.
const RIPS: usize = 12;
/// Ports of services.
const PORTS: [u16; 3] = [80, 443, 0];

impl Scene {
    /// Returns a scene with a few services of a few reals each. The scene's number selects the scheduler of
    /// the first service, so that each scheduler occurs.
    pub fn random(number: usize, random: &mut Random, devices: Devices) -> Self {
        let mut services = BTreeMap::new();
        for n in 0..3 + random.below(6) {
            let six = random.one_in(2);
            let protocol = [Protocol::Tcp, Protocol::Tcp, Protocol::Udp, Protocol::Udp, Protocol::Sctp];
            let protocol = random.pick(&protocol);
            let vip = address(six, [192, 0, 2, 100 + random.below(2) as u8]);
            let id = Endpoint { protocol, address: SocketAddr::new(vip, random.pick(&PORTS)) };
            let scheduler = match n {
                0 => Scheduler::ALL[number % Scheduler::ALL.len()],
                _ if random.one_in(2) => Scheduler::Mh,
                _ => random.pick(Scheduler::ALL),
            };
            services.entry(ServiceId::Endpoint(id)).or_insert_with(|| service(random, id, scheduler));
        }
        let hops = [false, true]
            .into_iter()
            .flat_map(|six| (0..RIPS).map(move |number| rip(six, number)))
            .map(|rip| (rip, hop(random, rip, devices)));
        let hops = hops.collect();
        Self {
            hops,
            silent: random.one_in(2),
            desired: Desired { services: services.into_iter().collect(), ..Desired::default() },
        }
    }

    /// Returns the services after a change by the operator: a weight, a real more, a real less.
    pub fn changed(random: &mut Random, desired: &Desired) -> Desired {
        let mut desired = desired.clone();
        for (id, service) in &mut desired.services {
            let ServiceId::Endpoint(id) = id else { continue };
            for _ in 0..random.below(3) {
                match random.below(4) {
                    0 if !service.reals.is_empty() => {
                        let at = random.below(service.reals.len());
                        service.reals[at].weight = random.pick(&[0, 1, 2]);
                    }
                    1 if !service.reals.is_empty() => {
                        let at = random.below(service.reals.len());
                        let (address, real) = service.reals.shift_remove_index(at).expect("it is there");
                        service.leaving.insert(real.key(address), real);
                    }
                    2 if !service.reals.is_empty() => {
                        let at = random.below(service.reals.len());
                        let (address, old) = service.reals.get_index_mut(at).expect("it is there");
                        let key = old.key(*address);
                        let forward = random.pick(&[Forward::Dr, Forward::Tun, Forward::Nat]);
                        // Only tunnels lead to an address of the other version of IP.
                        let same_version = address.is_ipv4() == id.address.is_ipv4();
                        let same_port = address.port() == id.address.port();
                        if forward != old.forward && same_version && same_port {
                            service.leaving.insert(key, old.clone());
                            *old = Real { forward, tunnel: Tunnel::Ipip, ..old.clone() };
                        }
                        let keys: Vec<RealKey> = service.all_keys().take(service.reals.len()).collect();
                        service.leaving.retain(|key, _| !keys.contains(key));
                    }
                    _ => {
                        let (address, real) = real(random, *id, service);
                        if !service.leaving.keys().any(|key| key.address == address) {
                            service.reals.entry(address).or_insert(real);
                        }
                    }
                }
            }
        }
        desired
    }
}

fn service(random: &mut Random, id: Endpoint, scheduler: Scheduler) -> Service {
    let mut service = Service {
        scheduler,
        flags: scheduler.default_flags(),
        on_removal: random.pick(OnRemoval::ALL),
        ..Service::default()
    };
    if random.one_in(3) {
        let of =
            |scheduler| SchedulerFlag::ALL.iter().filter(move |flag| flag.scheduler() == Some(scheduler));
        service.flags = of(scheduler).copied().filter(|_| random.one_in(2)).collect();
    }
    if scheduler.hashes() {
        service.tracking = random.pick(Tracking::ALL);
    }
    if random.one_in(6) {
        let prefix = random.pick(&[24, 30, 32, Persistence::WHOLE_ADDRESS]);
        service.persistence = Some(Persistence { seconds: 300, prefix });
        service.tracking = Tracking::Full;
    }
    service.one_packet = id.protocol == Protocol::Udp && random.one_in(5);
    for _ in 0..random.pick(&[0, 1, 2, 2, 3, 3, 4]) {
        let (address, real) = real(random, id, &service);
        service.reals.insert(address, real);
    }
    service
}

fn real(random: &mut Random, id: Endpoint, service: &Service) -> (SocketAddr, Real) {
    let mut methods = vec![Forward::Dr, Forward::Tun, Forward::Tun, Forward::Nat, Forward::Nat];
    if !random.one_in(3) {
        methods.push(Forward::Local);
    }
    // A search for a free port traces many steps: the trace no longer contains the draws of `twos`.
    let gives_ports = id.protocol != Protocol::Sctp && service.scheduler != Scheduler::Twos;
    if gives_ports && !service.one_packet && service.tracking != Tracking::None {
        methods.extend([Forward::Fnat, Forward::Fnat]);
    }
    let forward = random.pick(&methods);
    let six = id.address.is_ipv6() ^ (forward == Forward::Tun && random.one_in(3));
    let changes_ports = matches!(forward, Forward::Nat | Forward::Fnat)
        && id.protocol != Protocol::Sctp
        && id.address.port() != 0;
    let port = if changes_ports { random.pick(&[8080, 8080, 8081]) } else { id.address.port() };
    let counts = !service.scheduler.hashes() || service.tracking != Tracking::None;
    let upper = if counts && random.one_in(6) { 1 + random.below(6) as u32 } else { 0 };
    let real = Real {
        forward,
        weight: random.pick(&[1, 1, 1, 2, 3, 0]),
        upper,
        lower: if random.one_in(2) { upper / 2 } else { 0 },
        tunnel: match forward {
            Forward::Tun => random
                .pick(&["ipip", "gre", "gre:csum", "gue:6080", "gue:7", "gue:csum"])
                .parse()
                .expect("a tunnel"),
            _ => Tunnel::Ipip,
        },
        ..Real::new(forward, 1)
    };
    (SocketAddr::new(rip(six, random.below(RIPS)), port), real)
}

/// Returns a next hop towards a RIP.
fn hop(random: &mut Random, rip: IpAddr, devices: Devices) -> Option<NextHop> {
    let mut hop = net::next_hop(SocketAddr::new(rip, 0));
    if random.one_in(12) {
        return None;
    }
    hop.mtu = random.pick(&[1500, 1500, 1500, 1300, 9000, 100]);
    match random.below(16) {
        0 => hop.ifindex = devices.other,
        1 => hop.ifindex = devices.closed,
        _ => {}
    }
    let twenty = Tags::vlan(20, false);
    let tags = [Tags::NONE, Tags::NONE, twenty, Tags::vlan(100, true), Tags::vlan(100, true).around(twenty)];
    hop.tags = random.pick(&tags).0;
    hop.trunk = hop.tags != 0 || random.one_in(4);
    Some(hop)
}
