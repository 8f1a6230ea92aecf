// SPDX-License-Identifier: MIT OR Apache-2.0
//! The address plan, and the expected effect of each method on a client's frame.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};

use lb_common::schema::Settings;
use lb_control::neighbours::NextHop;
use lb_model::Forward;

use super::{
    frame::{Frame, tunnel},
    version,
};

/// A client and its port.
pub const CLIENT: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 10), 40_000);
/// The address of every service.
pub const VIP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 100);
/// The port of the services that have one.
pub const PORT: u16 = 80;
/// The service that most tests are about.
pub const SERVICE: SocketAddrV4 = SocketAddrV4::new(VIP, PORT);
/// The port of `nat` and `fnat` reals; only these methods can change the port.
pub const NAT_PORT: u16 = 8080;
/// The director's own address towards the reals.
pub const DIP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
/// SNAT address and port of clients' flows at `fnat` reals, if [`one_port`] leaves no choice.
pub const DIP_END: SocketAddrV4 = SocketAddrV4::new(DIP, 5000);
/// A router somewhere on the way.
pub const ROUTER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);

/// The loopback interface, by which the frames of a test run arrive.
pub const INGRESS: u32 = 1;
/// MTU of the interface towards the reals, in bytes.
pub const MTU: u32 = 1500;

const DIRECTOR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0xd1];
const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0xc1];

/// Source and destination of a frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Link {
    /// Destination MAC address.
    pub to: [u8; 6],
    /// Source MAC address.
    pub from: [u8; 6],
}

/// From the client's side to the director.
pub const CLIENT_LINK: Link = Link { to: DIRECTOR_MAC, from: CLIENT_MAC };

impl Link {
    /// Returns the link in the other direction.
    pub fn back(self) -> Self {
        Self { to: self.from, from: self.to }
    }
}

/// A real server: the address that it serves at.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RealServer(pub SocketAddrV4);

impl RealServer {
    /// Returns the real with this number, at the service's own port.
    pub const fn number(number: u8) -> Self {
        Self::at_port(number, PORT)
    }

    /// Returns the real with this number, at the usual port of a service with this method.
    pub fn by(method: Forward, number: u8) -> Self {
        Self::at_port(number, if matches!(method, Forward::Nat | Forward::Fnat) { NAT_PORT } else { PORT })
    }

    /// Returns the real with this number, at another port.
    pub const fn at_port(number: u8, port: u16) -> Self {
        Self(SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 10 + number), port))
    }

    /// Returns the RIP.
    pub const fn ip(self) -> Ipv4Addr {
        *self.0.ip()
    }

    /// Returns the link from the director to the real.
    pub const fn link(self) -> Link {
        Link { to: [2, 0, 0, 0, 1, self.ip().octets()[3]], from: DIRECTOR_MAC }
    }

    /// Returns the next hop that the daemon would find for the real.
    pub fn next_hop(self) -> NextHop {
        let address = SocketAddr::from(self.0);
        next_hop(if version::is_six() { version::socket(address) } else { address })
    }

    /// Returns the RIP in the IP version of this run of the tests.
    pub fn meant(self) -> IpAddr {
        if version::is_six() { version::address(self.ip().into()) } else { self.ip().into() }
    }

    /// Returns the frame that the real receives for a client's frame.
    pub fn receives(self, method: Forward, sent: &Frame) -> Frame {
        let hop = sent.clone().hop().link(self.link());
        match method {
            Forward::Dr => hop,
            Forward::Tun => tunnel(DIP, self.ip(), hop).link(self.link()),
            Forward::Nat => hop.to(self.0),
            Forward::Fnat => hop.to(self.0).from(DIP_END),
            Forward::Local => panic!("stays on the director"),
        }
    }

    /// Returns the real's reply frame to the director.
    pub fn answers(self, reply: Frame) -> Frame {
        reply.link(self.link().back())
    }
}

/// Returns the next hop that the daemon would find for an address.
pub fn next_hop(to: SocketAddr) -> NextHop {
    let SocketAddr::V4(real) = version::original(to) else { panic!("{to} stands for nothing in IPv4") };
    let link = RealServer(real).link();
    NextHop {
        ifindex: INGRESS,
        source_mac: link.from,
        next_hop_mac: link.to,
        source_ip: if to.is_ipv6() { version::address(DIP.into()) } else { DIP.into() },
        mtu: MTU,
        tags: 0,
        trunk: false,
        on_link: true,
    }
}

/// Settings by which `fnat` has [`DIP_END`] and nothing else to give.
pub const fn one_port() -> Settings {
    Settings { first_dip_port: DIP_END.port() as u64, dip_ports: 1, ..Settings::DEFAULT }
}

/// Returns the frame that the client receives from `vip` for a nat real's frame.
pub fn client_receives(reply: &Frame, vip: impl Into<SocketAddr>) -> Frame {
    reply.clone().hop().from(vip).link(CLIENT_LINK.back())
}
