// SPDX-License-Identifier: MIT OR Apache-2.0
#![forbid(unsafe_code)]

use proptest::prelude::*;

use super::*;

pub(super) fn pool(weights: &[u32]) -> Vec<Entry> {
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
            assert!((fair..=fair + 1).contains(share), "{weights:?}: {share} slots, not {fair}");
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
fn of_more_reals_than_slots_the_heaviest_have_one() {
    let weights: Vec<u32> = (0..70_000).map(|real| 1 + u32::from(real % 2 == 0) + real % 3 / 2).collect();
    let pool: Vec<Entry> = pool_of_many(&weights);
    let shares = shares(&table(&pool), weights.len());
    assert!(shares.iter().all(|share| *share <= 1));
    let heaviest_without =
        weights.iter().zip(&shares).filter(|(_, share)| **share == 0).map(|(w, _)| *w).max();
    assert_eq!(heaviest_without, Some(1));
}

fn pool_of_many(weights: &[u32]) -> Vec<Entry> {
    let mut pool = pool(weights);
    for (number, entry) in (0u32..).zip(&mut pool) {
        entry.address = SocketAddr::from((number.to_be_bytes(), 80));
    }
    pool
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

/// Tests some slots against those of earlier versions: a change here moves living flows at an upgrade.
#[test]
fn is_what_it_always_was() {
    let small = table(&pool(&[1, 2, 3]));
    assert_eq!(small[..16], GOLDEN_SMALL.map(RealId));
    let large = table(&pool(&(1..=100).collect::<Vec<u32>>()));
    assert_eq!(large[..16], GOLDEN_LARGE.map(RealId));
}

/// Expected slots, computed by the same rules in another language.
const GOLDEN_SMALL: [u32; 16] = [3, 2, 3, 2, 2, 2, 1, 2, 1, 3, 1, 3, 2, 2, 1, 3];
const GOLDEN_LARGE: [u32; 16] = [42, 42, 42, 42, 79, 79, 79, 79, 64, 64, 74, 74, 96, 96, 95, 95];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn any_order_of_visits_has_the_result_of_the_order_of_time(
        weights in prop_oneof![
            prop::collection::vec(1..=100u32, 1..=8),
            prop::collection::vec(1..=u32::MAX, 1..=40),
            prop::collection::vec(prop_oneof![Just(1u32), Just(100), 1..=10_000u32], 33..=150),
        ]
    ) {
        let pool = pool(&weights);
        prop_assert!(table(&pool) == model::table(&pool));
    }

    #[test]
    fn each_real_has_its_exact_share(weights in prop::collection::vec(1..=u32::MAX >> 12, 1..=300), shift in 0..20u32) {
        let weights: Vec<u32> = weights.into_iter().map(|weight| (weight >> shift).max(1)).collect();
        let table = table(&pool(&weights));
        let size = u64::from(size(weights.len()));
        prop_assert_eq!(table.len() as u64, size);
        let shares = shares(&table, weights.len());
        let sum: u64 = weights.iter().map(|w| u64::from(*w)).sum();
        // A real whose share is less than a slot has one, at the cost of all others.
        let small = |weight: &&u32| u64::from(**weight) * size < sum;
        let rest = size - weights.iter().filter(small).count() as u64;
        for (share, weight) in shares.iter().zip(weights.iter().map(|weight| u64::from(*weight))) {
            prop_assert!(*share >= 1 && *share <= weight * size / sum + 1);
            prop_assert!(*share + 1 >= weight * rest / sum);
        }
    }
}
