// SPDX-License-Identifier: MIT OR Apache-2.0
//! Networks from which the outer source addresses of tunnels are taken, so that a real's network card
//! distributes the flows of a tunnel over its queues. These functions are pure.
#![forbid(unsafe_code)]

use std::net::IpAddr;

use ipnet::IpNet;
use lb_common::{
    schema::{Settings, TunnelSource},
    wire::Be128,
};
use serde::Deserialize;

/// At most one network per IP version. A network of one address fixes the source.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(try_from = "Vec<IpNet>")]
pub struct TunnelSources(Vec<IpNet>);

impl TryFrom<Vec<IpNet>> for TunnelSources {
    type Error = String;

    fn try_from(networks: Vec<IpNet>) -> Result<Self, String> {
        for (at, network) in networks.iter().enumerate() {
            if network.addr() != network.network() {
                return Err(format!("{network} has bits behind its prefix; write {}", network.trunc()));
            }
            let address = network.addr();
            if address.is_unspecified() || address.is_loopback() || address.is_multicast() {
                return Err(format!("{network} is no network that packets come from"));
            }
            let same = |other: &IpNet| other.addr().is_ipv6() == address.is_ipv6();
            if networks[..at].iter().any(same) {
                return Err(format!("{network} is the second network of its version of IP; one is enough"));
            }
        }
        Ok(Self(networks))
    }
}

impl TunnelSources {
    /// Sets the networks in the programs' settings.
    #[must_use]
    pub fn put_in(&self, settings: Settings) -> Settings {
        let mut settings = settings;
        for network in &self.0 {
            // Flows differ in 32 bits at most.
            let bits = u32::from(network.max_prefix_len() - network.prefix_len()).min(32);
            let hosts = u32::try_from((1u64 << bits) - 1).unwrap_or(u32::MAX);
            let source = TunnelSource {
                network: Be128::from(network.addr()),
                hosts: TunnelSource::GIVEN | u64::from(hosts.to_be()),
            };
            match network.addr() {
                IpAddr::V4(_) => settings.tunnel_source = source,
                IpAddr::V6(_) => settings.tunnel_source6 = source,
            }
        }
        settings
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn read(texts: &[&str]) -> Result<TunnelSources, String> {
        TunnelSources::try_from(texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<IpNet>>())
    }

    #[rstest]
    #[case("10.9.0.0/16", "10.9.190.239")]
    #[case("10.9.8.7/32", "10.9.8.7")]
    #[case("fd00:9::/64", "fd00:9::dead:beef")]
    #[case("fd00:9::/120", "fd00:9::ef")]
    fn a_flow_chooses_what_is_behind_the_prefix(#[case] network: &str, #[case] source: IpAddr) {
        let settings = read(&[network]).unwrap().put_in(Settings::DEFAULT);
        let of = if source.is_ipv4() { settings.tunnel_source } else { settings.tunnel_source6 };
        assert_eq!(of.of_flow(0xdead_beef), Be128::from(source));
        assert_ne!(of.hosts, 0);
    }

    #[test]
    fn nobody_is_asked_to_guess() {
        for wrong in [&["10.9.0.1/16"][..], &["0.0.0.0/0"], &["127.0.0.0/8"], &["10.8.0.0/16", "10.9.0.0/16"]]
        {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
        assert_eq!(read(&[]).unwrap().put_in(Settings::DEFAULT), Settings::DEFAULT);
        read(&["10.9.0.0/16", "fd00::/64"]).unwrap();
    }
}
