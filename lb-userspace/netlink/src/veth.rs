// SPDX-License-Identifier: MIT OR Apache-2.0
//! Veth pairs into another network namespace.

use std::{
    net::IpAddr,
    os::fd::{AsRawFd as _, BorrowedFd},
};

use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoData, InfoKind, InfoVeth, LinkAttribute,
};
use nix::libc;
use rtnetlink::{LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder};

use super::{Interface, Mac, Netlink, NetlinkError, address::Added, errno};

impl Netlink {
    /// Creates a veth pair whose end `inner` is in another network namespace from the start, so that the pair
    /// ends with that namespace. Returns [`Added::AlreadyThere`], and creates nothing, if an interface has the
    /// name `outer`.
    pub async fn add_veth(
        &self,
        outer: &str,
        inner: &str,
        namespace: BorrowedFd<'_>,
    ) -> Result<Added, NetlinkError> {
        let peer =
            LinkMessageBuilder::<LinkUnspec>::new().name(inner).setns_by_fd(namespace.as_raw_fd()).build();
        let pair = LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
            .name(outer)
            .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
            .build();
        match self.handle.link().add(pair).execute().await {
            Ok(()) => Ok(Added::Now),
            Err(e) if errno(&e) == Some(libc::EEXIST) => Ok(Added::AlreadyThere),
            Err(e) => Err(NetlinkError::new(format!("make the veth pair {outer}"), &e)),
        }
    }

    /// Keeps the kernel from giving an interface IPv6 addresses by itself. A kernel without IPv6 refuses.
    pub async fn give_no_addresses(&self, interface: &Interface) -> Result<(), NetlinkError> {
        let mode = AfSpecUnspec::Inet6(vec![AfSpecInet6::AddrGenMode(In6AddrGenMode::None)]);
        let change = LinkMessageBuilder::<LinkUnspec>::new()
            .index(interface.index)
            .append_extra_attribute(LinkAttribute::AfSpecUnspec(vec![mode]))
            .build();
        self.handle.link().change(change).execute().await.map_err(|e| {
            NetlinkError::new(format!("keep {} from getting IPv6 addresses", interface.name), &e)
        })
    }

    /// Sets the MTU of an interface, in bytes.
    pub async fn set_mtu(&self, interface: &Interface, mtu: u32) -> Result<(), NetlinkError> {
        let change = LinkMessageBuilder::<LinkUnspec>::new().index(interface.index).mtu(mtu).build();
        self.handle.link().change(change).execute().await.map_err(|e| {
            NetlinkError::new(format!("set the MTU of the interface {} to {mtu}", interface.name), &e)
        })
    }

    /// Adds the default route of the family of `gateway` through an interface on which the gateway is
    /// assumed to be, and a permanent neighbour entry with the gateway's Ethernet address.
    pub async fn add_gateway(
        &self,
        interface: &Interface,
        gateway: IpAddr,
        mac: Mac,
    ) -> Result<(), NetlinkError> {
        let index = interface.index;
        let neighbour = self.handle.neighbours().add(index, gateway).replace().link_layer_address(&mac);
        neighbour
            .execute()
            .await
            .map_err(|e| NetlinkError::new(format!("add the neighbour {gateway}"), &e))?;
        let route = match gateway {
            IpAddr::V4(v4) => RouteMessageBuilder::<std::net::Ipv4Addr>::new()
                .output_interface(index)
                .gateway(v4)
                .onlink()
                .build(),
            IpAddr::V6(v6) => RouteMessageBuilder::<std::net::Ipv6Addr>::new()
                .output_interface(index)
                .gateway(v6)
                .onlink()
                .build(),
        };
        self.handle
            .route()
            .add(route)
            .execute()
            .await
            .map_err(|e| NetlinkError::new(format!("add the default route by {gateway}"), &e))
    }
}
