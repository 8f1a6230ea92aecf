// SPDX-License-Identifier: MIT OR Apache-2.0
//! Targets of probes, and the keys of their packets.
#![forbid(unsafe_code)]

use std::net::{IpAddr, SocketAddr};

use lb_common::{
    ids::{IfIndex, RealId},
    schema::{FlowKey, Method, Probe, ProbeReply, SnatBinding},
    wire::{Be16, Be128, MacPair},
};

/// Protocol of a probe.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum ProbeProtocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// Echo requests of ICMP, or of `ICMPv6`. The identifier takes the place of the prober's port.
    Echo,
}

impl ProbeProtocol {
    /// Returns the IANA number in the IP version of an address.
    const fn number(self, address: IpAddr) -> u8 {
        match (self, address) {
            (Self::Tcp, _) => lb_common::protocol::TCP,
            (Self::Udp, _) => lb_common::protocol::UDP,
            (Self::Echo, IpAddr::V4(_)) => lb_common::protocol::ICMP,
            (Self::Echo, IpAddr::V6(_)) => lb_common::protocol::ICMPV6,
        }
    }
}

/// Source of `fnat` packets to a real, as clients' packets have it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct SnatSource {
    /// Index in `SNAT_ADDRESSES`; 0 if no SNAT addresses are configured: then `address` is the director's
    /// address towards the real (`source` in `REALS`), which changes with the routes of the host.
    pub index: u16,
    /// The address.
    pub address: IpAddr,
}

/// The place of a real behind a service, to which probes go.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Place {
    /// Protocol of the probes.
    pub protocol: ProbeProtocol,
    /// VIP and port of the service. The port counts for [`ProbeProtocol::Echo`] too, which sends none.
    pub vip: SocketAddr,
    /// RIP and port of the real; port 0 if it is that of the service.
    pub real: SocketAddr,
    /// Forwarding method.
    pub method: Method,
    /// Source address of the probes: an address of the director, of the VIP's version.
    pub source: IpAddr,
    /// Source towards the real, with [`Method::Fnat`] only.
    pub snat: Option<SnatSource>,
}

/// A place, and the id that its real has at present.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Target {
    /// The place.
    pub place: Place,
    /// Id of the real in `REALS`.
    pub id: RealId,
}

impl Place {
    /// Returns an error text if no probe can reach the place.
    pub(super) fn fault(&self) -> Option<&'static str> {
        if self.method == Method::Local {
            return Some("a probe of a local real needs no path");
        }
        if self.source.is_ipv4() != self.vip.is_ipv4() {
            return Some("the source address and the VIP are of different IP versions");
        }
        if self.method != Method::Tun && self.real.is_ipv4() != self.vip.is_ipv4() {
            return Some("only a tunnel reaches a real of the other IP version");
        }
        match (self.method, self.snat) {
            (Method::Fnat, None) => Some("fnat needs a source towards the real"),
            (Method::Fnat, Some(snat)) if snat.address.is_ipv4() != self.real.is_ipv4() => {
                Some("the SNAT address and the real are of different IP versions")
            }
            _ => None,
        }
    }

    /// Returns the time to live of the probes. The director takes one away, so that a real that is reached by its own
    /// MAC address or by a tunnel gets 1, and cannot forward a packet for a VIP that it lacks.
    pub(super) const fn ttl(&self) -> u8 {
        match self.method {
            Method::Dr | Method::Tun => 2,
            Method::Nat | Method::Fnat | Method::Local => 64,
        }
    }

    /// Returns the number of the protocol behind the IP header.
    const fn number(&self) -> u8 {
        self.protocol.number(self.source)
    }

    /// Returns a port in the encoding of a key; echo messages have none.
    fn port(&self, port: u16) -> Be16 {
        if self.protocol == ProbeProtocol::Echo { Be16::ZERO } else { Be16::new(port) }
    }

    /// Returns the key in `PROBES` of probes from a port of the prober.
    pub(super) fn probe_key(&self, port: u16) -> FlowKey {
        let (source, vip) = (Be128::from(self.source), Be128::from(self.vip.ip()));
        FlowKey::new(source, vip, Be16::new(port), self.port(self.vip.port()), self.number())
    }

    /// Returns the key in `PROBE_REPLIES` of the replies to these probes.
    pub(super) fn reply_key(&self, port: u16) -> FlowKey {
        let real_port = if self.real.port() == 0 { self.vip.port() } else { self.real.port() };
        let (from, from_port) = match self.method {
            Method::Dr | Method::Tun | Method::Local => (self.vip.ip(), self.vip.port()),
            Method::Nat | Method::Fnat => (self.real.ip(), real_port),
        };
        let to = self.snat.filter(|_| self.method == Method::Fnat).map_or(self.source, |snat| snat.address);
        let (from, to) = (Be128::from(from), Be128::from(to));
        FlowKey::new(from, to, self.port(from_port), Be16::new(port), self.number())
    }

    /// Returns the value in `PROBES`.
    pub(super) fn probe(&self, id: RealId, port: u16) -> Probe {
        let snat = match self.snat {
            Some(snat) if self.method == Method::Fnat => {
                SnatBinding { address: snat.index, port: self.port(port) }
            }
            _ => SnatBinding::NONE,
        };
        Probe { real: id, snat }
    }

    /// Returns the value in `PROBE_REPLIES`, for a prober behind that interface.
    pub(super) fn reply(&self, port: u16, ifindex: IfIndex, to_prober: MacPair) -> ProbeReply {
        ProbeReply {
            source: self.vip.ip().into(),
            destination: self.source.into(),
            source_port: self.port(self.vip.port()),
            destination_port: self.port(port),
            ifindex,
            to_prober,
            reserved: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(method: Method) -> Place {
        Place {
            protocol: ProbeProtocol::Tcp,
            vip: "192.0.2.100:80".parse().unwrap(),
            real: "10.0.0.11:8080".parse().unwrap(),
            method,
            source: "10.0.0.1".parse().unwrap(),
            snat: None,
        }
    }

    fn key(source: &str, destination: &str, protocol: u8) -> FlowKey {
        let [source, destination]: [SocketAddr; 2] = [source, destination].map(|text| text.parse().unwrap());
        FlowKey::new(
            source.ip().into(),
            destination.ip().into(),
            Be16::new(source.port()),
            Be16::new(destination.port()),
            protocol,
        )
    }

    #[test]
    fn a_probe_goes_from_the_director_to_the_vip_by_every_method() {
        for method in [Method::Dr, Method::Tun, Method::Nat, Method::Fnat] {
            assert_eq!(place(method).probe_key(61_000), key("10.0.0.1:61000", "192.0.2.100:80", 6));
        }
    }

    #[test]
    fn a_reply_comes_from_the_vip_or_from_the_real_by_the_method() {
        for method in [Method::Dr, Method::Tun] {
            assert_eq!(place(method).reply_key(61_000), key("192.0.2.100:80", "10.0.0.1:61000", 6));
        }
        assert_eq!(place(Method::Nat).reply_key(61_000), key("10.0.0.11:8080", "10.0.0.1:61000", 6));
        let same_port = Place { real: "10.0.0.11:0".parse().unwrap(), ..place(Method::Nat) };
        assert_eq!(same_port.reply_key(61_000), key("10.0.0.11:80", "10.0.0.1:61000", 6));
        let snat = Some(SnatSource { index: 3, address: "10.0.0.7".parse().unwrap() });
        let fnat = Place { snat, ..place(Method::Fnat) };
        assert_eq!(fnat.reply_key(61_000), key("10.0.0.11:8080", "10.0.0.7:61000", 6));
        assert_eq!(fnat.probe(RealId(9), 61_000).snat, SnatBinding { address: 3, port: Be16::new(61_000) });
        assert_eq!(place(Method::Nat).probe(RealId(9), 61_000).snat, SnatBinding::NONE);
    }

    #[test]
    fn an_echo_has_its_identifier_for_the_port_of_the_prober() {
        let echo = Place { protocol: ProbeProtocol::Echo, ..place(Method::Dr) };
        assert_eq!(echo.probe_key(61_000), key("10.0.0.1:61000", "192.0.2.100:0", 1));
        assert_eq!(echo.reply_key(61_000), key("192.0.2.100:0", "10.0.0.1:61000", 1));
    }

    #[test]
    fn only_possible_places_have_no_fault() {
        assert_eq!(place(Method::Dr).fault(), None);
        assert!(place(Method::Local).fault().is_some());
        assert!(place(Method::Fnat).fault().is_some());
        assert!(Place { source: "fd00::1".parse().unwrap(), ..place(Method::Dr) }.fault().is_some());
        let far = "[fd00::b]:80".parse().unwrap();
        assert!(Place { real: far, ..place(Method::Nat) }.fault().is_some());
        assert_eq!(Place { real: far, ..place(Method::Tun) }.fault(), None);
    }
}
