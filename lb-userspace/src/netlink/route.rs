// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which way to an address: what `ip route get` asks.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use futures_util::TryStreamExt as _;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteMetric, RouteType, RouteVia,
};
use nix::libc;

use super::{Netlink, NetlinkError, errno, family, first};

/// What kind of destination a route leads to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RouteKind {
    /// Another host.
    Unicast,
    /// This host itself.
    Local,
    /// A broadcast, multicast or anycast group.
    Group,
}

/// The way to one address, as the kernel would take it now.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Route {
    /// What is at the other end.
    pub kind: RouteKind,
    /// Index of the interface that packets leave by.
    pub ifindex: u32,
    /// The router on the way, possibly of the other family (RFC 5549); `None` if the destination is on the link.
    pub gateway: Option<IpAddr>,
    /// The address that this host would send from.
    pub source: Option<IpAddr>,
    /// Largest IP packet for this way, where the route or a discovered path MTU says; the interface's otherwise.
    pub mtu: Option<u32>,
}

impl Netlink {
    /// The way to `destination`; `None` if there is none, or one that refuses (unreachable, prohibit, blackhole).
    pub async fn route_to(&self, destination: IpAddr) -> Result<Option<Route>, NetlinkError> {
        let mut question = RouteMessage::default();
        question.header.address_family = family(destination);
        question.header.destination_prefix_length = if destination.is_ipv4() { 32 } else { 128 };
        question.attributes.push(RouteAttribute::Destination(destination.into()));

        match first(self.handle.route().get(question).execute()).await {
            Ok(answer) => Ok(answer.as_ref().and_then(Route::parse)),
            // A lookup's errno is the type of the route that it hit: `fib_props` in net/ipv4/fib_semantics.c.
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

    /// Index of the interface that the default route leaves by, in the family of `like`; of several, the preferred
    /// one.
    pub async fn default_interface(&self, like: IpAddr) -> Result<Option<u32>, NetlinkError> {
        let routes = self.routes(like).await?;
        let default =
            routes.iter().filter(|route| is_default(&route.header)).min_by_key(|route| metric(route));
        Ok(default.and_then(leaves_by))
    }

    /// Indices of the interfaces that packets to other hosts may leave by, in the family of `like`, whatever the table of
    /// their routes.
    pub async fn route_interfaces(&self, like: IpAddr) -> Result<BTreeSet<u32>, NetlinkError> {
        let routes = self.routes(like).await?;
        let ways = routes.iter().filter(|route| route.header.kind == RouteType::Unicast);
        Ok(ways.flat_map(all_leave_by).collect())
    }

    /// Every router that a route of this host leads over.
    pub async fn gateways(&self) -> Result<BTreeSet<IpAddr>, NetlinkError> {
        let mut gateways = BTreeSet::new();
        for like in [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)] {
            gateways.extend(self.routes(like).await?.iter().flat_map(|route| leads_over(&route.attributes)));
        }
        Ok(gateways)
    }

    /// Every route of every table.
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

/// The interface of a route, or of the first of its ways.
fn leaves_by(route: &RouteMessage) -> Option<u32> {
    all_leave_by(route).first().copied()
}

/// The interfaces of a route's ways.
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

/// The routers of a route, of each of its ways.
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
