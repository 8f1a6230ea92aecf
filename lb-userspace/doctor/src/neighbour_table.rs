// SPDX-License-Identifier: MIT OR Apache-2.0
//! Check of the kernel's neighbour table, which all network namespaces and services of the host share.
#![forbid(unsafe_code)]

use std::{collections::BTreeSet, fs, net::IpAddr};

use super::{Check, Facts, Finding, Fix, Location};
use lb_control::neighbours::Unresolved;
use lb_model::finding::Severity;

/// Smallest recommended size of the table, in entries.
const FEW: usize = 4096;

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    [false, true]
        .into_iter()
        .filter_map(|six| {
            let of_version = facts.targets.iter().filter(|target| target.rip.is_ipv6() == six);
            let needed: BTreeSet<IpAddr> =
                of_version.clone().map(|target| target.gateway.unwrap_or(target.rip)).collect();
            let full = of_version
                .filter(|target| matches!(target.next_hop, Err(Unresolved::TableFull { .. })))
                .count();
            let limit =
                fs::read_to_string(format!("/proc/sys/net/{}/neigh/default/gc_thresh3", version(six)));
            fill_level(six, needed.len(), full, limit.ok().and_then(|limit| limit.trim().parse().ok()))
        })
        .collect()
}

const fn version(six: bool) -> &'static str {
    if six { "ipv6" } else { "ipv4" }
}

/// Returns a finding if the table is full or nearly full. `needed` is the number of neighbours by which reals are reached, `full` that of reals
/// without one because the table is full. The limit cannot be read in a separate network namespace.
fn fill_level(six: bool, needed: usize, full: usize, limit: Option<usize>) -> Option<Finding> {
    let version = version(six);
    let name = format!("net.{version}.neigh.default.gc_thresh3");
    let has = limit.map_or_else(String::new, |limit| format!(", {name} = {limit}"));
    let (severity, cause) = if full > 0 {
        (
            Severity::Error,
            format!(
                "the kernel's table of {version} neighbours is full{has}: {full} reals cannot be reached, and other hosts may follow"
            ),
        )
    } else if limit.is_some_and(|limit| needed > limit / 4 * 3) {
        let what = format!(
            "{needed} neighbours of reals nearly fill the kernel's table of {version} neighbours{has}"
        );
        (Severity::Warning, what)
    } else {
        return None;
    };
    let most = needed.saturating_mul(4).next_power_of_two().max(FEW);
    let set = |number: usize, value: usize| format!("net.{version}.neigh.default.gc_thresh{number}={value}");
    let fix = format!("sysctl -w {} {} {}", set(1, most / 4), set(2, most / 2), set(3, most));
    let fix = Fix::on_director(fix);
    Some(Finding::new(Check::NeighbourTable, Location::Director, cause, fix).with_severity(severity))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_table_is_named_with_the_settings_that_make_it_larger() {
        assert_eq!(fill_level(false, 700, 0, Some(1024)).map(|finding| finding.cause), None);
        assert_eq!(fill_level(false, 65_536, 0, None).map(|finding| finding.cause), None);
        let soon = fill_level(false, 1000, 0, Some(1024)).unwrap();
        assert_eq!(soon.severity, Severity::Warning);
        assert!(soon.cause.contains("gc_thresh3 = 1024"), "{}", soon.cause);
        let full = fill_level(true, 3000, 1976, Some(1024)).unwrap();
        assert_eq!(full.severity, Severity::Error);
        assert!(full.cause.contains("1976 reals"), "{}", full.cause);
        assert_eq!(
            full.fix.command,
            "sysctl -w net.ipv6.neigh.default.gc_thresh1=4096 net.ipv6.neigh.default.gc_thresh2=8192 net.ipv6.neigh.default.gc_thresh3=16384"
        );
        assert!(fill_level(false, 10, 1, None).unwrap().fix.command.ends_with("gc_thresh3=4096"));
    }
}
