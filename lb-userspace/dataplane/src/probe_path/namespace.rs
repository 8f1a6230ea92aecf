// SPDX-License-Identifier: MIT OR Apache-2.0
//! The private network namespace of the prober, and the veth pair to the director.
#![forbid(unsafe_code)]

use std::{
    collections::BTreeSet,
    fs::File,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::AsFd as _,
};

use ipnet::IpNet;
use lb_netlink::{Added, Interface, Netlink, NetlinkError};
use nix::sched::{CloneFlags, setns, unshare};

use super::{PathError, offload};

/// The namespace of the calling thread.
const OWN: &str = "/proc/thread-self/ns/net";
/// Name of the prober's end of the veth pair.
const INNER: &str = "xvsp";
/// Most daemons on one host.
const MOST: u32 = 256;
/// The prober's IPv4 router, to which canaries go too.
pub(super) const ROUTER: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 77, 1));
/// The prober's routers, which exist only as permanent neighbour entries.
const GATEWAYS: [IpAddr; 2] = [ROUTER, IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x4d01))];
/// Address of the prober's end for its whole life, from which no probe is sent: with the last IPv4 address of an
/// interface, the kernel removes its routes and neighbours too.
pub(super) const OWN_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 77, 2));

/// The two ends of the veth pair.
pub(super) struct Pair {
    /// The director's end, in the namespace that the thread came from.
    pub outer: Interface,
    /// The prober's end, in the namespace of the thread.
    pub inner: Interface,
}

/// Moves the calling thread into a new network namespace that has no name, and connects the namespace with
/// the one that the thread came from by a veth pair, both ends up. `attach` runs with the index of the outer
/// end, in the namespace that the thread came from, before any packet can leave. If an error is returned, the
/// thread may be in either namespace, and must end.
pub(super) async fn create(
    mtu: u32,
    attach: impl FnOnce(u32) -> Result<(), PathError>,
) -> Result<Pair, PathError> {
    let failed = |doing| move |source: io::Error| PathError::Namespace { doing, source };
    let outside = Netlink::open()?;
    let before = File::open(OWN).map_err(failed("open the network namespace"))?;
    unshare(CloneFlags::CLONE_NEWNET)
        .map_err(io::Error::from)
        .map_err(failed("make a network namespace (CAP_SYS_ADMIN is needed)"))?;
    let own = File::open(OWN).map_err(failed("open the new network namespace"))?;
    let inside = Netlink::open()?;
    if let Err(error) = allow_echo() {
        tracing::warn!(%error, "no health probes by echo requests: /proc/sys is not writable");
    }

    let name = add_pair(&outside, &own).await?;
    let outer = outside.interface(&name).await?;
    let inner = inside.interface(INNER).await?;
    for (netlink, end) in [(&outside, &outer), (&inside, &inner)] {
        // A kernel without IPv6 refuses, and gives no such addresses.
        let _no_ipv6 = netlink.give_no_addresses(end).await;
        netlink.set_mtu(end, mtu).await?;
    }
    offload::set(INNER).map_err(failed("set the offloads of the prober's interface"))?;

    enter(&before).map_err(failed("return to the network namespace"))?;
    let attached = attach(outer.index);
    enter(&own).map_err(failed("enter the new network namespace"))?;
    attached?;

    inside.set_up(&inside.interface("lo").await?, true).await?;
    outside.set_up(&outer, true).await?;
    inside.set_up(&inner, true).await?;
    inside.add_address(&inner, IpNet::from(OWN_ADDRESS)).await?;
    let mac = outer.mac.ok_or(PathError::NoMac)?;
    for gateway in GATEWAYS {
        match inside.add_gateway(&inner, gateway, mac).await {
            // A kernel without IPv6, or with IPv6 off, has no IPv6 services either.
            Err(error) if gateway.is_ipv6() => tracing::debug!(%error, "no IPv6 health probes"),
            result => result?,
        }
    }
    Ok(Pair { outer, inner })
}

/// Replaces the addresses of the prober's end.
pub(super) async fn readdress(
    inner: &Interface,
    old: &BTreeSet<IpAddr>,
    new: &BTreeSet<IpAddr>,
) -> Result<(), NetlinkError> {
    let netlink = Netlink::open()?;
    for gone in old.difference(new) {
        netlink.remove_address(inner, IpNet::from(*gone)).await?;
    }
    for added in new.difference(old) {
        netlink.add_address(inner, IpNet::from(*added)).await?;
    }
    Ok(())
}

/// Creates the veth pair, and returns the name of its outer end: the first that is free. The kernel deletes
/// the pair of a killed daemon a moment after the daemon's end.
async fn add_pair(outside: &Netlink, own: &File) -> Result<String, PathError> {
    for number in 0..MOST {
        let name = format!("xvsp{number}");
        if outside.add_veth(&name, INNER, own.as_fd()).await? == Added::Now {
            return Ok(name);
        }
    }
    Err(PathError::NoName)
}

fn enter(namespace: &File) -> io::Result<()> {
    Ok(setns(namespace, CloneFlags::CLONE_NEWNET)?)
}

/// Permits sockets for echo requests, of which a new namespace permits none.
fn allow_echo() -> io::Result<()> {
    std::fs::write("/proc/sys/net/ipv4/ping_group_range", "0 2147483647")
}
