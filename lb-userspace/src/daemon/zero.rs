// SPDX-License-Identifier: MIT OR Apache-2.0
//! `ipvsadm -Z`: what was counted by then is subtracted from what its lists show.
//!
//! Nothing else begins anew: counters that Prometheus reads must never go back. It is kept in memory, as the
//! kernel's are: a daemon that starts again shows everything that was counted.
#![forbid(unsafe_code)]

use std::{collections::HashMap, net::SocketAddr};

use crate::{api::types::ServiceView, control::state::Totals, model::ServiceId};

/// What was counted when a service was last set to zero.
#[derive(Debug, Default)]
pub struct Zero {
    services: HashMap<ServiceId, Totals>,
    reals: HashMap<(ServiceId, SocketAddr), Totals>,
}

impl Zero {
    /// From now on, a service and its reals begin at zero.
    pub fn set(&mut self, service: &ServiceView) {
        self.services.insert(service.id, service.totals);
        self.reals.retain(|(id, _), _| *id != service.id);
        self.reals.extend(service.reals.iter().map(|real| ((service.id, real.address), real.totals)));
    }

    /// What a service has counted since.
    #[must_use]
    pub fn of_service(&self, id: ServiceId, counted: Totals) -> Totals {
        since(self.services.get(&id), counted)
    }

    /// What a real has counted since.
    #[must_use]
    pub fn of_real(&self, id: ServiceId, address: SocketAddr, counted: Totals) -> Totals {
        since(self.reals.get(&(id, address)), counted)
    }

    /// Forgets services that are no more: one that is added again has counted nothing.
    pub fn keep(&mut self, is_there: impl Fn(&ServiceId) -> bool) {
        self.services.retain(|id, _| is_there(id));
        self.reals.retain(|(id, _), _| is_there(id));
    }
}

/// A counter below its old value is that of a real or service that was added anew.
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
