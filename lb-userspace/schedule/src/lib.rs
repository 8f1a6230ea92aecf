// SPDX-License-Identifier: MIT OR Apache-2.0
//! Slot tables from which the programs select the real of a new connection: pure functions of the pool.
#![forbid(unsafe_code)]
// The print macros panic if stdout or stderr is closed.
#![deny(clippy::print_stderr, clippy::print_stdout)]

pub mod buckets; //  sh, dh: IPVS's hash tables
pub mod maglev; //   mh: hash of the flow to a slot
pub mod sequence; // rr, wrr: the order in which reals take turns
pub mod turn; //     rr, wrr: the next turn after a pool change

use std::{collections::BTreeSet, net::SocketAddr, num::NonZero, panic::resume_unwind, thread};

use lb_common::{
    hash::IPVS_SLOTS,
    ids::RealId,
    schema::{self, BLOCK, LARGEST_TABLE, Service},
};

use lb_model::Scheduler;

/// Data of a real for schedulers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Entry {
    /// Id of the real.
    pub id: RealId,
    /// RIP and port: Maglev hashes these, so that ids do not matter.
    pub address: SocketAddr,
    /// Weight; 0 means no new connections.
    pub weight: u32,
}

/// All data that determine a table.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TableSpec {
    /// Scheduler.
    pub scheduler: Scheduler,
    /// Choice of flows to track.
    pub tracking: schema::Tracking,
    /// IANA number of the service's protocol, which determines the timeouts.
    pub protocol: u8,
    /// Pool, in reverse order of addition.
    pub pool: Vec<Entry>,
    /// Ids of reals that untracked flows leave at once.
    pub cut: BTreeSet<RealId>,
    /// Blocks and number of slots of the table.
    pub span: Span,
}

/// Place of a service's table.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Span {
    /// First block.
    pub first: u32,
    /// Number of slots.
    pub slots: u32,
}

impl Span {
    /// Returns the number of blocks; an empty table has one too.
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

impl TableSpec {
    /// Returns the turns of a table: at most [`LARGEST_TABLE`] real ids; none if no real gets new
    /// connections.
    #[must_use]
    pub fn turns(&self) -> Vec<RealId> {
        match self.scheduler {
            Scheduler::Mh => maglev::table(&self.pool),
            Scheduler::Sh => buckets::by_weight(&self.pool),
            Scheduler::Dh => buckets::in_turn(&self.pool),
            Scheduler::Wrr | Scheduler::Twos => sequence::weighted(&self.pool),
            // rr iterates over the pool; the others search it.
            _ => self.pool.iter().filter(|entry| entry.weight > 0).map(|entry| entry.id).collect(),
        }
    }

    /// Returns the number of slots in use, without building the table.
    #[must_use]
    pub fn slots(&self) -> u32 {
        let weights = || self.pool.iter().map(|entry| entry.weight).filter(|weight| *weight > 0);
        match self.scheduler {
            // With all weights 0, the slots still determine the reals of living flows.
            Scheduler::Mh if !self.pool.is_empty() => maglev::size(weights().count()),
            Scheduler::Sh | Scheduler::Dh if !self.pool.is_empty() => IPVS_SLOTS,
            _ if weights().next().is_none() => 0,
            Scheduler::Wrr | Scheduler::Twos => sequence::length(&self.pool),
            _ => weights().count() as u32,
        }
    }
}

/// Returns [`TableSpec::table`] of each, computed in parallel on all CPUs.
#[must_use]
pub fn tables(specs: &[&TableSpec]) -> Vec<Vec<RealId>> {
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let share = specs.len().div_ceil(threads).max(1);
    thread::scope(|scope| {
        let work = |specs: &[&TableSpec]| specs.iter().map(|spec| spec.table()).collect::<Vec<_>>();
        let threads: Vec<_> = specs.chunks(share).map(|specs| scope.spawn(move || work(specs))).collect();
        // A panic of a thread continues here.
        let shares = threads.into_iter();
        shares.flat_map(|one| one.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
    })
}

impl TableSpec {
    /// Returns the whole table.
    ///
    /// The table of a hashing scheduler has the length of the span: if there are more slots than turns, each
    /// turn becomes several adjacent slots. Other tables are repeated to the end of their last block: with
    /// any [`Service::slots`] that a program has read, it finds a real of the pool there.
    #[must_use]
    pub fn table(&self) -> Vec<RealId> {
        let turns = self.turns();
        let length =
            if self.scheduler.hashes() { self.span.slots } else { self.span.blocks() * BLOCK } as usize;
        if turns.is_empty() {
            return vec![RealId::NONE; length];
        }
        if self.scheduler.hashes() && length.is_multiple_of(turns.len()) {
            return stretched(&turns, length);
        }
        turns.into_iter().cycle().take(length).collect()
    }
}

/// Stretches a table to `length` slots, such that each entry becomes several adjacent ones: every flow still
/// finds the same entry.
#[must_use]
pub fn stretched<T: Copy>(table: &[T], length: usize) -> Vec<T> {
    let run = length / table.len();
    table.iter().flat_map(|entry| std::iter::repeat_n(*entry, run)).collect()
}

const _: () = assert!(LARGEST_TABLE.is_multiple_of(BLOCK) && IPVS_SLOTS <= BLOCK);
