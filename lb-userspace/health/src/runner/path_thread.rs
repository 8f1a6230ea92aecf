// SPDX-License-Identifier: MIT OR Apache-2.0
//! The thread of probes by path. Its home may be a network namespace of its own.
#![forbid(unsafe_code)]

use std::{
    cell::{Cell, RefCell},
    io,
    net::SocketAddr,
    rc::Rc,
    sync::{Arc, OnceLock},
    thread,
    time::Duration,
};

use socket2::Socket;
use tokio::{
    net::UdpSocket,
    runtime,
    sync::mpsc::{Receiver, Sender, channel, error::TrySendError},
    task::{LocalSet, spawn_local},
    time::{MissedTickBehavior, interval, timeout},
};

use super::job::{Job, Message};
use crate::{path::PathSockets, probe::Way};

/// Maker of the sockets, which is called on the thread of the path before anything else.
pub(super) type Maker = Arc<dyn Fn() -> io::Result<Box<dyn PathSockets>> + Send + Sync>;
type Sockets = Rc<RefCell<Box<dyn PathSockets>>>;

/// Interval and timeout of the probe of the director to itself.
const CANARY: Duration = Duration::from_millis(500);
/// Failures of that probe in a row that count.
const CANARY_FALL: u32 = 2;
/// Failures in a row after which the path is made again.
const CANARY_LOST: u32 = 10;

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
            let mut had_path = false;
            if let Err(error) = serve(&maker, &mut received, &messages, &mut had_path) {
                let why = format!("cannot probe by path: {error}");
                let why = reason.get_or_init(|| why);
                received.close();
                while let Ok(job) = received.try_recv() {
                    job.fail(why);
                }
                drop(messages.blocking_send(Message::NoPath { why: why.clone(), had_path }));
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

/// Makes the sockets, and runs jobs until no more can come or the path is lost. Sets `had_path` if the sockets are made.
fn serve(
    maker: &Maker,
    jobs: &mut Receiver<Job>,
    messages: &Sender<Message>,
    had_path: &mut bool,
) -> io::Result<()> {
    // The thread may change its namespace here, before the runtime makes its own descriptors.
    let sockets: Sockets = Rc::new(RefCell::new(maker()?));
    *had_path = true;
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let local = LocalSet::new();
    local.block_on(&runtime, async {
        let is_sick = Rc::new(Cell::new(false));
        spawn_local(watch(Rc::clone(&sockets), messages.clone(), Rc::clone(&is_sick)));
        while let Some(job) = jobs.recv().await {
            if sockets.borrow().is_lost() {
                return Err(io::Error::other("its interface or the addresses there were removed"));
            }
            if is_sick.get() {
                return Err(io::Error::other("the director does not reach itself by it"));
            }
            spawn_local(job.run(Way::Path(Rc::clone(&sockets))));
        }
        Ok(())
    })
}

/// Probes the director itself over the first link of the path, and notes if the path must be made again.
async fn watch(sockets: Sockets, messages: Sender<Message>, is_sick: Rc<Cell<bool>>) {
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
        let result = match timeout(CANARY, there_and_back(socket, address)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(format!("{address}: {error}")),
            Err(_) => Err(format!("{address}: no answer within {CANARY:?}")),
        };
        failures = if result.is_ok() { 0 } else { failures + 1 };
        if failures >= CANARY_LOST {
            is_sick.set(true);
        }
        if (failures == 0 || failures >= CANARY_FALL) && messages.send(Message::Canary(result)).await.is_err()
        {
            return;
        }
    }
}

/// Sends a datagram, and waits until it comes back.
async fn there_and_back(socket: Socket, address: SocketAddr) -> io::Result<()> {
    const TEXT: &[u8] = b"xvs";
    let socket = UdpSocket::from_std(socket.into())?;
    socket.connect(address).await?;
    socket.send(TEXT).await?;
    let mut buffer = [0; TEXT.len()];
    let length = socket.recv(&mut buffer).await?;
    if buffer[..length] == *TEXT { Ok(()) } else { Err(io::Error::other("another datagram came back")) }
}
