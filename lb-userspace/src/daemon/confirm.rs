// SPDX-License-Identifier: MIT OR Apache-2.0
//! A config that reverts unless it is confirmed in time. The previous config is in a file beside the state file
//! before the change is made, so that the revert also happens after a restart or a crash of the daemon.
#![forbid(unsafe_code)]

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::{Director, Shared, history::beside};
use crate::api::{
    config::{REVERT, Unconfirmed},
    proof::now,
    types::Done,
};
use lb_control::{
    config::{self, Extent},
    state_file::{self, ReadError},
};
use lb_model::Desired;
use lb_model::failure::Failure;

/// Time after which a revert that failed is tried again.
const AGAIN: Duration = Duration::from_secs(5);
/// Maximum time to confirm, in seconds.
const LONGEST: u64 = crate::api::config::CONFIRM_LONGEST.as_secs();

/// A config that waits for its confirmation, as in the file.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
struct Pending {
    /// End of the time, in seconds since 1970.
    until: u64,
    /// Who applied it.
    who: String,
    /// Config before it.
    before: String,
}

/// Owner of the config that waits.
pub(super) struct Confirm {
    file: PathBuf,
    pending: Option<Pending>,
    /// End of the time, for the task that reverts.
    until: watch::Sender<Option<u64>>,
}

impl Confirm {
    /// Reads what an earlier run has left.
    pub(super) fn open(state_file: &Path) -> Self {
        let file = beside(state_file, ".unconfirmed");
        let pending = match state_file::read(&file) {
            Ok(content) => serde_json::from_value(content).ok(),
            Err(ReadError::Missing) => None,
            Err(error) => {
                tracing::error!("{}: {error}: an unconfirmed config stays in force", file.display());
                None
            }
        };
        let until = watch::Sender::new(pending.as_ref().map(|pending: &Pending| pending.until));
        Self { file, pending, until }
    }

    /// Returns what waits, for the status.
    pub(super) fn view(&self) -> Option<Unconfirmed> {
        let Pending { until, who, .. } = self.pending.as_ref()?;
        Some(Unconfirmed { seconds_left: until.saturating_sub(now()), by: who.clone() })
    }

    /// Begins to wait: the file is on disk when this returns. If a config waits already, the one before it is
    /// what a revert returns to.
    fn begin(&mut self, seconds: u64, who: String, before: &Desired) -> Result<(), Failure> {
        let before = match self.pending.take() {
            Some(pending) => pending.before,
            None => config::write(before, Extent::Differences),
        };
        let pending = Pending { until: now() + seconds, who, before };
        let written = state_file::prepare(&self.file, &pending).and_then(state_file::Prepared::commit);
        written.map_err(|error| {
            Failure::failed(format!(
                "nothing was changed, because the previous config cannot be kept in {}: {error}",
                self.file.display()
            ))
        })?;
        self.until.send_replace(Some(pending.until));
        self.pending = Some(pending);
        Ok(())
    }

    /// Returns to what waited before [`begin`](Self::begin), whose change was not made.
    fn resume(&mut self, earlier: Option<Pending>) {
        let Some(earlier) = earlier else {
            self.end();
            return;
        };
        let written = state_file::prepare(&self.file, &earlier).and_then(state_file::Prepared::commit);
        if let Err(error) = written {
            tracing::error!("{} cannot be written: {error}", self.file.display());
        }
        self.until.send_replace(Some(earlier.until));
        self.pending = Some(earlier);
    }

    /// Ends to wait.
    fn end(&mut self) -> Option<Pending> {
        for file in [state_file::previous(&self.file), self.file.clone()] {
            if let Err(error) = fs::remove_file(&file)
                && error.kind() != std::io::ErrorKind::NotFound
            {
                tracing::error!("{} cannot be removed: {error}", file.display());
            }
        }
        self.until.send_replace(None);
        self.pending.take()
    }
}

impl Director {
    /// Replaces all services, and reverts unless [`keep`](Self::keep) is called in time.
    ///
    /// # Errors
    /// As [`replace`](Self::replace), and if the time is out of bounds or the file cannot be written.
    pub async fn replace_for_now(
        &mut self,
        desired: Desired,
        take_over: bool,
        seconds: u64,
        who: String,
    ) -> Result<Done, Failure> {
        if !(1..=LONGEST).contains(&seconds) {
            return Err(Failure::wrong_input(format!("{seconds} s to confirm is not between 1 s and a day")));
        }
        self.may_be_changed()?;
        let earlier = self.confirm.pending.clone();
        let before = self.desired().clone();
        self.confirm.begin(seconds, who, &before)?;
        let done = self.replace(desired, take_over).await;
        if done.is_err() {
            self.confirm.resume(earlier);
        }
        let warning = format!("this config reverts in {seconds} s, unless `xvs confirm` keeps it");
        done.map(|done| done.warn(Some(warning)))
    }

    /// Returns a warning that a revert also undoes later changes, while a config waits for its confirmation.
    #[must_use]
    pub fn revert_warning(&self) -> Option<String> {
        let Unconfirmed { seconds_left, by } = self.confirm.view()?;
        Some(format!(
            "the config of {by} reverts in {seconds_left} s, which undoes this change too, unless `xvs confirm` \
             keeps both"
        ))
    }

    /// Refuses to replace the config while another one waits for its confirmation.
    ///
    /// # Errors
    /// If one waits, or the director follows IPVS; the failure is wrong input.
    pub fn may_replace_all(&self) -> Result<(), Failure> {
        self.may_be_changed()?;
        match self.confirm.view() {
            None => Ok(()),
            Some(Unconfirmed { seconds_left, by }) => Err(Failure::wrong_input(format!(
                "the config of {by} reverts in {seconds_left} s unless it is confirmed: nothing was changed"
            ))
            .hint(
                "`xvs confirm` keeps it; or give --confirm again, which returns to the config before both",
            )),
        }
    }

    /// Keeps the config that waits for its confirmation.
    ///
    /// # Errors
    /// If none waits; the failure is wrong input.
    pub fn keep(&mut self) -> Result<Done, Failure> {
        let Some(Pending { who, .. }) = self.confirm.end() else {
            return Err(Failure::wrong_input("no config waits for a confirmation")
                .hint("`xvs apply FILE --confirm 60s` applies one that does; it may have reverted already"));
        };
        Ok(Done { changes: vec![format!("the config of {who} stays")], warnings: Vec::new() })
    }

    /// Returns to the config before the one that waits, if its time is over.
    async fn revert_if_due(&mut self) -> Result<bool, Failure> {
        if self.follows() {
            return Ok(false);
        }
        let Some(pending) = self.confirm.pending.clone().filter(|pending| pending.until <= now()) else {
            return Ok(false);
        };
        let before = config::parse(&pending.before, Path::new("the config before"))?;
        let done = self.replace(before.desired, false).await?;
        self.confirm.end();
        let changes = done.changes.len();
        tracing::warn!(
            target: "audit",
            "audit: xvs: the config of {} was not confirmed in time: reverted ({changes} changes)",
            pending.who
        );
        for warning in done.warnings {
            tracing::warn!("{warning}");
        }
        Ok(true)
    }
}

/// Reverts configs that are not confirmed in time, for ever.
pub async fn revert_in_time(director: Shared) {
    let mut until = director.lock().await.confirm.until.subscribe();
    loop {
        let end = *until.borrow_and_update();
        let left = end.map(|end| Duration::from_secs(end.saturating_sub(now())));
        let at = Instant::now() + left.unwrap_or_default();
        tokio::select! {
            changed = until.changed() => if changed.is_err() {
                return;
            },
            () = sleep_until(at), if end.is_some() => {
                let reverted = director.lock().await.revert_if_due().await;
                match reverted {
                    Ok(true) => director.note(REVERT.to_owned()),
                    // The clock has a resolution of a second.
                    Ok(false) => tokio::time::sleep(Duration::from_millis(100)).await,
                    Err(failure) => {
                        tracing::error!("an unconfirmed config cannot be reverted: {}", failure.message);
                        tokio::time::sleep(AGAIN).await;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_survives_a_restart_and_keeps_the_first_config() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state.json");
        let mut confirm = Confirm::open(&state);
        assert!(confirm.view().is_none() && confirm.end().is_none());
        let text = "[[service]]\nprotocol = \"tcp\"\naddress = \"192.0.2.1:80\"\n";
        let before = config::parse(text, Path::new("x")).unwrap().desired;
        confirm.begin(60, "alice".to_owned(), &before).unwrap();
        confirm.begin(90, "bob".to_owned(), &Desired::default()).unwrap();
        // A change that the kernel refuses prolongs nothing.
        let earlier = confirm.pending.clone();
        confirm.begin(3600, "carol".to_owned(), &Desired::default()).unwrap();
        confirm.resume(earlier);
        let mut next = Confirm::open(&state);
        let view = next.view().unwrap();
        assert!(view.by == "bob" && (88..=90).contains(&view.seconds_left), "{view:?}");
        let pending = next.end().unwrap();
        assert_eq!(config::parse(&pending.before, Path::new("x")).unwrap().desired, before);
        assert!(Confirm::open(&state).view().is_none());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
