// SPDX-License-Identifier: MIT OR Apache-2.0
//! Snapshots of the director, which it publishes after each change: readers need no lock.
#![forbid(unsafe_code)]

use std::{collections::BTreeSet, net::IpAddr};

use crate::api::{roles::Role, types::GroupView};
use lb_model::{Desired, Endpoint, GroupId, OnRemoval, ServiceId};

/// Services of the director after a change. A snapshot never changes, and never shows half of a change.
#[derive(Debug)]
pub struct Snapshot {
    desired: Desired,
}

impl Snapshot {
    /// Creates the snapshot of a director with these services.
    #[must_use]
    pub(super) const fn new(desired: Desired) -> Self {
        Self { desired }
    }

    /// Returns the services as the operator configured them.
    #[must_use]
    pub const fn desired(&self) -> &Desired {
        &self.desired
    }

    /// Returns every group of endpoints.
    #[must_use]
    pub fn groups(&self) -> Vec<GroupView> {
        let Desired { groups, services, .. } = &self.desired;
        let view = |(group, endpoints): (&GroupId, &BTreeSet<Endpoint>)| GroupView {
            group: *group,
            endpoints: endpoints.iter().copied().collect(),
            service: [false, true]
                .iter()
                .any(|ipv6| services.contains_key(&ServiceId::Group { group: *group, ipv6: *ipv6 })),
        };
        groups.iter().map(view).collect()
    }

    /// Returns the roles of the host that has these addresses, each once, in the order of the services. A
    /// removed real, or one whose method changed, keeps its role while its connections continue.
    #[must_use]
    pub fn roles(&self, addresses: &[IpAddr]) -> Vec<Role> {
        let mut roles = Vec::new();
        for (id, service) in &self.desired.services {
            let drains = service.on_removal == OnRemoval::Drain;
            let leaving = service.leaving.iter().filter(|(key, _)| drains || service.is_replaced(key));
            let reals = service.reals.iter().chain(leaving.map(|(key, real)| (&key.address, real)));
            for (address, real) in reals.filter(|(address, _)| addresses.contains(&address.ip())) {
                for endpoint in self.desired.endpoints(id) {
                    let vip = endpoint.address.ip();
                    let role = Role { vip, rip: address.ip(), forward: real.forward, tunnel: real.tunnel };
                    if !roles.contains(&role) {
                        roles.push(role);
                    }
                }
            }
        }
        roles
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lb_model::{Forward, Real, Service};

    #[test]
    fn a_leaving_real_keeps_its_role_only_while_it_drains() {
        let id = ServiceId::parse("tcp", "192.0.2.100:80").unwrap();
        let real = Real::new(Forward::Tun, 1);
        let [one, two] = ["10.0.0.11:80", "10.0.0.12:80"].map(|address| address.parse().unwrap());
        let roles = |on_removal| {
            let service = Service {
                on_removal,
                reals: [(one, real.clone())].into(),
                leaving: [(real.key(two), real.clone())].into(),
                ..Service::default()
            };
            let mut desired = Desired::default();
            desired.services.insert(id, service);
            let roles = Snapshot::new(desired).roles(&[one.ip(), two.ip()]);
            roles.iter().map(|role| role.rip).collect::<Vec<_>>()
        };
        assert_eq!(roles(OnRemoval::Drain), [one.ip(), two.ip()]);
        assert_eq!(roles(OnRemoval::Reset), [one.ip()]);
    }
}
