// SPDX-License-Identifier: MIT OR Apache-2.0
//! Commands that fix findings: each is a line for a shell on the machine that the finding names.
#![forbid(unsafe_code)]

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::{Facts, Target, topology::Topology};
use lb_model::{Endpoint, Forward, check::CheckName};

/// Priority of the routing rules in fixes, and number of their table: lower than the priorities that are
/// usually in use.
const RULE: u32 = 471;

/// Returns `ip`, or `ip -6` for an IPv6 address, which `ip` might take for IPv4.
pub(super) const fn ip(like: IpAddr) -> &'static str {
    if like.is_ipv4() { "ip" } else { "ip -6" }
}

/// Quotes words such that a shell does not change them: the brackets of IPv6 addresses are patterns to it.
pub(super) fn quoted(words: &str) -> String {
    let quote = |word: &str| if word.contains('[') { format!("'{word}'") } else { word.to_owned() };
    words.split(' ').map(quote).collect::<Vec<_>>().join(" ")
}

impl Target {
    /// Returns the command that sets up the real for this service. Runs on the real.
    #[must_use]
    pub fn setup(&self) -> String {
        let decap = if self.forward == Forward::Tun && !self.tunnel.is_ipip() { " --decap xdp" } else { "" };
        format!("xvs host setup --vip {} --forward {} --rip {}{decap}", self.vip, self.forward, self.rip)
    }

    /// Returns the command that lets packets of this service pass the firewall. Runs on the real.
    pub(super) fn open(&self) -> String {
        let (address, port) =
            if self.holds_vip() { (self.vip, self.port) } else { (self.rip, self.real_port) };
        let tunnel = match self.forward {
            Forward::Tun => format!(" --tunnel {}", self.tunnel),
            _ => String::new(),
        };
        quoted(&format!("xvs host open {} {}{tunnel}", self.protocol, SocketAddr::new(address, port)))
    }

    /// Returns the command that stops new connections to the real. Runs on the director.
    pub(super) fn take_out(&self) -> String {
        self.edit("--weight 0")
    }

    /// Returns the end of the cause of a fault that xvs cannot fix, and a command for the director: to stop new
    /// connections, or, if health checks have done that, to look at the failing one.
    pub(super) fn spare(&self, until: &str) -> (String, String) {
        match &self.down {
            Some(down) => {
                ("its health checks have taken it out of service".to_owned(), self.run_check(&down.check))
            }
            None => (
                format!(
                    "the fix takes it out of service, and its weight ({}) is put back when {until}",
                    self.weight
                ),
                self.take_out(),
            ),
        }
    }

    /// Returns the command that probes the real once and shows each step. Runs on the director.
    pub(super) fn run_check(&self, name: &CheckName) -> String {
        quoted(&format!("xvs check run {name} {} {}", self.service, self.named()))
    }

    /// Returns the command that changes options of the real. Runs on the director.
    pub(super) fn edit(&self, options: &str) -> String {
        quoted(&format!("xvs real edit {} {} {options}", self.service, self.named()))
    }

    /// Returns the command that routes packets to an address through the real's own link, despite any routing
    /// rules. Runs on the real.
    pub(super) fn route_on_link(&self, to: IpAddr) -> String {
        let (ip, rip) = (ip(to), self.rip);
        let route = format!("{ip} route replace {} dev {} src {rip}", IpNet::from(to), self.device());
        let leads = format!("{ip} route get {to} from {rip} 2> /dev/null | grep -q '{rip} dev '");
        format!("{route} && {{ {leads} || {ip} rule add pref {RULE} to {to} lookup main; }}")
    }

    /// Returns the command that routes replies to clients through the director, including clients in another
    /// network of the director. Runs on the real.
    pub(super) fn route_back(&self, topology: &Topology) -> String {
        let Topology { dip, clients, far, .. } = *topology;
        let (ip, rip) = (ip(dip), self.rip);
        // More specific routes within that network are removed if they match the address that was used for
        // the probe.
        let near = match (clients, far) {
            (Some(net), Some(far)) => {
                let net = net.trunc();
                format!(
                    "{{ {ip} route flush root {net} match {far} || true; }} && {ip} route replace {net} via {dip} && "
                )
            }
            _ => String::new(),
        };
        let rule = far.map_or(String::new(), |far| {
            let rule = format!("{ip} rule add pref {RULE} from {rip} lookup main");
            format!(" && {{ {} || {rule}; }}", self.leads_back(far, dip))
        });
        format!("{near}{ip} route replace default via {dip}{rule}")
    }

    /// Returns the command of [`Self::route_back`], conditional on the present route.
    pub(super) fn route_back_if_needed(&self, topology: &Topology) -> String {
        let back = self.route_back(topology);
        topology.far.map_or(back.clone(), |far| {
            format!("{{ {} || {{ {back}; }}; }}", self.leads_back(far, topology.dip))
        })
    }

    fn leads_back(&self, far: IpAddr, dip: IpAddr) -> String {
        format!("{} route get {far} from {} 2> /dev/null | grep -q 'via {dip} '", ip(far), self.rip)
    }

    /// Returns the command that adds a missing route from the VIP to clients: through their link if the real
    /// is on it, otherwise through the director. Runs on the real.
    pub(super) fn route_from_vip(&self, topology: &Topology) -> Option<String> {
        let Topology { dip, clients: Some(net), far: Some(far), shares_link } = *topology else {
            return None;
        };
        let (ip, vip, net) = (ip(self.vip), self.vip, net.trunc());
        let (wrong, via) = if shares_link {
            ("'' | *' via '*", format!("dev {}", self.device()))
        } else if dip.is_ipv4() == vip.is_ipv4() {
            ("''", format!("via {dip}"))
        } else {
            return None;
        };
        Some(format!(
            "case \"$({ip} route get {far} from {vip} 2> /dev/null)\" in {wrong}) \
             {ip} route replace {net} {via} table {RULE} && {ip} rule add pref {RULE} from {vip} lookup {RULE};; esac"
        ))
    }

    /// Returns the command that sets the reverse path filter to loose mode. Runs on the real.
    pub(super) fn loose_filter(&self) -> Option<String> {
        let set = || format!("sysctl -q -w \"net/ipv4/conf/{}/rp_filter=2\"", self.device());
        self.vip.is_ipv4().then(set)
    }

    /// Returns the command that removes proxy entries for an address. Runs on the real.
    pub(super) fn forget_proxy(&self, vip: IpAddr) -> String {
        format!("{{ {} neighbour delete proxy {vip} dev {} 2> /dev/null || true; }}", ip(vip), self.device())
    }

    /// Returns the command that switches off checksum offload. Runs on the real.
    pub(super) fn checksums(&self) -> String {
        format!("ethtool -K {} tx off", self.device())
    }

    /// Returns a shell expression for the name of the interface with the RIP, which is not known here.
    fn device(&self) -> String {
        format!("$(ip -oneline address show to {} | cut -d ' ' -f 2 | head -n 1)", self.rip)
    }
}

/// Returns the command that routes packets for a real directly to the link of this interface. Runs on the director.
pub(super) fn route_by(facts: &Facts, rip: IpAddr, ifindex: u32) -> String {
    let own = facts.addresses.iter().filter(|address| address.ifindex == ifindex);
    let near = own.map(|address| address.net).find(|net| net.contains(&rip));
    let source = near.map_or(String::new(), |net| format!(" src {}", net.addr()));
    format!("{} route replace {} dev {}{source}", ip(rip), IpNet::from(rip), facts.name(ifindex))
}

/// Table of nftables that serves clients on the director.
pub(super) const OWN: &str = "xvs-local";

/// Returns the command that translates the director's own packets for a service to a real, with a source
/// address that the real answers, and resets stale connections. Runs on the director.
pub(super) fn translate_own(endpoint: &Endpoint, real: &Target) -> String {
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

/// Returns the command that makes the kernel resolve a neighbour again, even if the entry was made by hand.
/// Runs on the director.
pub(super) fn forget_neighbour(neighbour: IpAddr, interface: &str) -> String {
    format!("{} neighbour flush to {neighbour} dev {interface} nud all", ip(neighbour))
}

/// Returns the command that redirects connections to the VIP to the sockets that listen on the RIP. Runs on
/// the real.
pub(super) fn translate_on_real(target: &Target) -> String {
    let Target { vip, rip, port, real_port, .. } = *target;
    let family = if vip.is_ipv4() { "ip" } else { "ip6" };
    let to = SocketAddr::new(rip, real_port);
    format!(
        "nft 'add table {family} xvs-listen; add chain {family} xvs-listen vip {{ type nat hook prerouting priority dstnat; }}; \
         add rule {family} xvs-listen vip {family} daddr {vip} tcp dport {port} dnat to {to}'"
    )
}
