// SPDX-License-Identifier: MIT OR Apache-2.0
//! Commands that mend: each is a line for a shell on the machine that a finding names.
#![forbid(unsafe_code)]

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::{Facts, Subject};
use crate::control::model::{Endpoint, Forward};

/// `ip`, or `ip -6` where it would take the address for one of IPv4.
pub(super) const fn ip(like: IpAddr) -> &'static str {
    if like.is_ipv4() { "ip" } else { "ip -6" }
}

/// Words of which a shell leaves each as it is: brackets of IPv6 are patterns to it.
fn quoted(words: &str) -> String {
    let quote = |word: &str| if word.contains('[') { format!("'{word}'") } else { word.to_owned() };
    words.split(' ').map(quote).collect::<Vec<_>>().join(" ")
}

impl Subject {
    /// On the real: makes it ready for this service.
    #[must_use]
    pub fn setup(&self) -> String {
        let decap = if self.forward == Forward::Tun && !self.tunnel.is_ipip() { " --decap xdp" } else { "" };
        format!("xvs host setup --vip {} --forward {} --rip {}{decap}", self.vip, self.forward, self.rip)
    }

    /// On the real: lets packets of this service pass its firewall.
    pub(super) fn open(&self) -> String {
        let (address, port) =
            if self.holds_vip() { (self.vip, self.port) } else { (self.rip, self.real_port) };
        let tunnel = match self.forward {
            Forward::Tun => format!(" --tunnel {}", self.tunnel),
            _ => String::new(),
        };
        quoted(&format!("xvs host open {} {}{tunnel}", self.protocol, SocketAddr::new(address, port)))
    }

    /// On the director: no new connection goes to the real any more.
    pub(super) fn take_out(&self) -> String {
        self.edit("--weight 0")
    }

    /// On the director: changes what is said of the real.
    pub(super) fn edit(&self, options: &str) -> String {
        quoted(&format!("xvs real edit {} {} {options}", self.service, self.named()))
    }

    /// On the real: what it sends to an address takes the way of its own link again.
    pub(super) fn route_on_link(&self, to: IpAddr) -> String {
        format!("{} route replace {} dev {} src {}", ip(to), IpNet::from(to), self.device(), self.rip)
    }

    /// On the real: it fills checksums in itself.
    pub(super) fn checksums(&self) -> String {
        format!("ethtool -K {} tx off", self.device())
    }

    /// The real's name for the interface that has the RIP, which is not known here.
    fn device(&self) -> String {
        format!("$(ip -oneline address show to {} | cut -d ' ' -f 2 | head -n 1)", self.rip)
    }
}

/// On the real: what it sends to clients goes to the director, also to those in the network `clients`.
pub(super) fn route_back(dip: IpAddr, clients: Option<IpNet>) -> String {
    let ip = ip(dip);
    let near =
        clients.map_or(String::new(), |net| format!("{ip} route replace {} via {dip} && ", net.trunc()));
    format!("{near}{ip} route replace default via {dip}")
}

/// On the director: packets for a real leave by this interface, to the link itself.
pub(super) fn route_by(facts: &Facts, rip: IpAddr, ifindex: u32) -> String {
    let own = facts.addresses.iter().filter(|address| address.ifindex == ifindex);
    let near = own.map(|address| address.net).find(|net| net.contains(&rip));
    let source = near.map_or(String::new(), |net| format!(" src {}", net.addr()));
    format!("{} route replace {} dev {}{source}", ip(rip), IpNet::from(rip), facts.name(ifindex))
}

/// The table of nftables that serves clients on the director.
pub(super) const OWN: &str = "xvs-local";

/// On the director: what it sends to a service itself goes to a real, from an address that the real answers; connections that lead
/// nowhere are broken off.
pub(super) fn translate_own(endpoint: &Endpoint, real: &Subject) -> String {
    let Endpoint { protocol, address } = *endpoint;
    let (ip, vip, rip) = (if address.is_ipv4() { "ip" } else { "ip6" }, address.ip(), real.rip);
    let source = real.dip.filter(|dip| dip.is_ipv4() == rip.is_ipv4());
    let ports = |port| match port {
        0 => format!("meta l4proto {protocol}"),
        port => format!("{protocol} dport {port}"),
    };
    let to = match real.real_port {
        0 => rip.to_string(),
        port => SocketAddr::new(rip, port).to_string(),
    };
    let from = source.map_or("masquerade".to_owned(), |dip| format!("snat to {dip}"));
    let (at_vip, at_real) = (ports(address.port()), ports(real.real_port));
    let sockets = match address.port() {
        0 => format!("dst {vip}"),
        _ => format!("dst '{address}'"),
    };
    format!(
        "nft 'add table {ip} {OWN}; add chain {ip} {OWN} output {{ type nat hook output priority -100; }}; \
         add chain {ip} {OWN} leave {{ type nat hook postrouting priority srcnat; }}; \
         add rule {ip} {OWN} output {ip} daddr {vip} {at_vip} dnat to {to}; \
         add rule {ip} {OWN} leave {ip} saddr {vip} {ip} daddr {rip} {at_real} {from}' && \
         {{ ss --kill --{protocol} {sockets} > /dev/null || true; }}"
    )
}

/// On the director: the kernel asks again for a neighbour, also where the entry was made by hand.
pub(super) fn forget_neighbour(neighbour: IpAddr, interface: &str) -> String {
    format!("{} neighbour flush to {neighbour} dev {interface} nud all", ip(neighbour))
}

/// On the real: connections to the VIP are taken by who listens on the RIP.
pub(super) fn translate_on_real(subject: &Subject) -> String {
    let Subject { vip, rip, port, real_port, .. } = *subject;
    let family = if vip.is_ipv4() { "ip" } else { "ip6" };
    let to = SocketAddr::new(rip, real_port);
    format!(
        "nft 'add table {family} xvs-listen; add chain {family} xvs-listen vip {{ type nat hook prerouting priority dstnat; }}; \
         add rule {family} xvs-listen vip {family} daddr {vip} tcp dport {port} dnat to {to}'"
    )
}
