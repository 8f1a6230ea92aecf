// SPDX-License-Identifier: MIT OR Apache-2.0
//! Cells of a table, their halves, and the reals that own their slots.
//!
//! A cell is a run of slots. A half is shared by the reals that visit it first, the earliest of which has its
//! first slots. Each real takes what it still needs and no earlier one has. There is exactly one such
//! allocation: it is a stable matching in which both sides prefer early visits. So the reals may make their
//! visits in any order, and leave slots to a real with an earlier visit (Gale, Shapley, "College admissions and
//! the stability of marriage", 1962); no sorting of visits by time is needed.
#![forbid(unsafe_code)]

use super::{
    CELLS, mix, salt,
    visits::{Half, Visitor},
};

/// Number of reals of the same weight up to which no cell is split: in their tables a cell is one slot.
const UNSPLIT: u128 = 32;

/// Binary digits of the share of split cells.
const SPLIT_BITS: u32 = 16;

/// Returns the share of split cells, in units of 2^-[`SPLIT_BITS`].
///
/// With one owner per cell, a real of a large pool takes all slots of a few cells, so that few other reals
/// lose many slots and have to be compensated; splitting the cells spreads the loss. But each cell that a
/// change of the pool splits moves slots too. Therefore the share of split cells is (1 - y)² (1 + y), where y is
/// 32 Σ share²: with equal weights, 32 divided by the number of reals. It grows from 0 at 32 reals by less than
/// 0.7 % per percent of additional reals, and a real of small weight hardly changes it.
pub(super) fn split(weights: &[u32]) -> u32 {
    let sum: u128 = weights.iter().map(|weight| u128::from(*weight)).sum();
    let squares: u128 = weights.iter().map(|weight| u128::from(*weight).pow(2)).sum();
    // Less than 2^(2 · (32 + 16) + 16) for 65,536 reals.
    let whole = sum * sum;
    let rest = (whole.saturating_sub(UNSPLIT * squares) << SPLIT_BITS) / whole;
    ((rest * rest * ((2 << SPLIT_BITS) - rest)) >> (2 * SPLIT_BITS)) as u32
}

/// Returns the number of slots of each half.
pub(super) fn places(size: u32, split: u32) -> Vec<u8> {
    let run = size / CELLS;
    let halves = |cell: u32| {
        let random = || mix(u64::from(cell) ^ salt::SPLIT) >> (64 - SPLIT_BITS);
        let is_split = split > 0 && random() < u64::from(split);
        let second = if is_split { run / 2 } else { 0 };
        [(run - second) as u8, second as u8]
    };
    (0..CELLS).flat_map(halves).collect()
}

/// The slots of a table.
pub(super) struct Cells {
    /// Slots per cell.
    run: u32,
    /// Whether any cell is split.
    is_split: bool,
    /// Number of slots of each half.
    places: Vec<u8>,
    /// Number of slots that have an owner, of each half. They are the first ones of the half.
    taken: Vec<u8>,
    /// Times of the latest visits of owners, of each half; [`FREE`] if it has free slots.
    latest: Vec<u64>,
    /// Owner of each slot.
    owners: Vec<u32>,
}

/// Later than every visit.
const FREE: u64 = u64::MAX;

impl Cells {
    /// Creates the cells of a table of `size` slots, of which `split` of 2^[`SPLIT_BITS`] are split.
    pub(super) fn new(size: u32, split: u32) -> Self {
        let places = places(size, split);
        Self {
            run: size / CELLS,
            is_split: split > 0,
            taken: vec![0; places.len()],
            latest: places.iter().map(|places| if *places == 0 { 0 } else { FREE }).collect(),
            owners: vec![0; size as usize],
            places,
        }
    }

    /// Lets each visitor take its number of slots, and returns the owner of each slot.
    ///
    /// The numbers add up to the slots of the table. A real that has visited every half has all its slots, as
    /// halves that it could not enter are full.
    pub(super) fn fill(mut self, visitors: &[Visitor], wanted: Vec<u32>) -> Vec<u32> {
        let mut needs = Needs { waiting: (0..visitors.len() as u32).collect(), wanted };
        let mut visits = vec![0; visitors.len()];
        let step = if self.is_split { 1 } else { 2 };
        while let Some(real) = needs.waiting.pop() {
            let (visitor, visit) = (&visitors[real as usize], &mut visits[real as usize]);
            loop {
                let (half, time) = (visitor.half(*visit), visitor.time(*visit));
                // Most visits are in vain: all slots belong to earlier visitors.
                if time <= self.latest[half as usize] {
                    self.enter(half, (time, real), visitors, &mut needs);
                    if needs.of(real) == 0 {
                        // The half may have more for the real, should another one displace it elsewhere.
                        break;
                    }
                }
                *visit += step;
            }
        }
        self.owners
    }

    /// Gives a real the slots of a half that it needs and no earlier visitor has.
    fn enter(&mut self, half: Half, visit: (u64, u32), visitors: &[Visitor], needs: &mut Needs) {
        let (places, taken) = (usize::from(self.places[half as usize]), &mut self.taken[half as usize]);
        let first = half / 2 * self.run + half % 2 * (self.run / 2);
        let owners = &mut self.owners[first as usize..first as usize + places];
        let visit_of = |real: u32| (visitors[real as usize].time_of(half), real);
        let (time, real) = visit;
        let wanted = needs.of(real) as usize;
        let mut kept = usize::from(*taken);
        let mut gained = wanted.min(places - kept);
        while gained < wanted && kept > 0 && visit_of(owners[kept - 1]) > visit {
            kept -= 1;
            gained += 1;
            needs.add(owners[kept]);
        }
        if gained == 0 {
            return;
        }
        let mut at = kept;
        while at > 0 && visit_of(owners[at - 1]) > visit {
            at -= 1;
        }
        owners.copy_within(at..kept, at + gained);
        owners[at..at + gained].fill(real);
        *taken = (kept + gained) as u8;
        needs.wanted[real as usize] -= gained as u32;
        if kept + gained == places {
            self.latest[half as usize] = if at == kept { time } else { visit_of(owners[places - 1]).0 };
        }
    }
}

/// The numbers of slots that reals still need.
struct Needs {
    wanted: Vec<u32>,
    /// Reals that need slots, except the one that is visiting.
    waiting: Vec<u32>,
}

impl Needs {
    fn of(&self, real: u32) -> u32 {
        self.wanted[real as usize]
    }

    /// Adds a slot that an earlier visitor has taken.
    fn add(&mut self, real: u32) {
        let wanted = &mut self.wanted[real as usize];
        *wanted += 1;
        if *wanted == 1 {
            self.waiting.push(real);
        }
    }
}
