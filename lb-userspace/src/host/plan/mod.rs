// SPDX-License-Identifier: MIT OR Apache-2.0
//! Plans: from what is required and what the host is like to a list of steps, which is either printed or
//! carried out.
//!
//! ```text
//! Target, Observed, state file ── setup::plan ──┐               ┌── DryRun prints each step
//! state file, present changes ── restore::plan ─┼─> Plan ─ run ─┤
//! Opening, chains of firewalls ── open::plan ───┘               └── Apply records it, then makes the change
//! ```
//!
//! Planning is pure. It predicts the effect of each step on the host, so that later steps, warnings and the
//! files for the next start are those of the host after the steps.

mod decap; //       steps that set up decapsulation
pub mod restore; // steps that undo recorded changes
pub mod setup; //   steps that fulfil the requirements
mod step; //        one step: words, command, record

use std::{collections::BTreeSet, net::IpAddr};

use super::{Done, HostError, Outcome, Report, boot::Boot, state::Change};
pub use step::Step;

/// The steps of a run, in order, with the remarks between them.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Plan {
    /// Entries of the plan.
    pub entries: Vec<Entry>,
}

/// An entry of a plan.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Entry {
    /// A change of the host.
    Step(Step),
    /// A line for the operator about what needs no change.
    Note(Done),
    /// An entry of the state file without a change of the host.
    Record(Record),
}

/// An entry of the state file, besides the changes that steps record.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Record {
    /// This host is set up for these VIPs.
    Vips {
        /// VIPs.
        vips: BTreeSet<IpAddr>,
        /// Their packets arrive in a tunnel.
        tunnelled: bool,
    },
    /// A change that was found, and is undone as if it had been made now.
    Found(Change),
    /// Set-up at the next start.
    Boot(Boot),
    /// The set-up that remains after a restore.
    Left {
        /// VIPs.
        vips: BTreeSet<IpAddr>,
        /// Set-up at the next start.
        boot: Option<Boot>,
    },
}

impl Plan {
    /// Adds a step.
    pub fn step(&mut self, step: Step) {
        self.entries.push(Entry::Step(step));
    }

    /// Adds a line for the operator.
    pub fn note(&mut self, item: impl Into<String>, outcome: Outcome, detail: impl Into<String>) {
        self.entries.push(Entry::Note(Done::new(item, outcome, detail)));
    }

    /// Adds an entry of the state file.
    pub fn record(&mut self, record: Record) {
        self.entries.push(Entry::Record(record));
    }

    /// Returns the steps.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.entries.iter().filter_map(|entry| if let Entry::Step(step) = entry { Some(step) } else { None })
    }
}

/// Deals with the entries of a plan: prints them, or carries them out.
pub trait Executor {
    /// Deals with a step, and returns the line about it.
    fn step(&mut self, step: &Step) -> impl Future<Output = Result<Done, HostError>> + Send;

    /// Deals with an entry of the state file.
    fn record(&mut self, record: &Record) -> Result<(), HostError>;
}

/// Prints a plan, and changes nothing.
#[derive(Clone, Copy, Debug)]
pub struct DryRun;

impl Executor for DryRun {
    async fn step(&mut self, step: &Step) -> Result<Done, HostError> {
        Ok(step.planned())
    }

    fn record(&mut self, _: &Record) -> Result<(), HostError> {
        Ok(())
    }
}

/// A plan that was not carried out completely.
#[derive(Debug)]
pub struct Stopped {
    /// The step that failed; `None` if an entry of the state file did.
    pub step: Option<Step>,
    /// Cause.
    pub error: HostError,
}

/// Deals with all entries of a plan in order.
///
/// # Errors
/// Stops at the first entry that fails. Only steps that undo something do not stop the steps after them; then
/// the first failure is returned at the end, and the state file keeps what it has.
pub async fn run(plan: &Plan, executor: &mut impl Executor, report: Report<'_>) -> Result<(), Stopped> {
    let mut first = None;
    for entry in &plan.entries {
        match entry {
            Entry::Note(note) => report(note.clone()),
            Entry::Record(_) if first.is_some() => {}
            Entry::Record(record) => {
                executor.record(record).map_err(|error| Stopped { step: None, error })?;
            }
            Entry::Step(step) => match executor.step(step).await {
                Ok(done) => report(done),
                Err(error) => {
                    let stopped = Stopped { step: Some(step.clone()), error };
                    if !step.is_undoing() {
                        return Err(first.unwrap_or(stopped));
                    }
                    report(Done::new(step.item(), Outcome::Skipped, stopped.error.to_string()));
                    first.get_or_insert(stopped);
                }
            },
        }
    }
    first.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests;
