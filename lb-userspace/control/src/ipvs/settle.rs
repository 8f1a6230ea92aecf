// SPDX-License-Identifier: MIT OR Apache-2.0
//! Rules that vanish for a moment: `ipvsadm -C; ipvsadm -R` and restarts of programs that drive IPVS.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use super::translate::Followed;
use lb_model::{Service, ServiceId, Services};

/// Time for which a service that has vanished stays in force.
///
/// IPVS keeps the connections of a service that is removed and added again. xvs would end them. A new connection to a
/// service that is really gone reaches a real for this long instead of being refused.
pub const HOLD: Duration = Duration::from_millis(1500);

/// The services that have vanished, and when.
#[derive(Clone, Debug, Default)]
pub struct Settling {
    missing: BTreeMap<ServiceId, Instant>,
}

impl Settling {
    /// Completes the services that IPVS has `now` with those that have vanished a moment ago. `in_force` are the
    /// services of xvs. Returns whether services are missing in IPVS and stay in force.
    ///
    /// A service has vanished if it is gone, or has lost all its reals. While one has vanished, the table is probably
    /// being restored: then the others keep the reals that they lack, too.
    pub fn settle(&mut self, now: Instant, in_force: &Services, followed: &mut Followed) -> bool {
        let gone: BTreeSet<ServiceId> = in_force
            .iter()
            .filter(|(id, service)| has_vanished(id, service, followed))
            .map(|(id, _)| *id)
            .collect();
        self.missing.retain(|id, _| gone.contains(id));
        let mut held = Vec::new();
        for id in gone {
            let since = *self.missing.entry(id).or_insert(now);
            if now.saturating_duration_since(since) < HOLD {
                held.push(id);
            }
        }
        if held.is_empty() {
            return false;
        }
        for (id, service) in &mut followed.services {
            for (address, real) in in_force.get(id).into_iter().flat_map(|before| &before.reals) {
                if !service.reals.contains_key(address) {
                    service.reals.insert(*address, real.clone());
                }
            }
        }
        for id in held {
            let mut service = in_force[&id].clone();
            service.leaving.clear();
            followed.services.insert(id, service);
        }
        true
    }
}

/// Returns whether a service in force has vanished from IPVS, and is not one that stays with the kernel.
fn has_vanished(id: &ServiceId, service: &Service, followed: &Followed) -> bool {
    !service.reals.is_empty()
        && followed.services.get(id).is_none_or(|service| service.reals.is_empty())
        && !followed.left.iter().any(|left| left.service == id.to_string())
}
