// SPDX-License-Identifier: MIT OR Apache-2.0
//! Input of the checks: facts that the daemon knows.
#![forbid(unsafe_code)]

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

use super::Location;
use lb_control::{neighbours::Unresolved, pool::Mode};
use lb_dataplane::Entry;
use lb_model::{
    Endpoint, Forward, Protocol, ServiceId, Tunnel, check::CheckName, evicted::Evicted, health::LastResult,
};
use lb_netlink::{Address, Interface, Mac};

/// Next hop of a real in the loaded programs: its entry in `REALS`.
#[derive(Clone, Copy, Debug)]
pub struct NextHop {
    /// Egress device.
    pub ifindex: u32,
    /// Destination Ethernet address.
    pub to: Mac,
    /// Source Ethernet address.
    pub from: Mac,
    /// Outer source address of tunnels.
    pub tunnel_source: IpAddr,
    /// MTU: the largest IP packet, in bytes.
    pub mtu: u16,
}

/// Target of probes: a real of a service at one of the service's endpoints.
#[derive(Clone, Debug)]
pub struct Target {
    /// Service.
    pub service: ServiceId,
    /// Protocol.
    pub protocol: Protocol,
    /// VIP of the endpoint.
    pub vip: IpAddr,
    /// Port of the endpoint; 0: every port.
    pub port: u16,
    /// RIP.
    pub rip: IpAddr,
    /// Port of the real.
    pub real_port: u16,
    /// Forward method.
    pub forward: Forward,
    /// Encapsulation for `tun`.
    pub tunnel: Tunnel,
    /// Weight; 0 for a real that is drained or disabled.
    pub weight: u32,
    /// Verdict of the real's health checks, if it is down.
    pub down: Option<Down>,
    /// RIP and port as in the service; port 0: the destination port of the client's packet.
    pub address: SocketAddr,
    /// Entry in the loaded maps, if the real has a next hop.
    pub entry: Option<Entry>,
    /// Next hop, or the reason why there is none.
    pub next_hop: Result<NextHop, Unresolved>,
    /// Address of the director towards the real (DIP).
    pub dip: Option<IpAddr>,
    /// Router on the path, if the real is not on the director's link.
    pub gateway: Option<IpAddr>,
}

impl Target {
    /// Returns the RIP, and the port to which the real's packets go.
    #[must_use]
    pub fn real(&self) -> SocketAddr {
        SocketAddr::new(self.rip, self.real_port)
    }

    /// Returns the location of faults of this real.
    #[must_use]
    pub fn location(&self) -> Location {
        Location::Real { service: self.service, address: self.real() }
    }

    /// Returns VIP and port of the endpoint.
    #[must_use]
    pub fn at(&self) -> SocketAddr {
        SocketAddr::new(self.vip, self.port)
    }

    /// Returns whether this is a real of the endpoint.
    #[must_use]
    pub fn is_at(&self, endpoint: &Endpoint) -> bool {
        self.protocol == endpoint.protocol && self.at() == endpoint.address
    }

    /// Returns the name of the real in commands.
    #[must_use]
    pub fn named(&self) -> String {
        match self.address.port() {
            0 => self.rip.to_string(),
            _ => self.address.to_string(),
        }
    }

    /// Returns the outer destination and the encapsulation of `tun` packets.
    #[must_use]
    pub fn tunnel(&self) -> Option<(IpAddr, Tunnel)> {
        (self.forward == Forward::Tun).then_some((self.rip, self.tunnel))
    }

    /// Returns the UDP port of the encapsulation, if it has one.
    #[must_use]
    pub fn tunnel_port(&self) -> Option<u16> {
        match self.tunnel {
            Tunnel::Gue { port, .. } => Some(port),
            Tunnel::Ipip | Tunnel::Gre { .. } => None,
        }
    }

    /// Returns whether the real has the VIP.
    #[must_use]
    pub fn holds_vip(&self) -> bool {
        matches!(self.forward, Forward::Dr | Forward::Tun)
    }
}

/// Verdict of the health checks of a real that is down.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Down {
    /// Check that fails.
    pub check: CheckName,
    /// Its latest result; `None` if the state is that of an earlier run of the daemon.
    pub last: Option<LastResult>,
    /// Seconds since the real went down; 0 if not known.
    pub seconds: u64,
}

/// Health of a service's reals.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PoolHealth {
    /// Service.
    pub service: ServiceId,
    /// Consequence for the service.
    pub mode: Mode,
    /// Number of healthy reals, without backup reals.
    pub healthy: usize,
    /// Number of reals that could serve, without backup reals.
    pub able: usize,
    /// Number of healthy reals that the service needs.
    pub needed: usize,
}

/// A service whose clients get no connections.
#[derive(Clone, Debug)]
pub struct WithoutReal {
    /// Service.
    pub service: ServiceId,
    /// A real that could serve, and what keeps it from that; `None` if there is no real at all.
    pub idle: Option<Idle>,
}

/// A real that takes no connections.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Idle {
    /// Real, as commands name it.
    pub real: String,
    /// The operator has drained or disabled the real; otherwise, its weight is 0.
    pub by_operator: bool,
}

/// All facts, at one moment.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Every real of every service, once per endpoint.
    pub targets: Vec<Target>,
    /// Services without a real for new connections, and why.
    pub without_real: Vec<WithoutReal>,
    /// Health of the services whose reals have checks.
    pub pools: Vec<PoolHealth>,
    /// Reason why the states of all reals are frozen, if they are.
    pub frozen: Option<String>,
    /// Every endpoint of the services.
    pub endpoints: BTreeSet<Endpoint>,
    /// Interfaces of the director.
    pub interfaces: Vec<Interface>,
    /// Veths whose peer loses the frames that an XDP program sends through them.
    pub deaf_veths: BTreeSet<u32>,
    /// Recent number of packets that drivers failed to send, by interface.
    pub lost_sends: BTreeMap<u32, u64>,
    /// VIPs are managed by others, such as VRRP: a director without them is on standby.
    pub is_standby: bool,
    /// Addresses of the director.
    pub addresses: Vec<Address>,
    /// Interfaces to which the program is attached.
    pub attached: BTreeMap<u32, String>,
    /// Id of the program that should run there.
    pub program: Option<u32>,
    /// The operator requested generic mode.
    pub generic_wanted: bool,
    /// Number of tracked IPv4 flows.
    pub flows: u64,
    /// Size of the IPv4 flow table.
    pub max_flows: u32,
    /// Number of tracked IPv6 flows.
    pub flows6: u64,
    /// Size of the IPv6 flow table.
    pub max_flows6: u32,
    /// Recent evictions from the IPv4 tables and the IPv6 tables.
    pub evicted: [Option<Evicted>; 2],
}

impl Facts {
    /// Returns every VIP.
    #[must_use]
    pub fn vips(&self) -> BTreeSet<IpAddr> {
        self.endpoints.iter().map(|endpoint| endpoint.address.ip()).collect()
    }

    /// Returns the VIPs that this director does not have because another director has them, or may have them.
    #[must_use]
    pub fn standby_vips(&self) -> BTreeSet<IpAddr> {
        let is_here = |vip: &IpAddr| self.addresses.iter().any(|address| address.net.addr() == *vip);
        self.vips().into_iter().filter(|vip| self.is_standby && !is_here(vip)).collect()
    }

    /// Returns whether an address is in a network of one of the director's interfaces.
    #[must_use]
    pub fn is_on_link(&self, ip: IpAddr) -> bool {
        let nets = self.addresses.iter().filter(|address| self.attached.contains_key(&address.ifindex));
        nets.map(|address| address.net)
            .any(|net| net.prefix_len() > 0 && net.addr() != ip && net.contains(&ip))
    }

    /// Returns the names of the director's interfaces that do not exist any more.
    #[must_use]
    pub fn gone(&self) -> Vec<&str> {
        let is_there = |index| self.interfaces.iter().any(|interface| interface.index == index);
        self.attached.iter().filter(|(index, _)| !is_there(**index)).map(|(_, name)| name.as_str()).collect()
    }

    /// Returns the interface with that name.
    #[must_use]
    pub fn interface(&self, name: &str) -> Option<&Interface> {
        self.interfaces.iter().find(|interface| interface.name == name)
    }

    /// Returns the name of an interface.
    #[must_use]
    pub fn name(&self, ifindex: u32) -> String {
        let found = self.interfaces.iter().find(|interface| interface.index == ifindex);
        found.map_or_else(|| format!("#{ifindex}"), |interface| interface.name.clone())
    }
}
