// SPDX-License-Identifier: MIT OR Apache-2.0
//! Forwarding methods in both versions of IP.

use std::net::{IpAddr, SocketAddr};

use super::{Director, Method, RIPS, VIP, VIP6, rip6};

/// A service of one method and version, at the same ports in either.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Way {
    /// The forwarding method.
    pub method: Method,
    /// True if clients and reals use IPv6.
    pub six: bool,
}

impl Way {
    /// Returns every method in both versions.
    pub fn all() -> impl Iterator<Item = Self> {
        Method::ALL.into_iter().flat_map(|method| [false, true].map(|six| Self { method, six }))
    }

    /// Returns the VIP of the service.
    pub fn vip(self) -> IpAddr {
        if self.six { VIP6.into() } else { VIP.into() }
    }

    /// Returns the address and port of the service.
    pub fn service(self) -> SocketAddr {
        SocketAddr::new(self.vip(), self.method.port())
    }

    /// Returns the addresses of the reals.
    pub fn reals(self) -> [SocketAddr; 3] {
        RIPS.map(|rip| {
            let rip = if self.six { rip6(rip).into() } else { IpAddr::V4(rip) };
            SocketAddr::new(rip, self.method.real_port())
        })
    }

    /// Adds the service and its reals.
    #[track_caller]
    pub fn serve(self, director: &Director, protocol: &str, scheduler: &str) {
        let (service, forward) = (self.service(), self.method.as_str());
        director.xvs(&format!("service add {protocol} {service} --scheduler {scheduler}")).succeeds();
        for real in self.reals() {
            director.xvs(&format!("real add {protocol} {service} {real} --forward {forward}")).succeeds();
        }
    }

    /// Returns the name for people.
    pub fn name(self) -> String {
        format!("{} IPv{}", self.method.as_str(), if self.six { 6 } else { 4 })
    }
}
