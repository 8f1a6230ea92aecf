// SPDX-License-Identifier: MIT OR Apache-2.0
//! Carries out plans: each change is recorded in the state file, then made.
//!
//! A kill between the record and the change leaves a record of a change that was never made; undoing that does
//! nothing.

use super::{
    Done, Host, HostError, Outcome, Report,
    boot::files,
    decap,
    plan::{Executor, Record, Step},
    state::{Change, StateFile},
    vip,
};
use lb_netlink::sysctl::Sysctl;

/// Carries out a plan.
pub struct Apply<'a> {
    /// This host.
    pub host: &'a Host,
    /// Its state file, locked.
    pub state: &'a mut StateFile,
}

impl Executor for Apply<'_> {
    async fn step(&mut self, step: &Step) -> Result<Done, HostError> {
        match step {
            Step::Undo { change, .. } => self.undo(change).await,
            Step::HandOver { change, to } => {
                if self.state.hand_over(change, to)? {
                    Ok(step.done())
                } else {
                    self.undo(change).await
                }
            }
            step => self.record_and_make(as_of_now(step.clone())?).await,
        }
    }

    fn record(&mut self, record: &Record) -> Result<(), HostError> {
        match record {
            Record::Vips { vips, tunnelled } => self.state.add_vips(vips, *tunnelled)?,
            Record::Found(change) => self.state.record(change.clone()).map(|_| ())?,
            Record::Boot(boot) => self.state.set_boot(boot.clone())?,
            Record::Left { vips, boot } => self.state.set(vips.clone(), boot.clone())?,
        }
        Ok(())
    }
}

impl Apply<'_> {
    async fn record_and_make(&mut self, step: Step) -> Result<Done, HostError> {
        if is_overtaken(self.host, &step).await? {
            return Err(HostError::Overtaken(step.item()));
        }
        let change = step.change();
        let is_new = change.clone().map(|change| self.state.record(change)).transpose()?;
        if let Err(error) = make(self.host, &step).await {
            // Undoing would remove a device or a program of another process.
            if let (Some(change), Some(true), Step::Device { .. } | Step::Program { .. }) =
                (change, is_new, &step)
            {
                self.state.forget(&change)?;
            }
            return Err(error);
        }
        Ok(step.done())
    }

    async fn undo(&mut self, change: &Change) -> Result<Done, HostError> {
        let done = undo(self.host, change).await?;
        self.state.forget(change)?;
        Ok(done)
    }

    /// Undoes `changes`, the last one first, without removing them from the state file, which has the values
    /// from before an earlier set-up. Continues after a failure and returns the first one.
    pub async fn undo_unrecorded(&self, changes: &[Change], report: Report<'_>) -> Result<(), HostError> {
        let mut first = Ok(());
        for change in changes.iter().rev() {
            match undo(self.host, change).await {
                Ok(done) => report(done),
                Err(error) => first = first.and(Err(error)),
            }
        }
        first
    }
}

/// Returns a step that replaces a file with the content of the file as it is now.
fn as_of_now(step: Step) -> Result<Step, HostError> {
    Ok(match step {
        Step::File { path, text, .. } => Step::File { before: files::read(&path)?, path, text },
        other => other,
    })
}

/// Returns whether another process has changed the subject of a step since the plan was made: then the record
/// of the step would be wrong, and the step perhaps too.
async fn is_overtaken(host: &Host, step: &Step) -> Result<bool, HostError> {
    Ok(match step {
        Step::Sysctl { sysctl, before, .. } => sysctl.read()? != *before,
        Step::Address { address, interface, .. } => {
            let index = host.netlink.interface(interface).await?.index;
            host.netlink.holders(address.addr()).await?.iter().any(|holder| holder.ifindex == index)
        }
        _ => false,
    })
}

/// Makes the change of a step.
async fn make(host: &Host, step: &Step) -> Result<(), HostError> {
    match step {
        Step::Sysctl { sysctl, value, .. } => sysctl.write(*value)?,
        Step::Address { address, interface, host_scope } => {
            vip::add(host, *address, interface, *host_scope).await?;
        }
        Step::Device { device, kind, .. } => decap::make(host, device, *kind).await?,
        Step::Up { interface, .. } => decap::set_up(host, interface).await?,
        Step::Program { interface, bpffs, from } => host.xdp.attach(interface, bpffs, from).map(|_| ())?,
        Step::Directory { path } => files::make_directory(path)?,
        Step::File { path, text, .. } => files::write(path, text)?,
        Step::Link { path, target } => files::link(path, target)?,
        Step::Insert { chain, matches, comment } => chain.insert(matches, comment).await?,
        Step::Delete { chain, rule } => chain.delete(rule).await?,
        // The record has moved already.
        Step::HandOver { .. } => {}
        Step::Undo { change, .. } => drop(undo(host, change).await?),
    }
    Ok(())
}

/// Undoes a change. A change that was undone from outside is no error.
async fn undo(host: &Host, change: &Change) -> Result<Done, HostError> {
    Ok(match change {
        Change::Sysctl { sysctl, before } => reset(sysctl, *before)?,
        Change::Address { address, interface } => vip::remove(host, *address, interface).await?,
        Change::Device { name } => decap::delete(host, name).await?,
        Change::Up { interface } => decap::set_down(host, interface).await?,
        Change::Program { interface, bpffs } => decap::detach(host, interface, bpffs)?,
        Change::Rules(chain) => chain.close().await?,
        Change::File { path, before } => files::put_back(path, before.as_deref())?,
        Change::Link { path } => files::unlink(path)?,
        Change::Directory { path } => files::remove_directory(path)?,
    })
}

fn reset(sysctl: &Sysctl, before: i32) -> Result<Done, HostError> {
    let detail = match sysctl.write(before) {
        Ok(()) => before.to_string(),
        Err(error) if error.is_gone() => "is gone, with its interface".to_owned(),
        Err(error) => return Err(error.into()),
    };
    Ok(Done::new(sysctl.to_string(), Outcome::Restored, detail))
}
