// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a host is to this director: for its agent.
#![forbid(unsafe_code)]

use std::net::IpAddr;

use tokio::sync::watch;

use super::Director;
use crate::{api::roles::Role, control::model::OnRemoval};

impl Director {
    /// The roles of the host that has these addresses, each once, in the order of the services. A removed real
    /// keeps its role while its connections go on.
    #[must_use]
    pub fn roles(&self, addresses: &[IpAddr]) -> Vec<Role> {
        let mut roles = Vec::new();
        for (id, service) in &self.state.desired.services {
            let leaving = service.leaving.iter().filter(|_| service.on_removal == OnRemoval::Drain);
            for (address, real) in
                service.reals.iter().chain(leaving).filter(|(real, _)| addresses.contains(&real.ip()))
            {
                for endpoint in self.state.desired.endpoints(id) {
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

    /// Wakes up whenever services or reals are others.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }
}
