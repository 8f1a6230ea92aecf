// SPDX-License-Identifier: MIT OR Apache-2.0
//! Hosts and targets of unit tests.

use lb_netlink::sysctl::{Name, Sysctl};
use std::collections::{BTreeMap, BTreeSet};

use super::{
    observed::Observed,
    target::{Method, Target},
};
use lb_netlink::{Address, Interface};

/// Returns an interface; with `noarp`, one without a MAC address.
pub(super) fn interface(index: u32, name: &str, noarp: bool) -> Interface {
    Interface {
        index,
        name: name.to_owned(),
        mac: (!noarp).then_some([2, 0, 0, 0, 0, index as u8]),
        mtu: 1500,
        up: true,
        running: true,
        noarp,
        kind: None,
        vlan: None,
        parent: None,
        parent_namespace: None,
        controller: None,
        xdp: None,
        xdp_program: None,
    }
}

/// Returns an address.
pub(super) fn at(net: &str, ifindex: u32) -> Address {
    Address { net: net.parse().unwrap(), ifindex, host_scope: false, duplicate: false }
}

/// Returns a host with `lo` and `eth0` (10.0.0.11), whose sysctls are all `value`.
pub(super) fn host(value: i32) -> Observed {
    let all = ["all", "default", "lo", "eth0"].into_iter();
    let sysctls = all.flat_map(|one| Name::ALL.map(|name| (Sysctl::new(one, name), value)));
    Observed {
        interfaces: vec![interface(1, "lo", true), interface(2, "eth0", false)],
        addresses: vec![at("127.0.0.1/8", 1), at("10.0.0.11/24", 2)],
        sysctls: sysctls.collect(),
        routed: BTreeSet::from([2]),
        has_program: false,
        support: BTreeMap::new(),
        refused: BTreeMap::new(),
    }
}

/// Returns a target on `eth0` of [`host`], which the director reaches by IPv4.
pub(super) fn target(vips: &[&str], method: Method) -> Target {
    Target::on(interface(2, "eth0", false), vips, method, &["10.0.0.11"])
}
