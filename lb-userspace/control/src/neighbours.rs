// SPDX-License-Identifier: MIT OR Apache-2.0
//! Next hops of reals: the route to the address of each real, and the neighbour entry at its end.
//!
//! The fast path looks nothing up; it sends to the next hop that this module found. So this module resolves
//! again whenever the kernel's answer may have changed, and keeps alive the neighbour entries that only the
//! fast path uses: XDP traffic does not refresh the kernel's table.
#![forbid(unsafe_code)]

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
};

use lb_common::wire::Tags;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use lb_model::failure::chain;
use lb_netlink::{
    Change, Interface, Mac, Neighbour, NeighbourState, Netlink, NetlinkError, Route, RouteKind,
};

/// Next hop of a real.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub struct NextHop {
    /// Index of the egress interface.
    pub ifindex: u32,
    /// Ethernet address of that interface, the source of the frames.
    pub source_mac: Mac,
    /// Destination Ethernet address: the real's own, or that of the router on the way to it.
    pub next_hop_mac: Mac,
    /// Address of the director towards the real (DIP): outer source of tunnels.
    pub source_ip: IpAddr,
    /// MTU of the path: the largest IP packet in bytes, without the Ethernet header.
    pub mtu: u32,
    /// VLAN tags of the frames on that interface ([`lb_common::wire::Tags`]); 0 if there are none.
    pub tags: u32,
    /// The interface has VLAN devices: frames without a tag must then stay untagged.
    pub trunk: bool,
    /// The real itself is the neighbour, without a router in between.
    #[serde(default)]
    pub on_link: bool,
}

/// Reason why a real has no next hop.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, thiserror::Error)]
#[serde(tag = "reason", rename_all = "kebab-case")]
pub enum Unresolved {
    /// The address is the director's own: `local` forwarding, or a mistake.
    #[error("{rip} is an address of this director, which serves only at the service's own port")]
    Local {
        /// Address of the real.
        rip: IpAddr,
    },
    /// The routing table has no route to the real, or a prohibiting one.
    #[error("no route to {rip}; see `ip route get {rip}`")]
    NoRoute {
        /// Address of the real.
        rip: IpAddr,
    },
    /// The address is a broadcast, multicast or anycast address.
    #[error("{rip} is not the address of a single host")]
    NotAHost {
        /// Address of the real.
        rip: IpAddr,
    },
    /// The egress interface is down, or has no carrier.
    #[error("the interface {interface}, on the path to {rip}, is down")]
    InterfaceDown {
        /// Address of the real.
        rip: IpAddr,
        /// Name of the interface.
        interface: String,
    },
    /// The egress interface is not an Ethernet interface: XDP cannot send there.
    #[error("the route to {rip} leaves by {interface}, which is not an Ethernet interface")]
    NotEthernet {
        /// Address of the real.
        rip: IpAddr,
        /// Name of the interface.
        interface: String,
    },
    /// The director has no source address for the route.
    #[error("this director has no address on {interface} from which to reach {rip}")]
    NoSource {
        /// Address of the real.
        rip: IpAddr,
        /// Name of the interface.
        interface: String,
    },
    /// The neighbour has not answered yet.
    #[error("waiting for {neighbour} to answer on {interface}")]
    Asking {
        /// Address of the real, or of the router on the way to it.
        neighbour: IpAddr,
        /// Name of the interface.
        interface: String,
    },
    /// The neighbour does not answer ARP or neighbour discovery.
    #[error("{neighbour} does not answer on {interface}: host down, wrong address, or not on that link")]
    NoAnswer {
        /// Address of the real, or of the router on the way to it.
        neighbour: IpAddr,
        /// Name of the interface.
        interface: String,
    },
    /// The kernel's neighbour table is full.
    #[error(
        "the kernel's table of neighbours has no room for {neighbour}: raise \
         net.{version}.neigh.default.gc_thresh1, 2 and 3, which apply to the whole host"
    )]
    TableFull {
        /// Address of the real, or of the router on the way to it.
        neighbour: IpAddr,
        /// IP version: `ipv4` or `ipv6`, as in the names of sysctls.
        version: String,
    },
    /// The request to the kernel failed.
    #[error("{why}")]
    Unknown {
        /// Cause of the failure.
        why: String,
    },
}

impl From<NetlinkError> for Unresolved {
    fn from(error: NetlinkError) -> Self {
        Self::Unknown { why: chain(&error) }
    }
}

/// Result of resolving a real.
pub type Resolution = Result<NextHop, Unresolved>;

/// Key of the kernel's neighbour table: interface index and address.
type Key = (u32, IpAddr);

/// Resolves reals, and keeps alive the neighbour entries that they need.
#[derive(Debug)]
pub struct Neighbours {
    netlink: Netlink,
    /// Neighbour entry that each real needs, if its route leads to one.
    needs: BTreeMap<IpAddr, Option<Key>>,
    /// Number of reals that need each neighbour entry; 0 for entries to be released.
    users: BTreeMap<Key, usize>,
    /// Neighbour entries that are kept alive.
    kept: watch::Sender<BTreeSet<Key>>,
}

/// Neighbours on which the next hops depend: a view of [`Neighbours`] for readers in other tasks. It has a
/// neighbour before its entry is read, so that no change of it is missed.
#[derive(Clone, Debug)]
pub struct WatchedNeighbours(watch::Receiver<BTreeSet<Key>>);

impl WatchedNeighbours {
    /// Returns whether a change may have changed a next hop.
    ///
    /// On a busy link most changes are about neighbours that no real needs.
    #[must_use]
    pub fn concerns(&self, change: &Change) -> bool {
        match change {
            Change::Neighbour { ifindex, ip } => self.0.borrow().contains(&(*ifindex, *ip)),
            Change::Link { .. } | Change::Address { .. } | Change::Route | Change::Missed => true,
        }
    }
}

impl Neighbours {
    /// Creates a resolver for the network namespace of `netlink`.
    #[must_use]
    pub fn new(netlink: Netlink) -> Self {
        Self { netlink, needs: BTreeMap::new(), users: BTreeMap::new(), kept: watch::Sender::default() }
    }

    /// Returns the neighbours on which the next hops depend, which stay up to date.
    #[must_use]
    pub fn watched(&self) -> WatchedNeighbours {
        WatchedNeighbours(self.kept.subscribe())
    }

    /// Resolves every real, and releases the neighbour entries that no real needs any more.
    ///
    /// Does not wait for neighbours to answer: an answer causes an event ([`lb_netlink::Watch`]), and the
    /// next call finds the entry.
    pub async fn refresh(&mut self, rips: &BTreeSet<IpAddr>) -> BTreeMap<IpAddr, Resolution> {
        self.forget_others(|rip| rips.contains(rip));
        self.look(rips).await
    }

    /// Resolves some of the reals; the neighbour entries of the others stay alive.
    pub async fn look(&mut self, rips: &BTreeSet<IpAddr>) -> BTreeMap<IpAddr, Resolution> {
        let mut round = Round::new(&self.netlink, Some(&self.kept));
        let (mut resolutions, mut needed) = (BTreeMap::new(), Vec::new());
        let rips: Vec<IpAddr> = rips.iter().copied().collect();
        for rips in rips.chunks(TOGETHER) {
            let routes = self.netlink.routes_to(rips).await;
            for (rip, route) in rips.iter().zip(routes) {
                resolutions.insert(*rip, round.resolve(*rip, route).await);
                needed.push((*rip, round.needed.take()));
            }
        }
        for (rip, key) in needed {
            self.need(rip, key);
        }
        let released: BTreeSet<Key> =
            self.users.extract_if(.., |_, users| *users == 0).map(|(key, _)| key).collect();
        for (ifindex, ip) in &released {
            // A failure costs at worst an occasional ARP request, and cannot be reported to a caller.
            if let Err(error) = self.netlink.release_neighbour(*ifindex, *ip).await {
                tracing::debug!(%ip, ifindex, error = chain(&error), "neighbour not released");
            }
        }
        if !released.is_empty() {
            self.kept.send_modify(|kept| kept.retain(|key| !released.contains(key)));
        }
        resolutions
    }

    /// Notes the neighbour entry that a real needs.
    fn need(&mut self, rip: IpAddr, key: Option<Key>) {
        if let Some(key) = key {
            *self.users.entry(key).or_default() += 1;
        }
        let before = self.needs.insert(rip, key).flatten();
        if let Some(users) = before.and_then(|before| self.users.get_mut(&before)) {
            *users -= 1;
        }
    }

    /// Forgets the reals for which `stays` is false; the next [`look`](Self::look) releases their neighbour entries.
    pub fn forget_others(&mut self, stays: impl Fn(&IpAddr) -> bool) {
        for (_, key) in self.needs.extract_if(.., |rip, _| !stays(rip)) {
            if let Some(users) = key.and_then(|key| self.users.get_mut(&key)) {
                *users -= 1;
            }
        }
    }

    /// Returns the reals whose next hop is one of these neighbours.
    #[must_use]
    pub fn reached_by(&self, neighbours: &BTreeSet<Key>) -> BTreeSet<IpAddr> {
        let needs = self.needs.iter().filter(|(_, key)| key.is_some_and(|key| neighbours.contains(&key)));
        needs.map(|(rip, _)| *rip).collect()
    }

    /// Resolves one real, as [`refresh`](Self::refresh) does, but does not keep its neighbour entry alive.
    pub async fn resolve(&self, rip: IpAddr) -> Resolution {
        let route = self.netlink.route_to(rip).await;
        Round::new(&self.netlink, None).resolve(rip, route).await
    }

    /// Releases all neighbour entries. Forwarding without a daemon needs them: call this only when the
    /// programs are detached.
    pub async fn release_all(&mut self) {
        self.refresh(&BTreeSet::new()).await;
    }
}

/// Number of routes that are looked up at a time.
const TOGETHER: usize = 64;

/// One pass over the reals. It looks up each interface and each neighbour once, because many reals share few
/// interfaces, and often a router.
struct Round<'a> {
    netlink: &'a Netlink,
    interfaces: HashMap<u32, Interface>,
    macs: HashMap<Key, Result<Mac, Unresolved>>,
    /// Interfaces with VLAN devices, after the first lookup.
    trunks: Option<BTreeSet<u32>>,
    /// Neighbour entry that the real needs which was resolved last.
    needed: Option<Key>,
    /// Neighbours whose changes matter.
    watched: Option<&'a watch::Sender<BTreeSet<Key>>>,
}

impl<'a> Round<'a> {
    fn new(netlink: &'a Netlink, watched: Option<&'a watch::Sender<BTreeSet<Key>>>) -> Self {
        Self {
            netlink,
            interfaces: HashMap::new(),
            macs: HashMap::new(),
            trunks: None,
            needed: None,
            watched,
        }
    }

    /// Resolves a real by the route to it.
    async fn resolve(&mut self, rip: IpAddr, route: Result<Option<Route>, NetlinkError>) -> Resolution {
        let route = route?.ok_or(Unresolved::NoRoute { rip })?;
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

    /// Returns the interface beneath a VLAN device, or beneath two, and the tags of its frames on that
    /// interface.
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

    /// Returns whether an interface has VLAN devices.
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

    /// Returns the MAC address of the neighbour; makes the kernel resolve it and keep the entry, if
    /// necessary.
    async fn mac_of(&mut self, ip: IpAddr, ifindex: u32, interface: &str) -> Result<Mac, Unresolved> {
        self.needed = Some((ifindex, ip));
        if let Some(known) = self.macs.get(&(ifindex, ip)) {
            return known.clone();
        }
        let mac = self.ask_for_mac(ip, ifindex, interface).await;
        self.macs.insert((ifindex, ip), mac.clone());
        mac
    }

    async fn ask_for_mac(&self, ip: IpAddr, ifindex: u32, interface: &str) -> Result<Mac, Unresolved> {
        // A change after the entry is read must be seen, even before the round has ended.
        if let Some(watched) = self.watched {
            watched.send_if_modified(|kept| kept.insert((ifindex, ip)));
        }
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

/// Returns the reason why the kernel does not resolve a neighbour.
fn unknown_or_full(error: NetlinkError, neighbour: IpAddr) -> Unresolved {
    match error {
        NetlinkError::Refused { reason, .. } if reason.raw_os_error() == Some(libc::ENOBUFS) => {
            let version = if neighbour.is_ipv6() { "ipv6" } else { "ipv4" };
            Unresolved::TableFull { neighbour, version: version.to_owned() }
        }
        error => error.into(),
    }
}

/// Returns whether the daemon must refresh an entry. Entries made by hand or by a routing daemon are left
/// unchanged, and the kernel refreshes managed ones by itself.
fn needs_asking(entry: &Neighbour) -> bool {
    !entry.foreign && !entry.managed
}
