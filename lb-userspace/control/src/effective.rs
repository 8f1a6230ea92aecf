// SPDX-License-Identifier: MIT OR Apache-2.0
//! Effects of the network on a service: reals without a next hop get no new connections, and the director
//! itself serves as the reals at its own addresses.
#![forbid(unsafe_code)]

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use super::neighbours::{Resolution, Unresolved};
use lb_model::{Forward, Real, Service, ServiceId, Tunnel};

/// Returns a service as these next hops permit. Reals are in the same order.
///
/// - A real at an address of the director is `local`, as in IPVS (`Local` in its lists): one configuration
///   serves two hosts that are director and real for each other.
/// - A real without a next hop has weight 0, while another real gets connections. If no real does, weights
///   stay: packets are dropped, and clients that retransmit are served when a next hop is back.
#[must_use]
pub fn service(id: &ServiceId, mut service: Service, next_hops: &BTreeMap<IpAddr, Resolution>) -> Service {
    for (address, real) in &mut service.reals {
        serve_here(id, *address, real, next_hops);
    }
    for (key, real) in &mut service.leaving {
        serve_here(id, key.address, real, next_hops);
    }
    let is_reachable = |address: &SocketAddr, real: &Real| {
        real.forward == Forward::Local || !matches!(next_hops.get(&address.ip()), Some(Err(_)))
    };
    if service.reals.iter().any(|(address, real)| real.weight > 0 && is_reachable(address, real)) {
        for (address, real) in &mut service.reals {
            if !is_reachable(address, real) {
                real.weight = 0;
            }
        }
    }
    service
}

/// Returns whether a real is the director itself.
#[must_use]
pub fn is_local(id: &ServiceId, address: SocketAddr, real: &Real, found: Option<&Resolution>) -> bool {
    // The programs pass such packets unmodified to the stack, which serves at the service's own port.
    let same_port =
        !matches!(real.forward, Forward::Nat | Forward::Fnat) || [0, id.port()].contains(&address.port());
    let is_own = id.is_served_here(address.ip()) || matches!(found, Some(Err(Unresolved::Local { .. })));
    real.forward == Forward::Local || same_port && is_own
}

fn serve_here(
    id: &ServiceId,
    address: SocketAddr,
    real: &mut Real,
    next_hops: &BTreeMap<IpAddr, Resolution>,
) {
    if is_local(id, address, real, next_hops.get(&address.ip())) {
        (real.forward, real.tunnel) = (Forward::Local, Tunnel::Ipip);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::neighbours::NextHop;
    use lb_model::Protocol;

    const RIPS: [&str; 3] = ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"];

    fn id() -> ServiceId {
        ServiceId::new(Protocol::Tcp, "192.0.2.1:80".parse().unwrap())
    }

    fn wanted(forward: Forward) -> Service {
        let reals = RIPS.map(|rip| (rip.parse().unwrap(), Real::new(forward, 10)));
        Service { reals: reals.into(), ..Service::default() }
    }

    fn found(index: usize, resolution: impl Fn(IpAddr) -> Resolution) -> (IpAddr, Resolution) {
        let rip = RIPS[index].parse::<SocketAddr>().unwrap().ip();
        (rip, resolution(rip))
    }

    fn no_answer(neighbour: IpAddr) -> Resolution {
        Err(Unresolved::NoAnswer { neighbour, interface: "eth0".to_owned() })
    }

    #[expect(clippy::unnecessary_wraps, reason = "one of several resolutions")]
    fn known(source_ip: IpAddr) -> Resolution {
        Ok(NextHop {
            ifindex: 1,
            source_mac: [2; 6],
            next_hop_mac: [4; 6],
            source_ip,
            mtu: 1500,
            tags: 0,
            trunk: false,
            on_link: true,
        })
    }

    fn weights(next_hops: impl Into<BTreeMap<IpAddr, Resolution>>) -> Vec<u32> {
        let service = service(&id(), wanted(Forward::Dr), &next_hops.into());
        service.reals.values().map(|real| real.weight).collect()
    }

    #[test]
    fn a_real_that_does_not_answer_takes_no_connections() {
        assert_eq!(weights([found(0, no_answer), found(1, known)]), [0, 10, 10]);
        let down = |rip| Err(Unresolved::InterfaceDown { rip, interface: "eth0".to_owned() });
        assert_eq!(weights([found(0, known), found(1, down), found(2, no_answer)]), [10, 0, 0]);
    }

    #[test]
    fn weights_stay_where_no_real_can_be_reached() {
        assert_eq!(weights([0, 1, 2].map(|index| found(index, no_answer))), [10, 10, 10]);
    }

    #[test]
    fn a_real_at_an_own_address_is_served_here() {
        let own = |rip| Err(Unresolved::Local { rip });
        let next_hops = [found(0, own), found(1, no_answer), found(2, no_answer)].into();
        for (forward, expected) in [
            (Forward::Dr, Forward::Local),
            (Forward::Tun, Forward::Local),
            (Forward::Nat, Forward::Local),
            (Forward::Fnat, Forward::Local),
        ] {
            let service = service(&id(), wanted(forward), &next_hops);
            let reals: Vec<_> = service.reals.values().map(|real| (real.forward, real.weight)).collect();
            assert_eq!(reals, [(expected, 10), (forward, 0), (forward, 0)]);
        }
    }

    #[test]
    fn the_stack_does_not_serve_at_another_port() {
        let own: IpAddr = "10.0.0.1".parse().unwrap();
        let found = Err(Unresolved::Local { rip: own });
        let real = Real::new(Forward::Nat, 1);
        // A real without a port serves at the port of the client's packets.
        assert!(is_local(&id(), SocketAddr::new(own, 0), &real, Some(&found)));
        // Loopback addresses and the VIP are the director's on every host.
        for own in ["127.0.0.1", "192.0.2.1"] {
            assert!(is_local(&id(), SocketAddr::new(own.parse().unwrap(), 80), &real, None), "{own}");
        }
        assert!(!is_local(&id(), SocketAddr::new(own, 8080), &real, Some(&found)));
        assert!(is_local(&id(), SocketAddr::new(own, 80), &real, Some(&found)));
    }
}
