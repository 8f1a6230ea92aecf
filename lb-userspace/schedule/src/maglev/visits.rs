// SPDX-License-Identifier: MIT OR Apache-2.0
//! The order and the times in which a real visits cells.
//!
//! A real visits the first halves of all cells, and in another order the second halves, in turn. The first
//! half of a cell that is not split is the whole cell.
//!
//! The orders are permutations of a kind whose inverse is as cheap, with two multiplications. (The orders of
//! the paper, with one, make pairs of reals follow each other from cell to cell.)
#![forbid(unsafe_code)]

use super::{CELLS, mix, salt};

const MASK: u32 = CELLS - 1;

/// Additional visits per unit of time, in which the average real of weight w visits its w of [`CELLS`] cells.
/// A real whose share is much less than a cell would come when only remnants are left, far from its first
/// choice.
const HASTE: u64 = 4;

/// Binary digits of the time of the first visit, below one visit of each half.
const PHASE_BITS: u32 = 17;

/// Relation of weights to times.
pub(super) struct Pace {
    sum: u64,
}

impl Pace {
    /// Returns the pace of a pool with these weights.
    pub(super) fn of(weights: &[u32]) -> Self {
        Self { sum: weights.iter().map(|weight| u64::from(*weight)).sum() }
    }

    /// Returns the time between two visits of a real: less than 2^31.
    pub(super) fn step(&self, weight: u32) -> u64 {
        let rate = u64::from(weight) * u64::from(CELLS) + HASTE * self.sum;
        ((u128::from(self.sum) << 32) / u128::from(rate)) as u64
    }
}

/// A half of a cell: twice the number of the cell, plus the half.
pub(super) type Half = u32;

/// The visits of a real.
#[derive(Clone, Debug)]
pub(super) struct Visitor {
    /// Permutations of the first and of the second halves.
    orders: [Order; 2],
    phase: u64,
    step: u64,
}

impl Visitor {
    pub(super) fn new(name: u64, step: u64) -> Self {
        let orders = salt::ORDER.map(|salt| Order::new(mix(name ^ salt)));
        Self { orders, phase: mix(name ^ salt::PHASE) >> (64 - PHASE_BITS), step }
    }

    /// Returns the half of the visit with that number, counted from 0.
    pub(super) const fn half(&self, visit: u32) -> Half {
        let half = visit % 2;
        self.orders[half as usize].cell(visit / 2) * 2 + half
    }

    /// Returns the time of the visit with that number.
    pub(super) const fn time(&self, visit: u32) -> u64 {
        // 13 + 16 binary digits times 31.
        (((visit as u64) << (PHASE_BITS - 1)) + self.phase) * self.step
    }

    /// Returns the time at which the real visits a half.
    pub(super) const fn time_of(&self, half: Half) -> u64 {
        let turn = self.orders[(half % 2) as usize].turn(half / 2);
        self.time(turn * 2 + half % 2)
    }
}

/// A permutation of the cells.
#[derive(Clone, Debug)]
struct Order {
    offset: u32,
    /// Odd factors, and their inverses modulo [`CELLS`].
    factors: [u32; 2],
    inverses: [u32; 2],
}

impl Order {
    /// Creates the permutation of a random number.
    fn new(random: u64) -> Self {
        let factors = [12, 24].map(|digit| (random >> digit) as u32 & MASK | 1);
        Self { offset: random as u32 & MASK, factors, inverses: factors.map(inverse) }
    }

    /// Returns the cell with that number in the order.
    const fn cell(&self, turn: u32) -> u32 {
        let sum = turn.wrapping_mul(self.factors[0]).wrapping_add(self.offset) & MASK;
        fold(sum).wrapping_mul(self.factors[1]) & MASK
    }

    /// Returns the number of a cell in the order.
    const fn turn(&self, cell: u32) -> u32 {
        let sum = fold(cell.wrapping_mul(self.inverses[1]) & MASK);
        sum.wrapping_sub(self.offset).wrapping_mul(self.inverses[0]) & MASK
    }
}

/// Adds the upper half of the digits to the lower half, without carry: a function that is its own inverse.
const fn fold(number: u32) -> u32 {
    number ^ number >> (CELLS.trailing_zeros() / 2)
}

/// Returns the inverse of an odd number modulo a power of two, by Newton's method.
const fn inverse(odd: u32) -> u32 {
    // The number is its own inverse modulo 8; each step doubles the number of right digits.
    let mut inverse = odd;
    let mut digits = 3;
    while digits < CELLS.trailing_zeros() {
        inverse = inverse.wrapping_mul(2u32.wrapping_sub(odd.wrapping_mul(inverse)));
        digits *= 2;
    }
    inverse & MASK
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_real_visits_every_half_once_at_the_time_that_belongs_to_it() {
        let visitor = Visitor::new(77, Pace::of(&[3, 5]).step(3));
        let mut seen = vec![false; CELLS as usize * 2];
        for visit in 0..CELLS * 2 {
            let half = visitor.half(visit);
            assert!(!std::mem::replace(&mut seen[half as usize], true));
            assert_eq!(visitor.time_of(half), visitor.time(visit));
        }
    }

    #[test]
    fn times_of_extreme_weights_neither_overflow_nor_vanish() {
        let weights = [vec![u32::MAX; 65_535], vec![1]].concat();
        for weights in [&weights[..], &[u32::MAX, 1], &[1]] {
            for weight in [weights[0], 1] {
                let visitor = Visitor::new(1, Pace::of(weights).step(weight));
                assert!(visitor.step > 0 && visitor.step < 1 << 31);
                assert!(visitor.time(2 * CELLS - 1) < u64::MAX / 2);
            }
        }
    }
}
