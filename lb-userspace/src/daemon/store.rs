// SPDX-License-Identifier: MIT OR Apache-2.0
//! Store of the director: the desired services, the other data of the state file, and the file itself.
#![forbid(unsafe_code)]

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::PathBuf,
};

use lb_common::{reason::Reason, schema::Counters};

use super::saver::{Pending, Saver};
use lb_control::{
    dips::Dips,
    state::{FlowLimits, State, Totals},
};
use lb_model::failure::Failure;
use lb_model::standing::Standing;
use lb_model::{Desired, RealKey, ServiceId, timeouts::TimeoutOptions};

/// Strictness about a state that cannot be written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Strictness {
    /// The change fails.
    Change,
    /// The start continues, because forwarding must not depend on a disk.
    Start,
}

/// Owner of the state and of the state file.
pub(super) struct Store {
    state: State,
    saver: Saver,
    /// Reason why the state is not on disk, if it is not.
    unsaved: Option<String>,
}

impl Store {
    pub(super) const fn new(state: State, file: PathBuf) -> Self {
        Self { state, saver: Saver::new(file), unsaved: None }
    }

    /// Returns the services as the operator configured them.
    pub(super) const fn desired(&self) -> &Desired {
        &self.state.desired
    }

    /// Returns the pool of SNAT addresses.
    pub(super) const fn dips(&self) -> &Dips {
        &self.state.dips
    }

    /// Returns the VIPs that the state lists as added by the daemon.
    pub(super) const fn vips(&self) -> &BTreeSet<IpAddr> {
        &self.state.vips
    }

    /// Returns the timeouts that the operator has set.
    pub(super) const fn timeouts(&self) -> TimeoutOptions {
        self.state.timeouts
    }

    /// Returns the sizes of the flow tables that the operator has set.
    pub(super) const fn room(&self) -> FlowLimits {
        self.state.room
    }

    /// Returns the counters of the removed reals of a service.
    pub(super) fn retired(&self, id: &ServiceId) -> Totals {
        self.state.retired.get(id).copied().unwrap_or_default()
    }

    /// Returns the packets of removed services, by the name of the reason.
    pub(super) const fn gone(&self) -> &BTreeMap<String, u64> {
        &self.state.gone
    }

    /// Returns the reason why the state is not on disk, if it is not.
    pub(super) fn unsaved(&self) -> Option<&str> {
        self.unsaved.as_deref()
    }

    /// Replaces the services in memory, and returns the previous ones.
    pub(super) const fn replace_desired(&mut self, desired: Desired) -> Desired {
        std::mem::replace(&mut self.state.desired, desired)
    }

    /// Removes a leaving real. Returns whether the service has a real with its address.
    pub(super) fn remove_leaving(&mut self, id: &ServiceId, key: &RealKey) -> bool {
        let Some(service) = self.state.desired.services.get_mut(id) else { return false };
        service.leaving.shift_remove(key);
        service.reals.contains_key(&key.address)
    }

    /// Writes the state to disk, without effect yet. The written state lists `new_vips` too, which are not added yet:
    /// a crash in between leaves none behind. Returns `None` if the state cannot be written at a start.
    ///
    /// # Errors
    /// If the state cannot be written during a change.
    pub(super) fn prepare(
        &mut self,
        new_vips: &BTreeSet<IpAddr>,
        strictness: Strictness,
    ) -> Result<Option<Pending>, Failure> {
        let mut state = self.state.clone();
        state.vips.extend(new_vips);
        match self.saver.prepare(state) {
            Err(failure) if strictness == Strictness::Start => {
                self.note_unsaved(&failure);
                Ok(None)
            }
            result => result.map(Some),
        }
    }

    /// Puts a prepared state in force.
    ///
    /// # Errors
    /// If that fails during a change.
    pub(super) fn commit(
        &mut self,
        prepared: Option<Pending>,
        strictness: Strictness,
    ) -> Result<(), Failure> {
        let Some(prepared) = prepared else { return Ok(()) };
        match self.saver.commit(prepared) {
            Ok(()) => self.unsaved = None,
            Err(failure) if strictness == Strictness::Change => return Err(failure),
            Err(failure) => self.note_unsaved(&failure),
        }
        Ok(())
    }

    /// Returns the place of the director among several.
    pub(super) const fn standing(&self) -> Standing {
        self.state.standing
    }

    /// Changes the place of the director among several, on disk too.
    ///
    /// # Errors
    /// If it cannot be written; then nothing changes.
    pub(super) fn set_standing(&mut self, standing: Standing) -> Result<(), Failure> {
        let prepared = self.saver.prepare(State { standing, ..self.state.clone() })?;
        self.saver.commit(prepared)?;
        self.state.standing = standing;
        self.unsaved = None;
        Ok(())
    }

    /// Writes the state with these timeouts to disk, without effect yet.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn prepare_timeouts(&mut self, timeouts: TimeoutOptions) -> Result<Pending, Failure> {
        self.saver.prepare(State { timeouts, ..self.state.clone() })
    }

    /// Puts the prepared state with these timeouts in force.
    ///
    /// # Errors
    /// If that fails.
    pub(super) fn commit_timeouts(
        &mut self,
        prepared: Pending,
        timeouts: TimeoutOptions,
    ) -> Result<(), Failure> {
        self.saver.commit(prepared)?;
        self.state.timeouts = timeouts;
        Ok(())
    }

    /// Writes the state with these sizes of the flow tables to disk, without effect yet.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn prepare_room(&mut self, room: FlowLimits) -> Result<Pending, Failure> {
        self.saver.prepare(State { room, ..self.state.clone() })
    }

    /// Puts the prepared state with these sizes in force.
    ///
    /// # Errors
    /// If that fails.
    pub(super) fn commit_room(&mut self, prepared: Pending, room: FlowLimits) -> Result<(), Failure> {
        self.saver.commit(prepared)?;
        self.state.room = room;
        Ok(())
    }

    /// Saves the state with exactly the VIPs that the daemon added; `None` keeps those of the state.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn save(&mut self, added: Option<&BTreeSet<IpAddr>>) -> Result<(), Failure> {
        self.note_vips(added);
        let pending = self.saver.prepare(self.state.clone())?;
        self.saver.commit(pending)?;
        self.unsaved = None;
        Ok(())
    }

    /// Saves the state as [`save`](Self::save) does, in one file, at the end of the daemon.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn close(&mut self, added: Option<&BTreeSet<IpAddr>>) -> Result<(), Failure> {
        self.note_vips(added);
        self.saver.close(&self.state)
    }

    /// Writes the state file again, without the lock on the director, when its journal is long.
    pub(super) fn shorten_journal(&mut self) {
        self.saver.rewrite();
    }

    /// Saves a state that could not be saved before.
    pub(super) fn save_again(&mut self, added: Option<&BTreeSet<IpAddr>>) {
        if self.unsaved.is_none() {
            return;
        }
        match self.save(added) {
            Ok(()) => tracing::info!(file = %self.saver.file().display(), "the state is saved again"),
            Err(failure) => self.note_unsaved(&failure),
        }
    }

    /// Saves the counters of removed reals, unless the state is not on disk anyway. A failure does not fail
    /// the change.
    pub(super) fn save_counters(&mut self, added: Option<&BTreeSet<IpAddr>>) {
        if self.unsaved.is_none()
            && let Err(failure) = self.save(added)
        {
            self.note_unsaved(&failure);
        }
    }

    /// Takes over the VIPs that the daemon added.
    pub(super) fn note_vips(&mut self, added: Option<&BTreeSet<IpAddr>>) {
        if let Some(added) = added {
            self.state.vips.clone_from(added);
        }
    }

    /// Notes that the state is not on disk. Every refresh of the network retries.
    fn note_unsaved(&mut self, failure: &Failure) {
        if self.unsaved.is_none() {
            tracing::error!(
                "{}; services go on, and changes are refused until it can be written",
                failure.message
            );
        }
        self.unsaved = Some(failure.message.clone());
    }

    /// Adds the last counters of removed reals and services.
    pub(super) fn retire(&mut self, reals: &[(ServiceId, Counters)], reasons: &BTreeMap<Reason, u64>) {
        for (id, counters) in reals {
            self.state.retired.entry(*id).or_default().add(counters);
        }
        for (reason, packets) in reasons {
            *self.state.gone.entry(reason.as_str().to_owned()).or_default() += packets;
        }
    }

    /// Keeps the counters of removed services, so that sums over all services never decrease.
    pub(super) fn retire_services(&mut self) {
        let State { desired, retired, gone, .. } = &mut self.state;
        retired.retain(|id, totals| {
            let stays = desired.services.contains_key(id);
            if !stays {
                *gone.entry(Reason::Forwarded.as_str().to_owned()).or_default() +=
                    totals.packets_in + totals.packets_out;
            }
            stays
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lb_model::Service;

    fn web() -> ServiceId {
        ServiceId::parse("tcp", "192.0.2.100:80").unwrap()
    }

    fn store(file: PathBuf) -> Store {
        let mut state = State::default();
        state.desired.services.insert(web(), Service::default());
        Store::new(state, file)
    }

    #[test]
    fn sums_over_all_services_never_decrease() {
        let mut store = store(PathBuf::new());
        let counters = Counters { packets_in: 3, packets_out: 2, ..Counters::default() };
        store.retire(&[(web(), counters), (web(), counters)], &[(Reason::NoReal, 7)].into());
        store.retire_services();
        assert_eq!((store.retired(&web()).packets_in, store.gone().get("forwarded")), (6, None));
        store.replace_desired(Desired::default());
        store.retire_services();
        assert_eq!(store.retired(&web()), Totals::default());
        let gone = [(Reason::Forwarded, 10), (Reason::NoReal, 7)];
        assert_eq!(*store.gone(), gone.map(|(reason, packets)| (reason.as_str().to_owned(), packets)).into());
    }

    #[test]
    fn a_state_that_cannot_be_written_fails_a_change_but_not_a_start() {
        let folder = tempfile::tempdir().unwrap();
        let taken = folder.path().join("folder");
        std::fs::write(&taken, "a file where the folder should be").unwrap();
        let mut store = store(taken.join("state.json"));
        assert!(store.prepare(&BTreeSet::new(), Strictness::Change).is_err());
        assert_eq!(store.unsaved(), None);
        assert!(store.prepare(&BTreeSet::new(), Strictness::Start).unwrap().is_none());
        assert!(store.unsaved().unwrap().contains("cannot write the state file"));
        store.save_again(None);
        assert!(store.unsaved().is_some());
        std::fs::remove_file(&taken).unwrap();
        let vip = IpAddr::from([192, 0, 2, 100]);
        store.save_again(Some(&[vip].into()));
        assert_eq!(store.unsaved(), None);
        let state = State::load(&taken.join("state.json")).unwrap();
        assert_eq!(state.vips, [vip].into());
    }
}
