// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sources of `nat` replies that several services may own. These functions are pure.
#![forbid(unsafe_code)]

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use lb_common::{schema::SourceKey, wire::Be16};

use super::source_key;
use lb_model::{Desired, Forward, Real, ServiceId};

/// Returns a `nat` real of a service with one-packet scheduling that another service shares: neither the
/// source nor a flow table entry identifies the service of its replies.
#[must_use]
pub fn ambiguous_one_packet(desired: &Desired) -> Option<(ServiceId, SocketAddr)> {
    if !desired.services.values().any(|service| service.one_packet) {
        return None;
    }
    let shared = shared_sources(desired);
    desired.services.iter().filter(|(_, service)| service.one_packet).find_map(|(id, service)| {
        let endpoints = desired.endpoints(id);
        let mut reals = service.reals.iter().filter(|(_, real)| real.forward == Forward::Nat);
        let is_shared = |(address, _): &(&SocketAddr, &Real)| {
            endpoints
                .iter()
                .any(|endpoint| shared.contains(&source_key(address.ip().into(), address, endpoint)))
        };
        reals.find(is_shared).map(|(address, _)| (*id, *address))
    })
}

/// Returns the sources of `nat` replies that more than one service may own: two services have the same port
/// of a real, or one has a port and the other all ports.
pub(super) fn shared_sources(desired: &Desired) -> BTreeSet<SourceKey> {
    let mut users: BTreeMap<SourceKey, u32> = BTreeMap::new();
    for (id, service) in &desired.services {
        let endpoints = desired.endpoints(id);
        for (address, _) in service.all_reals().filter(|(_, real)| real.forward == Forward::Nat) {
            for endpoint in &endpoints {
                *users.entry(source_key(address.ip().into(), address, endpoint)).or_default() += 1;
            }
        }
    }
    let every_port = |key: &SourceKey| SourceKey { port: Be16::ZERO, ..*key };
    let mut shared = BTreeSet::new();
    for (key, count) in &users {
        let other = every_port(key);
        if *count > 1 {
            shared.insert(*key);
        }
        if other != *key && users.contains_key(&other) {
            shared.extend([*key, other]);
        }
    }
    shared
}
