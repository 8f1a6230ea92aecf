// SPDX-License-Identifier: MIT OR Apache-2.0
//! The connections of one server: how many there are, which of them has been idle longest, and when each is over.
#![forbid(unsafe_code)]

use std::{
    collections::BTreeMap,
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::{Notify, watch},
    time::Instant,
};

/// How long the head of a request may take.
const HEAD: Duration = Duration::from_secs(5);
/// How long its body may take.
const BODY: Duration = Duration::from_secs(30);
/// How long an answer may take to leave, and after it the next request to come.
const REST: Duration = Duration::from_mins(1);
/// How long a client may take no byte of its answer.
const STALL: Duration = Duration::from_secs(10);

/// The connections of one server.
#[derive(Default)]
pub(super) struct Crowd {
    members: Mutex<Members>,
    /// Told when a connection ends or is no longer being answered.
    changed: Notify,
}

#[derive(Default)]
struct Members {
    next: u64,
    /// In the order in which they came.
    here: BTreeMap<u64, Member>,
}

struct Member {
    /// Since when it waits for its client; `None` while it is being answered.
    idle: Option<Instant>,
    /// When it is over; `None` while it is being answered.
    end: watch::Sender<Option<Instant>>,
}

impl Members {
    /// Ends the connection that has waited for its client longest; false if all are being answered.
    fn end_one(&mut self) -> bool {
        let idle = self.here.iter().filter_map(|(id, member)| Some((member.idle?, *id)));
        let Some((_, id)) = idle.min() else { return false };
        if let Some(member) = self.here.remove(&id) {
            member.end.send_replace(Some(Instant::now()));
        }
        true
    }
}

impl Crowd {
    fn members(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the longest idle connection, if there is one.
    pub(super) fn make_room(&self) {
        self.members().end_one();
    }

    /// Waits until one more connection has room among `most`, of which `most_idle` may be idle.
    pub(super) async fn room_for_one(&self, most: usize, most_idle: usize) {
        loop {
            {
                let mut members = self.members();
                let idle = members.here.values().filter(|member| member.idle.is_some()).count();
                let full = members.here.len() >= most || idle >= most_idle;
                if !full || members.end_one() {
                    return;
                }
            }
            self.changed.notified().await;
        }
    }

    /// A connection more.
    pub(super) fn enter(self: &Arc<Self>) -> Ticket {
        let now = Instant::now();
        let (end, over) = watch::channel(Some(now + HEAD));
        let mut members = self.members();
        let id = members.next;
        members.next += 1;
        members.here.insert(id, Member { idle: Some(now), end });
        Ticket(Arc::new(Place { id, crowd: Arc::clone(self), over, phase: Mutex::new(Phase::Head) }))
    }
}

/// What a connection does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    /// It reads the head of a request.
    Head,
    /// It reads a body, or its request is being answered.
    Request,
    /// Its answer leaves, or has left, and it must be over by then.
    Rest {
        /// When it is over unless another request begins.
        end: Instant,
        /// Whether its client takes nothing.
        stalled: bool,
    },
}

/// A connection's place in the crowd; the last copy that is dropped gives it up.
#[derive(Clone)]
pub(super) struct Ticket(Arc<Place>);

struct Place {
    id: u64,
    crowd: Arc<Crowd>,
    over: watch::Receiver<Option<Instant>>,
    phase: Mutex<Phase>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.crowd.members().here.remove(&self.id);
        self.crowd.changed.notify_one();
    }
}

impl Ticket {
    /// Waits until the connection is over.
    pub(super) async fn expired(&self) {
        let mut over = self.0.over.clone();
        loop {
            let end = *over.borrow_and_update();
            match end {
                Some(end) => tokio::select! {
                    () = tokio::time::sleep_until(end) => return,
                    changed = over.changed() => {
                        if changed.is_err() {
                            // It was ended to make room: the last word counts.
                            return;
                        }
                    }
                },
                None if over.changed().await.is_err() => return,
                None => {}
            }
        }
    }

    /// The head of a request is there.
    pub(super) fn reads_a_body(&self) {
        self.become_(Phase::Request, Some(Instant::now() + BODY));
    }

    /// The whole request is there.
    pub(super) fn is_answered(&self) {
        self.become_(Phase::Request, None);
    }

    /// The answer is there, and is yet to leave.
    pub(super) fn is_written(&self) {
        let end = Instant::now() + REST;
        self.become_(Phase::Rest { end, stalled: false }, Some(end));
    }

    fn phase(&self) -> MutexGuard<'_, Phase> {
        self.0.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn become_(&self, phase: Phase, end: Option<Instant>) {
        *self.phase() = phase;
        let mut members = self.0.crowd.members();
        let Some(member) = members.here.get_mut(&self.0.id) else { return };
        let was_answered = member.idle.is_none();
        member.idle = end.map(|_| Instant::now());
        member.end.send_replace(end);
        drop(members);
        if was_answered {
            self.0.crowd.changed.notify_one();
        }
    }

    /// Bytes of the client came.
    fn came(&self) {
        if matches!(*self.phase(), Phase::Rest { .. }) {
            self.become_(Phase::Head, Some(Instant::now() + HEAD));
        }
    }

    /// The client takes bytes of its answer, or none for now.
    fn takes(&self, some: bool) {
        let Phase::Rest { end, stalled } = *self.phase() else { return };
        if stalled == some {
            let until = if some { end } else { end.min(Instant::now() + STALL) };
            self.become_(Phase::Rest { end, stalled: !some }, Some(until));
        }
    }
}

/// A stream that tells its ticket what goes over it.
pub(super) struct Watched<S> {
    stream: S,
    ticket: Ticket,
}

impl<S> Watched<S> {
    pub(super) const fn new(stream: S, ticket: Ticket) -> Self {
        Self { stream, ticket }
    }

    fn wrote<T>(&self, poll: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        self.ticket.takes(poll.is_ready());
        poll
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let poll = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.ticket.came();
        }
        poll
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.wrote(poll)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.wrote(poll)
    }

    fn is_write_vectored(&self) -> bool {
        // Without it hyper copies a whole page of metrics for each reader.
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_longest_idle_connection_makes_room_and_those_that_are_answered_do_not() {
        let crowd = Arc::new(Crowd::default());
        let first = crowd.enter();
        tokio::time::advance(Duration::from_secs(1)).await;
        let second = crowd.enter();
        first.is_answered();
        crowd.room_for_one(2, 2).await;
        second.expired().await;
        assert_eq!(crowd.members().here.len(), 1);
        let third = crowd.enter();
        third.is_answered();
        // Both are being answered: the next one waits until an answer is there.
        let waiting = crowd.room_for_one(2, 2);
        tokio::pin!(waiting);
        assert!(tokio::time::timeout(Duration::from_secs(100), &mut waiting).await.is_err());
        first.is_written();
        tokio::time::timeout(Duration::from_secs(1), waiting).await.unwrap();
        first.expired().await;
        drop((first, second, third));
        assert_eq!(crowd.members().here.len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn each_phase_has_its_time() {
        let crowd = Arc::new(Crowd::default());
        let lives = async |ticket: &Ticket| {
            let began = Instant::now();
            ticket.expired().await;
            began.elapsed().as_secs()
        };
        let ticket = crowd.enter();
        assert_eq!(lives(&ticket).await, HEAD.as_secs());
        ticket.reads_a_body();
        assert_eq!(lives(&ticket).await, BODY.as_secs());
        ticket.is_written();
        assert_eq!(lives(&ticket).await, REST.as_secs());
        ticket.is_written();
        ticket.takes(false);
        assert_eq!(lives(&ticket).await, STALL.as_secs());
        ticket.takes(true);
        assert_eq!(lives(&ticket).await, REST.as_secs() - STALL.as_secs());
        ticket.is_written();
        ticket.came();
        assert_eq!(lives(&ticket).await, HEAD.as_secs());
        ticket.is_answered();
        assert!(tokio::time::timeout(REST * 10, ticket.expired()).await.is_err());
    }
}
