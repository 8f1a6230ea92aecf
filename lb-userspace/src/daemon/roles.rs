// SPDX-License-Identifier: MIT OR Apache-2.0
//! Roles of a host, for its agent.
#![forbid(unsafe_code)]

use std::net::IpAddr;

use tokio::sync::watch;

use super::Director;
use crate::api::roles::Role;
use lb_model::OnRemoval;

impl Director {
    /// Returns the roles of the host that has these addresses, each once, in the order of the services. A
    /// removed real, or one whose method changed, keeps its role while its connections continue.
    #[must_use]
    pub fn roles(&self, addresses: &[IpAddr]) -> Vec<Role> {
        let mut roles = Vec::new();
        for (id, service) in &self.store.desired().services {
            let drains = service.on_removal == OnRemoval::Drain;
            let leaving = service.leaving.iter().filter(|(key, _)| drains || service.is_replaced(key));
            let reals = service.reals.iter().chain(leaving.map(|(key, real)| (&key.address, real)));
            for (address, real) in reals.filter(|(address, _)| addresses.contains(&address.ip())) {
                for endpoint in self.store.desired().endpoints(id) {
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

    /// Returns a receiver that is notified of changes of services or reals.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }
}
