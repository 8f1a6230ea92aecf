// SPDX-License-Identifier: MIT OR Apache-2.0
//! Announced connections whose service or real does not exist yet, or that have their real without an entry in the flow
//! table. They are kept until they expire, as the kernel keeps connections whose real is missing.
#![forbid(unsafe_code)]

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use lb_common::sync::{Connection, Identity};

/// A bounded number of waiting connections.
#[derive(Debug, Default)]
pub struct Waiting {
    connections: HashMap<Identity, (Connection, Instant)>,
}

/// Time for which a connection waits whose announcement contains no timeout, as in the kernel.
const DEFAULT: Duration = Duration::from_mins(3);

impl Waiting {
    /// Maximum number of connections: 10 MB.
    pub const MOST: usize = 65_536;

    /// Returns the number of connections.
    #[must_use]
    pub fn len(&self) -> usize {
        self.connections.len()
    }

    /// Returns whether no connection waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    /// Adds a connection that has its real without an entry, as long as half of the places are free: the next change of the
    /// services may give it an entry.
    pub fn add_untracked(&mut self, connection: Connection, now: Instant) {
        let has_place = self.len() < Self::MOST / 2 || self.connections.contains_key(&connection.identity());
        if has_place {
            let _has_room = self.add(connection, now);
        }
    }

    /// Removes an earlier announcement of a connection, after a later one has got another effect: the earlier one must not
    /// replace it at the next change of the services.
    pub fn remove(&mut self, connection: &Connection) {
        self.connections.remove(&connection.identity());
    }

    /// Adds a connection, or replaces its earlier announcement. Returns whether there was room.
    pub fn add(&mut self, connection: Connection, now: Instant) -> bool {
        let identity = connection.identity();
        if self.len() >= Self::MOST && !self.connections.contains_key(&identity) {
            self.expire(now);
            if self.len() >= Self::MOST {
                return false;
            }
        }
        let timeout = match connection.timeout {
            0 => DEFAULT,
            seconds => Duration::from_secs(seconds.into()),
        };
        // A time beyond the range of the clock never comes.
        let Some(end) = now.checked_add(timeout) else { return false };
        self.connections.insert(identity, (connection, end));
        true
    }

    /// Removes all connections and returns those that have not expired, with the rest of their timeouts.
    pub fn take(&mut self, now: Instant) -> Vec<Connection> {
        let left = |(connection, end): (Connection, Instant)| {
            let left = end.checked_duration_since(now)?.as_secs();
            Some(Connection { timeout: u32::try_from(left).unwrap_or(u32::MAX).max(1), ..connection })
        };
        std::mem::take(&mut self.connections).into_values().filter_map(left).collect()
    }

    /// Removes the connections that have expired.
    fn expire(&mut self, now: Instant) {
        self.connections.retain(|_, (_, end)| *end > now);
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use lb_common::{protocol, sync::Flags};

    use super::*;

    fn connection(port: u16, timeout: u32) -> Connection {
        Connection {
            protocol: protocol::TCP,
            client: SocketAddr::new([10, 9, 0, 1].into(), port),
            vip: "10.9.0.100:80".parse().unwrap(),
            real: "10.9.0.23:80".parse().unwrap(),
            flags: Flags(3),
            state: 1,
            mark: 0,
            timeout,
        }
    }

    #[test]
    fn a_connection_waits_for_its_timeout() {
        let (mut waiting, now) = (Waiting::default(), Instant::now());
        for (port, timeout) in [(1, 60), (2, 600), (3, 0)] {
            assert!(waiting.add(connection(port, timeout), now));
        }
        let mut taken = waiting.take(now + Duration::from_secs(100));
        taken.sort_by_key(|connection| connection.client);
        assert_eq!(taken, [connection(2, 500), connection(3, 80)]);
        assert!(waiting.is_empty());
    }

    #[test]
    fn a_later_announcement_replaces_the_earlier_one() {
        let (mut waiting, now) = (Waiting::default(), Instant::now());
        let other = Connection { real: "10.9.0.24:80".parse().unwrap(), ..connection(1, 60) };
        assert!(waiting.add(connection(1, 60), now) && waiting.add(other, now));
        assert_eq!(waiting.take(now), [other]);
    }

    #[test]
    fn a_later_effect_ends_the_wait_of_the_same_connection_only() {
        let (mut waiting, now) = (Waiting::default(), Instant::now());
        assert!(waiting.add(connection(1, 60), now) && waiting.add(connection(2, 60), now));
        let moved = Connection { real: "10.9.0.24:80".parse().unwrap(), ..connection(1, 60) };
        waiting.remove(&moved);
        assert_eq!(waiting.take(now), [connection(2, 60)]);
    }

    #[test]
    fn the_last_announcement_of_an_untracked_connection_counts_beyond_half_of_the_places() {
        let (mut waiting, now) = (Waiting::default(), Instant::now());
        for port in 0..=(Waiting::MOST / 2) as u16 {
            waiting.add_untracked(connection(port, 60), now);
        }
        assert_eq!(waiting.len(), Waiting::MOST / 2);
        let moved = Connection { real: "10.9.0.24:80".parse().unwrap(), ..connection(7, 60) };
        waiting.add_untracked(moved, now);
        assert!(waiting.take(now).contains(&moved));
    }

    #[test]
    fn a_flood_is_bounded_and_makes_room_when_it_expires() {
        let (mut waiting, now) = (Waiting::default(), Instant::now());
        for port in 0..=u16::MAX {
            assert!(waiting.add(connection(port, 10), now));
        }
        let other = |second: u64| now + Duration::from_secs(second);
        let mut more = connection(1, 10);
        more.vip = "10.9.0.101:80".parse().unwrap();
        assert!(!waiting.add(more, other(5)));
        assert!(waiting.add(connection(7, 10), other(5)), "a known one");
        assert!(waiting.add(more, other(11)));
        assert_eq!(waiting.len(), 2);
    }
}
