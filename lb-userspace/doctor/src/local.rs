// SPDX-License-Identifier: MIT OR Apache-2.0
//! Checks for clients on the director itself, and for a full flow table.
#![forbid(unsafe_code)]

use std::{
    fs,
    net::{IpAddr, SocketAddr},
};

use super::{Check, Facts, Finding, Fix, Location, Target, fix, wire::Wire};
use lb_model::{Endpoint, Forward, Protocol, evicted::Evicted};

/// Finds sockets of the director that are connected to a service, and packets to a service on the loopback device.
///
/// A client is served if its packets are translated to a real (`firewall::translated`), or if a real is the
/// director itself.
pub(super) fn check(
    facts: &Facts,
    wire: Option<&Wire>,
    served: &[SocketAddr],
    found: &[Finding],
) -> Vec<Finding> {
    // `thread-self`, because a namespace belongs to a thread.
    let page = |name: &str| fs::read_to_string(format!("/proc/thread-self/net/{name}")).unwrap_or_default();
    // Each page is read once, because the kernel walks its whole table for a page.
    let ends = |names: [&str; 2]| names.map(|name| remotes(&page(name))).concat();
    let has = |wanted| facts.endpoints.iter().any(|endpoint| endpoint.protocol == wanted);
    let tcp = if has(Protocol::Tcp) { ends(["tcp", "tcp6"]) } else { Vec::new() };
    let udp = if has(Protocol::Udp) { ends(["udp", "udp6"]) } else { Vec::new() };
    let mut findings = Vec::new();
    for endpoint in &facts.endpoints {
        let Endpoint { protocol, address } = *endpoint;
        let ends = match protocol {
            Protocol::Tcp => &tcp,
            Protocol::Udp => &udp,
            Protocol::Sctp => continue,
        };
        let is_its = |to: &SocketAddr| {
            let same_port = address.port() == 0 || address.port() == to.port();
            address.ip() == to.ip() && same_port && !served.contains(to)
        };
        let reals = facts.targets.iter().filter(|target| target.is_at(endpoint));
        if reals.clone().any(|target| target.forward == Forward::Local) {
            continue;
        }
        let sockets = ends.iter().filter(|to| is_its(to)).count();
        let sends = wire.is_some_and(|wire| {
            wire.local_clients().iter().any(|(number, to)| *number == protocol.number() && is_its(to))
        });
        let what = match (sockets, sends) {
            (0, false) => continue,
            (0, true) => format!("a program on the director itself sends packets to {endpoint}"),
            (1, _) => format!("a socket of the director itself is connected to {endpoint}"),
            (count, _) => format!("{count} sockets of the director itself are connected to {endpoint}"),
        };
        // A real without findings, if there is one.
        let healthy = |target: &&Target| {
            let location = target.location();
            !found.iter().any(|finding| finding.location == location)
        };
        let fits = |target: &&Target| {
            target.rip.is_ipv4() == address.is_ipv4() && target.next_hop.is_ok() && target.weight > 0
        };
        let mut fitting = reals.filter(fits);
        let Some(real) = fitting.clone().find(healthy).or_else(|| fitting.next()) else { continue };
        let cause = format!(
            "{what}: these packets do not pass XDP; the fix makes nftables send them to {}",
            real.real()
        );
        let fix = Fix::on_director(fix::translate_own(endpoint, real));
        findings.push(Finding::new(Check::LocalClient, Location::Endpoint(*endpoint), cause, fix));
    }
    findings
}

/// Returns findings for full flow tables.
pub(super) fn full_tables(facts: &Facts) -> Vec<Finding> {
    let [evicted, evicted6] = facts.evicted;
    let mut findings = Vec::from_iter(full("max-flows", facts.flows, facts.max_flows, evicted));
    findings.extend(full("max-flows6", facts.flows6, facts.max_flows6, evicted6));
    findings
}

/// Returns a finding for a table that is 90 % full, so that evictions of living flows are near, or that has
/// had evictions.
fn full(option: &str, flows: u64, max: u32, evicted: Option<Evicted>) -> Option<Finding> {
    let is_full = flows >= u64::from(max) / 10 * 9 && max > 0;
    let cause = match evicted {
        _ if is_full => format!(
            "the table holds {flows} flows, and has room for {max} ({option}): when it is full, a new flow evicts one whose client has sent packets in one second only, or is dropped"
        ),
        Some(Evicted { noted, missing }) => format!(
            "new flows evict living ones ({option} is {max}, and {flows} are tracked now): of {noted} that lived at a sweep, {missing} were gone at the next"
        ),
        None => return None,
    };
    let fix = format!("xvs resize --{option} {}", u64::from(max).saturating_mul(4).min(33_554_432));
    Some(Finding::new(Check::FlowTable, Location::Director, cause, Fix::on_director(fix)))
}

/// Returns the remote addresses of the sockets in a page of `/proc/net/tcp` or `tcp6`, except ended ones.
fn remotes(page: &str) -> Vec<SocketAddr> {
    let ends = page.lines().skip(1).filter_map(|line| {
        const TIME_WAIT: &str = "06"; // include/net/tcp_states.h
        let mut words = line.split_whitespace().skip(2);
        let (remote, state) = (words.next()?, words.next()?);
        let (ip, port) = remote.split_once(':').filter(|_| state != TIME_WAIT)?;
        Some(SocketAddr::new(address(ip)?, u16::from_str_radix(port, 16).ok()?))
    });
    ends.collect()
}

/// Parses an address, which the kernel prints as words in host byte order.
fn address(text: &str) -> Option<IpAddr> {
    let word = |at: usize| u32::from_str_radix(text.get(at..at + 8)?, 16).ok().map(u32::to_ne_bytes);
    match text.len() {
        8 => Some(word(0)?.into()),
        32 => {
            let octets: Vec<u8> = (0..4).map(|n| word(n * 8)).collect::<Option<Vec<_>>>()?.concat();
            let ip = IpAddr::from(<[u8; 16]>::try_from(octets).ok()?);
            Some(ip.to_canonical())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_full_from_nine_tenths() {
        assert!(full("max-flows", 899, 1000, None).is_none());
        assert_eq!(full("max-flows", 900, 1000, None).map(|finding| finding.check), Some(Check::FlowTable));
        let evicted = Some(Evicted { noted: 1024, missing: 40 });
        assert!(full("max-flows", 9, 1000, evicted).is_some_and(|finding| finding.cause.contains("of 1024")));
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn the_remote_end_of_a_socket_is_read() {
        let page = "  sl  local_address rem_address   st\n   0: 0100007F:C350 640200C0:0050 01 0 0\n   1: 0:1 640200C0:0051 06 0 0";
        let ends: Vec<String> = remotes(page).iter().map(ToString::to_string).collect();
        assert_eq!(ends, ["192.0.2.100:80"]);
        let page = "sl\n0: 00:C350 B80D0120000000000000000000010000:0050 01";
        let ends: Vec<String> = remotes(page).iter().map(ToString::to_string).collect();
        assert_eq!(ends, ["[2001:db8::100]:80"]);
    }
}
