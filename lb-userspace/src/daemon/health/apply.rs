// SPDX-License-Identifier: MIT OR Apache-2.0
//! Changes of health, carried out: weights, connections of reals that went down, events.
#![forbid(unsafe_code)]

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Instant,
};

use lb_common::{ids::RealId, schema};

use super::{
    EventKind, RealOf,
    combine::{self, Combined, States},
    events::now_ms,
    file::Unsaved,
};
use crate::daemon::Director;
use lb_control::pool::{self, Cut, HealthTable, Mode, Pool, RealHealth};
use lb_model::{Desired, Real, Service, ServiceId, failure::Failure, health::Health};

/// Reals whose connections move to other reals, by id.
pub(in crate::daemon) type Moved = BTreeMap<RealId, schema::Real>;

impl Director {
    /// Takes over the states of the targets, and changes the maps if the health of a real has changed. All changes
    /// until now are carried out in one step.
    ///
    /// # Errors
    /// If the maps cannot be written; then the previous health stays in force until the next call.
    pub(crate) fn apply_health(&mut self) -> Result<(), Failure> {
        let snapshot = self.health.snapshot();
        if !snapshot.states.is_empty() {
            // The threads have taken over the states of the earlier run: they are no states of targets to come.
            self.health.saved.clear();
        }
        let desired = self.store.desired().clone();
        let combined = combine::all(&desired, &States::new(&snapshot, &self.health.saved));
        let table = self.next_table(&desired, &combined);
        let has_changed = table.reals != self.health.table.reals;
        if table != self.health.table {
            self.change_health(&desired, table)?;
        }
        if has_changed {
            self.tell_health(&combined);
        }
        self.tell_pools(&desired);
        self.tell_frozen(snapshot.frozen.as_ref().map(|frozen| frozen.why.to_string()), snapshot.is_accepted);
        Ok(())
    }

    /// Returns the health of all reals, with slow start.
    fn next_table(&mut self, desired: &Desired, combined: &BTreeMap<RealOf, Combined>) -> HealthTable {
        let (now, before) = (Instant::now(), self.health.table.clone());
        let up = before.reals.iter().filter(|(_, state)| state.health == Health::Up);
        let with_up: BTreeSet<ServiceId> = up.map(|((id, _), _)| *id).collect();
        let known = |id: &&ServiceId| desired.services.contains_key(id);
        let below = before.below.iter().filter(known).copied().collect();
        let mut table = HealthTable { below, ..HealthTable::default() };
        self.health.ramps.retain(|real| combined.contains_key(real));
        for (real, combined) in combined {
            let old = before.reals.get(real).copied().unwrap_or(RealHealth::UNKNOWN);
            let Some(mut health) = combined.verdict() else {
                // The last verdict counts until the next one, also if the checks of the real were replaced.
                table.reals.insert(*real, old);
                continue;
            };
            if health.health == Health::Up && old.health != Health::Up {
                // A pool whose reals all come up at once, as at a start, has nothing to protect.
                if let Some(service) = desired.services.get(&real.0)
                    && !old.is_assumed_up
                    && with_up.contains(&real.0)
                {
                    self.health.ramps.begin(*real, now, service.health.slow_start.duration());
                }
            }
            if health.health == Health::Down {
                self.health.ramps.end(real);
            }
            health.ramp_percent = self.health.ramps.percent(real, now);
            table.reals.insert(*real, health);
        }
        // A change by the operator too can bring a pool below its minimum.
        for (id, service) in desired.services.iter().filter(|(_, service)| !pool::is_plain(service)) {
            let pool = pool::weigh(id, service, &table);
            if matches!(pool.mode, Mode::Ignored | Mode::WithBackup) && pool.healthy > 0 {
                table.below.insert(*id);
            } else {
                table.below.remove(id);
            }
        }
        table
    }

    /// Writes the weights that follow from `table`, and moves connections of reals that went down.
    fn change_health(&mut self, desired: &Desired, table: HealthTable) -> Result<(), Failure> {
        let before = std::mem::replace(&mut self.health.table, table);
        let ids = self.maps.ids().clone();
        let next_hops = self.network.next_hops().clone();
        let want = self.compile(desired, &ids, &next_hops);
        let removed = match self.carry_out(&want) {
            Ok(removed) => removed,
            Err(failure) => {
                self.health.table = before;
                return Err(failure);
            }
        };
        let were = self.cut(desired, &before);
        self.move_connections(&were, removed);
        Ok(())
    }

    /// Moves the connections of reals that take part in no pool any more, and were not among `before`, to other
    /// reals. `gone` are removed reals.
    pub(in crate::daemon) fn move_connections(&mut self, before: &Moved, mut gone: Moved) {
        let moved = self.cut(self.store.desired(), &self.health.table);
        gone.extend(moved.into_iter().filter(|(id, _)| !before.contains_key(id)));
        if !gone.is_empty() {
            self.maps.forget(&gone, &BTreeMap::new());
        }
    }

    /// Returns the reals whose connections move to other reals at present.
    pub(in crate::daemon) fn moved(&self) -> Moved {
        self.cut(self.store.desired(), &self.health.table)
    }

    /// Returns those reals of some services whose connections move to other reals at present.
    pub(in crate::daemon) fn moved_of(&self, services: &BTreeSet<ServiceId>) -> Moved {
        let desired = self.store.desired();
        let some = services.iter().filter_map(|id| Some((id, desired.services.get(id)?)));
        self.cut_of(some, &self.health.table)
    }

    /// Returns the reals whose connections move to other reals, by id.
    fn cut(&self, desired: &Desired, table: &HealthTable) -> Moved {
        self.cut_of(desired.services.iter(), table)
    }

    fn cut_of<'a>(
        &self,
        services: impl Iterator<Item = (&'a ServiceId, &'a Service)>,
        table: &HealthTable,
    ) -> Moved {
        let mut cut = BTreeMap::new();
        for (id, service) in services.filter(|(_, service)| !pool::is_plain(service)) {
            let Pool { cuts, .. } = pool::weigh(id, service, table);
            let moved = cuts.iter().filter(|(_, cut)| **cut == Cut::Reschedule);
            for (address, _) in moved {
                let key = service.reals[address].key(*address);
                if let Some(number) = self.maps.ids().real(id, &key)
                    && let Some(real) = self.maps.image().reals.get(&number)
                {
                    cut.insert(number, *real);
                }
            }
        }
        cut
    }

    /// Publishes an event for each real whose health has changed.
    fn tell_health(&mut self, combined: &BTreeMap<RealOf, Combined>) {
        let known: BTreeSet<RealOf> = self.health.since.keys().copied().collect();
        for real in known {
            if !combined.contains_key(&real) {
                self.health.since.remove(&real);
                self.health.told.remove(&real);
            }
        }
        for (real, now) in combined {
            // Without a verdict of replaced checks, the last one is in force.
            let Some(to) = self.health.table.reals.get(real).map(|state| state.health) else { continue };
            let from = self.health.told.insert(*real, to).unwrap_or_default();
            if from == to {
                continue;
            }
            let changes = self.health.since.get(real).map_or(0, |(_, changes)| *changes);
            self.health.since.insert(*real, (now_ms(), changes + 1));
            let (id, address) = *real;
            let reason = now.reason();
            let last = reason.and_then(|(_, state)| state.last.clone());
            let why = last.as_ref().map_or_else(String::new, |last| format!(": {last}"));
            let check = reason.map(|(name, _)| name.clone());
            let by = check.as_ref().map_or_else(String::new, |name| format!(" by check {name}"));
            let text = format!("real {address} of {id} is {to}{by}{why}");
            let kind = EventKind::Health { service: id, real: address, from, to, check, last };
            self.health.events.publish(text, kind);
        }
    }

    /// Publishes an event for each pool whose state has changed.
    fn tell_pools(&mut self, desired: &Desired) {
        let mut modes = BTreeMap::new();
        for (id, service) in &desired.services {
            let has_checks = |(_, real): (&SocketAddr, &Real)| !service.checks_of(real).is_empty();
            if !service.reals.iter().any(has_checks) {
                continue;
            }
            let Pool { mode, healthy, able, .. } = pool::weigh(id, service, &self.health.table);
            let is_known = |(real, _): (&SocketAddr, &Real)| {
                let state = self.health.table.reals.get(&(*id, *real));
                state.is_some_and(|state| state.health != Health::Unknown)
            };
            // A new service has no healthy real until the first verdicts, which is no event.
            if !service.reals.iter().any(is_known) {
                continue;
            }
            let before = self.health.modes.get(id).copied().unwrap_or(Mode::Normal);
            if mode != before {
                let text = pool_text(id, mode, healthy, able);
                let (from, to) = (before.as_str().to_owned(), mode.as_str().to_owned());
                let kind = EventKind::Pool { service: *id, from, to, healthy, able };
                self.health.events.publish(text, kind);
            }
            modes.insert(*id, mode);
        }
        self.health.modes = modes;
    }

    /// Publishes an event when states are frozen, and when they no longer are. `is_accepted`: they now follow failures
    /// that have lasted.
    fn tell_frozen(&mut self, frozen: Option<String>, is_accepted: bool) {
        if self.health.frozen.is_some() == frozen.is_some() {
            self.health.frozen = frozen;
            return;
        }
        let (text, kind) = if let Some(why) = &frozen {
            (format!("states of reals are frozen: {why}"), EventKind::Frozen { why: why.clone() })
        } else {
            let why = if is_accepted { ": the failures have lasted, and count now" } else { "" };
            (format!("states of reals are no longer frozen{why}"), EventKind::Thawed)
        };
        self.health.events.publish(text, kind);
        self.health.frozen = frozen;
    }

    /// Returns the time of the next step of a slow start.
    pub(crate) fn next_ramp(&self) -> Option<Instant> {
        self.health.ramps.next(Instant::now())
    }

    /// Returns the file for the states of the targets, and the states; `None` without checks. They are written
    /// without the lock of the director: a disk may stall.
    pub(crate) fn health_to_save(&self) -> Option<Unsaved> {
        let health = &self.health;
        let unsaved = || Unsaved::new(health.file.clone(), health.snapshot(), health.table.below.clone());
        health.handle.is_some().then(unsaved)
    }
}

/// Returns how many reals of a pool are healthy, as a sentence without its end.
pub(super) fn healthy_of(healthy: usize, able: usize) -> String {
    match able {
        1 => format!("{healthy} of 1 real is healthy"),
        _ => format!("{healthy} of {able} reals are healthy"),
    }
}

/// Returns a sentence about the state of a pool.
pub(super) fn pool_text(id: &ServiceId, mode: Mode, healthy: usize, able: usize) -> String {
    let count = healthy_of(healthy, able);
    match mode {
        Mode::Normal => format!("{id} has enough healthy reals again: {count}"),
        Mode::Ignored => format!("{id} ignores health, because too few reals are healthy: {count}"),
        Mode::WithBackup => format!("{id} uses its backup reals too: {count}"),
        Mode::Backup => format!("{id} uses its backup reals only: {count}"),
        Mode::AllDown => format!("{id} has no healthy real: {count}"),
    }
}
