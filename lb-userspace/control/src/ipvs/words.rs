// SPDX-License-Identifier: MIT OR Apache-2.0
//! Options of xvs that correspond to those of IPVS, for `xvs ipvsadm` and for `xvs run --follow-ipvs`.

use std::collections::BTreeSet;

use crate::options::{HealthOptions, RealOptions, ServiceOptions};
use lb_model::{Forward, Scheduler, SchedulerFlag, ServiceId, Tracking, Tunnel, health::Admin};

/// Options of a service of IPVS.
#[derive(Clone, Debug)]
pub struct ServiceWords {
    /// Scheduler.
    pub scheduler: Scheduler,
    /// Flags of the scheduler.
    pub flags: BTreeSet<SchedulerFlag>,
    /// Persistence timeout in seconds; 0: not persistent.
    pub persistent: u32,
    /// Prefix length by which persistence groups clients.
    pub netmask: u8,
    /// One-packet scheduling.
    pub one_packet: bool,
}

/// Options of a real of IPVS.
#[derive(Clone, Copy, Debug)]
pub struct RealWords {
    /// Forward method.
    pub forward: Forward,
    /// Encapsulation.
    pub tunnel: Tunnel,
    /// Weight.
    pub weight: u32,
    /// Upper threshold; 0 is none.
    pub upper: u32,
    /// Lower threshold.
    pub lower: u32,
}

impl ServiceWords {
    /// Returns the options of the service in xvs. All options that IPVS knows are set.
    #[must_use]
    pub fn options(self) -> ServiceOptions {
        let Self { scheduler, flags, persistent, netmask, one_packet } = self;
        ServiceOptions {
            scheduler: Some(scheduler),
            flags: Some(flags),
            // Lists of IPVS count connections, and IPVS tracks all of them.
            tracking: scheduler.hashes().then_some(Tracking::Full),
            persistent: Some(persistent),
            netmask: Some(netmask),
            one_packet: Some(one_packet),
            on_removal: None,
            health: HealthOptions::default(),
        }
    }
}

impl RealWords {
    /// Returns the options of the real in xvs. All options that IPVS knows are set.
    #[must_use]
    pub fn options(self) -> RealOptions {
        let Self { forward, tunnel, weight, upper, lower } = self;
        RealOptions {
            forward: Some(forward),
            weight: Some(weight),
            upper: Some(upper),
            lower: Some(lower),
            tunnel: Some(tunnel),
            // In IPVS, the weight alone decides.
            admin: Some(Admin::Enabled),
            ..RealOptions::default()
        }
    }
}

/// Returns the port of a real of `service` whose packets keep their destination port; `None` if the real's own port
/// counts. Only address translation changes ports, and a service for every port uses the client's destination port even
/// with `nat`.
#[must_use]
pub fn kept_port(service: &ServiceId, forward: Forward) -> Option<u16> {
    let port = service.endpoint()?.address.port();
    let changes_port = matches!(forward, Forward::Nat | Forward::Fnat);
    (!changes_port || port == 0).then_some(port)
}
