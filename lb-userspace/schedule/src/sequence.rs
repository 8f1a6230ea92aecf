// SPDX-License-Identifier: MIT OR Apache-2.0
//! Weighted round robin: the order of turns, as in IPVS.
#![forbid(unsafe_code)]

use lb_common::{ids::RealId, schema::LARGEST_TABLE};

use super::Entry;

/// Returns one round of turns: each real as often as its weight, heavy ones first and interleaved, in the
/// order of `ip_vs_wrr_schedule` (`net/netfilter/ipvs/ip_vs_wrr.c`): the bar falls from the largest weight by
/// the greatest common divisor, and at each height all reals with at least that weight have a turn.
#[must_use]
pub fn weighted(pool: &[Entry]) -> Vec<RealId> {
    let weights = reduced(pool);
    let highest = weights.iter().copied().max().unwrap_or(0);
    let mut turns = Vec::new();
    for bar in (1..=highest).rev() {
        for (entry, weight) in pool.iter().zip(&weights) {
            if *weight >= bar {
                turns.push(entry.id);
            }
        }
    }
    turns
}

/// Returns the length of one round.
#[must_use]
pub fn length(pool: &[Entry]) -> u32 {
    reduced(pool).iter().sum()
}

/// Returns the greatest common divisor of the weights, as `ip_vs_wrr_gcd_weight` computes it: 1 if there are
/// none.
#[must_use]
pub fn divisor(pool: &[Entry]) -> u32 {
    pool.iter().map(|entry| entry.weight).fold(0, gcd).max(1)
}

/// Returns the number of the bar to which a turn of the round belongs, from 1.
#[must_use]
pub fn bar_of(pool: &[Entry], turn: u32) -> u32 {
    let highest = reduced(pool).into_iter().max().unwrap_or(0);
    (1..=highest).find(|bar| turns_above(pool, *bar) <= turn).unwrap_or(1)
}

/// Returns the number of turns of the round before those of a bar.
#[must_use]
pub fn turns_above(pool: &[Entry], bar: u32) -> u32 {
    reduced(pool).into_iter().map(|weight| weight.saturating_sub(bar)).sum()
}

/// Returns the weights divided by their greatest common divisor, and scaled down if a round would not fit
/// into a table: shares are then exact to one in [`LARGEST_TABLE`], and every real with a weight gets a turn.
fn reduced(pool: &[Entry]) -> Vec<u32> {
    let divisor = divisor(pool);
    let weights: Vec<u32> = pool.iter().map(|entry| entry.weight / divisor).collect();
    let sum: u64 = weights.iter().map(|w| u64::from(*w)).sum();
    if sum <= u64::from(LARGEST_TABLE) {
        return weights;
    }
    let room = u64::from(LARGEST_TABLE) - weights.len().min(LARGEST_TABLE as usize / 2) as u64;
    let scale = |weight: &u32| {
        if *weight == 0 { 0 } else { (u64::from(*weight) * room / sum).max(1) as u32 }
    };
    weights.iter().map(scale).collect()
}

const fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use proptest::prelude::*;

    use super::*;

    fn pool(weights: &[u32]) -> Vec<Entry> {
        let address = SocketAddr::from(([10, 0, 0, 1], 80));
        (1u32..).zip(weights).map(|(id, &weight)| Entry { id: RealId(id), address, weight }).collect()
    }

    #[test]
    fn turns_are_those_of_ipvs() {
        assert_eq!(weighted(&pool(&[4, 3, 2])), [1, 1, 2, 1, 2, 3, 1, 2, 3].map(RealId));
        assert_eq!(weighted(&pool(&[100, 0, 50])), [1, 1, 3].map(RealId));
        assert!(weighted(&pool(&[0, 0])).is_empty());
    }

    #[test]
    fn nobody_is_scaled_away() {
        for heavy in [65535, i32::MAX as u32] {
            let turns = weighted(&pool(&[heavy, heavy - 1, 1]));
            assert!(turns.len() <= LARGEST_TABLE as usize && turns.contains(&RealId(3)), "{heavy}");
        }
    }

    proptest! {
        #[test]
        fn a_round_is_as_long_as_said_and_fits(weights in proptest::collection::vec(0u32..=i32::MAX as u32, 1..50)) {
            let pool = pool(&weights);
            let turns = weighted(&pool);
            prop_assert_eq!(turns.len() as u32, length(&pool));
            prop_assert!(turns.len() <= LARGEST_TABLE as usize);
        }
    }
}
