// SPDX-License-Identifier: MIT OR Apache-2.0
//! What can be asked of a director, and what cannot: checked before anything changes.
#![forbid(unsafe_code)]

use std::net::{IpAddr, SocketAddr};

use lb_common::schema::Choice;

use super::model::{Desired, Forward, MAX_WEIGHT, Real, Service, ServiceId, Tracking};
use crate::{dataplane::Limits, failure::Failure};

/// Checks all services together.
///
/// # Errors
/// The first thing that is wrong, as wrong input.
pub fn desired(desired: &Desired, limits: &Limits) -> Result<(), Failure> {
    for (id, service) in &desired.services {
        self::service(id, service)?;
    }
    let reals: usize = desired.services.values().map(|service| service.reals.len()).sum();
    for (what, count, limit) in
        [("services", desired.services.len(), limits.services), ("reals", reals, limits.reals)]
    {
        if count > limit as usize {
            return Err(Failure::wrong_input(format!("{count} {what} are more than the {limit} that fit"))
                .hint(format!("set `max-{what}` in the [director] section of the config, and start anew")));
        }
    }
    Ok(())
}

/// Checks a service and its reals.
///
/// # Errors
/// The first thing that is wrong, as wrong input.
pub fn service(id: &ServiceId, service: &Service) -> Result<(), Failure> {
    host_address("VIP", id.address.ip())?;
    if service.tracking == Tracking::None && service.scheduler.choice() == Choice::Rotate {
        let scheduler = service.scheduler.as_str();
        return Err(Failure::wrong_input(format!("service {id}: {scheduler} cannot do without tracking"))
            .hint(
                "it counts connections, so it must know them; use `--tracking full`, or `--scheduler mh`",
            ));
    }
    for (address, real) in &service.reals {
        self::real(id, address, real)?;
    }
    Ok(())
}

/// Checks one real of a service.
///
/// # Errors
/// The first thing that is wrong, as wrong input.
pub fn real(id: &ServiceId, address: &SocketAddr, real: &Real) -> Result<(), Failure> {
    host_address("real server", address.ip())?;
    let (forward, port) = (real.forward.as_str(), id.address.port());
    if real.forward != Forward::Nat && address.port() != port {
        return Err(Failure::wrong_input(format!(
            "real {address} of {id}: {forward} cannot change the port from {port} to {}",
            address.port()
        ))
        .hint(format!("leave the port off, or use `--forward nat`, which rewrites it: {}", address.ip())));
    }
    if port == 0 && address.port() != 0 {
        return Err(Failure::wrong_input(format!(
            "real {address} of {id}: a service for every port has reals for every port"
        ))
        .hint(format!("leave the port off: {}", address.ip())));
    }
    if real.weight > MAX_WEIGHT {
        return Err(Failure::wrong_input(format!(
            "real {address} of {id}: weight {} is not in 0..={MAX_WEIGHT}",
            real.weight
        )));
    }
    if real.forward != Forward::Local && address.ip() == id.address.ip() {
        return Err(Failure::wrong_input(format!("real {address} of {id} is the VIP itself"))
            .hint("use the real server's own address, or `--forward local` if this director serves"));
    }
    Ok(())
}

fn host_address(what: &str, ip: IpAddr) -> Result<(), Failure> {
    let IpAddr::V4(v4) = ip else {
        return Err(Failure::wrong_input(format!("{what} {ip}: IPv6 is not supported yet"))
            .hint("see docs/limits.md"));
    };
    if v4.is_unspecified() || v4.is_multicast() || v4.is_broadcast() || v4.is_loopback() {
        return Err(Failure::wrong_input(format!("{what} {ip} is not an address of a host"))
            .hint("use a unicast address that clients can reach"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::{super::model::Protocol, *};
    use crate::failure::FailureKind;

    fn check(vip: &str, rip: &str, forward: Forward, weight: u32) -> Result<(), Failure> {
        let id = ServiceId { protocol: Protocol::Tcp, address: vip.parse().unwrap() };
        let mut service = Service::default();
        service.reals.insert(rip.parse().unwrap(), Real { forward, weight });
        self::service(&id, &service)
    }

    #[rstest]
    #[case::dr("10.0.0.100:80", "10.0.0.2:80", Forward::Dr, 1)]
    #[case::nat_to_another_port("10.0.0.100:80", "10.0.0.2:8080", Forward::Nat, 1)]
    #[case::every_port("10.0.0.100:0", "10.0.0.2:0", Forward::Tun, 0)]
    #[case::local("10.0.0.100:80", "10.0.0.100:80", Forward::Local, 65535)]
    fn what_works_passes(
        #[case] vip: &str,
        #[case] rip: &str,
        #[case] forward: Forward,
        #[case] weight: u32,
    ) {
        check(vip, rip, forward, weight).unwrap();
    }

    #[rstest]
    #[case::dr_to_another_port("10.0.0.100:80", "10.0.0.2:8080", Forward::Dr, 1, "cannot change the port")]
    #[case::one_port_of_every_port("10.0.0.100:0", "10.0.0.2:80", Forward::Nat, 1, "every port")]
    #[case::the_vip_itself("10.0.0.100:80", "10.0.0.100:80", Forward::Dr, 1, "the VIP itself")]
    #[case::too_heavy("10.0.0.100:80", "10.0.0.2:80", Forward::Dr, 65536, "weight 65536")]
    #[case::multicast("224.0.0.1:80", "10.0.0.2:80", Forward::Dr, 1, "VIP 224.0.0.1")]
    #[case::no_address("10.0.0.100:80", "0.0.0.0:80", Forward::Dr, 1, "real server 0.0.0.0")]
    #[case::ipv6("[2001:db8::1]:80", "10.0.0.2:80", Forward::Dr, 1, "IPv6")]
    fn what_cannot_work_is_named(
        #[case] vip: &str,
        #[case] rip: &str,
        #[case] forward: Forward,
        #[case] weight: u32,
        #[case] words: &str,
    ) {
        let failure = check(vip, rip, forward, weight).unwrap_err();
        assert_eq!(failure.kind, FailureKind::WrongInput);
        assert!(failure.message.contains(words), "{failure}");
    }
}
