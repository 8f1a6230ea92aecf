// SPDX-License-Identifier: MIT OR Apache-2.0
//! History of the config: the last revisions, in a folder beside the state file. A thread writes them, so that a
//! change never waits for it: a crash loses at most the revisions of the last second, and never a change.
#![forbid(unsafe_code)]

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::{
    change::{self, Effect},
    snapshot::Snapshot,
};
use crate::api::{config::Revision, proof::now};
use lb_control::{
    config::{self, Extent},
    state_file,
};
use lb_model::Desired;
use lb_model::failure::Failure;

/// Number of revisions that are kept.
const KEPT: usize = 50;
/// Time in which changes of the same operator become one revision.
const GATHER: Duration = Duration::from_secs(1);

/// The history, shared by all who change the config.
#[derive(Clone)]
pub struct History(mpsc::Sender<Message>);

enum Message {
    /// A change was made.
    Changed { who: String, snapshot: Arc<Snapshot> },
    /// The revisions are wanted, oldest first.
    List(oneshot::Sender<Vec<Revision>>),
    /// The config of a revision is wanted.
    Text(u64, oneshot::Sender<Option<String>>),
}

/// Content of the file of a revision.
#[derive(Deserialize, Serialize)]
struct Entry {
    revision: Revision,
    config: String,
}

impl History {
    /// Starts the thread that keeps the history of a state file.
    #[must_use]
    pub fn start(state_file: &Path) -> Self {
        let (sender, receiver) = mpsc::channel();
        let folder = beside(state_file, ".history");
        let thread = thread::Builder::new().name("history".to_owned());
        if let Err(error) = thread.spawn(move || Keeper::open(folder).run(&receiver)) {
            tracing::error!("no history is kept: {error}");
        }
        Self(sender)
    }

    /// Notes a change.
    pub fn note(&self, who: String, snapshot: Arc<Snapshot>) {
        // Without the thread, no history is kept; the log says so.
        drop(self.0.send(Message::Changed { who, snapshot }));
    }

    /// Returns the revisions, oldest first, after all noted changes are written.
    pub async fn list(&self) -> Vec<Revision> {
        let (sender, receiver) = oneshot::channel();
        drop(self.0.send(Message::List(sender)));
        receiver.await.unwrap_or_default()
    }

    /// Returns the config of a revision.
    ///
    /// # Errors
    /// If there is no such revision; the failure is wrong input.
    pub async fn text(&self, number: u64) -> Result<String, Failure> {
        let (sender, receiver) = oneshot::channel();
        drop(self.0.send(Message::Text(number, sender)));
        receiver.await.ok().flatten().ok_or_else(|| {
            Failure::wrong_input(format!("there is no revision {number}"))
                .hint("`xvs config history` lists the revisions")
        })
    }
}

/// Returns a path beside the state file.
pub(super) fn beside(state_file: &Path, ending: &str) -> PathBuf {
    let mut name = state_file.file_name().unwrap_or(OsStr::new("state")).to_owned();
    name.push(ending);
    state_file.with_file_name(name)
}

/// The thread's data.
struct Keeper {
    folder: PathBuf,
    revisions: Vec<Revision>,
    /// Config of the last revision.
    last: Option<Desired>,
    /// Change that is not written yet.
    pending: Option<(String, Arc<Snapshot>)>,
    /// The last revision could not be written.
    failing: bool,
}

impl Keeper {
    /// Reads the revisions of earlier runs; files that cannot be read are left out.
    fn open(folder: PathBuf) -> Self {
        let files = fs::read_dir(&folder).into_iter().flatten().filter_map(Result::ok);
        let paths = files.map(|file| file.path()).filter(|path| path.extension() == Some(OsStr::new("json")));
        let mut entries: Vec<Entry> = paths.filter_map(|path| read(&path)).collect();
        entries.sort_by_key(|entry| entry.revision.number);
        let last = entries.last().and_then(|entry| parsed(&entry.config));
        let revisions = entries.into_iter().map(|entry| entry.revision).collect();
        Self { folder, revisions, last, pending: None, failing: false }
    }

    fn run(mut self, messages: &mpsc::Receiver<Message>) {
        loop {
            let message = if self.pending.is_some() {
                match messages.recv_timeout(GATHER) {
                    Ok(message) => message,
                    Err(RecvTimeoutError::Timeout) => {
                        self.write_pending();
                        continue;
                    }
                    Err(RecvTimeoutError::Disconnected) => break,
                }
            } else {
                match messages.recv() {
                    Ok(message) => message,
                    Err(_) => break,
                }
            };
            self.handle(message);
        }
        self.write_pending();
    }

    fn handle(&mut self, message: Message) {
        match message {
            Message::Changed { who, snapshot } => {
                if self.pending.as_ref().is_some_and(|(other, _)| *other != who) {
                    self.write_pending();
                }
                self.pending = Some((who, snapshot));
            }
            Message::List(to) => {
                self.write_pending();
                drop(to.send(self.revisions.clone()));
            }
            Message::Text(number, to) => {
                self.write_pending();
                drop(to.send(read(&self.path(number)).map(|entry| entry.config)));
            }
        }
    }

    /// Writes the pending change as a revision, unless it changed nothing.
    fn write_pending(&mut self) {
        let Some((who, snapshot)) = self.pending.take() else { return };
        let desired = snapshot.desired();
        let none = Desired::default();
        let changes = change::differences(self.last.as_ref().unwrap_or(&none), desired);
        if changes.is_empty() && self.last.is_some() {
            return;
        }
        let count = |effect| changes.iter().filter(|change| change.effect == effect).count() as u64;
        let revision = Revision {
            number: self.revisions.last().map_or(1, |last| last.number + 1),
            time: now(),
            who,
            added: count(Effect::Add),
            changed: count(Effect::Change),
            removed: count(Effect::Remove),
        };
        let entry = Entry { revision: revision.clone(), config: config::write(desired, Extent::Differences) };
        match self.write(&entry) {
            Ok(()) => {
                self.failing = false;
                self.last = Some(desired.clone());
                self.revisions.push(revision);
                self.forget_old();
            }
            Err(error) if !self.failing => {
                self.failing = true;
                tracing::warn!("the history in {} is not kept: {error}", self.folder.display());
            }
            Err(_) => {}
        }
    }

    fn write(&self, entry: &Entry) -> std::io::Result<()> {
        state_file::prepare(&self.path(entry.revision.number), entry)?.commit().map(|_| ())
    }

    /// Removes all but the last revisions.
    fn forget_old(&mut self) {
        while self.revisions.len() > KEPT {
            let old = self.revisions.remove(0);
            // A file that stays is read at the next start, and removed then.
            drop(fs::remove_file(self.path(old.number)));
        }
    }

    fn path(&self, number: u64) -> PathBuf {
        self.folder.join(format!("{number:06}.json"))
    }
}

fn read(path: &Path) -> Option<Entry> {
    let entry = state_file::read(path).ok().and_then(|content| serde_json::from_value(content).ok());
    if entry.is_none() && path.exists() {
        tracing::warn!("{} is not a revision of the config", path.display());
    }
    entry
}

fn parsed(text: &str) -> Option<Desired> {
    config::parse(text, Path::new("the last revision")).ok().map(|config| config.desired)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(services: u16) -> Arc<Snapshot> {
        let service = |number| format!("[[service]]\nprotocol = \"tcp\"\naddress = \"192.0.2.1:{number}\"\n");
        let text: String = (1..=services).map(service).collect();
        Arc::new(Snapshot::new(parsed(&text).unwrap()))
    }

    #[tokio::test]
    async fn revisions_are_counted_kept_and_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state.json");
        let history = History::start(&state);
        history.note("start".to_owned(), snapshot(0));
        history.note("alice".to_owned(), snapshot(1));
        history.note("alice".to_owned(), snapshot(3));
        history.note("bob".to_owned(), snapshot(2));
        history.note("bob".to_owned(), snapshot(2));
        let list = history.list().await;
        let shown: Vec<_> = list.iter().map(|one| (one.number, &*one.who, one.added, one.removed)).collect();
        assert_eq!(shown, [(1, "start", 0, 0), (2, "alice", 3, 0), (3, "bob", 0, 1)]);
        assert_eq!(parsed(&history.text(2).await.unwrap()).unwrap().services.len(), 3);
        assert!(history.text(9).await.unwrap_err().message.contains("no revision 9"));

        // The next daemon continues, and keeps a bounded number.
        let history = History::start(&state);
        history.note("start".to_owned(), snapshot(2));
        assert_eq!(history.list().await.len(), 3, "nothing has changed");
        for number in 0..60 {
            history.note(format!("user{number}"), snapshot(number % 2));
        }
        let list = history.list().await;
        assert_eq!((list.len(), list.last().unwrap().number), (KEPT, 63));
        assert!(history.text(13).await.is_err() && history.text(14).await.is_ok());
    }
}
