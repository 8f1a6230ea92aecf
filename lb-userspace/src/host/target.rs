// SPDX-License-Identifier: MIT OR Apache-2.0
//! What this host is to be set up for, checked before anything is touched.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
};

use super::{arp::Levels, decap::Choice};
use crate::{
    failure::Failure,
    netlink::{Interface, Netlink},
};

/// How packets get here.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum Method {
    /// Direct routing: as the client sent them, to this host's MAC
    Dr,
    /// Tunnelling: with an IP header of the director around them
    Tun,
}

/// What the operator asked for, as written.
#[derive(Clone, Debug)]
pub struct Request {
    /// The VIPs that this host serves.
    pub vips: Vec<IpAddr>,
    /// The director's forwarding method for this host.
    pub method: Method,
    /// Name of the interface towards the director; that of the default route if not said.
    pub interface: Option<String>,
    /// The address by which the director knows this host: then the interface that has it.
    pub rip: Option<IpAddr>,
    /// The ARP settings.
    pub arp: Levels,
    /// How tunnelled packets are unwrapped.
    pub decap: Choice,
    /// Where the XDP decapsulator is pinned.
    pub bpffs: PathBuf,
}

/// A request that makes sense on this host.
#[derive(Clone, Debug)]
pub struct Target {
    /// The VIPs that this host serves.
    pub vips: BTreeSet<IpAddr>,
    /// The director's forwarding method for this host.
    pub method: Method,
    /// The interface towards the director.
    pub interface: Interface,
    /// Replies to clients leave by that interface too, as far as the default route tells.
    pub replies_leave_there: bool,
    /// The ARP settings.
    pub arp: Levels,
    /// How tunnelled packets are unwrapped.
    pub decap: Choice,
    /// Where the XDP decapsulator is pinned.
    pub bpffs: PathBuf,
}

impl Target {
    /// Checks a request against itself and against this host.
    ///
    /// # Errors
    /// Wrong input, and interfaces that are not there; each with a hint.
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
                return Err(Failure::wrong_input("no default route to take the interface from")
                    .hint("say which interface faces the director with --interface"));
            }
        };
        if interface.mac.is_none() {
            let message = format!("{} is not an Ethernet interface", interface.name);
            return Err(
                Failure::wrong_input(message).hint("say which interface faces the director with --interface")
            );
        }
        Ok(Self {
            replies_leave_there: default == Some(interface.index),
            vips,
            method: request.method,
            interface,
            arp: request.arp,
            decap: decapsulation(&request),
            bpffs: request.bpffs,
        })
    }

    /// Whether ARP matters: neighbour discovery has no settings like those for ARP, and needs none, since Linux
    /// answers only for addresses of the interface that was asked (docs/arp.md has the capture).
    #[must_use]
    pub fn has_ipv4(&self) -> bool {
        self.vips.iter().any(IpAddr::is_ipv4)
    }
}

/// The interface that has the RIP.
async fn holder(netlink: &Netlink, rip: IpAddr) -> Result<Interface, Failure> {
    match netlink.holders(rip).await?.first() {
        Some(address) => Ok(netlink.interface_by_index(address.ifindex).await?),
        None => Err(Failure::wrong_input(format!("this host does not have the address {rip}"))
            .hint("`ip -brief address` shows what it has; is this the right host?")),
    }
}

/// The kernel's ipip devices unwrap IPv4 alone; the XDP program unwraps both versions of IP, within both.
fn decapsulation(request: &Request) -> Choice {
    if request.vips.iter().any(IpAddr::is_ipv6) { Choice::Xdp } else { request.decap }
}

fn vips(request: &Request) -> Result<BTreeSet<IpAddr>, Failure> {
    let mut vips = BTreeSet::new();
    for vip in &request.vips {
        if let Some(why) = why_no_vip(*vip) {
            return Err(Failure::wrong_input(format!("{vip} cannot be a VIP: {why}")));
        }
        if request.method == Method::Tun && vip.is_ipv6() && request.decap == Choice::Ipip {
            return Err(Failure::wrong_input(format!("an ipip device does not unwrap what is for {vip}"))
                .hint("leave --decap off: the XDP program unwraps both versions of IP, within both"));
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
        _ if ip.is_multicast() => Some("it is a multicast address"),
        IpAddr::V4(Ipv4Addr::BROADCAST) => Some("it is the broadcast address"),
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
    fn what_cannot_be_a_vip_is_refused(#[case] given: &[&str], #[case] method: Method, #[case] says: &str) {
        let failure = vips(&request(given, method)).unwrap_err();
        assert_eq!(failure.exit_code(), 2);
        assert!(failure.message.contains(says), "{failure}");
    }

    #[test]
    fn several_vips_of_both_families_are_fine() {
        assert_eq!(vips(&request(&["10.0.0.100", "2001:db8::1"], Method::Dr)).unwrap().len(), 2);
    }
}
