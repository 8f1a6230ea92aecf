// SPDX-License-Identifier: MIT OR Apache-2.0
//! VIPs of a director that this host refuses: with such a VIP on `lo`, this host could not reach its gateway,
//! its resolver, its director or a neighbour any more.

use std::{collections::BTreeSet, fs, net::IpAddr, path::Path};

use ipnet::IpNet;

use crate::host::Host;
use lb_netlink::NetlinkError;

/// Files with the addresses of resolvers, of libc and systemd-resolved.
const RESOLVERS: [&str; 2] = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];

/// Addresses that this host must be able to reach.
#[derive(Debug, Default)]
pub(super) struct Needed {
    director: Option<IpAddr>,
    gateways: BTreeSet<IpAddr>,
    resolvers: BTreeSet<IpAddr>,
    /// Networks to which VIPs must belong; empty for any.
    allowed: Vec<IpNet>,
}

impl Needed {
    /// Determines the present addresses; `director` is the one from which the director answered, and
    /// `allowed` are the networks of `--vips`.
    pub(super) async fn by(
        host: &Host,
        director: Option<IpAddr>,
        allowed: &[IpNet],
    ) -> Result<Self, NetlinkError> {
        let resolvers = RESOLVERS.iter().filter_map(|path| fs::read_to_string(Path::new(path)).ok());
        Ok(Self {
            director,
            gateways: host.netlink.gateways().await?,
            resolvers: resolvers.flat_map(|text| nameservers(&text)).collect(),
            allowed: allowed.to_vec(),
        })
    }

    /// Returns the reason to refuse a VIP, if there is one.
    pub(super) async fn refusal(&self, host: &Host, vip: IpAddr) -> Result<Option<String>, NetlinkError> {
        if let Some(why) = self.judge(vip) {
            return Ok(Some(why));
        }
        if !self.allowed.is_empty() {
            // The operator has allowed this network; neighbour entries may be outdated.
            return Ok(None);
        }
        let here = host.netlink.holders(vip).await?;
        if !here.is_empty() {
            return Ok(None);
        }
        for interface in host.netlink.interfaces().await?.iter().filter(|interface| interface.mac.is_some()) {
            let Some(mac) = neighbour(host, interface.index, vip).await? else { continue };
            // The director has the VIP, too.
            if self.mac_of_the_director(host, interface.index).await? != Some(mac) {
                let mac = mac.map(|byte| format!("{byte:02x}")).join(":");
                return Ok(Some(format!(
                    "this host knows a neighbour {mac} on {} by that address, which it could not reach any more",
                    interface.name
                )));
            }
        }
        Ok(None)
    }

    /// Returns the reason to refuse a VIP, as far as it does not depend on neighbours.
    fn judge(&self, vip: IpAddr) -> Option<String> {
        if !self.allowed.is_empty() && !self.allowed.iter().any(|net| net.contains(&vip)) {
            return Some("it is in none of the networks of --vips".to_owned());
        }
        let without = |what: &str| Some(format!("it is {what}, which this host could not reach any more"));
        if self.director == Some(vip) {
            return without("the director's own address");
        }
        if self.gateways.contains(&vip) {
            return without("a gateway of this host");
        }
        if self.resolvers.contains(&vip) {
            return without("a resolver of this host");
        }
        None
    }

    async fn mac_of_the_director(&self, host: &Host, ifindex: u32) -> Result<Option<[u8; 6]>, NetlinkError> {
        let Some(director) = self.director else { return Ok(None) };
        let way = host.netlink.route_to(director).await?.and_then(|route| route.gateway);
        neighbour(host, ifindex, way.unwrap_or(director)).await
    }
}

async fn neighbour(host: &Host, ifindex: u32, ip: IpAddr) -> Result<Option<[u8; 6]>, NetlinkError> {
    Ok(host.netlink.neighbour(ifindex, ip).await?.and_then(|neighbour| neighbour.usable_mac()))
}

/// Returns the addresses in a `resolv.conf`.
fn nameservers(text: &str) -> Vec<IpAddr> {
    let servers = text.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    // A zone, as in fe80::1%eth0, is not part of the address.
    let addresses =
        servers.filter_map(|rest| rest.split_whitespace().next()?.split('%').next()?.parse().ok());
    addresses.filter(|ip: &IpAddr| !ip.is_loopback()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_cut_the_host_off_is_refused() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let mut needed = Needed {
            director: Some(ip("10.0.0.1")),
            gateways: [ip("10.0.0.254"), ip("fe80::1")].into(),
            resolvers: nameservers("# nameserver 9.9.9.9\nnameserver 8.8.8.8\nnameserver 127.0.0.53\n nameserver\tfd00::53%eth0 \n").into_iter().collect(),
            allowed: Vec::new(),
        };
        for (vip, expected) in [
            ("10.0.0.1", Some("director's own")),
            ("10.0.0.254", Some("a gateway")),
            ("fe80::1", Some("a gateway")),
            ("8.8.8.8", Some("a resolver")),
            ("fd00::53", Some("a resolver")),
            ("9.9.9.9", None),
            ("127.0.0.53", None),
            ("192.0.2.100", None),
        ] {
            let found = needed.judge(ip(vip));
            assert_eq!(found.is_some(), expected.is_some(), "{vip}: {found:?}");
            assert!(found.unwrap_or_default().contains(expected.unwrap_or_default()), "{vip}");
        }
        needed.allowed = vec!["192.0.2.0/24".parse().unwrap(), "10.0.0.0/8".parse().unwrap()];
        assert_eq!(needed.judge(ip("192.0.2.100")), None);
        assert!(needed.judge(ip("198.51.100.1")).unwrap().contains("--vips"));
        assert!(needed.judge(ip("10.0.0.254")).unwrap().contains("a gateway"), "whatever is allowed");
    }
}
