// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reading of IPVS: the whole table, and a summary that is cheap to compare.

use std::{
    collections::BTreeSet,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    net::IpAddr,
    time::{Duration, Instant},
};

use super::connections;
use crate::daemon::{Shared, sync};
use lb_common::sync::{Connection, Line, snapshot};
use lb_control::ipvs::{Followed, Surroundings, translate};
use lb_dataplane::Limits;
use lb_model::failure::Failure;
use lb_netlink::{
    Netlink, NetlinkError,
    ipvs::{Ipvs, Table},
};

/// The services of IPVS as text, with weights but without thresholds and tunnels.
const PAGE: &str = "/proc/net/ip_vs";
/// Whether IPVS ends the connections of removed destinations.
const EXPIRE_NODEST: &str = "/proc/sys/net/ipv4/vs/expire_nodest_conn";

/// The kernel's IPVS in one network namespace.
#[derive(Clone, Debug)]
pub struct Source {
    ipvs: Ipvs,
    netlink: Netlink,
}

/// Rules of IPVS, and the facts on which their translation depends.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Read {
    table: Table,
    surroundings: Surroundings,
}

impl Read {
    /// Translates the rules.
    #[must_use]
    pub fn translate(&self, limits: &Limits) -> Followed {
        translate(&self.table, &self.surroundings, limits)
    }
}

impl Source {
    /// Connects to IPVS in the network namespace of the calling thread.
    ///
    /// # Errors
    /// If the kernel has no IPVS, or this process may not use it.
    pub async fn open(netlink: Netlink) -> Result<Self, Failure> {
        match Ipvs::open().await {
            Ok(ipvs) => Ok(Self { ipvs, netlink }),
            Err(NetlinkError::Unsupported { .. }) => {
                Err(Failure::failed("there is no IPVS to follow: the kernel module ip_vs is not loaded")
                    .hint("`modprobe ip_vs` loads it; or start without --follow-ipvs"))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Returns the connection to IPVS.
    #[must_use]
    pub const fn ipvs(&self) -> &Ipvs {
        &self.ipvs
    }

    /// Reads all rules.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub async fn read(&self) -> Result<Read, Failure> {
        let table = self.ipvs.table().await?;
        let addresses = self.netlink.addresses().await?;
        let own: BTreeSet<IpAddr> = addresses.iter().map(|address| address.net.addr()).collect();
        let expire_nodest =
            tokio::fs::read_to_string(EXPIRE_NODEST).await.is_ok_and(|text| text.trim() != "0");
        Ok(Read { table, surroundings: Surroundings { own, expire_nodest } })
    }
}

/// Takes the connections and templates of IPVS that are `wanted` into the flow table: as many as can be read `within` that
/// time. The kernel goes on forwarding the others.
///
/// # Errors
/// If they cannot be read, or a map cannot be written.
pub async fn import(
    shared: &Shared,
    within: Duration,
    wanted: impl Fn(&Connection) -> bool,
) -> Result<(), Failure> {
    let (text, is_whole) = connections::read(Instant::now() + within, String::new(), |text, line| {
        text.push_str(line);
        text.push('\n');
    })
    .await?;
    if !is_whole {
        tracing::warn!(
            "not all connections of IPVS could be read within {} s: the kernel goes on forwarding the others",
            within.as_secs()
        );
    }
    let is_wanted = |line: &&str| match snapshot::line(line) {
        Ok(Line::Connection { connection, .. }) => wanted(&connection),
        _ => true,
    };
    let lines: Vec<&str> = text.lines().filter(is_wanted).collect();
    // The time was over before the first line.
    if lines.is_empty() {
        return Ok(());
    }
    sync::import(shared, &lines.join("\n")).await.map(drop)
}

/// Returns a hash of the services, destinations and weights, without the numbers of connections. `None` if the kernel
/// has no such page.
pub(super) async fn summary() -> Option<u64> {
    let page = tokio::fs::read_to_string(PAGE).await.ok()?;
    Some(hash(&page))
}

fn hash(page: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    for line in page.lines() {
        let is_destination = line.trim_start().starts_with("->");
        // Address, method and weight; then the connections follow.
        let words = line.split_whitespace().take(if is_destination { 4 } else { usize::MAX });
        words.for_each(|word| word.hash(&mut hasher));
        hasher.write_u8(b'\n');
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::hash;

    const PAGE: &str = "IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port Forward Weight ActiveConn InActConn
TCP  0A000064:0050 wlc persistent 300 FFFFFFFF
  -> 0A00000B:0050      Route   1      7          8
";

    #[test]
    fn only_rules_count() {
        let same = PAGE.replace("7          8", "9          0");
        assert_eq!(hash(PAGE), hash(&same));
        for (from, to) in
            [("Route   1", "Route   2"), ("Route", "Tunnel"), ("wlc", "wrr"), ("0B:0050", "0C:0050")]
        {
            assert_ne!(hash(PAGE), hash(&PAGE.replace(from, to)), "{to}");
        }
    }
}
