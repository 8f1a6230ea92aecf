// SPDX-License-Identifier: MIT OR Apache-2.0
//! The thread of probes by path. Its home may be a network namespace of its own.
#![forbid(unsafe_code)]

use std::{
    cell::RefCell,
    io,
    rc::Rc,
    sync::{Arc, OnceLock},
    thread,
    time::Duration,
};

use tokio::{
    runtime,
    sync::mpsc::{Receiver, Sender, channel, error::TrySendError},
    task::{LocalSet, spawn_local},
    time::{MissedTickBehavior, interval, timeout},
};

use super::job::{Job, Message};
use crate::{
    path::PathSockets,
    probe::{Way, connect},
};

/// Maker of the sockets, which is called on the thread of the path before anything else.
pub(super) type Maker = Arc<dyn Fn() -> io::Result<Box<dyn PathSockets>> + Send + Sync>;
type Sockets = Rc<RefCell<Box<dyn PathSockets>>>;

/// Interval and timeout of the probe of the director to itself.
const CANARY: Duration = Duration::from_secs(1);
/// Failures of that probe in a row that count.
const CANARY_FALL: u32 = 2;

/// The thread.
#[derive(Debug)]
pub(super) struct PathThread {
    jobs: Sender<Job>,
    /// Why the thread could not start, before the message about it arrives.
    failure: Arc<OnceLock<String>>,
    thread: thread::JoinHandle<()>,
}

impl PathThread {
    /// Starts the thread, with room for that many jobs.
    pub fn start(maker: Maker, messages: Sender<Message>, room: usize) -> io::Result<Self> {
        let (jobs, mut received) = channel(room);
        let failure = Arc::new(OnceLock::new());
        let reason = Arc::clone(&failure);
        let thread = thread::Builder::new().name("xvs-path".to_owned()).spawn(move || {
            if let Err(error) = serve(&maker, &mut received, &messages) {
                let why = format!("cannot probe by path: {error}");
                let why = reason.get_or_init(|| why);
                received.close();
                while let Ok(job) = received.try_recv() {
                    job.fail(why);
                }
                drop(messages.blocking_send(Message::NoPath(why.clone())));
            }
        })?;
        Ok(Self { jobs, failure, thread })
    }

    /// Hands a job over.
    pub fn run(&self, job: Job) {
        match self.jobs.try_send(job) {
            Ok(()) => (),
            Err(TrySendError::Full(job)) => job.fail("too many probes wait for the thread of the path"),
            Err(TrySendError::Closed(job)) => {
                job.fail(self.failure.get().map_or("the thread of the path has ended", String::as_str));
            }
        }
    }

    /// Returns whether the thread has ended by itself.
    pub fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// Ends the probes and the thread.
    pub fn stop(self) {
        drop(self.jobs);
        if self.thread.join().is_err() {
            tracing::error!("the thread of probes by path panicked");
        }
    }
}

/// Makes the sockets, and runs jobs until no more can come or the path is lost.
fn serve(maker: &Maker, jobs: &mut Receiver<Job>, messages: &Sender<Message>) -> io::Result<()> {
    // The thread may change its namespace here, before the runtime makes its own descriptors.
    let sockets: Sockets = Rc::new(RefCell::new(maker()?));
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let local = LocalSet::new();
    local.block_on(&runtime, async {
        spawn_local(watch(Rc::clone(&sockets), messages.clone()));
        while let Some(job) = jobs.recv().await {
            if sockets.borrow().is_lost() {
                return Err(io::Error::other("its interface or the addresses there were removed"));
            }
            spawn_local(job.run(Way::Path(Rc::clone(&sockets))));
        }
        Ok(())
    })
}

/// Probes the director itself over the first link of the path.
async fn watch(sockets: Sockets, messages: Sender<Message>) {
    let mut ticks = interval(CANARY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failures = 0;
    loop {
        ticks.tick().await;
        let made = sockets.borrow_mut().canary();
        let (socket, address) = match made {
            None => return,
            // Without a socket, no other probe has a verdict either.
            Some(Err(_)) => continue,
            Some(Ok(made)) => made,
        };
        let result = match timeout(CANARY, connect(socket, address)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(format!("{address}: {error}")),
            Err(_) => Err(format!("{address}: no answer within 1s")),
        };
        failures = if result.is_ok() { 0 } else { failures + 1 };
        if (failures == 0 || failures >= CANARY_FALL) && messages.send(Message::Canary(result)).await.is_err()
        {
            return;
        }
    }
}
