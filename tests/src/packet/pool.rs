// SPDX-License-Identifier: MIT OR Apache-2.0
//! The services that a test sets up, in the words of the operator.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddrV4},
};

use lb_userspace::control::model::{self, Desired, Endpoint, Forward, Protocol, Scheduler, ServiceId};

use super::net::{PORT, RealServer, VIP};

/// A service and its reals.
#[derive(Clone, Debug)]
pub struct Pool {
    id: Endpoint,
    service: model::Service,
}

/// A TCP service at the VIP and the usual port, without reals.
pub fn tcp_service() -> Pool {
    Pool::new(Protocol::Tcp)
}

/// A UDP service at the VIP and the usual port, without reals.
pub fn udp_service() -> Pool {
    Pool::new(Protocol::Udp)
}

impl Pool {
    fn new(protocol: Protocol) -> Self {
        let id = Endpoint { protocol, address: SocketAddrV4::new(VIP, PORT).into() };
        Self { id, service: model::Service::default() }
    }

    /// At another port; 0 = every port.
    pub fn port(mut self, port: u16) -> Self {
        self.id.address.set_port(port);
        self
    }

    /// At another VIP.
    pub fn vip(mut self, vip: Ipv4Addr) -> Self {
        self.id.address.set_ip(vip.into());
        self
    }

    /// Picks reals otherwise than by hash.
    pub fn by(mut self, scheduler: Scheduler) -> Self {
        self.service.scheduler = scheduler;
        self
    }

    /// With a real of weight 1.
    pub fn real(self, forward: Forward, real: RealServer) -> Self {
        self.weighted(forward, real, 1)
    }

    /// With a real.
    pub fn weighted(mut self, forward: Forward, real: RealServer, weight: u32) -> Self {
        self.service.reals.insert(real.0.into(), model::Real::new(forward, weight));
        self
    }

    /// What the director should do.
    pub(super) fn desired(pools: &[Self]) -> Desired {
        let services: BTreeMap<_, _> =
            pools.iter().map(|pool| (ServiceId::Endpoint(pool.id), pool.service.clone())).collect();
        assert_eq!(services.len(), pools.len(), "services differ in protocol, VIP or port");
        Desired { services, ..Desired::default() }
    }
}
