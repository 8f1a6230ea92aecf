// SPDX-License-Identifier: MIT OR Apache-2.0
//! Maglev hashing (Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016,
//! section 3.4) with exact weights, and with tables whose sizes nest: a table and the one of twice its size
//! agree on nearly every slot.
//!
//! As in the paper, each real visits all places of the table in an order of its own, made from its address
//! alone, and places belong to the real that comes first. Three rules differ:
//!
//! - The places are [`CELLS`] cells, whatever the size of the table; a cell is a run of one or more slots. So
//!   a larger table has the same order of visits.
//! - A real visits its cells at times that follow from its weight, and never skips a cell that another real
//!   has. It stops when it has its exact number of slots ([`shares`]), and takes a part of its last cell if
//!   need be. Which real has a slot then depends on few others, so that a change of the pool moves little
//!   more than it must.
//! - In larger pools, more and more cells are split into halves that are visited independently ([`cells`]).
//!
//! [Decision 22](../../../docs/decisions/0022-nesting-tables.md) has the reasons and measurements.
#![forbid(unsafe_code)]

mod cells; //  runs of slots, and their owners
mod shares; // exact numbers of slots
mod visits; // the order and the times in which a real visits cells

use std::net::{IpAddr, SocketAddr};

use lb_common::{
    ids::RealId,
    schema::{BLOCK, LARGEST_TABLE},
};

use super::Entry;
use cells::Cells;
use visits::{Pace, Visitor};

/// Minimum number of slots per real, until the largest table is reached.
const SLOTS_PER_REAL: usize = 128;

/// Number of cells, as many as the smallest table has slots.
const CELLS: u32 = BLOCK;

/// Returns the number of slots of a table for that many reals, a power of two.
#[must_use]
pub fn size(reals: usize) -> u32 {
    let wanted = reals.saturating_mul(SLOTS_PER_REAL).next_power_of_two();
    u32::try_from(wanted).unwrap_or(LARGEST_TABLE).clamp(BLOCK, LARGEST_TABLE)
}

/// Returns the table of a pool: a real id for each slot, in shares by weight; empty if all weights are 0.
/// Every real with a weight has a slot, unless there are more reals than slots.
///
/// The result depends neither on the pool's order nor on the ids: directors with the same pool have the same
/// table.
#[must_use]
pub fn table(pool: &[Entry]) -> Vec<RealId> {
    let mut pool: Vec<&Entry> = pool.iter().filter(|entry| entry.weight > 0).collect();
    pool.sort_by_key(|entry| entry.address);
    if pool.is_empty() {
        return Vec::new();
    }
    let size = size(pool.len());
    let (names, weights): (Vec<u64>, Vec<u32>) =
        pool.iter().map(|entry| (name(entry.address), entry.weight)).unzip();
    let shares = shares::shares(&names, &weights, size);
    let pace = Pace::of(&weights);
    let visitors: Vec<Visitor> =
        names.iter().zip(&weights).map(|(name, weight)| Visitor::new(*name, pace.step(*weight))).collect();
    let owners = Cells::new(size, cells::split(&weights)).fill(&visitors, shares);
    owners.into_iter().map(|owner| pool[owner as usize].id).collect()
}

/// Returns a number that identifies a real by its address and port.
fn name(address: SocketAddr) -> u64 {
    let port = u64::from(address.port());
    match address.ip() {
        IpAddr::V4(v4) => u64::from(v4.to_bits()) << 16 | port,
        IpAddr::V6(v6) => {
            let bits = v6.to_bits();
            mix((bits >> 64) as u64) ^ mix(bits as u64).rotate_left(32) ^ port
        }
    }
}

/// Applies the finaliser of `SplitMix64` (Steele, Lea, Flood, "Fast splittable pseudorandom number
/// generators", 2014).
const fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Salts, one for each use of a real's name.
mod salt {
    /// First cells and skips, of both halves.
    pub const ORDER: [u64; 2] = [0x6d61_676c_6576_0001, 0x6d61_676c_6576_0002];
    /// The time of the first visit.
    pub const PHASE: u64 = 0x6d61_676c_6576_0003;
    /// Which reals have one slot more, where shares are no whole numbers.
    pub const ROUNDING: u64 = 0x6d61_676c_6576_0004;
    /// Which cells are split.
    pub const SPLIT: u64 = 0x6d61_676c_6576_0005;
}

#[cfg(test)]
mod disruption;
#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
