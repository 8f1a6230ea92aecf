// SPDX-License-Identifier: MIT OR Apache-2.0
//! Maglev hashing (Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016,
//! section 3.4), with weights.
//!
//! Each real has a permutation of all slots, made from its address alone. Reals take turns at claiming the
//! next free slot of their permutation until all are taken. Adding or removing a real moves few slots of
//! others.
#![forbid(unsafe_code)]

use std::net::{IpAddr, SocketAddr};

use lb_common::{
    ids::RealId,
    schema::{BLOCK, LARGEST_TABLE},
};

use super::Entry;

/// Minimum number of slots per real, until the largest table is reached: shares are then exact to less than
/// one percent.
const SLOTS_PER_REAL: usize = 128;

/// Returns the number of slots of a table for that many reals, a power of two.
#[must_use]
pub fn size(reals: usize) -> u32 {
    let wanted = reals.saturating_mul(SLOTS_PER_REAL).next_power_of_two();
    u32::try_from(wanted).unwrap_or(LARGEST_TABLE).clamp(BLOCK, LARGEST_TABLE)
}

/// The sequence of a real's preferred slots.
struct Walk {
    id: RealId,
    weight: u64,
    /// Credit that the real has earned and not yet spent: a turn costs the largest weight.
    credit: u64,
    slot: u64,
    skip: u64,
}

/// Returns the table of a pool: a real id for each slot, in shares by weight; empty if all weights are 0.
///
/// The result depends neither on the pool's order nor on the ids: directors with the same pool have the same
/// table.
#[must_use]
pub fn table(pool: &[Entry]) -> Vec<RealId> {
    let mut pool: Vec<&Entry> = pool.iter().filter(|entry| entry.weight > 0).collect();
    pool.sort_by_key(|entry| entry.address);
    let Some(heaviest) = pool.iter().map(|entry| u64::from(entry.weight)).max() else { return Vec::new() };
    let size = size(pool.len());
    let mask = u64::from(size) - 1;
    let mut walks: Vec<Walk> = pool.into_iter().map(|entry| walk(entry, heaviest, mask)).collect();
    let mut table = vec![RealId::NONE; size as usize];
    let mut free = table.len();
    loop {
        for walk in &mut walks {
            walk.credit += walk.weight;
            if walk.credit < heaviest {
                continue;
            }
            walk.credit -= heaviest;
            while !table[walk.slot as usize].is_none() {
                walk.slot = (walk.slot + walk.skip) & mask;
            }
            table[walk.slot as usize] = walk.id;
            free -= 1;
            if free == 0 {
                return table;
            }
        }
    }
}

fn walk(entry: &Entry, heaviest: u64, mask: u64) -> Walk {
    let name = name(entry.address);
    Walk {
        id: entry.id,
        weight: u64::from(entry.weight),
        // Every real has a turn in the first round, as in IPVS (`ip_vs_mh_shift_weight`): no share is empty.
        credit: heaviest - u64::from(entry.weight),
        slot: mix(name ^ 0x6d61_676c_6576_0001) & mask,
        // The step is odd, and the size is a power of two: every slot is visited.
        skip: mix(name ^ 0x6d61_676c_6576_0002) & mask | 1,
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(weights: &[u32]) -> Vec<Entry> {
        (1u32..)
            .zip(weights)
            .map(|(id, &weight)| Entry {
                id: RealId(id),
                address: SocketAddr::from(([10, 0, (id >> 8) as u8, id as u8], 80)),
                weight,
            })
            .collect()
    }

    fn shares(table: &[RealId], count: usize) -> Vec<u64> {
        let mut shares = vec![0; count];
        for &id in table {
            shares[id.0 as usize - 1] += 1;
        }
        shares
    }

    #[test]
    fn shares_are_the_weights() {
        for weights in [&[1, 1, 1][..], &[100, 50, 1], &[65535, 1], &[i32::MAX as u32, 1 << 30], &[3; 1000]] {
            let shares = shares(&table(&pool(weights)), weights.len());
            let sum: u64 = weights.iter().map(|w| u64::from(*w)).sum();
            for (share, weight) in shares.iter().zip(weights) {
                let fair = u64::from(*weight) * u64::from(size(weights.len())) / sum;
                // The last round may end before every real had its turn.
                assert!(share.abs_diff(fair) <= 2, "{weights:?}: {share} slots, not {fair}");
            }
        }
    }

    #[test]
    fn the_smallest_share_is_a_slot() {
        for weights in [vec![1, 10_000], [vec![100; 999], vec![1]].concat(), vec![1, i32::MAX as u32]] {
            let shares = shares(&table(&pool(&weights)), weights.len());
            assert!(shares.iter().all(|share| *share > 0), "{weights:?}: {shares:?}");
        }
    }

    #[test]
    fn a_real_that_goes_takes_few_others_slots_with_it() {
        let all = pool(&[1; 100]);
        let before = table(&all);
        let after = table(&all[..99]);
        let moved = before.iter().zip(&after).filter(|(b, a)| **b != RealId(100) && b != a).count();
        // The paper's figure 12 has a few percent for this ratio of slots to reals.
        assert!(moved < before.len() / 50, "{moved} slots of living reals moved");
    }

    #[test]
    fn order_and_weight_zero_do_not_matter() {
        let mut all = pool(&[1, 2, 3]);
        let before = table(&all);
        all.reverse();
        all.push(Entry { id: RealId(9), address: SocketAddr::from(([10, 9, 9, 9], 80)), weight: 0 });
        assert_eq!(table(&all), before);
        assert!(table(&pool(&[0, 0])).is_empty());
    }

    /// Tests the first slots against those of schema version 3: a change here moves living flows at an
    /// upgrade.
    #[test]
    fn is_what_it_always_was() {
        assert_eq!(table(&pool(&[1, 2, 3]))[..16], GOLDEN.map(RealId));
    }

    /// Expected slots, computed by the same rules in another language.
    const GOLDEN: [u32; 16] = [3, 3, 3, 3, 2, 3, 2, 2, 3, 1, 2, 1, 2, 3, 3, 2];
}
