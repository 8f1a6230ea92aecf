// SPDX-License-Identifier: MIT OR Apache-2.0
//! The tables by which the programs pick a real for a new connection: pure functions of the pool.
#![forbid(unsafe_code)]

pub mod buckets; //  sh, dh: IPVS's hash tables
pub mod maglev; //   mh: hash of the flow to a slot
pub mod sequence; // rr, wrr: the order in which reals take turns

use std::net::SocketAddr;

use lb_common::{
    hash::IPVS_SLOTS,
    schema::{self, TABLE_SIZE, Table},
};

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
    /// How the programs pick a real with this scheduler's table.
    #[must_use]
    pub const fn programs(self) -> schema::Scheduler {
        match self {
            Self::Mh => schema::Scheduler::Mh,
            Self::Sh => schema::Scheduler::Sh,
            Self::Dh => schema::Scheduler::Dh,
            Self::Rr | Self::Wrr => schema::Scheduler::Rotate,
            Self::Lc => schema::Scheduler::Lc,
            Self::Wlc => schema::Scheduler::Wlc,
            Self::Sed => schema::Scheduler::Sed,
            Self::Nq => schema::Scheduler::Nq,
            Self::Fo => schema::Scheduler::Fo,
            Self::Ovf => schema::Scheduler::Ovf,
            Self::Twos => schema::Scheduler::Twos,
            Self::Lblc => schema::Scheduler::Lblc,
            Self::Lblcr => schema::Scheduler::Lblcr,
        }
    }
}

impl TableSpec {
    /// The turns that a table holds: real ids, at most [`TABLE_SIZE`] of them, none if nobody can take a
    /// connection.
    #[must_use]
    pub fn turns(&self) -> Vec<u32> {
        match self.scheduler {
            Scheduler::Mh => maglev::table(&self.pool),
            Scheduler::Sh => buckets::by_weight(&self.pool),
            Scheduler::Dh => buckets::in_turn(&self.pool),
            Scheduler::Wrr | Scheduler::Twos => sequence::weighted(&self.pool),
            // rr takes turns; the others are shown the pool and choose.
            _ => self.pool.iter().filter(|entry| entry.weight > 0).map(|entry| entry.id).collect(),
        }
    }

    /// How many entries are in use, without building the table.
    #[must_use]
    pub fn slots(&self) -> u32 {
        let weights = || self.pool.iter().map(|entry| entry.weight).filter(|weight| *weight > 0);
        match self.scheduler {
            // With all weights 0 the slots still say where living flows are.
            Scheduler::Mh if !self.pool.is_empty() => TABLE_SIZE,
            Scheduler::Sh | Scheduler::Dh if !self.pool.is_empty() => IPVS_SLOTS,
            _ if weights().next().is_none() => 0,
            Scheduler::Wrr | Scheduler::Twos => sequence::length(&self.pool),
            _ => weights().count() as u32,
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
