// SPDX-License-Identifier: MIT OR Apache-2.0
//! The request for set-up, checked before the first change.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
};

use ipnet::IpNet;

use super::{arp::Levels, decap::Choice, encapsulation::Encapsulation};
use lb_model::failure::Failure;
use lb_netlink::{Interface, Netlink};

/// How packets get here.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum Method {
    /// Direct routing: as the client sent them, to this host's MAC
    Dr,
    /// Tunnelling: with an IP header of the director around them
    Tun,
}

/// Request of the operator.
#[derive(Clone, Debug)]
pub struct Request {
    /// VIPs that this host serves.
    pub vips: Vec<IpAddr>,
    /// Forward method of the director for this host.
    pub method: Method,
    /// Name of the interface towards the director; `None` for that of the default route.
    pub interface: Option<String>,
    /// RIP of this host. It selects the interface that has it, and the outer IP version of tunnelled packets.
    pub rip: Option<IpAddr>,
    /// ARP settings.
    pub arp: Levels,
    /// Way of decapsulation.
    pub decap: Choice,
    /// Directors whose tunnels the XDP decapsulator accepts; empty for all.
    pub from: BTreeSet<IpAddr>,
    /// Directory for the pins of the XDP decapsulator.
    pub bpffs: PathBuf,
}

/// A request that was checked against this host.
#[derive(Clone, Debug)]
pub struct Target {
    /// VIPs that this host serves.
    pub vips: BTreeSet<IpAddr>,
    /// Forward method of the director for this host.
    pub method: Method,
    /// Interface towards the director.
    pub interface: Interface,
    /// RIP of this host, if given.
    pub rip: Option<IpAddr>,
    /// Possible outer IP versions of tunnelled packets.
    pub(super) outer: Outer,
    /// Outer destination of IPv6 within IPv4; unspecified if this host has no IPv4 address.
    pub rip4: Ipv4Addr,
    /// Replies to clients leave by that interface too, according to the default route.
    pub replies_leave_there: bool,
    /// ARP settings.
    pub arp: Levels,
    /// Way of decapsulation.
    pub decap: Choice,
    /// Directors whose tunnels the XDP decapsulator accepts; empty for all.
    pub from: BTreeSet<IpAddr>,
    /// Directory for the pins of the XDP decapsulator.
    pub bpffs: PathBuf,
}

impl Target {
    /// Checks a request against itself and against this host.
    ///
    /// # Errors
    /// If the request is wrong, or an interface is missing; each failure has a hint.
    pub async fn new(request: Request, netlink: &Netlink) -> Result<Self, Failure> {
        let vips = vips(&request)?;
        let first =
            *vips.first().ok_or_else(|| Failure::wrong_input("no VIP").hint("give one with --vip"))?;
        let default = netlink.default_interface(first).await?;
        let interface = match (&request.interface, default) {
            (Some(name), _) => netlink.interface(name).await?,
            (None, _) if let Some(rip) = request.rip => holder(netlink, rip).await?,
            (None, Some(index)) => netlink.interface_by_index(index).await?,
            (None, None) => {
                return Err(Failure::wrong_input("no default route that determines the interface")
                    .hint("name the interface towards the director with --interface"));
            }
        };
        if interface.mac.is_none() {
            let message = format!("{} is not an Ethernet interface", interface.name);
            return Err(Failure::wrong_input(message)
                .hint("name the interface towards the director with --interface"));
        }
        are_of_hosts(netlink, &vips).await?;
        let own = own_addresses(netlink, &interface, &vips).await?;
        let rip4 = own.iter().find_map(|ip| if let IpAddr::V4(ip) = ip { Some(*ip) } else { None });
        Ok(Self {
            rip: request.rip,
            outer: Outer::of(request.rip, &own),
            rip4: match request.rip {
                Some(IpAddr::V4(rip)) => rip,
                _ => rip4.unwrap_or(Ipv4Addr::UNSPECIFIED),
            },
            replies_leave_there: default == Some(interface.index),
            vips,
            method: request.method,
            interface,
            arp: request.arp,
            decap: request.decap,
            from: request.from,
            bpffs: request.bpffs,
        })
    }

    /// Returns a target on `interface` whose packets arrive in outer headers of the versions of `own`.
    #[cfg(test)]
    pub(super) fn on(interface: Interface, vips: &[&str], method: Method, own: &[&str]) -> Self {
        let own: Vec<IpAddr> = own.iter().map(|ip| ip.parse().expect("an address")).collect();
        Self {
            vips: vips.iter().map(|vip| vip.parse().expect("an address")).collect(),
            method,
            interface,
            rip: None,
            outer: Outer::of(None, &own),
            rip4: Ipv4Addr::new(10, 0, 0, 11),
            replies_leave_there: true,
            arp: Levels::default(),
            decap: Choice::Auto,
            from: BTreeSet::new(),
            bpffs: PathBuf::from("/bpf"),
        }
    }

    /// Returns the encapsulations to remove: none for `dr`.
    #[must_use]
    pub fn encapsulations(&self) -> BTreeSet<Encapsulation> {
        let of =
            |vip: &IpAddr| Encapsulation { inner_six: vip.is_ipv6(), outer_six: self.outer.is_six_for(*vip) };
        if self.method == Method::Tun { self.vips.iter().map(of).collect() } else { BTreeSet::new() }
    }

    /// Returns whether ARP settings are needed: neighbour discovery has no such settings and needs none, since Linux
    /// answers only for addresses of the interface on which it is asked (docs/arp.md has the capture).
    #[must_use]
    pub fn has_ipv4(&self) -> bool {
        self.vips.iter().any(IpAddr::is_ipv4)
    }
}

/// Returns the interface that has the RIP.
async fn holder(netlink: &Netlink, rip: IpAddr) -> Result<Interface, Failure> {
    match netlink.holders(rip).await?.first() {
        Some(address) => Ok(netlink.interface_by_index(address.ifindex).await?),
        None => Err(Failure::wrong_input(format!("this host does not have the address {rip}"))
            .hint("`ip -brief address` shows what it has; is this the right host?")),
    }
}

/// Refuses VIPs that are a network or broadcast address: no host may have either (RFC 1122, 3.2.1.3), and
/// Linux treats packets to the latter as broadcasts, even if the address was added by hand.
async fn are_of_hosts(netlink: &Netlink, vips: &BTreeSet<IpAddr>) -> Result<(), Failure> {
    for address in netlink.addresses().await? {
        let IpNet::V4(net) = address.net else { continue };
        let ends = [net.network(), net.broadcast()].map(IpAddr::V4);
        if let Some(vip) = ends.iter().find(|end| net.prefix_len() < 31 && vips.contains(end)) {
            let message =
                format!("{vip} cannot be a VIP: it is no host's in {}, a network of this host", net.trunc());
            return Err(Failure::wrong_input(message));
        }
    }
    Ok(())
}

/// Returns the addresses to which a director may send: those of the interface, except VIPs.
async fn own_addresses(
    netlink: &Netlink,
    interface: &Interface,
    vips: &BTreeSet<IpAddr>,
) -> Result<Vec<IpAddr>, Failure> {
    let all = netlink.addresses().await?;
    let own = all.iter().filter(|one| one.ifindex == interface.index).map(|one| one.net.addr());
    Ok(own.filter(|ip| !vips.contains(ip) && !is_link_local(*ip)).collect())
}

const fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

/// IP versions by which the director may reach this host.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Outer {
    four: bool,
    six: bool,
}

impl Outer {
    /// Returns the version of the RIP, or those of this host's addresses; both if it has none yet.
    fn of(rip: Option<IpAddr>, own: &[IpAddr]) -> Self {
        let addresses = rip.as_ref().map_or(own, std::slice::from_ref);
        let has = |six: bool| addresses.iter().any(|ip| ip.is_ipv6() == six);
        Self { four: has(false) || addresses.is_empty(), six: has(true) || addresses.is_empty() }
    }

    /// Returns whether the outer header of packets for a VIP is IPv6: the VIP's own version is preferred.
    const fn is_six_for(self, vip: IpAddr) -> bool {
        if vip.is_ipv6() { self.six } else { !self.four }
    }
}

fn vips(request: &Request) -> Result<BTreeSet<IpAddr>, Failure> {
    let mut vips = BTreeSet::new();
    for vip in &request.vips {
        if let Some(why) = why_no_vip(*vip) {
            return Err(Failure::wrong_input(format!("{vip} cannot be a VIP: {why}")));
        }
        if !vips.insert(*vip) {
            return Err(Failure::wrong_input(format!("the VIP {vip} is given twice")));
        }
    }
    Ok(vips)
}

fn why_no_vip(ip: IpAddr) -> Option<&'static str> {
    match ip {
        _ if ip.is_unspecified() => Some("it is the unspecified address"),
        _ if ip.is_loopback() => Some("it is a loopback address"),
        IpAddr::V4(v4) if v4.octets()[0] == 0 => Some("no host has an address that begins with 0"),
        _ if ip.is_multicast() => Some("it is a multicast address"),
        IpAddr::V4(Ipv4Addr::BROADCAST) => Some("it is the broadcast address"),
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => Some("it is an IPv4-mapped IPv6 address"),
        IpAddr::V6(v6) if Ipv6Addr::is_unicast_link_local(&v6) => Some("it is valid on one link only"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn request(vips: &[&str], method: Method) -> Request {
        Request {
            vips: vips.iter().map(|vip| vip.parse().unwrap()).collect(),
            method,
            interface: None,
            rip: None,
            arp: Levels::default(),
            decap: Choice::Auto,
            from: BTreeSet::new(),
            bpffs: PathBuf::new(),
        }
    }

    #[rstest]
    #[case::twice(&["10.0.0.100", "10.0.0.100"], Method::Dr, "given twice")]
    #[case::unspecified(&["0.0.0.0"], Method::Dr, "unspecified")]
    #[case::loopback(&["127.0.0.1"], Method::Dr, "loopback")]
    #[case::multicast(&["ff02::1"], Method::Dr, "multicast")]
    #[case::broadcast(&["255.255.255.255"], Method::Dr, "broadcast")]
    #[case::link_local(&["fe80::1"], Method::Dr, "one link")]
    #[case::this_network(&["0.1.2.3"], Method::Dr, "begins with 0")]
    #[case::mapped(&["::ffff:192.0.2.1"], Method::Dr, "IPv4-mapped")]
    fn what_cannot_be_a_vip_is_refused(#[case] given: &[&str], #[case] method: Method, #[case] says: &str) {
        let failure = vips(&request(given, method)).unwrap_err();
        assert_eq!(failure.exit_code(), 2);
        assert!(failure.message.contains(says), "{failure}");
    }

    #[rstest]
    // Columns: --rip, addresses of the interface, outer header is IPv6 for an IPv4 VIP, and for an IPv6 VIP.
    #[case::both(None, &["10.0.0.11", "fd00::11"], false, true)]
    #[case::only_ipv4(None, &["10.0.0.11"], false, false)]
    #[case::only_ipv6(None, &["fd00::11"], true, true)]
    #[case::no_address_yet(None, &[], false, true)]
    #[case::as_it_was_said(Some("fd00::11"), &["10.0.0.11", "fd00::11"], true, true)]
    #[case::as_it_was_said_of_ipv4(Some("10.0.0.11"), &["fd00::11"], false, false)]
    fn packets_arrive_within_the_version_of_the_rip(
        #[case] rip: Option<&str>,
        #[case] own: &[&str],
        #[case] four: bool,
        #[case] six: bool,
    ) {
        let own: Vec<IpAddr> = own.iter().map(|ip| ip.parse().unwrap()).collect();
        let outer = Outer::of(rip.map(|rip| rip.parse().unwrap()), &own);
        let [vip, vip6] = ["192.0.2.100", "2001:db8::100"].map(|vip| vip.parse().unwrap());
        assert_eq!((outer.is_six_for(vip), outer.is_six_for(vip6)), (four, six));
    }

    #[test]
    fn several_vips_of_both_families_are_fine() {
        assert_eq!(vips(&request(&["10.0.0.100", "2001:db8::1"], Method::Dr)).unwrap().len(), 2);
    }
}
