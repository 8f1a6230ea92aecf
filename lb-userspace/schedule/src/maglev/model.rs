// SPDX-License-Identifier: MIT OR Apache-2.0
//! The rule of the table, slot by slot and in the order of time, as a model of [`super::cells`].
#![forbid(unsafe_code)]

use super::{
    CELLS, Entry, RealId, cells, name, shares, size,
    visits::{Pace, Visitor},
};

/// Returns the table that [`super::table`] must have. `pool` is sorted by address.
pub(super) fn table(pool: &[Entry]) -> Vec<RealId> {
    let names: Vec<u64> = pool.iter().map(|entry| name(entry.address)).collect();
    let weights: Vec<u32> = pool.iter().map(|entry| entry.weight).collect();
    let size = size(pool.len());
    let mut wanted = shares::shares(&names, &weights, size);
    let pace = Pace::of(&weights);
    let mut visits: Vec<(u64, usize, u32)> = Vec::new();
    for (real, (name, weight)) in names.iter().zip(&weights).enumerate() {
        let visitor = Visitor::new(*name, pace.step(*weight));
        visits.extend((0..CELLS * 2).map(|visit| (visitor.time(visit), real, visitor.half(visit))));
    }
    visits.sort_unstable();
    let places = cells::places(size, cells::split(&weights));
    let run = size / CELLS;
    let mut table = vec![RealId::NONE; size as usize];
    for (_, real, half) in visits {
        let first = (half / 2 * run + half % 2 * (run / 2)) as usize;
        for slot in &mut table[first..first + usize::from(places[half as usize])] {
            if slot.is_none() && wanted[real] > 0 {
                *slot = pool[real].id;
                wanted[real] -= 1;
            }
        }
    }
    table
}
