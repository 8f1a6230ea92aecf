// SPDX-License-Identifier: MIT OR Apache-2.0
//! Unused addresses in networks of the director, from which reals are pinged as from clients.
#![forbid(unsafe_code)]

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::{Duration, SystemTime},
};

use ipnet::IpNet;

use super::Facts;

/// Addresses of a network that one check uses. A host sends its ARP requests for several seconds; a request because of
/// one check must not count in the other check of the next run.
#[derive(Clone, Copy)]
pub(super) enum Parity {
    /// Addresses for pings of `nat` reals.
    Even,
    /// Addresses for pings of `dr` and `tun` reals, which may well send ARP requests for them.
    Odd,
}

/// Unused addresses of one run of the doctor.
#[derive(Clone, Copy)]
pub(super) struct UnusedAddresses {
    first: u32,
}

impl UnusedAddresses {
    /// Returns the addresses of the run that begins now. The numbers cycle through half of a /24 in four seconds: a
    /// host sends three ARP requests, a second apart, and a run takes more than half a second. So no run receives
    /// requests because of the previous one.
    pub(super) fn of_run(now: SystemTime) -> Self {
        const STEP: Duration = Duration::from_millis(32);
        let elapsed = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { first: (elapsed.as_millis() / STEP.as_millis()) as u32 }
    }

    /// Returns the unused address with that number in a network of the director: neither an address of the director
    /// nor a VIP, and different in each run, so that no host has a neighbour entry for it.
    pub(super) fn get(self, facts: &Facts, net: IpNet, number: usize, parity: Parity) -> Option<IpAddr> {
        let vips = facts.vips();
        let is_free =
            |ip: &IpAddr| !vips.contains(ip) && facts.addresses.iter().all(|own| own.net.addr() != *ip);
        let start = self.first.wrapping_add(number as u32);
        (0..64).find_map(|n| nth(net, with_parity(start.wrapping_add(n), parity)).filter(is_free))
    }
}

/// Returns the number among those of a parity. A network has an even number of hosts, so the parities have no address
/// in common.
const fn with_parity(number: u32, parity: Parity) -> u32 {
    number.wrapping_mul(2) | matches!(parity, Parity::Odd) as u32
}

/// Returns one of the addresses that hosts of a network may have.
fn nth(net: IpNet, number: u32) -> Option<IpAddr> {
    match net {
        IpNet::V4(net) => {
            let hosts = 1_u32.checked_shl(u32::from(32 - net.prefix_len()))?.checked_sub(2)?;
            let host = 1 + number.checked_rem(hosts)?;
            Some(Ipv4Addr::from_bits(net.network().to_bits() + host).into())
        }
        IpNet::V6(net) if net.prefix_len() <= 64 => {
            let host = u128::from(number) | 0x02ff_fe00_0000_0000;
            Some(Ipv6Addr::from_bits(net.network().to_bits() | host).into())
        }
        IpNet::V6(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_parities_have_no_address_in_common() {
        for net in ["192.0.2.1/24", "192.0.2.1/30", "10.0.0.0/8", "2001:db8::1/64"] {
            let net: IpNet = net.parse().unwrap();
            let all = |parity| -> BTreeSet<IpAddr> {
                (0..1000)
                    .chain(u32::MAX - 1000..=u32::MAX)
                    .filter_map(|n| nth(net, with_parity(n, parity)))
                    .collect()
            };
            let (even, odd) = (all(Parity::Even), all(Parity::Odd));
            assert!(!even.is_empty() && !odd.is_empty() && even.is_disjoint(&odd), "{net}");
        }
    }

    #[test]
    fn runs_within_seconds_use_different_addresses() {
        let (net, first): (IpNet, _) =
            ("192.0.2.1/24".parse().unwrap(), Duration::from_millis(1_795_000_000_123));
        let addresses = |after| -> BTreeSet<IpAddr> {
            let run = UnusedAddresses::of_run(SystemTime::UNIX_EPOCH + first + Duration::from_millis(after));
            (0..15).filter_map(|n| nth(net, with_parity(run.first.wrapping_add(n), Parity::Even))).collect()
        };
        for after in (500..3_200).step_by(10) {
            assert!(addresses(0).is_disjoint(&addresses(after)), "after {after} ms");
        }
    }

    #[test]
    fn an_unused_address_is_that_of_a_host_of_the_network() {
        for (net, number) in [("192.0.2.1/24", 7_000_000), ("192.0.2.1/30", 3), ("10.0.0.0/8", u32::MAX)] {
            let net: IpNet = net.parse().unwrap();
            let ip = nth(net, number).unwrap();
            assert!(net.contains(&ip) && ip != net.network() && ip != net.broadcast(), "{ip} of {net}");
        }
        let net: IpNet = "2001:db8::1/64".parse().unwrap();
        assert!(net.contains(&nth(net, 5).unwrap()));
        for net in ["192.0.2.1/32", "192.0.2.0/31", "0.0.0.0/0", "2001:db8::1/127"] {
            assert_eq!(nth(net.parse().unwrap(), 1), None, "{net}");
        }
    }
}
