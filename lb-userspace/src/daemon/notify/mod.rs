// SPDX-License-Identifier: MIT OR Apache-2.0
//! Programs and a FIFO that get events, on a thread of their own: the director never waits for them.
#![forbid(unsafe_code)]

mod fifo; //    the FIFO, in keepalived's format
mod program; // the program for each event

use std::{
    collections::VecDeque,
    io,
    path::PathBuf,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rustix::thread::clear_ambient_capability_set;
use tokio::{
    runtime,
    sync::{
        broadcast::{Receiver, error::RecvError},
        oneshot,
    },
    task::JoinSet,
};

use super::health::{Event, Events};
use crate::privileges;
use fifo::Fifo;
use lb_control::config::DirectorSection;
use lb_health::command::User;
use lb_model::check::Check;
use program::Program;

/// Largest number of programs that run at the same time.
const RUNNING: usize = 4;
/// Largest number of events that wait for a program.
const WAITING: usize = 1000;
/// Least time between two lines of the log about lost events.
const COMPLAIN: Duration = Duration::from_secs(10);

/// Recipients of events.
#[derive(Debug, Default)]
struct Readers {
    program: Option<Arc<Program>>,
    fifo: Option<PathBuf>,
}

impl Readers {
    /// Returns the readers that the config file names.
    fn of(section: &DirectorSection) -> Result<Self, String> {
        let user = section.notify_user.as_deref().unwrap_or(Check::USER);
        let make = || Ok::<_, String>(Arc::new(Program::new(section.notify.clone(), User::named(user)?)));
        let program = (!section.notify.is_empty()).then(make).transpose()?;
        Ok(Self { program, fifo: section.notify_fifo.clone() })
    }
}

/// The running thread. It ends, and programs are killed, when this is dropped.
#[derive(Debug)]
pub struct Notifier {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Drop for Notifier {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that reports events panicked");
        }
    }
}

/// Starts the thread if the config file names a program or a FIFO. If that fails, the log has the reason, and the
/// daemon runs without it.
#[must_use]
pub fn start(section: &DirectorSection, events: &Events) -> Option<Notifier> {
    if section.notify.is_empty() && section.notify_fifo.is_none() {
        return None;
    }
    let readers = match Readers::of(section) {
        Ok(readers) => readers,
        Err(why) => {
            tracing::error!("notify: {why}: no program runs for events");
            Readers { program: None, fifo: section.notify_fifo.clone() }
        }
    };
    match start_thread(readers, events) {
        Ok(notifier) => Some(notifier),
        Err(error) => {
            tracing::error!(%error, "notify: cannot start a thread: no program runs for events");
            None
        }
    }
}

fn start_thread(readers: Readers, events: &Events) -> io::Result<Notifier> {
    let (kept, later) = events.subscribe();
    let (stop, is_stopped) = oneshot::channel();
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let thread = thread::Builder::new().name("xvs-notify".to_owned()).spawn(move || {
        if readers.program.is_some()
            && let Err(failure) = privileges::raise(privileges::COMMANDS)
        {
            tracing::error!("notify: programs cannot run: {}", failure.message);
        }
        // Otherwise, programs of a daemon that is not root could have its capabilities.
        if let Err(error) = clear_ambient_capability_set() {
            tracing::error!(%error, "notify: cannot give up capabilities: no program runs for events");
            return;
        }
        runtime.block_on(async {
            let fifo = readers.fifo.map(Fifo::new);
            let mut teller = Teller { program: readers.program, fifo, ..Teller::default() };
            for event in kept {
                teller.take(event);
            }
            tokio::select! {
                () = teller.run(later) => {}
                _ = is_stopped => {}
            }
        });
    })?;
    Ok(Notifier { stop: Some(stop), thread: Some(thread) })
}

/// Hands each event to the readers.
#[derive(Default)]
struct Teller {
    program: Option<Arc<Program>>,
    fifo: Option<Fifo>,
    /// Events that wait for a program.
    waiting: VecDeque<Arc<Event>>,
    /// Programs that run.
    running: JoinSet<()>,
    /// Events that were dropped since the log was last told.
    lost: u64,
    /// Time when the log was last told.
    complained: Option<Instant>,
}

impl Teller {
    /// Hands over events until there can be no more.
    async fn run(&mut self, mut later: Receiver<Arc<Event>>) {
        loop {
            self.complain();
            tokio::select! {
                event = later.recv() => match event {
                    Ok(event) => self.take(event),
                    Err(RecvError::Lagged(events)) => self.lost += events,
                    Err(RecvError::Closed) => return,
                },
                Some(_) = self.running.join_next(), if !self.running.is_empty() => self.fill(),
            }
        }
    }

    /// Takes an event: the FIFO gets its line at once, and a program is started as soon as few enough run.
    fn take(&mut self, event: Arc<Event>) {
        if let Some(fifo) = &mut self.fifo
            && let Some(line) = fifo::line(&event.kind)
        {
            fifo.write(&line);
        }
        if self.program.is_none() {
            return;
        }
        if self.waiting.len() == WAITING {
            self.waiting.pop_front();
            self.lost += 1;
        }
        self.waiting.push_back(event);
        self.fill();
    }

    /// Starts programs for the events that wait.
    fn fill(&mut self) {
        let Some(program) = &self.program else { return };
        while self.running.len() < RUNNING
            && let Some(event) = self.waiting.pop_front()
        {
            let program = Arc::clone(program);
            self.running.spawn(async move { program.run(&event).await });
        }
    }

    /// Logs the number of lost events, at most every ten seconds.
    fn complain(&mut self) {
        if self.lost > 0 && self.complained.is_none_or(|last| last.elapsed() >= COMPLAIN) {
            tracing::warn!(
                "notify: {} events were dropped, because programs take too long for so many events",
                self.lost
            );
            (self.lost, self.complained) = (0, Some(Instant::now()));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

    use super::*;
    use crate::daemon::health::EventKind;

    /// Returns a program, run by the user of the test.
    fn script(folder: &Path, text: &str) -> Arc<Program> {
        let path = folder.join("on-event");
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Arc::new(program::tests::as_this_user(vec![path.display().to_string()]))
    }

    fn event(number: u64) -> Arc<Event> {
        let kind = EventKind::Frozen { why: "test".to_owned() };
        Arc::new(Event { time_ms: 1, number, text: "test".to_owned(), kind })
    }

    #[tokio::test]
    async fn few_programs_run_at_a_time_and_all_events_are_told() {
        let folder = program::tests::open_folder();
        let running = folder.path().join("running");
        fs::create_dir(&running).unwrap();
        fs::set_permissions(&running, fs::Permissions::from_mode(0o777)).unwrap();
        // Each run leaves the number of those that ran with it.
        let text = format!(
            "cd {}; touch run.$$; sleep 0.1; ls run.* | wc -l > seen.$$; rm run.$$",
            running.display()
        );
        let mut teller = Teller { program: Some(script(folder.path(), &text)), ..Teller::default() };
        for number in 0..10 {
            teller.take(event(number));
        }
        assert_eq!((teller.running.len(), teller.waiting.len()), (RUNNING, 10 - RUNNING));
        while teller.running.join_next().await.is_some() {
            teller.fill();
        }
        let seen: Vec<usize> = fs::read_dir(&running)
            .unwrap()
            .map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap().trim().parse().unwrap())
            .collect();
        assert_eq!(seen.len(), 10);
        assert!(seen.iter().all(|together| (1..=RUNNING).contains(together)), "{seen:?}");
    }

    #[tokio::test]
    async fn the_oldest_events_are_dropped_if_too_many_wait() {
        let folder = program::tests::open_folder();
        let mut teller = Teller { program: Some(script(folder.path(), "sleep 60")), ..Teller::default() };
        let all = (RUNNING + WAITING + 5) as u64;
        for number in 0..all {
            teller.take(event(number));
        }
        assert_eq!((teller.waiting.len(), teller.lost), (WAITING, 5));
        assert_eq!(teller.waiting.front().map(|event| event.number), Some(RUNNING as u64 + 5));
        teller.complain();
        assert_eq!(teller.lost, 0);
    }

    #[tokio::test]
    async fn the_thread_tells_of_events_and_ends() {
        let folder = program::tests::open_folder();
        let out = folder.path().join("out");
        let program = script(folder.path(), &format!("echo $XVS_EVENT >> {}; exec sleep 60", out.display()));
        let events = Events::default();
        events.publish("before".to_owned(), EventKind::Thawed);
        let readers = Readers { program: Some(program), fifo: None };
        let notifier = start_thread(readers, &events).unwrap();
        events.publish("after".to_owned(), EventKind::Frozen { why: "test".to_owned() });
        let begun = Instant::now();
        let told = || {
            let mut lines: Vec<String> =
                fs::read_to_string(&out).unwrap_or_default().lines().map(str::to_owned).collect();
            lines.sort();
            lines
        };
        while told() != ["frozen", "thawed"] && begun.elapsed() < Duration::from_secs(20) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(told(), ["frozen", "thawed"]);
        let begun = Instant::now();
        drop(notifier);
        assert!(begun.elapsed() < Duration::from_secs(5), "programs are killed");
    }
}
