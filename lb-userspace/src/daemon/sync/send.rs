// SPDX-License-Identifier: MIT OR Apache-2.0
//! The sender. It reads the flow table, so that packets pay nothing for it: flows that have begun, changed their state, or
//! were announced a quarter of their timeout ago are announced.
#![forbid(unsafe_code)]

use std::{
    mem,
    net::SocketAddr,
    time::{Duration, Instant},
};

use lb_common::{
    flow_table::{Seen, Value},
    ids::RealId,
    protocol,
    schema::FlowKey,
    sync::{Parameter, Writer, state},
};
use lb_control::sync::{Link, SentFlows, units};
use lb_dataplane::{FlowScan, clock};
use lb_model::failure::Failure;
use tokio::{net::UdpSocket, task::spawn_blocking, time::sleep};

use super::{
    super::{Shared, maps::OwnFlow},
    signature::Key,
    socket,
    templates::SentTemplates,
};

/// Shortest time between two passes over the flow table.
const LEAST: Duration = Duration::from_millis(20);
/// Time between two passes, in durations of a pass: the passes take at most 2 % of a CPU.
const PASSES: u32 = 50;
/// Announcements in one pass: 50,000 per second at most. The rest is announced by the next passes.
const AT_ONCE: usize = 1000;
/// Interval at which the sender learns whether the flow table was replaced, and the timeouts have changed.
const RENEWAL: Duration = Duration::from_secs(1);
/// Interval at which persistence entries are read, at least.
const TEMPLATES: Duration = Duration::from_secs(2);

/// A sender.
pub(super) struct Sender {
    socket: UdpSocket,
    to: Vec<SocketAddr>,
    /// Index of the interface when the socket was opened.
    index: u32,
    link: Link,
    key: Option<Key>,
    sync_id: u8,
    buffer: Vec<u8>,
    /// Interval of repetitions in units of [`Seen`].
    refresh: Option<u32>,
    /// Messages were not sent since all flows were announced.
    has_failed: bool,
}

/// The flow table, and the announcements of its flows.
struct Watched {
    scan: FlowScan,
    sent: SentFlows,
    /// Place at which the next pass begins to select.
    next: usize,
}

/// A flow that must be announced.
type Due = (usize, FlowKey, Value);

impl Sender {
    /// Opens the socket.
    ///
    /// # Errors
    /// If there is no such interface, or the kernel refuses.
    pub(super) fn new(link: &Link, key: Option<Key>) -> Result<Self, Failure> {
        let index = socket::index_of(link)?;
        let (socket, to) = socket::sender(link)?;
        Ok(Self {
            socket,
            to,
            index,
            link: link.clone(),
            key,
            sync_id: link.sync_id,
            buffer: vec![0; link.max_length.into()],
            refresh: link.refresh.map(|refresh| units(refresh.as_secs())),
            has_failed: false,
        })
    }

    /// Opens the socket again if the interface was removed and created again: the old one stays bound to the removed one.
    /// Returns whether all flows must be announced again, because messages were lost meanwhile.
    fn follow_interface(&mut self) -> bool {
        let Some(index) = socket::changed_index(&self.link, self.index) else { return false };
        match socket::sender(&self.link) {
            Ok((socket, to)) => {
                (self.socket, self.to, self.index) = (socket, to, index);
                mem::take(&mut self.has_failed)
            }
            Err(failure) => {
                tracing::warn!("{}", failure.message);
                false
            }
        }
    }

    /// Sends announcements. Returns whether all flows must be announced again, because messages could not be sent before,
    /// as while an interface was down.
    async fn send(&mut self, shared: &Shared, announced: &[OwnFlow]) -> bool {
        if announced.is_empty() {
            return false;
        }
        let (mut rest, mut fails) = (announced, None);
        while !rest.is_empty() {
            let (message, count) = self.message(rest);
            rest = &rest[count..];
            let Some(message) = message else { continue };
            for to in &self.to {
                let sent = self.socket.send_to(&message, to).await;
                let mut known = shared.sync().known();
                match sent {
                    Ok(_) => known.counters.messages_sent += 1,
                    Err(error) => {
                        known.counters.send_errors += 1;
                        fails = Some((*to, error));
                    }
                }
            }
        }
        let has_failed = std::mem::replace(&mut self.has_failed, fails.is_some());
        match fails {
            Some((to, error)) if !has_failed => {
                tracing::warn!(
                    "announcements cannot be sent to {to}: {error}; all are repeated when they can"
                );
            }
            None if has_failed => tracing::info!("announcements can be sent again, and all are repeated"),
            _ => {}
        }
        has_failed && !self.has_failed
    }

    /// Returns a message with the first announcements, and their number, which is at least 1.
    fn message(&mut self, announced: &[OwnFlow]) -> (Option<Vec<u8>>, usize) {
        let Some(mut writer) = Writer::new(&mut self.buffer, self.sync_id, self.key.is_some()) else {
            return (None, announced.len());
        };
        let mut count = 0;
        for (connection, snat) in announced {
            let mut data = [0; 18];
            let snat = snat.map(|snat| Parameter::of_snat(snat, &mut data));
            if !writer.push(connection, snat.as_slice()) {
                break;
            }
            count += 1;
        }
        let message = match &self.key {
            Some(key) => writer.sign(|bytes| key.sign(bytes)),
            None => writer.finish(),
        };
        // An announcement that fits into no message is left out.
        (message.map(<[u8]>::to_vec), count.max(1))
    }
}

/// Announces flows and persistence entries until the task is aborted.
pub(super) async fn run(shared: Shared, mut sender: Sender) {
    let mut watched: Option<Watched> = None;
    let mut templates = SentTemplates::default();
    let (mut renewed, mut read) = (Instant::now(), Instant::now());
    let mut pause = Duration::ZERO;
    loop {
        if watched.is_none() || renewed.elapsed() >= RENEWAL {
            let is_repeated = sender.follow_interface();
            let scan = shared.lock().await.flow_scan();
            renewed = Instant::now();
            watched = Some(match watched.take() {
                Some(known) if known.scan.is_same(&scan) && !is_repeated => Watched { scan, ..known },
                _ => Watched { sent: SentFlows::new(scan.places(), sender.refresh), scan, next: 0 },
            });
        }
        let Some(known) = watched.take() else { continue };
        let began = Instant::now();
        // The thread returns the memory with the flows that it selected.
        let Ok((known, due)) = spawn_blocking(move || pass(known)).await else { continue };
        let took = began.elapsed();
        watched = Some(known);
        if !due.is_empty() {
            let announced = shared.lock().await.announcements(&due);
            shared.sync().known().counters.sent += announced.len() as u64;
            if sender.send(&shared, &announced).await
                && let Some(watched) = &mut watched
            {
                watched.sent.forget();
            }
        }
        if read.elapsed() >= pause {
            let began = Instant::now();
            let announced = templates.due(&shared).await;
            read = Instant::now();
            // Many entries take long to read, under the lock of the director.
            pause = TEMPLATES.max(began.elapsed() * PASSES);
            shared.sync().known().counters.templates_sent += announced.len() as u64;
            let _recovered = sender.send(&shared, &announced).await;
        }
        sleep(LEAST.max(took * PASSES)).await;
    }
}

/// Passes over the flow table. Returns the flows that must be announced, which are noted as announced.
fn pass(mut watched: Watched) -> (Watched, Vec<(FlowKey, Value)>) {
    let Watched { scan, sent, next } = &mut watched;
    let (now, limits) = (Seen::of(clock::now()), *scan.limits());
    let mut due: Vec<Due> = Vec::new();
    let (begin, mut selected, mut last) = (*next, 0, None);
    scan.for_some(
        |place, value| {
            let is_due = place >= begin
                && selected < AT_ONCE
                && !value.real().is(RealId::CUT)
                && state::announced(protocol::TCP, value.phase()).is_some()
                && sent.is_due(place, value, &limits, now);
            if is_due {
                selected += 1;
                last = Some(place);
            }
            is_due
        },
        |place, key, value| due.push((place, *key, value)),
    );
    // A pass that was full goes on where it ended.
    *next = last.filter(|_| selected == AT_ONCE).map_or(0, |last| last + 1);
    for (place, _, value) in &due {
        sent.note(*place, *value, now);
    }
    let due = mem::take(&mut due).into_iter().map(|(_, key, value)| (key, value)).collect();
    (watched, due)
}
