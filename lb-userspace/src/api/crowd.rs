// SPDX-License-Identifier: MIT OR Apache-2.0
//! Connections of one server: their number, their idle times, and their deadlines.
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

/// Timeout of the head of a request.
const HEAD: Duration = Duration::from_secs(5);
/// Timeout of the body of a request.
const BODY: Duration = Duration::from_secs(30);
/// Time in which an answer must be sent, and then the next request must begin.
const REST: Duration = Duration::from_mins(1);
/// Time after which a client that accepts no byte of its answer is disconnected.
const STALL: Duration = Duration::from_secs(10);

/// Connections of one server.
#[derive(Default)]
pub(super) struct Crowd {
    members: Mutex<Members>,
    /// Notified when a connection ends or has been answered.
    changed: Notify,
}

#[derive(Default)]
struct Members {
    next: u64,
    /// Connections in order of their arrival.
    here: BTreeMap<u64, Member>,
}

struct Member {
    /// Time since which the connection waits for its client; `None` while it is being answered.
    idle: Option<Instant>,
    /// Deadline of the connection; `None` while it is being answered, and for a stream.
    end: watch::Sender<Option<Instant>>,
}

impl Members {
    /// Ends the connection that has waited for its client longest. Returns false if all are being answered.
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

    /// Waits until there is room for another connection: at most `most` in total, of which at most
    /// `most_idle` are idle.
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

    /// Adds a connection.
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

/// Phase of a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    /// The connection reads the head of a request.
    Head,
    /// The connection reads a body, or its request is being answered.
    Request,
    /// The answer is being sent, or was sent.
    Rest {
        /// Deadline, unless another request begins; `None`: the answer is a stream that goes on.
        end: Option<Instant>,
        /// The client accepts no bytes.
        stalled: bool,
    },
}

/// The entry of a connection in the crowd; it is removed when the last copy of the ticket is dropped.
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
    /// Waits until the deadline of the connection.
    pub(super) async fn expired(&self) {
        let mut over = self.0.over.clone();
        loop {
            let end = *over.borrow_and_update();
            match end {
                Some(end) => tokio::select! {
                    () = tokio::time::sleep_until(end) => return,
                    changed = over.changed() => {
                        if changed.is_err() {
                            // The connection was ended to make room: its last deadline counts.
                            return;
                        }
                    }
                },
                None if over.changed().await.is_err() => return,
                None => {}
            }
        }
    }

    /// Notes that the head of a request was received.
    pub(super) fn reads_a_body(&self) {
        self.become_(Phase::Request, Some(Instant::now() + BODY));
    }

    /// Notes that the whole request was received.
    pub(super) fn is_answered(&self) {
        self.become_(Phase::Request, None);
    }

    /// Notes that the answer is ready to be sent.
    pub(super) fn is_written(&self) {
        let end = Some(Instant::now() + REST);
        self.become_(Phase::Rest { end, stalled: false }, end);
    }

    /// Notes that the answer is a stream that goes on: it ends only if the client accepts no bytes, or to make room
    /// for another connection.
    pub(super) fn is_streamed(&self) {
        self.become_(Phase::Rest { end: None, stalled: false }, None);
    }

    fn phase(&self) -> MutexGuard<'_, Phase> {
        self.0.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn become_(&self, phase: Phase, end: Option<Instant>) {
        *self.phase() = phase;
        let mut members = self.0.crowd.members();
        let Some(member) = members.here.get_mut(&self.0.id) else { return };
        let was_answered = member.idle.is_none();
        let is_waiting = end.is_some() || matches!(phase, Phase::Rest { .. });
        member.idle = is_waiting.then(Instant::now);
        member.end.send_replace(end);
        drop(members);
        if was_answered {
            self.0.crowd.changed.notify_one();
        }
    }

    /// Notes that bytes of the client arrived.
    fn came(&self) {
        if matches!(*self.phase(), Phase::Rest { .. }) {
            self.become_(Phase::Head, Some(Instant::now() + HEAD));
        }
    }

    /// Notes whether the client accepts bytes of its answer at present.
    fn takes(&self, some: bool) {
        let Phase::Rest { end, stalled } = *self.phase() else { return };
        if stalled == some {
            let stall = Instant::now() + STALL;
            let until = if some { end } else { Some(end.map_or(stall, |end| end.min(stall))) };
            self.become_(Phase::Rest { end, stalled: !some }, until);
        }
    }
}

/// A stream that reports its activity to a ticket.
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
        // Without this, hyper copies a whole page of metrics for each reader.
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
        // Both are being answered: the next connection waits until an answer is ready.
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

    #[tokio::test(start_paused = true)]
    async fn a_stream_ends_only_if_its_client_stalls_or_to_make_room() {
        let crowd = Arc::new(Crowd::default());
        let ticket = crowd.enter();
        ticket.is_answered();
        ticket.is_streamed();
        assert!(tokio::time::timeout(REST * 10, ticket.expired()).await.is_err());
        ticket.takes(false);
        let began = Instant::now();
        ticket.expired().await;
        assert_eq!(began.elapsed().as_secs(), STALL.as_secs());
        ticket.takes(true);
        assert!(tokio::time::timeout(REST * 10, ticket.expired()).await.is_err());
        crowd.room_for_one(1, 1).await;
        tokio::time::timeout(Duration::from_secs(1), ticket.expired()).await.unwrap();
    }
}
