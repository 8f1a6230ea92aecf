// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where packets for each real must be sent: the route to its address and the neighbour at the end of it.
//!
//! The fast path looks nothing up; it sends where this module found that the kernel would. So this module asks
//! again whenever the kernel's answer may have changed, and keeps the kernel from forgetting neighbours that only
//! the fast path uses: XDP traffic does not refresh the kernel's table.
#![forbid(unsafe_code)]

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
};

use lb_common::wire::Tags;
use serde::{Deserialize, Serialize};

use crate::{
    failure::chain,
    netlink::{Change, Interface, Mac, Neighbour, NeighbourState, Netlink, NetlinkError, RouteKind},
};

/// How to send to a real.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub struct NextHop {
    /// Index of the interface that packets leave by.
    pub ifindex: u32,
    /// That interface's Ethernet address, the source of the frames.
    pub source_mac: Mac,
    /// The Ethernet address to send to: the real's own, or that of the router on the way to it.
    pub next_hop_mac: Mac,
    /// The director's address towards the real (DIP): outer source of tunnels.
    pub source_ip: IpAddr,
    /// Largest IP packet that can be sent this way, in bytes, Ethernet header not counted.
    pub mtu: u32,
    /// The VLAN tags of its frames on that interface ([`lb_common::wire::Tags`]); 0 if there are none.
    pub tags: u32,
    /// Whether VLAN devices lie on that interface: frames without a tag are then meant so.
    pub trunk: bool,
    /// Whether the real itself is the neighbour: no router lies between.
    #[serde(default)]
    pub on_link: bool,
}

/// Why there is no way to send to a real.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, thiserror::Error)]
#[serde(tag = "reason", rename_all = "kebab-case")]
pub enum Unresolved {
    /// The address is the director's own: `local` forwarding, or a mistake.
    #[error("{rip} is an address of this director, which serves at the service's own port alone")]
    Local {
        /// The real's address.
        rip: IpAddr,
    },
    /// The routing table has no way to it, or refuses it.
    #[error("no route to {rip}; see `ip route get {rip}`")]
    NoRoute {
        /// The real's address.
        rip: IpAddr,
    },
    /// A broadcast, multicast or anycast address cannot be a real.
    #[error("{rip} is not the address of a single host")]
    NotAHost {
        /// The real's address.
        rip: IpAddr,
    },
    /// The interface on the way is down, or has no carrier.
    #[error("the interface {interface}, on the way to {rip}, is down")]
    InterfaceDown {
        /// The real's address.
        rip: IpAddr,
        /// The interface's name.
        interface: String,
    },
    /// The interface on the way has no Ethernet under it: XDP cannot send there.
    #[error("the way to {rip} leaves by {interface}, which is not an Ethernet interface")]
    NotEthernet {
        /// The real's address.
        rip: IpAddr,
        /// The interface's name.
        interface: String,
    },
    /// The director has no address to send from.
    #[error("this director has no address to reach {rip} from on {interface}")]
    NoSource {
        /// The real's address.
        rip: IpAddr,
        /// The interface's name.
        interface: String,
    },
    /// The neighbour was asked for and has not answered yet.
    #[error("waiting for {neighbour} to answer on {interface}")]
    Asking {
        /// The real, or the router on the way to it.
        neighbour: IpAddr,
        /// The interface's name.
        interface: String,
    },
    /// The neighbour does not answer ARP or neighbour discovery.
    #[error("{neighbour} does not answer on {interface}: host down, wrong address, or not on that link")]
    NoAnswer {
        /// The real, or the router on the way to it.
        neighbour: IpAddr,
        /// The interface's name.
        interface: String,
    },
    /// The kernel's table has no room for the neighbour.
    #[error(
        "the kernel's table of neighbours has no room for {neighbour}: raise net.{version}.neigh.default.gc_thresh1, 2 and 3, which are the whole host's"
    )]
    TableFull {
        /// The real, or the router on the way to it.
        neighbour: IpAddr,
        /// `ipv4` or `ipv6`, as sysctl has it.
        version: String,
    },
    /// The kernel could not be asked.
    #[error("{why}")]
    Unknown {
        /// What failed.
        why: String,
    },
}

impl From<NetlinkError> for Unresolved {
    fn from(error: NetlinkError) -> Self {
        Self::Unknown { why: chain(&error) }
    }
}

/// What came of resolving a real.
pub type Resolution = Result<NextHop, Unresolved>;

/// An entry of the kernel's neighbour table: interface index and address.
type Key = (u32, IpAddr);

/// Resolves reals, and keeps the neighbour entries fresh that they need.
#[derive(Debug)]
pub struct Neighbours {
    netlink: Netlink,
    /// The entry that each real needs, as far as its route leads to one.
    needs: BTreeMap<IpAddr, Option<Key>>,
    /// All of these entries.
    kept: BTreeSet<Key>,
}

impl Neighbours {
    /// Works in the network namespace of `netlink`.
    #[must_use]
    pub const fn new(netlink: Netlink) -> Self {
        Self { netlink, needs: BTreeMap::new(), kept: BTreeSet::new() }
    }

    /// Resolves every real, and lets go of the neighbours that no real needs any more.
    ///
    /// Does not wait for neighbours to answer: when one does, the kernel tells ([`crate::netlink::Watch`]), and the
    /// next call sees it.
    pub async fn refresh(&mut self, rips: &BTreeSet<IpAddr>) -> BTreeMap<IpAddr, Resolution> {
        self.needs.retain(|rip, _| rips.contains(rip));
        self.look(rips).await
    }

    /// Resolves some of the reals; what the others need stays kept.
    pub async fn look(&mut self, rips: &BTreeSet<IpAddr>) -> BTreeMap<IpAddr, Resolution> {
        let mut round = Round::new(&self.netlink);
        let mut resolutions = BTreeMap::new();
        for rip in rips {
            resolutions.insert(*rip, round.resolve(*rip).await);
            self.needs.insert(*rip, round.needed.take());
        }
        let needed: BTreeSet<Key> = self.needs.values().flatten().copied().collect();
        for (ifindex, ip) in self.kept.difference(&needed) {
            // Costs an ARP request now and then at worst, and nobody to tell.
            if let Err(error) = self.netlink.release_neighbour(*ifindex, *ip).await {
                tracing::debug!(%ip, ifindex, error = chain(&error), "neighbour not released");
            }
        }
        self.kept = needed;
        resolutions
    }

    /// Lets go of the neighbours that none of `rips` needs, with the next [`look`](Self::look).
    pub fn forget_others(&mut self, rips: &BTreeSet<IpAddr>) {
        self.needs.retain(|rip, _| rips.contains(rip));
    }

    /// The reals that are reached by one of these neighbours.
    #[must_use]
    pub fn reached_by(&self, neighbours: &BTreeSet<Key>) -> BTreeSet<IpAddr> {
        let needs = self.needs.iter().filter(|(_, key)| key.is_some_and(|key| neighbours.contains(&key)));
        needs.map(|(rip, _)| *rip).collect()
    }

    /// Resolves one real, as [`refresh`](Self::refresh) does, without a promise to keep its neighbour.
    pub async fn resolve(&self, rip: IpAddr) -> Resolution {
        Round::new(&self.netlink).resolve(rip).await
    }

    /// Lets every neighbour age again. Forwarding that goes on without a daemon needs them kept: call this only when
    /// the programs are detached.
    pub async fn release_all(&mut self) {
        self.refresh(&BTreeSet::new()).await;
    }

    /// Whether a change can have changed what the last [`refresh`](Self::refresh) found.
    ///
    /// On a busy link most are about neighbours that no real needs.
    #[must_use]
    pub fn concerns(&self, change: &Change) -> bool {
        match change {
            Change::Neighbour { ifindex, ip } => self.kept.contains(&(*ifindex, *ip)),
            Change::Link { .. } | Change::Address { .. } | Change::Route | Change::Missed => true,
        }
    }
}

/// One pass over the reals. Interfaces are looked up once: many reals, few interfaces.
struct Round<'a> {
    netlink: &'a Netlink,
    interfaces: HashMap<u32, Interface>,
    /// Interfaces that carry VLANs, once somebody has asked.
    trunks: Option<BTreeSet<u32>>,
    /// The entry that the real needs which was resolved last.
    needed: Option<Key>,
}

impl<'a> Round<'a> {
    fn new(netlink: &'a Netlink) -> Self {
        Self { netlink, interfaces: HashMap::new(), trunks: None, needed: None }
    }

    async fn resolve(&mut self, rip: IpAddr) -> Resolution {
        let route = self.netlink.route_to(rip).await?.ok_or(Unresolved::NoRoute { rip })?;
        match route.kind {
            RouteKind::Unicast => {}
            RouteKind::Local => return Err(Unresolved::Local { rip }),
            RouteKind::Group => return Err(Unresolved::NotAHost { rip }),
        }
        let Interface { name, mac, mtu, running, noarp, .. } = self.interface(route.ifindex).await?;
        let Some(source_mac) = mac.filter(|_| !noarp) else {
            return Err(Unresolved::NotEthernet { rip, interface: name });
        };
        if !running {
            return Err(Unresolved::InterfaceDown { rip, interface: name });
        }
        let Some(source_ip) = route.source else {
            return Err(Unresolved::NoSource { rip, interface: name });
        };

        let neighbour = route.gateway.unwrap_or(rip);
        let next_hop_mac = self.mac_of(neighbour, route.ifindex, &name).await?;
        let mtu = route.mtu.map_or(mtu, |route| route.min(mtu));
        let (ifindex, tags) = self.beneath_vlans(route.ifindex).await?;
        let trunk = self.carries_vlans(ifindex).await?;
        let on_link = route.gateway.is_none();
        Ok(NextHop { ifindex, source_mac, next_hop_mac, source_ip, mtu, tags, trunk, on_link })
    }

    /// The interface that lies beneath a VLAN device, or beneath two, and the tags that tell it on that one's link.
    async fn beneath_vlans(&mut self, index: u32) -> Result<(u32, u32), NetlinkError> {
        let (mut index, mut tags) = (index, Tags::NONE);
        for _ in 0..2 {
            let Interface { vlan: Some(vlan), parent: Some(parent), .. } = self.interface(index).await?
            else {
                break;
            };
            tags = Tags::vlan(vlan.id, vlan.service).around(tags);
            index = parent;
        }
        Ok((index, tags.0))
    }

    /// Whether a VLAN device lies on an interface.
    async fn carries_vlans(&mut self, index: u32) -> Result<bool, NetlinkError> {
        if self.trunks.is_none() {
            let interfaces = self.netlink.interfaces().await?;
            let vlans = interfaces.iter().filter(|interface| interface.vlan.is_some());
            self.trunks = Some(vlans.filter_map(|interface| interface.parent).collect());
        }
        Ok(self.trunks.as_ref().is_some_and(|trunks| trunks.contains(&index)))
    }

    async fn interface(&mut self, index: u32) -> Result<Interface, NetlinkError> {
        if let Some(known) = self.interfaces.get(&index) {
            return Ok(known.clone());
        }
        let interface = self.netlink.interface_by_index(index).await?;
        self.interfaces.insert(index, interface.clone());
        Ok(interface)
    }

    /// The neighbour's MAC; asks the kernel to find it out, and to keep it, where it does not yet.
    async fn mac_of(&mut self, ip: IpAddr, ifindex: u32, interface: &str) -> Result<Mac, Unresolved> {
        self.needed = Some((ifindex, ip));
        let entry = self.netlink.neighbour(ifindex, ip).await?;
        if entry.as_ref().is_none_or(needs_asking) {
            self.netlink.keep_neighbour(ifindex, ip).await.map_err(|error| unknown_or_full(error, ip))?;
        }
        let failed = entry.as_ref().is_some_and(|entry| entry.state == NeighbourState::Failed);
        entry.and_then(|entry| entry.usable_mac()).ok_or_else(|| {
            let interface = interface.to_owned();
            if failed {
                Unresolved::NoAnswer { neighbour: ip, interface }
            } else {
                Unresolved::Asking { neighbour: ip, interface }
            }
        })
    }
}

/// Why the kernel does not ask for a neighbour.
fn unknown_or_full(error: NetlinkError, neighbour: IpAddr) -> Unresolved {
    match error {
        NetlinkError::Refused { reason, .. } if reason.raw_os_error() == Some(libc::ENOBUFS) => {
            let version = if neighbour.is_ipv6() { "ipv6" } else { "ipv4" };
            Unresolved::TableFull { neighbour, version: version.to_owned() }
        }
        error => error.into(),
    }
}

/// Entries made by hand or by a routing daemon are left as they are; the kernel looks after managed ones by itself.
fn needs_asking(entry: &Neighbour) -> bool {
    !entry.foreign && !entry.managed
}
