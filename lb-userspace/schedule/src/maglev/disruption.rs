// SPDX-License-Identifier: MIT OR Apache-2.0
//! Slots that change their owner when the pool changes, in relation to those that must: the shares that reals
//! gain. At most twice as many may, and one percent more.
#![forbid(unsafe_code)]

use std::{collections::HashMap, env};

use super::{tests::pool, *};
use crate::stretched;

/// Result of a change of a pool.
#[derive(Clone, Copy, Debug)]
struct Moved {
    /// Share of the slots whose owner changed.
    moved: f64,
    /// The sum of the shares that reals gained.
    needed: f64,
}

impl Moved {
    fn excess(self) -> f64 {
        self.moved - 2.0 * self.needed
    }
}

/// Returns the slots that move between two pools whose reals have the same ids.
fn change(before: &[Entry], after: &[Entry]) -> Moved {
    let (old, new) = (table(before), table(after));
    let size = old.len().max(new.len());
    let (old, new) = (stretched(&old, size), stretched(&new, size));
    let moved = old.iter().zip(&new).filter(|(old, new)| old != new).count();
    let sum = |pool: &[Entry]| pool.iter().map(|entry| f64::from(entry.weight)).sum::<f64>();
    let (sum_before, sum_after) = (sum(before), sum(after));
    let share = |entry: &Entry| (entry.id, f64::from(entry.weight) / sum_before);
    let shares: HashMap<RealId, f64> = before.iter().map(share).collect();
    let gain = |entry: &Entry| {
        let old = shares.get(&entry.id).copied().unwrap_or_default();
        (f64::from(entry.weight) / sum_after - old).max(0.0)
    };
    Moved {
        moved: f64::from(u32::try_from(moved).unwrap()) / f64::from(u32::try_from(size).unwrap()),
        needed: after.iter().map(gain).sum(),
    }
}

/// Returns whether the long variant is wanted (`cargo xtask test --full`).
fn is_full() -> bool {
    env::var_os("XVS_FULL").is_some()
}

#[test]
fn a_real_more_or_less_moves_little_at_any_size_of_the_pool() {
    let all = pool(&[1; 1025]);
    let edges = [31, 32, 33, 63, 64, 65, 127, 128, 129, 255, 256, 257, 511, 512, 1023, 1024];
    let some = (1..=30).chain(edges).chain((40..1024).step_by(if is_full() { 1 } else { 61 }));
    let mut worst = (f64::MIN, 0);
    for count in some {
        let (added, mut removed) = (&all[..=count], all[..count].to_vec());
        let more = change(&all[..count], added);
        removed.remove(count / 2);
        let fewer = if removed.is_empty() { more } else { change(&all[..count], &removed) };
        for moved in [more, fewer] {
            assert!(moved.excess() <= 0.01, "{count} reals: {moved:?}");
            worst = if moved.excess() > worst.0 { (moved.excess(), count) } else { worst };
        }
    }
    println!("at worst {worst:?}");
}

/// Sets of weights.
const WEIGHTS: [fn(u64) -> u32; 6] = [
    |random| 1 + (random % 100) as u32,
    |random| [1, 2, 100][(random % 3) as usize],
    |random| 1 << (random % 16),
    |random| 1 + (random % 1_000_000) as u32,
    |_| 100,
    |random| if random % 50 == 0 { 5000 } else { 1 },
];

#[test]
fn a_change_of_pools_of_any_weights_moves_little() {
    let cases = if is_full() { 6000 } else { 150 };
    let mut worst = f64::MIN;
    for case in 0..cases {
        let random = |number: u64| mix(case * 1_000_003 + number);
        let weight = |number: u64| WEIGHTS[(case % 6) as usize](random(100 + number));
        let count = 2 + random(1) % [8, 20, 100, 300, 1000][(case / 6 % 5) as usize];
        let entry = |number: u64| Entry {
            id: RealId(number as u32 + 1),
            address: SocketAddr::from(((random(5000 + number) as u32).to_be_bytes(), 80)),
            weight: weight(number),
        };
        let before: Vec<Entry> = (0..count).map(entry).collect();
        let mut after = before.clone();
        let one = (random(2) % count) as usize;
        match random(3) % 3 {
            0 => drop(after.remove(one)),
            1 => after.push(entry(count)),
            _ => after[one].weight = weight(count),
        }
        let moved = change(&before, &after);
        assert!(moved.excess() <= 0.01, "case {case}, {count} reals: {moved:?}");
        worst = worst.max(moved.excess());
    }
    println!("at worst {worst}");
}

#[test]
fn a_table_agrees_with_that_of_twice_its_size() {
    for (small, large) in [(32, 33), (64, 65), (128, 129), (256, 257)] {
        let all = pool(&vec![1; large]);
        assert_eq!((size(small) * 2, size(large)), (size(large), size(large)));
        let moved = change(&all[..small], &all);
        println!("{small} to {large}: {moved:?}");
        assert!(moved.moved < 2.0 * moved.needed + 0.01, "{moved:?}");
    }
}
