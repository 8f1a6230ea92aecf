// SPDX-License-Identifier: MIT OR Apache-2.0
//! Route lookups, as with `ip route get`.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use futures_util::{TryStreamExt as _, future::join_all};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteMetric, RouteType, RouteVia,
};
use nix::libc;

use super::{Netlink, NetlinkError, errno, family, first};

/// Kind of destination of a route.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RouteKind {
    /// Another host.
    Unicast,
    /// This host itself.
    Local,
    /// A broadcast, multicast or anycast group.
    Group,
}

/// Route to one address, as the kernel would choose it now.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Route {
    /// Kind of destination.
    pub kind: RouteKind,
    /// Index of the egress interface.
    pub ifindex: u32,
    /// Router on the way, possibly of the other family (RFC 5549); `None` if the destination is on the link.
    pub gateway: Option<IpAddr>,
    /// Source address that this host would use.
    pub source: Option<IpAddr>,
    /// MTU of the route or of a discovered path; `None` if that of the interface applies.
    pub mtu: Option<u32>,
}

impl Netlink {
    /// Returns the route to `destination`; `None` if there is none, or one that refuses (unreachable,
    /// prohibit, blackhole).
    pub async fn route_to(&self, destination: IpAddr) -> Result<Option<Route>, NetlinkError> {
        let mut question = RouteMessage::default();
        question.header.address_family = family(destination);
        question.header.destination_prefix_length = if destination.is_ipv4() { 32 } else { 128 };
        question.attributes.push(RouteAttribute::Destination(destination.into()));

        match first(self.handle.route().get(question).execute()).await {
            Ok(answer) => Ok(answer.as_ref().and_then(Route::parse)),
            // The errno of a lookup depends on the type of the route: `fib_props` in
            // net/ipv4/fib_semantics.c.
            Err(e)
                if matches!(
                    errno(&e),
                    Some(libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EACCES | libc::EINVAL)
                ) =>
            {
                Ok(None)
            }
            Err(e) => Err(NetlinkError::new(format!("look up the route to {destination}"), &e)),
        }
    }

    /// Returns the results of [`route_to`](Self::route_to) of several destinations, in their order. All requests
    /// are sent before the first answer is awaited: that saves changes of threads, which take longer than a
    /// lookup.
    pub async fn routes_to(&self, destinations: &[IpAddr]) -> Vec<Result<Option<Route>, NetlinkError>> {
        join_all(destinations.iter().map(|destination| self.route_to(*destination))).await
    }

    /// Returns the index of the default route's interface, in the family of `like`; of several routes, that
    /// of the preferred one.
    pub async fn default_interface(&self, like: IpAddr) -> Result<Option<u32>, NetlinkError> {
        let routes = self.routes(like).await?;
        let default =
            routes.iter().filter(|route| is_default(&route.header)).min_by_key(|route| metric(route));
        Ok(default.and_then(leaves_by))
    }

    /// Returns the indices of all interfaces with routes to other hosts, in the family of `like`, in any
    /// routing table.
    pub async fn route_interfaces(&self, like: IpAddr) -> Result<BTreeSet<u32>, NetlinkError> {
        let routes = self.routes(like).await?;
        let ways = routes.iter().filter(|route| route.header.kind == RouteType::Unicast);
        Ok(ways.flat_map(all_leave_by).collect())
    }

    /// Returns every router in the routes of this host.
    pub async fn gateways(&self) -> Result<BTreeSet<IpAddr>, NetlinkError> {
        let mut gateways = BTreeSet::new();
        for like in [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)] {
            gateways.extend(self.routes(like).await?.iter().flat_map(|route| leads_over(&route.attributes)));
        }
        Ok(gateways)
    }

    /// Returns every route of every table.
    async fn routes(&self, like: IpAddr) -> Result<Vec<RouteMessage>, NetlinkError> {
        let mut question = RouteMessage::default();
        question.header.address_family = family(like);
        let answers = self.handle.route().get(question).execute();
        answers.try_collect().await.map_err(|e| NetlinkError::new("list the routes", &e))
    }
}

fn is_default(header: &RouteHeader) -> bool {
    header.destination_prefix_length == 0
        && header.table == RouteHeader::RT_TABLE_MAIN
        && header.kind == RouteType::Unicast
}

fn metric(route: &RouteMessage) -> u32 {
    route
        .attributes
        .iter()
        .find_map(|a| if let RouteAttribute::Priority(p) = a { Some(*p) } else { None })
        .unwrap_or(0)
}

/// Returns the interface of a route, or of its first path.
fn leaves_by(route: &RouteMessage) -> Option<u32> {
    all_leave_by(route).first().copied()
}

/// Returns the interfaces of all paths of a route.
fn all_leave_by(route: &RouteMessage) -> Vec<u32> {
    let ways = route.attributes.iter().map(|attribute| match attribute {
        RouteAttribute::Oif(index) => vec![*index],
        RouteAttribute::MultiPath(ways) => ways.iter().map(|way| way.interface_index).collect(),
        _ => Vec::new(),
    });
    ways.flatten().collect()
}

impl Route {
    fn parse(message: &RouteMessage) -> Option<Self> {
        let kind = match message.header.kind {
            RouteType::Unicast => RouteKind::Unicast,
            RouteType::Local => RouteKind::Local,
            RouteType::Broadcast | RouteType::Multicast | RouteType::Anycast => RouteKind::Group,
            _ => return None,
        };
        let mut route = Self { kind, ifindex: 0, gateway: None, source: None, mtu: None };
        for attribute in &message.attributes {
            match attribute {
                RouteAttribute::Oif(index) => route.ifindex = *index,
                RouteAttribute::Gateway(address) => route.gateway = ip(address),
                RouteAttribute::Via(RouteVia::Inet(v4)) => route.gateway = Some((*v4).into()),
                RouteAttribute::Via(RouteVia::Inet6(v6)) => route.gateway = Some((*v6).into()),
                RouteAttribute::PrefSource(address) => route.source = ip(address),
                RouteAttribute::Metrics(metrics) => route.mtu = mtu(metrics),
                _ => {}
            }
        }
        Some(route)
    }
}

/// Returns the routers of all paths of a route.
fn leads_over(attributes: &[RouteAttribute]) -> Vec<IpAddr> {
    let routers = attributes.iter().map(|attribute| match attribute {
        RouteAttribute::Gateway(address) => ip(address).into_iter().collect(),
        RouteAttribute::Via(RouteVia::Inet(v4)) => vec![(*v4).into()],
        RouteAttribute::Via(RouteVia::Inet6(v6)) => vec![(*v6).into()],
        RouteAttribute::MultiPath(ways) => ways.iter().flat_map(|way| leads_over(&way.attributes)).collect(),
        _ => Vec::new(),
    });
    routers.flatten().collect()
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some((*v4).into()),
        RouteAddress::Inet6(v6) => Some((*v6).into()),
        _ => None,
    }
}

fn mtu(metrics: &[RouteMetric]) -> Option<u32> {
    metrics.iter().find_map(|metric| match metric {
        RouteMetric::Mtu(mtu) if *mtu > 0 => Some(*mtu),
        _ => None,
    })
}
