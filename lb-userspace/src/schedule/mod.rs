// SPDX-License-Identifier: MIT OR Apache-2.0
//! The tables by which the programs pick a real for a new connection: pure functions of the pool.
#![forbid(unsafe_code)]

pub mod buckets; //  sh, dh: IPVS's hash tables
pub mod maglev; //   mh: hash of the flow to a slot
pub mod sequence; // rr, wrr: the order in which reals take turns
pub mod turn; //     rr, wrr: whose turn it is after a pool change

use std::{net::SocketAddr, num::NonZero, panic::resume_unwind, thread};

use lb_common::{
    hash::IPVS_SLOTS,
    schema::{self, BLOCK, LARGEST_TABLE, Service},
};

use crate::model::Scheduler;

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
    /// Where the table is and how many entries it has.
    pub span: Span,
}

/// The place of a service's table.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Span {
    /// Its first block.
    pub first: u32,
    /// Its entries.
    pub slots: u32,
}

impl Span {
    /// The blocks that hold it; an empty table has one too.
    #[must_use]
    pub const fn blocks(self) -> u32 {
        if self.slots <= BLOCK { 1 } else { self.slots.div_ceil(BLOCK) }
    }
}

impl From<&Service> for Span {
    fn from(service: &Service) -> Self {
        Self { first: service.first, slots: service.slots }
    }
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
    /// The turns that a table holds: real ids, at most [`LARGEST_TABLE`] of them, none if nobody can take a
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
            Scheduler::Mh if !self.pool.is_empty() => maglev::size(weights().count()),
            Scheduler::Sh | Scheduler::Dh if !self.pool.is_empty() => IPVS_SLOTS,
            _ if weights().next().is_none() => 0,
            Scheduler::Wrr | Scheduler::Twos => sequence::length(&self.pool),
            _ => weights().count() as u32,
        }
    }
}

/// [`TableSpec::table`] of each, made by as many threads as there are CPUs.
#[must_use]
pub fn tables(specs: &[&TableSpec]) -> Vec<Vec<u32>> {
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let share = specs.len().div_ceil(threads).max(1);
    thread::scope(|scope| {
        let work = |specs: &[&TableSpec]| specs.iter().map(|spec| spec.table()).collect::<Vec<_>>();
        let threads: Vec<_> = specs.chunks(share).map(|specs| scope.spawn(move || work(specs))).collect();
        // A panic goes on here.
        let shares = threads.into_iter();
        shares.flat_map(|one| one.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
    })
}

impl TableSpec {
    /// The whole table.
    ///
    /// Tables that are hashed into are as long as the span says: each turn is a run of slots if there are more slots than
    /// turns. Others are repeated to the end of their last block: whatever [`Service::slots`] a program has read, it
    /// finds a living real there.
    #[must_use]
    pub fn table(&self) -> Vec<u32> {
        let turns = self.turns();
        let length =
            if self.scheduler.hashes() { self.span.slots } else { self.span.blocks() * BLOCK } as usize;
        if turns.is_empty() {
            return vec![schema::UNSET; length];
        }
        if self.scheduler.hashes() && length.is_multiple_of(turns.len()) {
            return stretched(&turns, length);
        }
        turns.into_iter().cycle().take(length).collect()
    }
}

/// A table of `length` slots in which each entry of `table` is a run: every flow finds what it found before.
#[must_use]
pub fn stretched<T: Copy>(table: &[T], length: usize) -> Vec<T> {
    let run = length / table.len();
    table.iter().flat_map(|entry| std::iter::repeat_n(*entry, run)).collect()
}

const _: () = assert!(LARGEST_TABLE.is_multiple_of(BLOCK) && IPVS_SLOTS <= BLOCK);
