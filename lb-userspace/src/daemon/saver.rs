// SPDX-License-Identifier: MIT OR Apache-2.0
//! The state on disk: a file with all of it and, if it is large, a journal of the changes since. Large files are
//! written again by a thread, without the lock on the director.
#![forbid(unsafe_code)]

use std::{
    path::{Path, PathBuf},
    thread::{self, JoinHandle},
};

use lb_control::{
    journal::{self, Appended, Journal},
    state::{State, not_written},
    state_file::{Prepared, Stamp},
};
use lb_model::{Service, failure::Failure};

/// Number of reals from which on changes go to a journal: a smaller state is written as a whole in a few
/// milliseconds.
const LARGE: usize = 2048;
/// Length of a journal at which the file is written again, in bytes.
const LONG: u64 = 4 << 20;

/// Writer of the state file and its journal.
pub(super) struct Saver {
    file: PathBuf,
    /// The state file in force, if this daemon has written it.
    written: Option<Stamp>,
    /// The journal, if the state is large.
    journal: Option<Open>,
    /// The thread that writes the file again.
    rewriting: Option<Rewriting>,
}

/// A journal that gets the changes.
struct Open {
    name: String,
    journal: Journal,
    /// The state on disk.
    state: State,
}

/// The state file as a thread writes it again.
struct Rewriting {
    /// Name of the journal of the new file.
    name: String,
    /// Length of the present journal whose changes the new file has.
    length: u64,
    thread: JoinHandle<Result<Prepared, Failure>>,
}

/// A state on disk that is not in force yet. Unless it is put in force, it has no effect, except after a crash: the
/// next start then completes the change.
pub(super) struct Pending {
    next: Next,
    state: State,
}

enum Next {
    /// The state on disk is the same.
    Same,
    /// A change at the end of the journal.
    Change(Appended),
    /// The whole state, with a new journal if it is large.
    Whole(Box<Prepared>, Option<(String, Journal)>),
}

/// Returns whether a state has a journal.
fn is_large(state: &State) -> bool {
    state.desired.services.values().map(|service: &Service| service.reals.len()).sum::<usize>() >= LARGE
}

impl Saver {
    pub(super) const fn new(file: PathBuf) -> Self {
        Self { file, written: None, journal: None, rewriting: None }
    }

    /// Returns the path of the state file.
    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// Writes a state to disk, and flushes it: as a change in the journal, or beside the file in force.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn prepare(&mut self, state: State) -> Result<Pending, Failure> {
        let is_in_place = self.written.as_ref().is_some_and(|stamp| stamp.is_of(&self.file));
        if let Some(open) = self.journal.as_ref().filter(|_| is_in_place && is_large(&state)) {
            let next = match open.state.change_to(&state) {
                None => Next::Same,
                Some(change) => Next::Change(
                    open.journal.append(&change).map_err(|error| not_written(&self.file, &error))?,
                ),
            };
            return Ok(Pending { next, state });
        }
        self.end_rewriting();
        let name = is_large(&state).then(journal::new_name);
        let prepared = state.prepare(&self.file, name.as_deref())?;
        let journal = match name {
            None => None,
            Some(name) => {
                let journal = Journal::create(&self.file, &name, &[])
                    .map_err(|error| not_written(&self.file, &error))?;
                Some((name, journal))
            }
        };
        Ok(Pending { next: Next::Whole(Box::new(prepared), journal), state })
    }

    /// Puts a state in force.
    ///
    /// # Errors
    /// If it cannot be renamed; then the previous state stays in force.
    pub(super) fn commit(&mut self, pending: Pending) -> Result<(), Failure> {
        let Pending { next, state } = pending;
        match next {
            Next::Same => {}
            Next::Change(appended) => {
                if let Some(open) = &mut self.journal {
                    open.journal.keep(appended);
                    open.state = state;
                }
            }
            Next::Whole(prepared, journal) => {
                self.put_in_force(*prepared)?;
                let before = self.journal.take().map(|open| open.name);
                self.journal = journal.map(|(name, journal)| Open { name, journal, state });
                self.remove_old(before.as_deref());
            }
        }
        Ok(())
    }

    /// Writes the whole state to the file, without a journal, which an older xvs would not read.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn close(&mut self, state: &State) -> Result<(), Failure> {
        self.end_rewriting();
        let prepared = state.prepare(&self.file, None)?;
        self.put_in_force(prepared)?;
        self.journal = None;
        journal::remove_others(&self.file, &[]);
        Ok(())
    }

    fn put_in_force(&mut self, prepared: Prepared) -> Result<(), Failure> {
        let stamp = prepared.after(self.written.take()).commit();
        self.written = Some(stamp.map_err(|error| not_written(&self.file, &error))?);
        Ok(())
    }

    /// Removes all journals but that of the file in force and that of its predecessor.
    fn remove_old(&self, before: Option<&str>) {
        let names = self.journal.iter().map(|open| open.name.as_str()).chain(before);
        journal::remove_others(&self.file, &names.collect::<Vec<_>>());
    }

    /// Has a thread write the file again, if the journal is long, and puts what it has written in force.
    pub(super) fn rewrite(&mut self) {
        self.rewrite_from(LONG);
    }

    fn rewrite_from(&mut self, long: u64) {
        if let Some(rewriting) = self.rewriting.take_if(|rewriting| rewriting.thread.is_finished()) {
            if let Err(failure) = self.finish(rewriting) {
                tracing::warn!("{}: its journal goes on", failure.message);
            }
            return;
        }
        let Some(open) = self.journal.as_ref().filter(|open| open.journal.length() >= long) else { return };
        if self.rewriting.is_some() {
            return;
        }
        let (name, state, file) = (journal::new_name(), open.state.clone(), self.file.clone());
        let length = open.journal.length();
        let thread = thread::Builder::new().name("state".to_owned()).spawn({
            let name = name.clone();
            move || state.prepare(&file, Some(&name))
        });
        match thread {
            Ok(thread) => self.rewriting = Some(Rewriting { name, length, thread }),
            Err(error) => tracing::warn!("{}", not_written(&self.file, &error).message),
        }
    }

    /// Puts a file in force that a thread has written: the changes since go to its journal first.
    fn finish(&mut self, rewriting: Rewriting) -> Result<(), Failure> {
        let Rewriting { name, length, thread } = rewriting;
        let ended = |_| Err(Failure::failed("the thread that writes the state file has ended"));
        let prepared = thread.join().unwrap_or_else(ended)?;
        // Another file was put in force meanwhile, without a journal.
        let Some(open) = &mut self.journal else { return Ok(()) };
        let journal = open.journal.since(length).and_then(|since| Journal::create(&self.file, &name, &since));
        let journal = journal.map_err(|error| not_written(&self.file, &error))?;
        self.put_in_force(prepared)?;
        if let Some(open) = &mut self.journal {
            let before = std::mem::replace(&mut open.name, name);
            open.journal = journal;
            self.remove_old(Some(&before));
        }
        Ok(())
    }

    /// Waits for the thread before another whole file is written: both would write to the same place.
    fn end_rewriting(&mut self) {
        if let Some(rewriting) = self.rewriting.take() {
            drop(rewriting.thread.join());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use lb_model::{Forward, Real, ServiceId};

    fn id(port: u16) -> ServiceId {
        ServiceId::parse("tcp", &format!("192.0.2.1:{port}")).unwrap()
    }

    /// Returns a state with two services, each with half of the reals of a large state.
    fn large() -> State {
        let real = |number: usize| {
            let [high, low] = (number as u16).to_be_bytes();
            (([10, 0, high, low], 80).into(), Real::new(Forward::Nat, 1))
        };
        let service = || Service { reals: (0..LARGE / 2).map(real).collect(), ..Service::default() };
        let mut state = State::default();
        state.desired.services = [(id(1), service()), (id(2), service())].into();
        state
    }

    fn set_weight(state: &mut State, port: u16, index: usize, weight: u32) {
        state.desired.services.get_mut(&id(port)).unwrap().reals[index].weight = weight;
    }

    /// Asserts what a start would read, were the daemon killed now.
    #[track_caller]
    fn on_disk(saver: &Saver, state: &State) {
        let read = State::load(saver.file()).unwrap();
        assert!(read.desired == state.desired && read.vips == state.vips, "another state is on disk");
    }

    #[track_caller]
    fn save(saver: &mut Saver, state: &State) {
        let pending = saver.prepare(state.clone()).unwrap();
        saver.commit(pending).unwrap();
        on_disk(saver, state);
    }

    #[test]
    fn a_change_of_a_large_state_is_a_line_that_survives_a_kill() {
        let folder = tempfile::tempdir().unwrap();
        let mut saver = Saver::new(folder.path().join("state.json"));
        let mut state = large();
        save(&mut saver, &state);
        let length = fs::metadata(saver.file()).unwrap().len();
        for index in 0..20 {
            set_weight(&mut state, 1, index, 7);
            save(&mut saver, &state);
        }
        assert_eq!(fs::metadata(saver.file()).unwrap().len(), length, "the file itself stays");
        assert!(saver.journal.as_ref().unwrap().journal.length() < 20 * 300);
        // A change that fails leaves nothing behind.
        let before = state.clone();
        set_weight(&mut state, 2, 5, 9);
        drop(saver.prepare(state).unwrap());
        on_disk(&saver, &before);
        save(&mut saver, &before);
        // At the end there is one file, which an older xvs reads, and its predecessor.
        saver.close(&before).unwrap();
        on_disk(&saver, &before);
        assert!(!fs::read_to_string(saver.file()).unwrap().contains("journal"));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_long_journal_becomes_a_new_file_and_nothing_is_lost_meanwhile() {
        let folder = tempfile::tempdir().unwrap();
        let mut saver = Saver::new(folder.path().join("state.json"));
        let mut state = large();
        save(&mut saver, &state);
        set_weight(&mut state, 1, 0, 7);
        save(&mut saver, &state);
        saver.rewrite_from(u64::MAX);
        assert!(saver.rewriting.is_none(), "the journal is short");
        saver.rewrite_from(1);
        set_weight(&mut state, 2, 1, 8);
        save(&mut saver, &state);
        let inode = saver.written;
        while saver.rewriting.is_some() {
            thread::yield_now();
            saver.rewrite_from(1);
        }
        assert_ne!(saver.written, inode);
        on_disk(&saver, &state);
        set_weight(&mut state, 2, 2, 9);
        save(&mut saver, &state);
        // Without the new file, its predecessor and the journal of that one have all changes until then.
        fs::remove_file(saver.file()).unwrap();
        let read = lb_control::state::Loaded::read(saver.file()).unwrap();
        set_weight(&mut state, 2, 2, 1);
        assert!(read.is_previous && read.problem.is_some());
        assert!(read.state.unwrap().desired == state.desired);
        // The next change writes the whole file again.
        save(&mut saver, &state);
    }

    #[test]
    fn a_small_state_has_no_journal() {
        let folder = tempfile::tempdir().unwrap();
        let mut saver = Saver::new(folder.path().join("state.json"));
        let mut state = large();
        save(&mut saver, &state);
        state.desired.services.remove(&id(2));
        save(&mut saver, &state);
        assert!(saver.journal.is_none());
        save(&mut saver, &large());
        assert!(saver.journal.is_some());
    }
}
