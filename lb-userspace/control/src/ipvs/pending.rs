// SPDX-License-Identifier: MIT OR Apache-2.0
//! Connections that the kernel is to take: which of them it has, and when it is useless to announce the others again.

use std::{collections::HashMap, net::SocketAddr};

use lb_common::sync::{Connection, Flags, Identity};

/// Announcements in a row from which the kernel took nothing, after which it refuses the rest. Messages may be lost once.
const FRUITLESS: u32 = 2;
/// Seconds that may pass between an announcement and the look at what the kernel has.
const SLACK: u32 = 10;

/// A connection of the kernel.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Known {
    /// Its real.
    pub real: SocketAddr,
    /// Seconds until it expires.
    pub left: u32,
}

/// Connections that the kernel does not have yet.
#[derive(Debug, Default)]
pub struct Pending {
    rest: Vec<Connection>,
    /// Number of those at the beginning that were announced since the last look.
    announced: usize,
    /// Announcements in a row from which the kernel took nothing.
    fruitless: u32,
}

impl Pending {
    /// Returns these connections, the active ones and the templates first: time may not suffice for all.
    #[must_use]
    pub fn new(mut connections: Vec<Connection>) -> Self {
        connections.sort_by_key(|connection| connection.flags.has(Flags::INACTIVE));
        Self { rest: connections, ..Self::default() }
    }

    /// Returns the connections to announce, in this order.
    #[must_use]
    pub fn rest(&self) -> &[Connection] {
        &self.rest
    }

    /// Notes that the first `count` of the rest were announced.
    pub fn note_announced(&mut self, count: usize) {
        self.announced = count.min(self.rest.len());
    }

    /// Returns the number of connections that were announced, and have not been looked for in the kernel since.
    #[must_use]
    pub const fn unconfirmed(&self) -> usize {
        self.announced
    }

    /// Returns whether the kernel has all connections, or refuses the rest.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        self.rest.is_empty() || self.fruitless >= FRUITLESS
    }

    /// Compares the rest with all connections that the kernel has. Returns those that it has taken.
    ///
    /// A connection that was in the kernel before counts as taken when its time is that of the announcement. When the
    /// kernel refuses the rest, it counts as well: the kernel continues it for as long as it can.
    pub fn compare(&mut self, known: &HashMap<Identity, Known>) -> Vec<Connection> {
        self.announced = 0;
        let is_there = |one: &Connection| known.get(&one.identity()).filter(|known| known.real == one.real);
        let is_fresh = |one: &Connection| {
            is_there(one).is_some_and(|known| known.left.saturating_add(SLACK) >= one.timeout)
        };
        let mut taken = take(&mut self.rest, is_fresh);
        self.fruitless = if taken.is_empty() { self.fruitless + 1 } else { 0 };
        if self.is_over() {
            taken.extend(take(&mut self.rest, |one| is_there(one).is_some()));
        }
        taken
    }
}

/// Removes the connections for which `is_wanted` is true, and returns them.
fn take(rest: &mut Vec<Connection>, is_wanted: impl Fn(&Connection) -> bool) -> Vec<Connection> {
    let (taken, others) = std::mem::take(rest).into_iter().partition(is_wanted);
    *rest = others;
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(port: u16, flags: Flags) -> Connection {
        Connection {
            protocol: 6,
            client: SocketAddr::new("192.0.2.1".parse().unwrap(), port),
            vip: "192.0.2.100:80".parse().unwrap(),
            real: "10.0.0.11:80".parse().unwrap(),
            flags,
            state: 1,
            mark: 0,
            timeout: 900,
        }
    }

    fn kernel(has: &[(&Connection, &str, u32)]) -> HashMap<Identity, Known> {
        let known = |real: &str, left| Known { real: real.parse().unwrap(), left };
        has.iter().map(|(one, real, left)| (one.identity(), known(real, *left))).collect()
    }

    #[test]
    fn active_connections_are_announced_first() {
        let (active, ending) = (connection(1, Flags(0)), connection(2, Flags(Flags::INACTIVE)));
        let template = connection(0, Flags(Flags::TEMPLATE));
        let pending = Pending::new(vec![ending, active, template]);
        assert_eq!(pending.rest(), [active, template, ending]);
        assert!(Pending::new(Vec::new()).is_over());
    }

    #[test]
    fn what_the_kernel_refuses_is_announced_twice() {
        let (one, two) = (connection(1, Flags(0)), connection(2, Flags(0)));
        let mut pending = Pending::new(vec![one, two]);
        pending.note_announced(2);
        // The kernel keeps another connection with the ports of the second.
        let known = kernel(&[(&one, "10.0.0.11:80", 899), (&two, "10.0.0.12:80", 60)]);
        assert_eq!(pending.compare(&known), [one]);
        assert!(!pending.is_over());
        assert_eq!(pending.compare(&known), []);
        assert!(!pending.is_over());
        assert_eq!(pending.compare(&known), []);
        assert!(pending.is_over());
        assert_eq!(pending.rest(), [two]);
    }

    #[test]
    fn an_old_entry_of_the_kernel_is_announced_again() {
        let one = connection(1, Flags(0));
        let mut pending = Pending::new(vec![one]);
        assert_eq!(pending.compare(&kernel(&[(&one, "10.0.0.11:80", 5)])), [], "its message was lost");
        assert_eq!(pending.compare(&kernel(&[(&one, "10.0.0.11:80", 898)])), [one]);
        assert!(pending.is_over());
        let mut pending = Pending::new(vec![one]);
        let old = kernel(&[(&one, "10.0.0.11:80", 5)]);
        assert_eq!(pending.compare(&old), []);
        assert_eq!(pending.compare(&old), [one], "the kernel has it for as long as it can");
    }

    #[test]
    fn those_announced_without_a_look_are_counted() {
        let mut pending = Pending::new((1..=3).map(|port| connection(port, Flags(0))).collect());
        pending.note_announced(2);
        assert_eq!((pending.rest().len(), pending.unconfirmed()), (3, 2));
        pending.compare(&kernel(&[]));
        assert_eq!(pending.unconfirmed(), 0);
        pending.note_announced(9);
        assert_eq!(pending.unconfirmed(), 3);
    }
}
