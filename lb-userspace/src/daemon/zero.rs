// SPDX-License-Identifier: MIT OR Apache-2.0
//! `ipvsadm -Z`: subtracts the counts at that time from the counters in ipvsadm's lists.
//!
//! Other counters are not reset, because counters that Prometheus reads must never decrease. The subtracted
//! counts are in memory only, as in the kernel: after a restart, the daemon shows full counts again.
#![forbid(unsafe_code)]

use std::{collections::HashMap, net::SocketAddr};

use crate::api::types::ServiceView;
use lb_control::state::Totals;
use lb_model::ServiceId;

/// Counts at the last `-Z` of each service and real.
#[derive(Debug, Default)]
pub struct Zero {
    services: HashMap<ServiceId, Totals>,
    reals: HashMap<(ServiceId, SocketAddr), Totals>,
}

impl Zero {
    /// Resets the counts of a service and its reals to zero.
    pub fn set(&mut self, service: &ServiceView) {
        self.services.insert(service.id, service.totals);
        self.reals.retain(|(id, _), _| *id != service.id);
        self.reals.extend(service.reals.iter().map(|real| ((service.id, real.address), real.totals)));
    }

    /// Returns the counts of a service since its last reset.
    #[must_use]
    pub fn of_service(&self, id: ServiceId, counted: Totals) -> Totals {
        since(self.services.get(&id), counted)
    }

    /// Returns the counts of a real since its last reset.
    #[must_use]
    pub fn of_real(&self, id: ServiceId, address: SocketAddr, counted: Totals) -> Totals {
        since(self.reals.get(&(id, address)), counted)
    }

    /// Removes services that no longer exist: one that is added again starts without counts.
    pub fn keep(&mut self, is_there: impl Fn(&ServiceId) -> bool) {
        self.services.retain(|id, _| is_there(id));
        self.reals.retain(|(id, _), _| is_there(id));
    }
}

/// Subtracts old counts. A counter below its old value belongs to a service or real that was removed and
/// added again.
fn since(then: Option<&Totals>, now: Totals) -> Totals {
    let Some(then) = then else { return now };
    let difference = || {
        Some(Totals {
            packets_in: now.packets_in.checked_sub(then.packets_in)?,
            bytes_in: now.bytes_in.checked_sub(then.bytes_in)?,
            packets_out: now.packets_out.checked_sub(then.packets_out)?,
            bytes_out: now.bytes_out.checked_sub(then.bytes_out)?,
            new_flows: now.new_flows.checked_sub(then.new_flows)?,
        })
    };
    difference().unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_shown_since_it_was_zeroed_and_one_that_began_anew_is_shown_whole() {
        let totals = |packets_in| Totals { packets_in, new_flows: 1, ..Totals::default() };
        assert_eq!(since(None, totals(5)), totals(5));
        assert_eq!(since(Some(&totals(3)), totals(5)), Totals { packets_in: 2, ..Totals::default() });
        assert_eq!(since(Some(&totals(9)), totals(5)), totals(5));
    }
}
