// SPDX-License-Identifier: MIT OR Apache-2.0
//! Clients on the director itself, and a flow table without room.
#![forbid(unsafe_code)]

use std::{
    fs,
    net::{Ipv4Addr, SocketAddrV4},
};

use super::{Facts, Finding, Severity};
use crate::control::model::Protocol;

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::from_iter(full("max-flows", facts.flows, facts.max_flows));
    findings.extend(full("max-flows6", facts.flows6, facts.max_flows6));
    // Of the thread: a namespace belongs to threads.
    let sockets = fs::read_to_string("/proc/thread-self/net/tcp").unwrap_or_default();
    for endpoint in facts.endpoints.iter().filter(|endpoint| endpoint.protocol == Protocol::Tcp) {
        let clients = remotes(&sockets).filter(|remote| {
            let same_port = endpoint.address.port() == 0 || endpoint.address.port() == remote.port();
            endpoint.address.ip() == *remote.ip() && same_port
        });
        let clients = clients.count();
        if clients > 0 {
            let mut finding = Finding::new(
                "local-client",
                Severity::Warning,
                format!(
                    "{clients} sockets of the director itself are connected to {endpoint}: XDP never sees their packets"
                ),
                "run the client on another host, or let it talk to a real directly",
            );
            finding.service = Some(endpoint.to_string());
            findings.push(finding);
        }
    }
    findings
}

/// A table of 90 % is about to forget flows that live.
fn full(option: &str, flows: u64, max: u32) -> Option<Finding> {
    let full = flows >= u64::from(max) / 10 * 9 && max > 0;
    full.then(|| {
        Finding::new(
            "flow-table",
            Severity::Warning,
            format!("{flows} of {max} flows that fit ({option}) are in the table: the oldest are forgotten to make room"),
            format!(
                "set {option} to {} in the config's [director], then `xvs detach` and start again",
                u64::from(max) * 4
            ),
        )
    })
}

/// Remote ends of the sockets in a page of `/proc/net/tcp`.
fn remotes(page: &str) -> impl Iterator<Item = SocketAddrV4> + '_ {
    page.lines().skip(1).filter_map(|line| {
        let (ip, port) = line.split_whitespace().nth(2)?.split_once(':')?;
        // The kernel prints the address as the machine's number of its bytes on the wire.
        let ip = Ipv4Addr::from(u32::from_str_radix(ip, 16).ok()?.to_ne_bytes());
        Some(SocketAddrV4::new(ip, u16::from_str_radix(port, 16).ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_full_from_nine_tenths() {
        assert!(full("max-flows", 899, 1000).is_none());
        assert_eq!(full("max-flows", 900, 1000).map(|finding| finding.check), Some("flow-table".to_owned()));
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn the_remote_end_of_a_socket_is_read() {
        let page = "  sl  local_address rem_address   st\n   0: 0100007F:C350 640200C0:0050 01 0 0";
        let ends: Vec<String> = remotes(page).map(|end| end.to_string()).collect();
        assert_eq!(ends, ["192.0.2.100:80"]);
    }
}
