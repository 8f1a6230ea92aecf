// SPDX-License-Identifier: MIT OR Apache-2.0
//! The services that a test sets up, in the words of the operator.

use std::net::{IpAddr, SocketAddr, SocketAddrV4};

use lb_model::{Desired, Endpoint, Forward, GroupId, Protocol, Scheduler, ServiceId, Services};

use super::{
    net::{PORT, RealServer, VIP},
    version,
};

/// A service and its reals.
#[derive(Clone, Debug)]
pub struct Pool {
    id: Endpoint,
    /// Scheduled as one with the endpoints of these ports, as a group of that number.
    group: Option<(GroupId, Vec<u16>)>,
    service: lb_model::Service,
}

/// Returns a TCP service at the VIP and the usual port, without reals.
pub fn tcp_service() -> Pool {
    Pool::new(Protocol::Tcp)
}

/// Returns a UDP service at the VIP and the usual port, without reals.
pub fn udp_service() -> Pool {
    Pool::new(Protocol::Udp)
}

/// Returns an SCTP service at the VIP and the usual port, without reals.
pub fn sctp_service() -> Pool {
    Pool::new(Protocol::Sctp)
}

impl Pool {
    fn new(protocol: Protocol) -> Self {
        let id = Endpoint { protocol, address: SocketAddrV4::new(VIP, PORT).into() };
        Self { id, group: None, service: lb_model::Service::default() }
    }

    /// Sets another port; 0 = every port.
    pub fn port(mut self, port: u16) -> Self {
        self.id.address.set_port(port);
        self
    }

    /// Groups the service with other ports of its VIP.
    pub fn grouped_with(mut self, group: GroupId, ports: &[u16]) -> Self {
        self.group = Some((group, ports.to_vec()));
        self
    }

    /// Sets another VIP.
    pub fn vip(mut self, vip: impl Into<IpAddr>) -> Self {
        self.id.address.set_ip(vip.into());
        self
    }

    /// Picks reals otherwise than by hash.
    pub fn by(mut self, scheduler: Scheduler) -> Self {
        self.service.scheduler = scheduler;
        self.service.flags = scheduler.default_flags();
        self
    }

    /// Tracks every flow.
    pub fn tracked(self) -> Self {
        self.with(|service| service.tracking = lb_model::Tracking::Full)
    }

    /// Adds a real of weight 1.
    pub fn real(self, forward: Forward, real: RealServer) -> Self {
        self.weighted(forward, real, 1)
    }

    /// Adds a real with a weight.
    pub fn weighted(mut self, forward: Forward, real: RealServer, weight: u32) -> Self {
        self.service.reals.insert(real.0.into(), lb_model::Real::new(forward, weight));
        self
    }

    /// Adds a real with all its settings.
    pub fn having(mut self, real: RealServer, about: lb_model::Real) -> Self {
        self.service.reals.insert(real.0.into(), about);
        self
    }

    /// Changes any other setting of the service.
    pub fn with(mut self, change: impl FnOnce(&mut lb_model::Service)) -> Self {
        change(&mut self.service);
        self
    }

    /// Removes a real whose connections have not ended yet.
    pub fn without(mut self, real: RealServer) -> Self {
        let (address, about) =
            self.service.reals.shift_remove_entry(&SocketAddr::from(real.0)).expect("it has that real");
        self.service.leaving.insert(about.key(address), about);
        self
    }

    /// Changes the method of a real whose connections have not ended yet.
    pub fn edited(mut self, real: RealServer, method: Forward) -> Self {
        let about = self.service.reals.get_mut(&SocketAddr::from(real.0)).expect("it has that real");
        self.service.leaving.insert(about.key(real.0.into()), about.clone());
        about.forward = method;
        self
    }

    /// Returns the pool in the IP version of this run of the tests.
    fn meant(&self) -> Self {
        let mut pool = self.clone();
        if version::is_six() {
            pool.id.address = version::socket(pool.id.address);
            let lb_model::Service { reals, leaving, .. } = &mut pool.service;
            *reals =
                std::mem::take(reals).into_iter().map(|(ip, real)| (version::socket(ip), real)).collect();
            let meant = |(key, real): (lb_model::RealKey, lb_model::Real)| {
                (real.key(version::socket(key.address)), real)
            };
            *leaving = std::mem::take(leaving).into_iter().map(meant).collect();
            if let Some(persistence) = &mut pool.service.persistence
                && persistence.prefix < lb_model::Persistence::WHOLE_ADDRESS
            {
                persistence.prefix += 96;
            }
        }
        pool
    }

    /// Returns the desired state of the director.
    pub fn desired(pools: &[Self]) -> Desired {
        let pools: Vec<Self> = pools.iter().map(Self::meant).collect();
        let services: Services = pools.iter().map(|pool| (pool.service_id(), pool.service.clone())).collect();
        assert_eq!(services.len(), pools.len(), "services differ in protocol, VIP or port");
        let groups = pools.iter().filter_map(|pool| {
            let (group, ports) = pool.group.as_ref()?;
            let other = |port: &u16| pool.clone().port(*port).id;
            Some((*group, ports.iter().map(other).chain([pool.id]).collect()))
        });
        Desired { services, groups: groups.collect(), ..Desired::default() }
    }

    fn service_id(&self) -> ServiceId {
        match self.group {
            Some((group, _)) => ServiceId::group(group),
            None => ServiceId::Endpoint(self.id),
        }
    }
}
