// SPDX-License-Identifier: MIT OR Apache-2.0
//! Validation of services, before anything changes.
#![forbid(unsafe_code)]

mod checks;
mod notify;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

use super::{bounds, dips::Dips, image};
pub use checks::{check, checks_of};
use lb_dataplane::Limits;
use lb_model::failure::{ErrorCode, Failure};
use lb_model::{
    Desired, Endpoint, Forward, MAX_WEIGHT, Persistence, Protocol, Real, Service, ServiceId, Tracking, Tunnel,
};
pub use notify::{notify, notify_fifo};

/// Checks all services together.
///
/// # Errors
/// If a setting is invalid; the failure is wrong input and names the first one.
pub fn desired(desired: &Desired, limits: &Limits) -> Result<(), Failure> {
    after(&Desired::default(), desired, limits)
}

/// Checks all services together, after a change from `before`, which is valid. Services that both share are not
/// checked again, unless a group or a check has changed.
///
/// # Errors
/// If a setting is invalid; the failure is wrong input and names the first one.
pub fn after(before: &Desired, desired: &Desired, limits: &Limits) -> Result<(), Failure> {
    let same_parts = before.checks == desired.checks && before.groups == desired.groups;
    if !same_parts {
        for (name, check) in &desired.checks {
            checks::definition(name, check)?;
        }
    }
    for (id, service) in &desired.services {
        if same_parts && desired.services.share(&before.services, id) {
            continue;
        }
        self::service(id, service)?;
        checks_of(id, service, &desired.checks, &desired.endpoints(id))?;
    }
    groups(desired)?;
    if let Some((id, address)) = image::ambiguous_one_packet(desired) {
        return Err(Failure::wrong_input(format!(
            "real {address} of {id}: another service uses the same nat real, and with --one-packet no flow \
             tells their replies apart"
        ))
        .hint("give one of the services another port of the real, or leave --one-packet off"));
    }
    let endpoints: usize = desired.services.keys().map(|id| desired.endpoints(id).len().max(1)).sum();
    let reals: usize = desired.services.values().map(|service| service.reals.len()).sum();
    for (what, count, limit) in [("services", endpoints, limits.services), ("reals", reals, limits.reals)] {
        if count > limit as usize {
            return Err(Failure::wrong_input(format!("{count} {what} are more than the {limit} that fit"))
                .hint(format!(
                    "set `max-{what}` in the [director] section of the config, and restart the daemon"
                ))
                .because(ErrorCode::Full));
        }
    }
    Ok(())
}

/// Checks the SNAT addresses.
///
/// # Errors
/// If a setting is invalid; the failure is wrong input and names the first one.
pub fn fnat_addresses(addresses: &[IpAddr]) -> Result<(), Failure> {
    let mut seen = BTreeSet::new();
    for address in addresses {
        host_address("fnat address", *address)?;
        if !seen.insert(address) {
            return Err(Failure::wrong_input(format!("`fnat-addresses` has {address} twice")));
        }
    }
    for six in [false, true] {
        let count = addresses.iter().filter(|address| address.is_ipv6() == six).count();
        if count > Dips::MOST {
            return Err(Failure::wrong_input(format!("{count} `fnat-addresses` of one version of IP"))
                .hint(format!("at most {} are possible", Dips::MOST)));
        }
    }
    Ok(())
}

/// Checks that no SNAT address is a VIP: replies to it could not be told from packets of clients.
///
/// # Errors
/// If an address is; the failure is wrong input and names the first one.
pub fn dips(desired: &Desired, dips: &Dips) -> Result<(), Failure> {
    if dips.addresses().next().is_none() {
        return Ok(());
    }
    let vips: BTreeSet<IpAddr> = desired.vips().collect();
    match dips.addresses().find(|address| vips.contains(address)) {
        None => Ok(()),
        Some(address) => {
            Err(Failure::wrong_input(format!("{address} is both a VIP and one of the `fnat-addresses`"))
                .hint("use another address for one of them"))
        }
    }
}

/// Checks that each endpoint belongs to one service.
fn groups(desired: &Desired) -> Result<(), Failure> {
    if desired.groups.is_empty() {
        // Only members of groups can be endpoints of another service too.
        return Ok(());
    }
    let mut owners: BTreeMap<Endpoint, ServiceId> = BTreeMap::new();
    for id in desired.services.keys() {
        owners.extend(id.endpoint().map(|endpoint| (endpoint, *id)));
    }
    for (group, members) in &desired.groups {
        if *group == 0 {
            return Err(Failure::wrong_input("0 is not the number of a group").hint("numbers begin at 1"));
        }
        for endpoint in members {
            host_address("VIP", endpoint.address.ip())?;
            let id = ServiceId::group(*group);
            if let Some(other) = owners.insert(*endpoint, id) {
                return Err(Failure::wrong_input(format!("{endpoint} of group {group} is also {other}"))
                    .hint("an endpoint belongs to one service or group; remove it from the other first"));
            }
        }
    }
    for (id, service) in desired.services.iter().filter(|(id, _)| id.endpoint().is_none()) {
        let members = desired.endpoints(id);
        if members.iter().any(|member| member.address.is_ipv6())
            && service.persistence.is_some_and(|persistence| persistence.prefix == 0)
        {
            return Err(no_bits(id));
        }
        for (address, real) in &service.reals {
            for member in &members {
                same_version(id, member, address, real)?;
                same_port(id, member, address, real)?;
            }
        }
    }
    Ok(())
}

/// Checks a service and its reals.
///
/// # Errors
/// If a setting is invalid; the failure is wrong input and names the first one.
pub fn service(id: &ServiceId, service: &Service) -> Result<(), Failure> {
    if let Some(endpoint) = id.endpoint() {
        host_address("VIP", endpoint.address.ip())?;
    }
    let scheduler = service.scheduler;
    if let Some(flag) = service.flags.iter().find(|flag| flag.with(scheduler) != Ok(Some(**flag))) {
        return Err(Failure::wrong_input(format!(
            "service {id}: {flag} is no flag of scheduler {scheduler}"
        ))
        .hint(flag.who_takes_it()));
    }
    if let Some(persistence) = service.persistence {
        bounds::persistence(id, persistence)?;
    }
    netmask(id, service.persistence.map(|persistence| persistence.prefix))?;
    let is_ipv6 = match id {
        ServiceId::Endpoint(endpoint) => endpoint.address.is_ipv6(),
        ServiceId::Group { ipv6, .. } => *ipv6,
    };
    if is_ipv6 && service.persistence.is_some_and(|persistence| persistence.prefix == 0) {
        return Err(no_bits(id));
    }
    if service.tracking == Tracking::None {
        none_is_possible(id, service)?;
    }
    if service.one_packet && id.endpoint().is_some_and(|endpoint| endpoint.protocol != Protocol::Udp) {
        return Err(Failure::wrong_input(format!(
            "service {id}: only datagrams can be scheduled one by one"
        ))
        .hint("--one-packet is for udp"));
    }
    if service.one_packet
        && let Some((address, _)) = service.reals.iter().find(|(_, real)| real.forward == Forward::Fnat)
    {
        return Err(Failure::wrong_input(format!(
            "service {id}: fnat real {address} needs a flow for its source port on the director, and \
             --one-packet tracks none"
        ))
        .hint("leave --one-packet off, or use another method"));
    }
    for (address, real) in &service.reals {
        self::real(id, address, real)?;
    }
    Ok(())
}

/// Refuses a netmask that does not fit the addresses of the service's clients, whether or not the service is
/// persistent.
///
/// # Errors
/// If the netmask does not fit; the failure is wrong input.
pub fn netmask(id: &ServiceId, prefix: Option<u8>) -> Result<(), Failure> {
    let (Some(prefix), Some(endpoint)) = (prefix, id.endpoint()) else { return Ok(()) };
    if endpoint.address.is_ipv6() {
        return if prefix == 0 { Err(no_bits(id)) } else { Ok(()) };
    }
    if prefix > 32 && prefix != Persistence::WHOLE_ADDRESS {
        return Err(Failure::wrong_input(format!("service {id}: an IPv4 address has no {prefix} bits"))
            .hint("--netmask is 1 to 32 here"));
    }
    Ok(())
}

/// Returns the failure for a netmask of no bits.
fn no_bits(id: &ServiceId) -> Failure {
    Failure::wrong_input(format!("service {id}: a netmask of 0 bits is for IPv4 alone"))
        .hint("--netmask is 1 to 128 for IPv6")
}

/// Checks that a service works without tracked flows.
fn none_is_possible(id: &ServiceId, service: &Service) -> Result<(), Failure> {
    let why = if !service.scheduler.hashes() {
        format!("{} counts connections or takes turns", service.scheduler)
    } else if service.persistence.is_some() {
        "persistence keeps clients on the reals of their connections".to_owned()
    } else if service.reals.values().any(|real| real.upper > 0) {
        "the thresholds of reals count connections".to_owned()
    } else if service.reals.values().any(|real| real.forward == Forward::Fnat) {
        "an fnat flow has a source port on the director".to_owned()
    } else {
        return Ok(());
    };
    Err(Failure::wrong_input(format!("service {id} cannot do without tracking: {why}"))
        .hint("use `--tracking auto`, which tracks flows where necessary"))
}

/// Checks one real of a service.
///
/// # Errors
/// If a setting is invalid; the failure is wrong input and names the first one.
pub fn real(id: &ServiceId, address: &SocketAddr, real: &Real) -> Result<(), Failure> {
    // A loopback address and the VIP are the director itself, with any method.
    let is_own = id.is_served_here(address.ip());
    if !is_own {
        host_address("real server", address.ip())?;
    }
    let (forward, port) = (real.forward.as_str(), id.port());
    let changes_ports = matches!(real.forward, Forward::Nat | Forward::Fnat);
    // Methods that do not change the port ignore the port of a group's real; IPVS keeps it to distinguish
    // reals.
    if !changes_ports && address.port() != port && id.endpoint().is_some() {
        let hint = format!("leave the port off, or use `--forward nat`, which rewrites it: {}", address.ip());
        return Err(Failure::wrong_input(format!(
            "real {address} of {id}: {forward} cannot change the port from {port} to {}",
            address.port()
        ))
        .hint(hint));
    }
    if port == 0 && address.port() != 0 && id.endpoint().is_some() {
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
    if real.upper > 0 && real.lower > real.upper {
        return Err(Failure::wrong_input(format!(
            "real {address} of {id}: the lower threshold {} is above the upper one, {}",
            real.lower, real.upper
        ))
        .hint("a real that reached --upper connections takes more when it has fewer than --lower"));
    }
    if real.tunnel != Tunnel::Ipip && real.forward != Forward::Tun {
        return Err(Failure::wrong_input(format!(
            "real {address} of {id}: {forward} has no tunnel, so it cannot be {}",
            real.tunnel
        ))
        .hint("--tunnel requires `--forward tun`"));
    }
    if let Some(endpoint) = id.endpoint() {
        same_version(id, &endpoint, address, real)?;
        same_port(id, &endpoint, address, real)?;
    }
    if is_own && changes_ports && ![0, port].contains(&address.port()) {
        return Err(Failure::wrong_input(format!(
            "real {address} of {id} is the director itself, which receives packets unmodified: the port \
             stays {port}"
        ))
        .hint(format!("leave the port off, and let the server listen on port {port} too")));
    }
    Ok(())
}

/// Checks that VIP and real have the same IP version, unless a tunnel connects them.
fn same_version(
    id: &ServiceId,
    endpoint: &Endpoint,
    address: &SocketAddr,
    real: &Real,
) -> Result<(), Failure> {
    if real.forward == Forward::Tun || endpoint.address.is_ipv6() == address.is_ipv6() {
        return Ok(());
    }
    let (vip, forward) = (endpoint.address.ip(), real.forward.as_str());
    Err(Failure::wrong_input(format!(
        "real {address} of {id}: {forward} cannot go from {vip} to the other version of IP"
    ))
    .hint(
        "use `--forward tun`, whose outer header may be of the other version, or another address of the real",
    ))
}

/// Refuses to change the port of an SCTP service: the checksum of SCTP covers the ports and the rest of the
/// packet, so it would have to be computed over the whole packet.
fn same_port(id: &ServiceId, endpoint: &Endpoint, address: &SocketAddr, real: &Real) -> Result<(), Failure> {
    let changes = match real.forward {
        Forward::Fnat => true,
        Forward::Nat => ![0, endpoint.address.port()].contains(&address.port()),
        Forward::Dr | Forward::Tun | Forward::Local => false,
    };
    if endpoint.protocol != Protocol::Sctp || !changes {
        return Ok(());
    }
    Err(Failure::wrong_input(format!(
        "real {address} of {id}: the checksum of SCTP covers the ports, so {} cannot change them",
        real.forward
    ))
    .hint(format!("use dr, tun, or nat to a real that serves at port {} too", endpoint.address.port())))
}

fn host_address(what: &str, ip: IpAddr) -> Result<(), Failure> {
    let of_a_host = match ip {
        IpAddr::V4(v4) => {
            !(v4.octets()[0] == 0 || v4.is_multicast() || v4.is_broadcast() || v4.is_loopback())
        }
        IpAddr::V6(v6) => {
            if v6.is_unicast_link_local() {
                return Err(Failure::wrong_input(format!("{what} {ip} is link-local, and not unique"))
                    .hint("use a global or unique local address"));
            }
            if let Some(v4) = v6.to_ipv4_mapped() {
                return Err(Failure::wrong_input(format!("{what} {ip} is an IPv4-mapped IPv6 address"))
                    .hint(format!("write {v4}")));
            }
            !(v6.is_unspecified() || v6.is_multicast() || v6.is_loopback())
        }
    };
    if !of_a_host {
        return Err(Failure::wrong_input(format!("{what} {ip} is not an address of a host"))
            .hint("use a unicast address that clients can reach"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use lb_model::{Scheduler, SchedulerFlag, failure::FailureKind};

    fn check(vip: &str, rip: &str, forward: Forward, weight: u32) -> Result<(), Failure> {
        let id = ServiceId::new(Protocol::Tcp, vip.parse().unwrap());
        let mut service = Service::default();
        service.reals.insert(rip.parse().unwrap(), Real::new(forward, weight));
        self::service(&id, &service)
    }

    #[rstest]
    #[case::dr("10.0.0.100:80", "10.0.0.2:80", Forward::Dr, 1)]
    #[case::nat_to_another_port("10.0.0.100:80", "10.0.0.2:8080", Forward::Nat, 1)]
    #[case::fnat_to_another_port("10.0.0.100:80", "10.0.0.2:8080", Forward::Fnat, 1)]
    #[case::every_port("10.0.0.100:0", "10.0.0.2:0", Forward::Tun, 0)]
    #[case::dr6("[2001:db8::1]:80", "[2001:db8::2]:80", Forward::Dr, 1)]
    #[case::nat6("[2001:db8::1]:80", "[2001:db8::2]:8080", Forward::Nat, 1)]
    #[case::tunnel_from_4_to_6("10.0.0.100:80", "[2001:db8::2]:80", Forward::Tun, 1)]
    #[case::tunnel_from_6_to_4("[2001:db8::1]:80", "10.0.0.2:80", Forward::Tun, 1)]
    #[case::local("10.0.0.100:80", "10.0.0.100:80", Forward::Local, 65535)]
    #[case::loopback("10.0.0.100:80", "127.0.0.1:80", Forward::Dr, 1)]
    #[case::loopback6("[2001:db8::1]:80", "[::1]:80", Forward::Nat, 1)]
    #[case::the_vip_itself("10.0.0.100:80", "10.0.0.100:80", Forward::Tun, 1)]
    #[case::heavy("10.0.0.100:80", "10.0.0.2:80", Forward::Dr, i32::MAX as u32)]
    fn what_works_passes(
        #[case] vip: &str,
        #[case] rip: &str,
        #[case] forward: Forward,
        #[case] weight: u32,
    ) {
        check(vip, rip, forward, weight).unwrap();
    }

    #[test]
    fn replies_of_datagrams_one_by_one_are_one_services() {
        let real = || [("10.0.0.2:53".parse().unwrap(), Real::new(Forward::Nat, 1))].into();
        let mut desired = Desired::default();
        for (vip, one_packet) in [("10.0.0.100:53", true), ("10.0.0.101:53", false)] {
            let id = ServiceId::new(Protocol::Udp, vip.parse().unwrap());
            desired.services.insert(id, Service { one_packet, reals: real(), ..Service::default() });
        }
        let failure = self::desired(&desired, &Limits::default()).unwrap_err();
        assert!(failure.message.contains("10.0.0.2:53 of udp 10.0.0.100:53"), "{failure}");
        desired.services.pop_last();
        self::desired(&desired, &Limits::default()).unwrap();
    }

    #[test]
    fn no_port_of_sctp_changes() {
        let id = ServiceId::new(Protocol::Sctp, "10.0.0.100:80".parse().unwrap());
        let check = |rip: &str| real(&id, &rip.parse().unwrap(), &Real::new(Forward::Nat, 1));
        check("10.0.0.2:80").unwrap();
        assert!(check("10.0.0.2:81").unwrap_err().message.contains("covers the ports"));
    }

    #[rstest]
    #[case::dr_to_another_port("10.0.0.100:80", "10.0.0.2:8080", Forward::Dr, 1, "cannot change the port")]
    #[case::one_port_of_every_port("10.0.0.100:0", "10.0.0.2:80", Forward::Nat, 1, "every port")]
    #[case::the_vip_at_another_port("10.0.0.100:80", "10.0.0.100:81", Forward::Nat, 1, "the director itself")]
    #[case::loopback_at_another_port(
        "10.0.0.100:80",
        "127.0.0.1:8080",
        Forward::Fnat,
        1,
        "the director itself"
    )]
    #[case::too_heavy("10.0.0.100:80", "10.0.0.2:80", Forward::Dr, 1 << 31, "weight 2147483648")]
    #[case::multicast("224.0.0.1:80", "10.0.0.2:80", Forward::Dr, 1, "VIP 224.0.0.1")]
    #[case::this_network("0.1.2.3:80", "10.0.0.2:80", Forward::Dr, 1, "VIP 0.1.2.3")]
    #[case::no_address("10.0.0.100:80", "0.0.0.0:80", Forward::Dr, 1, "real server 0.0.0.0")]
    #[case::another_version("[2001:db8::1]:80", "10.0.0.2:80", Forward::Dr, 1, "the other version of IP")]
    #[case::another_version_by_nat(
        "10.0.0.100:80",
        "[2001:db8::1]:80",
        Forward::Nat,
        1,
        "the other version of IP"
    )]
    #[case::of_the_link("[fe80::1]:80", "[2001:db8::2]:80", Forward::Dr, 1, "link-local")]
    #[case::in_disguise("[::ffff:10.0.0.1]:80", "10.0.0.2:80", Forward::Dr, 1, "IPv4-mapped")]
    #[case::multicast6("[ff02::1]:80", "[2001:db8::2]:80", Forward::Dr, 1, "VIP ff02::1")]
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

    #[rstest]
    #[case(
        Scheduler::Mh,
        SchedulerFlag::ShPort,
        "--scheduler sh takes sh-fallback and sh-port, --scheduler mh takes mh-fallback and mh-port; "
    )]
    #[case(
        Scheduler::Rr,
        SchedulerFlag::MhPort,
        "--scheduler mh takes mh-fallback and mh-port, --scheduler sh takes sh-fallback and sh-port; "
    )]
    #[case(Scheduler::Sh, SchedulerFlag::Flag1, "--scheduler sh takes sh-fallback and sh-port, ")]
    fn a_flag_of_another_scheduler_is_told_where_it_belongs(
        #[case] scheduler: Scheduler,
        #[case] flag: SchedulerFlag,
        #[case] hint: &str,
    ) {
        let id = ServiceId::parse("tcp", "10.0.0.100:80").unwrap();
        let service = Service { scheduler, flags: [flag].into(), ..Service::default() };
        let failure = super::service(&id, &service).unwrap_err();
        assert_eq!(
            failure.message,
            format!("service tcp 10.0.0.100:80: {flag} is no flag of scheduler {scheduler}")
        );
        assert!(failure.hint.as_ref().unwrap().starts_with(hint), "{failure}");
    }
}
