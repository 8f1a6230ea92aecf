// SPDX-License-Identifier: MIT OR Apache-2.0
//! The receiver: reads messages, and writes their announcements into the maps.
#![forbid(unsafe_code)]

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use lb_common::sync::{Message, Refused};
use lb_control::sync::{Dropped, Link};
use lb_model::failure::Failure;
use tokio::{
    net::UdpSocket,
    time::{sleep, timeout},
};

use super::{
    super::{Shared, maps::Announcement},
    Known,
    apply::apply,
    signature::Key,
    socket,
};

/// Messages that are read at a time.
const AT_ONCE: usize = 64;
/// Messages per second that are read: 160,000 connections. The kernel's buffer takes a burst; what exceeds both is lost,
/// and announced again.
const RATE: u32 = 4000;
/// Time after an error of the socket.
const PAUSE: Duration = Duration::from_millis(100);

/// Interval at which the receiver looks whether its interface was created again.
const LOOK: Duration = Duration::from_secs(1);
/// Entries of a message of [`sync::MESSAGE`](lb_common::sync::MESSAGE) bytes: a longer one counts as several.
const ENTRIES: f64 = 40.0;

/// A socket for messages, and the conditions under which they are accepted.
pub(super) struct Receiver {
    socket: UdpSocket,
    /// Index of the interface when the socket was opened.
    index: u32,
    link: Link,
    key: Option<Key>,
}

/// Receives messages until the task is aborted.
pub(super) async fn run(shared: Shared, mut receiver: Receiver) {
    let mut buffer = vec![0; usize::from(u16::MAX)];
    let mut allowance = Allowance::new(Instant::now());
    let mut announcements = Vec::new();
    let mut looked = Instant::now();
    loop {
        if looked.elapsed() >= LOOK {
            looked = Instant::now();
            receiver.follow_interface();
        }
        if let Err(error) = receiver.read(&shared, &mut buffer, &mut allowance, &mut announcements).await {
            tracing::warn!("announcements cannot be received: {error}");
            sleep(PAUSE).await;
        }
        if announcements.is_empty() {
            continue;
        }
        if let Err(failure) = apply(&shared, &announcements).await {
            tracing::error!("announced connections are lost: {}", failure.message);
            sleep(PAUSE).await;
        }
        announcements.clear();
    }
}

impl Receiver {
    /// Opens the socket.
    ///
    /// # Errors
    /// If there is no such interface, or the kernel refuses.
    pub(super) fn new(link: &Link, key: Option<Key>) -> Result<Self, Failure> {
        let (index, socket) = (socket::index_of(link)?, socket::receiver(link)?);
        Ok(Self { socket, index, link: link.clone(), key })
    }

    /// Opens the socket again if the interface was removed and created again: the old one stays bound to the removed one.
    fn follow_interface(&mut self) {
        let Some(index) = socket::changed_index(&self.link, self.index) else { return };
        match socket::receiver(&self.link) {
            Ok(socket) => (self.socket, self.index) = (socket, index),
            Err(failure) => tracing::warn!("{}", failure.message),
        }
    }

    /// Waits for a message for a while, and reads it and those that have arrived with it.
    async fn read(
        &self,
        shared: &Shared,
        buffer: &mut [u8],
        allowance: &mut Allowance,
        announcements: &mut Vec<Announcement>,
    ) -> io::Result<()> {
        let Ok(readable) = timeout(LOOK, self.socket.readable()).await else { return Ok(()) };
        readable?;
        for _ in 0..AT_ONCE {
            let (length, from) = match self.socket.try_recv_from(buffer) {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            };
            let mut known = shared.sync().known();
            known.counters.messages_received += 1;
            if !allowance.take(Instant::now()) {
                known.counters.drop(Dropped::Rate);
                continue;
            }
            let before = announcements.len();
            self.accept(&mut known, &buffer[..length], from, announcements);
            allowance.spend_entries(announcements.len() - before);
        }
        Ok(())
    }

    /// Reads a message.
    fn accept(
        &self,
        known: &mut Known,
        bytes: &[u8],
        from: SocketAddr,
        announcements: &mut Vec<Announcement>,
    ) {
        let from = unmapped(from.ip());
        if !self.link.peers.is_empty() && !self.link.peers.contains(&from) {
            known.counters.drop(Dropped::Peer);
            return;
        }
        let message = match Message::parse(bytes) {
            Ok(message) => message,
            Err(error) => {
                tracing::debug!(%from, "malformed message: {error}");
                known.counters.drop(Dropped::Malformed);
                return;
            }
        };
        if self.link.sync_id != 0 && message.sync_id() != self.link.sync_id {
            known.counters.drop(Dropped::SyncId);
            return;
        }
        if self.key.as_ref().is_some_and(|key| !key.has_signed(&message)) {
            known.counters.drop(Dropped::Signature);
            return;
        }
        known.hear(from);
        for entry in message.entries() {
            match entry {
                Ok(entry) => {
                    known.counters.received += 1;
                    known.counters.sequence += u64::from(entry.has_sequence_data());
                    announcements.push(Announcement {
                        connection: entry.connection,
                        snat: entry.parameters.snat(),
                        has_engine: entry.has_engine(),
                    });
                }
                Err(error) => {
                    if let Refused::Rest(error) = error {
                        tracing::debug!(%from, "malformed rest of a message: {error}");
                    }
                    known.counters.malformed += 1;
                }
            }
        }
    }
}

/// Returns an IPv4 address as such, which a socket of IPv6 has as `::ffff:a.b.c.d`.
fn unmapped(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

/// The messages that may still be read.
struct Allowance {
    left: f64,
    at: Instant,
}

impl Allowance {
    fn new(now: Instant) -> Self {
        Self { left: f64::from(RATE), at: now }
    }

    /// Takes a message out of the allowance. Returns whether there was one.
    fn take(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = now;
        self.left = passed.mul_add(f64::from(RATE), self.left).min(f64::from(RATE));
        if self.left < 1.0 {
            return false;
        }
        self.left -= 1.0;
        true
    }

    /// Takes more out of the allowance for a message that has more entries than one of the usual length.
    fn spend_entries(&mut self, entries: usize) {
        let entries = f64::from(u16::try_from(entries).unwrap_or(u16::MAX));
        self.left -= (entries / ENTRIES - 1.0).max(0.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_read_at_the_rate() {
        let begin = Instant::now();
        let mut allowance = Allowance::new(begin);
        let mut read = 0;
        for number in 0..100_000_u32 {
            // 50,000 messages per second, for 2 s.
            read += u32::from(allowance.take(begin + Duration::from_micros(20) * number));
        }
        assert!((3 * RATE - 10..=3 * RATE).contains(&read), "{read}");
    }

    #[test]
    fn a_flood_of_long_messages_is_read_at_the_rate_of_their_entries() {
        let begin = Instant::now();
        let mut allowance = Allowance::new(begin);
        let mut read = 0;
        for number in 0..100_000_u32 {
            if allowance.take(begin + Duration::from_micros(20) * number) {
                allowance.spend_entries(240);
                read += 1;
            }
        }
        assert!((3 * RATE / 6 - 10..=3 * RATE / 6 + 10).contains(&read), "{read}");
    }
}
