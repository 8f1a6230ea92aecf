// SPDX-License-Identifier: MIT OR Apache-2.0
//! The tables by which the programs pick a real for a new connection: pure functions of the pool.
#![forbid(unsafe_code)]

pub mod maglev; //   mh: hash of the flow to a slot
pub mod sequence; // rr, wrr: the order in which reals take turns

use std::net::SocketAddr;

use lb_common::schema::{self, Choice, TABLE_SIZE, Table};

use crate::control::model::Scheduler;

/// A real as a scheduler sees it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Entry {
    /// Its id in the tables.
    pub id: u32,
    /// Its RIP and port: what Maglev hashes, so that ids do not matter.
    pub address: SocketAddr,
    /// Its weight; 0 takes no new connections.
    pub weight: u32,
}

/// Everything that a table depends on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TableSpec {
    /// How connections pick.
    pub scheduler: Scheduler,
    /// Which flows are written down.
    pub tracking: schema::Tracking,
    /// The service's protocol, an IANA number: how long its flows live.
    pub protocol: u8,
    /// The pool, the real that was added last first.
    pub pool: Vec<Entry>,
}

impl Scheduler {
    /// How the programs find an entry in this scheduler's table.
    #[must_use]
    pub const fn choice(self) -> Choice {
        if self.hashes() { Choice::Hash } else { Choice::Rotate }
    }
}

impl TableSpec {
    /// The turns that a table holds: real ids, at most [`TABLE_SIZE`] of them, none if nobody can take a
    /// connection.
    #[must_use]
    pub fn turns(&self) -> Vec<u32> {
        match self.scheduler {
            Scheduler::Mh | Scheduler::Sh | Scheduler::Dh => maglev::table(&self.pool),
            Scheduler::Rr => {
                self.pool.iter().filter(|entry| entry.weight > 0).map(|entry| entry.id).collect()
            }
            _ => sequence::weighted(&self.pool),
        }
    }

    /// How many entries are in use, without building the table.
    #[must_use]
    pub fn slots(&self) -> u32 {
        let weights = || self.pool.iter().map(|entry| entry.weight).filter(|weight| *weight > 0);
        match self.scheduler {
            // With all weights 0 the slots still say where living flows are.
            Scheduler::Mh | Scheduler::Sh | Scheduler::Dh if !self.pool.is_empty() => TABLE_SIZE,
            _ if weights().next().is_none() => 0,
            Scheduler::Mh | Scheduler::Sh | Scheduler::Dh => TABLE_SIZE,
            Scheduler::Rr => weights().count() as u32,
            _ => sequence::length(&self.pool),
        }
    }
}

/// A whole table of `turns`, repeated to the end: whatever [`lb_common::schema::Service::slots`] a program
/// has read, it finds a living real there.
#[must_use]
pub fn fill(turns: &[u32]) -> Box<Table> {
    let mut table = Table::boxed();
    for (slot, turn) in table.0.iter_mut().zip(turns.iter().cycle()) {
        *slot = *turn;
    }
    table
}
