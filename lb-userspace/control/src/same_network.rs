// SPDX-License-Identifier: MIT OR Apache-2.0
//! Detection of `nat` reals in the network of their VIP: their replies to clients there bypass the director.
//! These functions are pure.
#![forbid(unsafe_code)]

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::effective;
use lb_model::{Desired, Forward, ServiceId};
use lb_netlink::Address;

/// Returns a line for each new `nat` real that shares a network of this host with its VIP.
#[must_use]
pub fn notes(before: &Desired, now: &Desired, here: &[Address]) -> Vec<String> {
    let mut lines = Vec::new();
    for (id, service) in &now.services {
        if now.services.share(&before.services, id) {
            continue;
        }
        let old = before.services.get(id);
        for (address, real) in &service.reals {
            let was = old.and_then(|old| old.reals.get(address));
            let is_new = was.is_none_or(|was| was.forward != Forward::Nat);
            if real.forward != Forward::Nat || !is_new {
                continue;
            }
            let is_here = here.iter().any(|own| own.net.addr() == address.ip())
                || effective::is_local(id, *address, real, None);
            if is_here {
                continue;
            }
            let vips = now.endpoints(id).into_iter().map(|endpoint| endpoint.address.ip());
            lines.extend(
                vips.into_iter()
                    .find_map(|vip| shared(vip, address.ip(), here))
                    .map(|net| line(id, address, net)),
            );
        }
    }
    lines
}

fn line(id: &ServiceId, address: &SocketAddr, net: IpNet) -> String {
    format!(
        "real {address} of {id} is in {net}, as the VIP is: its replies to clients there bypass the \
         director, and their connections hang; use --forward fnat or dr for such clients"
    )
}

/// Returns the smallest network of this host that contains both addresses.
fn shared(vip: IpAddr, rip: IpAddr, here: &[Address]) -> Option<IpNet> {
    let nets = here.iter().map(|address| address.net);
    let both = nets
        .filter(|net| net.prefix_len() < net.max_prefix_len() && net.contains(&vip) && net.contains(&rip));
    both.max_by_key(IpNet::prefix_len).map(|net| net.trunc())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use lb_model::{Real, Service};

    fn here() -> Vec<Address> {
        let address = |net: &str| Address {
            net: net.parse().unwrap(),
            ifindex: 2,
            host_scope: false,
            duplicate: false,
        };
        ["127.0.0.1/8", "192.0.2.1/24", "192.0.2.100/32", "10.0.0.1/24", "2001:db8::1/64"].map(address).into()
    }

    fn with(vip: &str, rip: &str, forward: Forward) -> Desired {
        let mut desired = Desired::default();
        let reals = [(rip.parse().unwrap(), Real::new(forward, 1))].into();
        let service = Service { reals, ..Service::default() };
        desired.services.insert(ServiceId::parse("tcp", vip).unwrap(), service);
        desired
    }

    #[rstest]
    #[case::same("192.0.2.100:80", "192.0.2.11:8080", Forward::Nat, Some("192.0.2.0/24"))]
    #[case::same6("[2001:db8::100]:80", "[2001:db8::11]:80", Forward::Nat, Some("2001:db8::/64"))]
    #[case::another("192.0.2.100:80", "10.0.0.11:80", Forward::Nat, None)]
    #[case::behind_a_router("192.0.2.100:80", "198.51.100.11:80", Forward::Nat, None)]
    #[case::vip_elsewhere("198.51.100.1:80", "192.0.2.11:80", Forward::Nat, None)]
    #[case::fnat("192.0.2.100:80", "192.0.2.11:80", Forward::Fnat, None)]
    #[case::dr("192.0.2.100:80", "192.0.2.11:80", Forward::Dr, None)]
    #[case::the_director_itself("192.0.2.100:80", "192.0.2.1:80", Forward::Nat, None)]
    #[case::the_vip_itself("192.0.2.100:80", "192.0.2.100:80", Forward::Nat, None)]
    fn replies_within_the_network_of_the_vip_are_told(
        #[case] vip: &str,
        #[case] rip: &str,
        #[case] forward: Forward,
        #[case] net: Option<&str>,
    ) {
        let lines = notes(&Desired::default(), &with(vip, rip, forward), &here());
        match net {
            None => assert!(lines.is_empty(), "{lines:?}"),
            Some(net) => assert!(
                lines.len() == 1
                    && lines[0].starts_with(&format!("real {rip} of tcp {vip} is in {net}, as the VIP is")),
                "{lines:?}"
            ),
        }
    }

    #[test]
    fn it_is_told_once() {
        let nat = with("192.0.2.100:80", "192.0.2.11:80", Forward::Nat);
        let dr = with("192.0.2.100:80", "192.0.2.11:80", Forward::Dr);
        assert!(notes(&nat, &nat, &here()).is_empty());
        assert_eq!(notes(&dr, &nat, &here()).len(), 1);
        assert!(notes(&nat, &dr, &here()).is_empty());
    }
}
