// SPDX-License-Identifier: MIT OR Apache-2.0
//! Health of reals in the director: which targets the checks have, and what follows from their states.
//!
//! The threads of `lb-health` probe and keep the states of targets. The director combines the states of a real's
//! targets into the health of the real ([`combine`]), and changes the maps when that changes ([`apply`]).
#![forbid(unsafe_code)]

mod apply; //   changes of health, carried out
mod combine; // from states of targets to the health of reals
mod events; //  events for operators
mod file; //    states that survive a restart
mod path; //    sockets of probes by path
mod pins; //    exclusive use of the pins
mod ramp; //    slow start
mod renamed; // saved states of renamed checks
mod run_once; // single probes for operators
mod signs; //   passive signs of the programs
mod start; //   start of the threads
mod targets; // targets of the checks
mod view; //    lists of checks
mod why; //     reasons why reals get no connections

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
};

use lb_health::{Handle, Saved, Snapshot, Suspect, TargetKey};

use crate::api::health::HealthView;
use combine::{Combined, States};
pub use events::{Event, EventKind, Events};
pub use file::beside;
use lb_control::pool::{self, HealthTable, Mode};
use lb_model::{
    Desired, ServiceId,
    health::{Health as Verdict, ResultCode},
    text,
};
use path::Sources;
pub(in crate::daemon) use pins::Pins;
use ramp::Ramps;
pub use run_once::run_check;
use signs::Signs;
pub use start::{Prober, share};

/// A real of a service.
pub(super) type RealOf = (ServiceId, SocketAddr);

/// Owner of the health of all reals that have checks.
pub(super) struct Health {
    /// Health that is in force, from which weights follow.
    table: HealthTable,
    /// Time since which the health of a real is what it is, in milliseconds since 1970, and the number of changes.
    since: BTreeMap<RealOf, (u64, u64)>,
    /// Health of each real as the last event told it.
    told: BTreeMap<RealOf, Verdict>,
    /// Reals in slow start.
    ramps: Ramps,
    /// State of each pool when it was last logged.
    modes: BTreeMap<ServiceId, Mode>,
    /// Reason why states are frozen, when it was last logged.
    frozen: Option<String>,
    /// States of an earlier run, until the threads have started.
    saved: BTreeMap<TargetKey, Saved>,
    /// The threads; `None` before their start, and if they could not be started.
    handle: Option<Handle>,
    /// Sources of probes by path.
    sources: Sources,
    /// Reals of which the programs see passive signs.
    signs: Signs,
    /// The pins, from which the path of probes is loaded.
    pins: Pins,
    /// File with the states.
    file: PathBuf,
    /// Events for operators.
    events: Events,
}

impl Health {
    /// Creates the owner, with the states that `file` has.
    pub(super) fn new(file: PathBuf) -> Self {
        let file::Stored { targets: saved, below } = file::read(&file);
        Self {
            table: HealthTable { below, ..HealthTable::default() },
            since: BTreeMap::new(),
            told: BTreeMap::new(),
            ramps: Ramps::default(),
            modes: BTreeMap::new(),
            frozen: None,
            saved: saved.into_iter().map(|saved| (saved.key.clone(), saved)).collect(),
            handle: None,
            sources: Sources::default(),
            signs: Signs::default(),
            pins: Pins::default(),
            file,
            events: Events::default(),
        }
    }

    /// Returns the health that is in force.
    pub(super) const fn table(&self) -> &HealthTable {
        &self.table
    }

    /// Returns the events.
    pub(super) const fn events(&self) -> &Events {
        &self.events
    }

    /// Returns the use of the pins.
    pub(super) const fn pins(&self) -> &Pins {
        &self.pins
    }

    /// Returns the latest states of the targets.
    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        self.handle.as_ref().map(Handle::snapshot).unwrap_or_default()
    }

    /// Reports that a host may have failed: its next probes start at once.
    pub(super) fn hint(&self, host: IpAddr) {
        if let Some(handle) = &self.handle {
            handle.hint(Suspect::Host(host));
        }
    }

    /// Returns the health of each real in lists.
    pub(super) fn views(&self, desired: &Desired) -> BTreeMap<RealOf, HealthView> {
        let snapshot = self.snapshot();
        let states = States::new(&snapshot, &self.saved);
        let combined = combine::all(desired, &states);
        let view = |(real, combined): (RealOf, Combined)| {
            let (since_ms, changes) = self.since.get(&real).copied().unwrap_or_default();
            // The health in force: the next change is at most 50 ms away.
            let in_force = self.told.get(&real).copied().unwrap_or_default();
            (real, HealthView { health: in_force, ..combined.view(since_ms / 1000, changes) })
        };
        combined.into_iter().map(view).collect()
    }

    /// Returns a line for each problem of the checks: frozen states, and services with too few healthy reals.
    pub(super) fn problems(&self, desired: &Desired) -> Vec<String> {
        let frozen = self.frozen.iter().map(|why| format!("states of reals are frozen: {why}"));
        let pools = desired.services.iter().filter_map(|(id, service)| {
            let pool = pool::weigh(id, service, &self.table);
            // Without a real that could serve, the operator has chosen the backup reals.
            let is_problem = pool.mode != Mode::Normal && pool.able > 0;
            is_problem.then(|| apply::pool_text(id, pool.mode, pool.healthy, pool.able))
        });
        frozen.chain(self.unsent()).chain(pools).collect()
    }

    /// Returns a line about probes that could not be sent: without a verdict, a new real takes no connections.
    fn unsent(&self) -> Option<String> {
        let snapshot = self.snapshot();
        let last = snapshot.states.values().filter_map(|state| state.last.as_ref());
        let mut unsent = last.filter(|last| last.code == ResultCode::SocketError);
        let first = unsent.next()?;
        let count = text::count(unsent.count() + 1, "probe");
        Some(format!(
            "{count} could not be sent, and the states of their reals are not updated: {}",
            first.text
        ))
    }

    /// Prepares for a change of the services: a real that serves without checks serves on until the first verdict
    /// of its new checks. `serves` tells whether the maps have a real that took connections in an earlier run.
    pub(super) fn adopt(&mut self, old: &Desired, new: &Desired, serves: &BTreeSet<RealOf>) {
        let had_no_checks = |id: &ServiceId, address: &SocketAddr| {
            let service = old.services.get(id)?;
            let real = service.reals.get(address)?;
            Some(service.checks_of(real).is_empty())
        };
        for (id, service) in &new.services {
            if serves.is_empty() && new.services.share(&old.services, id) {
                continue;
            }
            for (address, real) in &service.reals {
                if service.checks_of(real).is_empty() || self.table.reals.contains_key(&(*id, *address)) {
                    continue;
                }
                if serves.contains(&(*id, *address)) || had_no_checks(id, address) == Some(true) {
                    self.table.assume_up(*id, *address);
                }
            }
        }
    }

    /// Takes over the states of an earlier run, whose services were `old`, before the first change.
    pub(super) fn restore(&mut self, old: &Desired, desired: &Desired) {
        self.saved = renamed::renamed(std::mem::take(&mut self.saved), &old.checks, &desired.checks);
        let snapshot = Snapshot::default();
        let states = States::new(&snapshot, &self.saved);
        for (real, combined) in combine::all(desired, &states) {
            if let Some(health) = combined.verdict() {
                self.since.insert(real, (combined.since_ms(), 0));
                self.told.insert(real, health.health);
                self.table.reals.insert(real, health);
            }
        }
    }
}
