// SPDX-License-Identifier: MIT OR Apache-2.0
//! Start and stop of sender and receiver.
#![forbid(unsafe_code)]

use std::time::Instant;

use lb_control::{config::SyncSection, sync::Link};
use lb_model::failure::{ErrorCode, Failure};
use tokio::{task::JoinHandle, time::sleep};

use super::{
    super::Shared,
    apply::apply_waiting,
    receive::{self, Receiver},
    send,
    signature::Key,
};
use crate::api::{
    sync::{SyncChange, SyncRole},
    types::Done,
};

/// The sender and the receiver, as far as they run.
#[derive(Default)]
pub(super) struct Ends {
    master: Option<End>,
    backup: Option<End>,
    /// The section of the config file that they followed last.
    section: SyncSection,
}

/// A running sender or receiver.
struct End {
    link: Link,
    key: Option<Key>,
    task: JoinHandle<()>,
}

impl Drop for End {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Ends {
    /// Returns the settings of the sender and of the receiver.
    pub(super) fn links(&self) -> [Option<Link>; 2] {
        [&self.master, &self.backup].map(|end| end.as_ref().map(|end| end.link.clone()))
    }

    const fn place(&mut self, role: SyncRole) -> &mut Option<End> {
        match role {
            SyncRole::Master => &mut self.master,
            SyncRole::Backup => &mut self.backup,
        }
    }
}

/// Starts or stops a sender or receiver.
///
/// # Errors
/// If it runs already, or does not run; if there is no such interface, or the socket cannot be opened.
pub async fn change(shared: &Shared, change: SyncChange) -> Result<Done, Failure> {
    let line = match change {
        SyncChange::Start { role, settings } => {
            start(shared, role, settings.into()).await?;
            format!("{} of announcements started", role.as_str())
        }
        SyncChange::Stop { role } => {
            let mut ends = shared.sync().ends.lock().await;
            if ends.place(role).take().is_none() {
                return Err(Failure::wrong_input(format!("no {} of announcements runs", role.as_str()))
                    .because(ErrorCode::NoSyncDaemon));
            }
            format!("{} of announcements stopped", role.as_str())
        }
    };
    tracing::info!("{line}");
    Ok(Done { changes: vec![line], warnings: Vec::new() })
}

/// A sender or receiver that can start: all that may be refused is done.
struct Idle {
    link: Link,
    key: Option<Key>,
    work: Work,
}

enum Work {
    Sender(send::Sender),
    Receiver(Receiver),
}

impl Idle {
    /// Reads the key and opens the socket.
    ///
    /// # Errors
    /// If there is no such interface, the key file cannot be used, or the socket cannot be opened.
    fn open(role: SyncRole, link: Link) -> Result<Self, Failure> {
        let key = link.key()?.map(Key::new);
        let work = match role {
            SyncRole::Master => Work::Sender(send::Sender::new(&link, key.clone())?),
            SyncRole::Backup => Work::Receiver(Receiver::new(&link, key.clone())?),
        };
        Ok(Self { link, key, work })
    }

    fn start(self, shared: &Shared) -> End {
        let Self { link, key, work } = self;
        let task = match work {
            Work::Sender(sender) => tokio::spawn(send::run(shared.clone(), sender)),
            Work::Receiver(receiver) => tokio::spawn(receive::run(shared.clone(), receiver)),
        };
        End { link, key, task }
    }
}

/// Returns the settings of the sender and of the receiver of a config file.
fn ends_of(section: &SyncSection) -> [(SyncRole, Option<Link>); 2] {
    [(SyncRole::Master, section.sender()), (SyncRole::Backup, section.receiver())]
}

/// Checks whether the sender and the receiver of the config file can start, without starting them.
///
/// # Errors
/// As [`change`].
pub fn check(section: &SyncSection) -> Result<(), Failure> {
    for (role, link) in ends_of(section) {
        link.map(|link| Idle::open(role, link)).transpose()?;
    }
    Ok(())
}

/// The sender and the receiver of a config file, which take the places of the running ones.
pub struct Prepared {
    section: SyncSection,
    ends: Vec<(SyncRole, Option<Idle>)>,
}

/// Prepares the sender and the receiver of the config file, as far as they differ from the running ones; a key file is read
/// again. Others that `ipvsadm` has started or stopped stay so until the section changes.
///
/// # Errors
/// As [`change`]; then nothing has changed.
pub async fn prepare(shared: &Shared, section: &SyncSection) -> Result<Prepared, Failure> {
    let mut running = shared.sync().ends.lock().await;
    let is_known = running.section == *section;
    let mut ends = Vec::new();
    for (role, link) in ends_of(section) {
        let place = running.place(role).as_ref();
        let is_same = place.map(|end| &end.link) == link.as_ref();
        if is_known && !is_same {
            continue;
        }
        let idle = link.map(|link| Idle::open(role, link)).transpose()?;
        let is_same_key = place.map(|end| &end.key) == idle.as_ref().map(|idle| &idle.key);
        if !(is_same && is_same_key) {
            ends.push((role, idle));
        }
    }
    Ok(Prepared { section: section.clone(), ends })
}

impl Prepared {
    /// Starts them in the places of the running ones.
    pub async fn start(self, shared: &Shared) {
        let mut running = shared.sync().ends.lock().await;
        running.section = self.section;
        for (role, idle) in self.ends {
            let what = if idle.is_some() { "started" } else { "stopped" };
            *running.place(role) = idle.map(|idle| idle.start(shared));
            tracing::info!("{} of announcements {what}", role.as_str());
        }
    }
}

async fn start(shared: &Shared, role: SyncRole, link: Link) -> Result<(), Failure> {
    let mut ends = shared.sync().ends.lock().await;
    let place = ends.place(role);
    if place.is_some() {
        return Err(Failure::wrong_input(format!("a {} of announcements runs already", role.as_str()))
            .because(ErrorCode::SyncDaemonRuns));
    }
    *place = Some(Idle::open(role, link)?.start(shared));
    Ok(())
}

/// Writes waiting connections into the maps after each change of the services and reals, until the task is aborted.
pub async fn apply_when_changed(shared: Shared) {
    let changed = shared.lock().await.reals_changed();
    loop {
        changed.notified().await;
        let began = Instant::now();
        if let Err(failure) = apply_waiting(&shared).await {
            tracing::error!("announced connections that waited are lost: {}", failure.message);
        }
        // Weights that change all the time do not keep a CPU busy.
        sleep(began.elapsed() * 10).await;
    }
}
