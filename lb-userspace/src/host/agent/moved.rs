// SPDX-License-Identifier: MIT OR Apache-2.0
//! Addresses of this host, and changes of them.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use crate::host::Host;
use lb_netlink::{Change, NetlinkError, Watch};

/// Time without changes before the addresses are read: an interface that comes up gets several.
const QUIET: Duration = Duration::from_millis(100);

/// Waits until this host has other addresses than `known`.
pub(super) async fn moved(host: &Host, watch: &mut Watch, known: &[IpAddr]) {
    let concerns =
        |change: &Change| matches!(change, Change::Address { .. } | Change::Link { .. } | Change::Missed);
    loop {
        if !watch.settled(QUIET, concerns).await {
            tokio::time::sleep(Duration::from_secs(1)).await;
            match Watch::open() {
                Ok(another) => *watch = another,
                Err(error) => tracing::debug!("{error}"),
            }
        }
        if own_addresses(host).await.is_ok_and(|now| now != known) {
            return;
        }
    }
}

/// Returns the addresses by which a director may know this host: not those that only the host itself can reach.
pub(super) async fn own_addresses(host: &Host) -> Result<Vec<IpAddr>, NetlinkError> {
    let interfaces = host.netlink.interfaces().await?;
    let quiet: BTreeSet<u32> = interfaces.iter().filter(|one| one.noarp).map(|one| one.index).collect();
    let addresses = host.netlink.addresses().await?.into_iter();
    let addresses = addresses.filter(|address| !address.host_scope && !quiet.contains(&address.ifindex));
    let mut addresses: Vec<IpAddr> = addresses
        .map(|address| address.net.addr())
        .filter(|ip| !ip.is_loopback() && !matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local()))
        .collect();
    addresses.sort_unstable();
    addresses.dedup();
    Ok(addresses)
}
