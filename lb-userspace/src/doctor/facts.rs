// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the daemon knows and the checks judge by.
#![forbid(unsafe_code)]

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

use crate::{
    control::neighbours::Unresolved,
    dataplane::Entry,
    model::{Endpoint, Forward, Protocol, Tunnel, evicted::Evicted},
    netlink::{Address, Interface, Mac},
};

/// How the loaded program sends to a real: its entry in the table of reals.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    /// The device that packets leave by.
    pub ifindex: u32,
    /// The Ethernet address that they are sent to.
    pub to: Mac,
    /// The Ethernet address that they are sent from.
    pub from: Mac,
    /// The outer source address of tunnels.
    pub tunnel_source: IpAddr,
    /// The largest IP packet.
    pub mtu: u16,
}

/// A real of a service at one of its endpoints.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The service, in the operator's words.
    pub service: String,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Where clients reach the service.
    pub vip: IpAddr,
    /// Its port; 0 = every port.
    pub port: u16,
    /// The real's address.
    pub rip: IpAddr,
    /// The real's port.
    pub real_port: u16,
    /// The forwarding method.
    pub forward: Forward,
    /// What is around packets by `tun`.
    pub tunnel: Tunnel,
    /// Its share of new connections.
    pub weight: u32,
    /// RIP and port as the service names them; port 0 = as the client sent it.
    pub address: SocketAddr,
    /// What the loaded tables hold of it, if packets reach it.
    pub entry: Option<Entry>,
    /// How packets reach it, or why they do not.
    pub way: Result<Way, Unresolved>,
    /// The director's address towards it.
    pub dip: Option<IpAddr>,
    /// The router on the way, if it is not on the director's link.
    pub gateway: Option<IpAddr>,
}

impl From<&Subject> for (String, String) {
    fn from(subject: &Subject) -> Self {
        (subject.service.clone(), subject.real())
    }
}

impl Subject {
    /// The real as findings name it.
    #[must_use]
    pub fn real(&self) -> String {
        SocketAddr::new(self.rip, self.real_port).to_string()
    }

    /// Where clients reach the service.
    #[must_use]
    pub fn at(&self) -> SocketAddr {
        SocketAddr::new(self.vip, self.port)
    }

    /// Whether clients reach it there.
    #[must_use]
    pub fn is_at(&self, endpoint: &Endpoint) -> bool {
        self.protocol == endpoint.protocol && self.at() == endpoint.address
    }

    /// The real as commands name it.
    #[must_use]
    pub fn named(&self) -> String {
        match self.address.port() {
            0 => self.rip.to_string(),
            _ => self.address.to_string(),
        }
    }

    /// What is around its packets: the outer destination, and the tunnel.
    #[must_use]
    pub fn tunnel(&self) -> Option<(IpAddr, Tunnel)> {
        (self.forward == Forward::Tun).then_some((self.rip, self.tunnel))
    }

    /// The UDP port of its tunnel, if it has one.
    #[must_use]
    pub fn tunnel_port(&self) -> Option<u16> {
        match self.tunnel {
            Tunnel::Gue { port, .. } => Some(port),
            Tunnel::Ipip | Tunnel::Gre { .. } => None,
        }
    }

    /// Whether the real holds the VIP.
    #[must_use]
    pub fn holds_vip(&self) -> bool {
        matches!(self.forward, Forward::Dr | Forward::Tun)
    }
}

/// A service whose clients get nothing.
#[derive(Clone, Debug)]
pub struct WithoutReal {
    /// The service, in the operator's words.
    pub service: String,
    /// A real whose weight is 0, as commands name it; `None` if there is no real at all.
    pub idle: Option<String>,
}

/// Everything at one moment.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Every real of every service, at each endpoint.
    pub subjects: Vec<Subject>,
    /// Services without a real that takes connections, and why.
    pub without_real: Vec<WithoutReal>,
    /// Every endpoint of the services.
    pub endpoints: BTreeSet<Endpoint>,
    /// Interfaces of the director.
    pub interfaces: Vec<Interface>,
    /// Veths whose other end loses what an XDP program sends out of them.
    pub deaf_veths: BTreeSet<u32>,
    /// Packets that drivers lately did not send, by interface.
    pub lost_sends: BTreeMap<u32, u64>,
    /// Whether VIPs come and go by the hand of others, such as VRRP: a director without them is on standby.
    pub is_standby: bool,
    /// Addresses of the director.
    pub addresses: Vec<Address>,
    /// Interfaces that the program is attached to.
    pub attached: BTreeMap<u32, String>,
    /// The kernel's number of the program that is to run there.
    pub program: Option<u32>,
    /// Whether the operator asked for generic mode.
    pub generic_wanted: bool,
    /// Tracked flows of IPv4.
    pub flows: u64,
    /// How many fit.
    pub max_flows: u32,
    /// Tracked flows of IPv6.
    pub flows6: u64,
    /// How many fit.
    pub max_flows6: u32,
    /// What the tables of IPv4 and of IPv6 forgot lately though it lived.
    pub evicted: [Option<Evicted>; 2],
}

impl Facts {
    /// Every VIP.
    #[must_use]
    pub fn vips(&self) -> BTreeSet<IpAddr> {
        self.endpoints.iter().map(|endpoint| endpoint.address.ip()).collect()
    }

    /// Returns the VIPs that this director does not have because another one has them, or may have.
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

    /// Returns the names of the director's interfaces that are not there any more.
    #[must_use]
    pub fn gone(&self) -> Vec<&str> {
        let is_there = |index| self.interfaces.iter().any(|interface| interface.index == index);
        self.attached.iter().filter(|(index, _)| !is_there(**index)).map(|(_, name)| name.as_str()).collect()
    }

    /// The interface of that name.
    #[must_use]
    pub fn interface(&self, name: &str) -> Option<&Interface> {
        self.interfaces.iter().find(|interface| interface.name == name)
    }

    /// The name of an interface.
    #[must_use]
    pub fn name(&self, ifindex: u32) -> String {
        let found = self.interfaces.iter().find(|interface| interface.index == ifindex);
        found.map_or_else(|| format!("#{ifindex}"), |interface| interface.name.clone())
    }
}
