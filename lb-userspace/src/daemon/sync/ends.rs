// SPDX-License-Identifier: MIT OR Apache-2.0
//! Start and stop of sender and receiver.
#![forbid(unsafe_code)]

use lb_control::{config::SyncSection, sync::Link};
use lb_model::failure::{ErrorCode, Failure};
use tokio::task::JoinHandle;

use super::{
    super::Shared,
    apply::apply_waiting,
    receive::{self, Receiver},
    send,
    signature::Key,
    socket,
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
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for End {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
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

/// Starts the sender and the receiver of the config file, and stops those that it does not have any more, if the section has
/// changed. Others that `ipvsadm` has started go on until then.
///
/// # Errors
/// As [`change`]. The end that cannot be started does not run.
pub async fn follow(shared: &Shared, section: &SyncSection) -> Result<(), Failure> {
    {
        let mut ends = shared.sync().ends.lock().await;
        if ends.section == *section {
            return Ok(());
        }
        ends.section = section.clone();
    }
    for (role, link) in [(SyncRole::Master, section.sender()), (SyncRole::Backup, section.receiver())] {
        {
            let mut ends = shared.sync().ends.lock().await;
            let place = ends.place(role);
            if place.as_ref().map(|end| &end.link) == link.as_ref() {
                continue;
            }
            *place = None;
        }
        if let Some(link) = link {
            start(shared, role, link).await?;
        }
    }
    Ok(())
}

async fn start(shared: &Shared, role: SyncRole, link: Link) -> Result<(), Failure> {
    let mut ends = shared.sync().ends.lock().await;
    let place = ends.place(role);
    if place.is_some() {
        return Err(Failure::wrong_input(format!("a {} of announcements runs already", role.as_str()))
            .because(ErrorCode::SyncDaemonRuns));
    }
    let key = link.key()?.map(Key::new);
    let tasks = match role {
        SyncRole::Master => vec![tokio::spawn(send::run(shared.clone(), send::Sender::new(&link, key)?))],
        SyncRole::Backup => {
            let socket = socket::receiver(&link)?;
            let receiver = Receiver { socket, link: link.clone(), key };
            vec![tokio::spawn(receive::run(shared.clone(), receiver))]
        }
    };
    *place = Some(End { link, tasks });
    Ok(())
}

/// Writes waiting connections into the maps after each change of the services, until the task is aborted.
pub async fn apply_when_changed(shared: Shared) {
    let mut snapshots = shared.snapshots();
    while snapshots.changed().await.is_ok() {
        snapshots.mark_unchanged();
        if let Err(failure) = apply_waiting(&shared).await {
            tracing::error!("announced connections that waited are lost: {}", failure.message);
        }
    }
}
