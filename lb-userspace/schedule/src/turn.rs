// SPDX-License-Identifier: MIT OR Apache-2.0
//! The next turn after a pool change, as in IPVS: `rr` continues after the real that had the last turn, `wrr`
//! begins the round at the same height again.
#![forbid(unsafe_code)]

use lb_common::schema::Position;

use super::{Entry, TableSpec, sequence};
use lb_model::Scheduler;

/// Returns the position in the table of `after` at which the scheduler continues, if it was at `position` in
/// the table of `before`; `None` if the position stays the same.
#[must_use]
pub fn after_change(before: &TableSpec, position: Position, after: &TableSpec) -> Option<u64> {
    if before.scheduler != after.scheduler {
        return Some(0);
    }
    if living(&before.pool).eq(living(&after.pool)) {
        return None;
    }
    match after.scheduler {
        Scheduler::Rr => Some(behind_last(&before.pool, position, &after.pool)),
        Scheduler::Wrr => Some(at_height(&before.pool, position, &after.pool)),
        _ => None,
    }
}

/// Returns the reals with a weight. Removed ones stay in a pool for a while, with weight 0.
fn living(pool: &[Entry]) -> impl Iterator<Item = &Entry> {
    pool.iter().filter(|entry| entry.weight > 0)
}

/// Returns the position for `rr`: the next real in the list after the one that had the last turn. If that one
/// was removed, the next one after its predecessor (`ip_vs_rr_del_dest`, `net/netfilter/ipvs/ip_vs_rr.c`).
fn behind_last(before: &[Entry], position: Position, after: &[Entry]) -> u64 {
    let turns: Vec<&Entry> = living(before).collect();
    // At position 0, no real has had a turn yet.
    if turns.is_empty() || position.next == 0 {
        return 0;
    }
    let last = turns[((position.next - 1) % turns.len() as u64) as usize];
    let up_to_it = before.iter().take_while(|entry| entry.id != last.id).chain([last]);
    let kept = up_to_it.filter_map(|entry| after.iter().position(|one| one.id == entry.id)).last();
    let behind = kept.map_or(0, |place| place + 1);
    let next = living(&after[..behind]).count();
    if next == living(after).count() { 0 } else { next as u64 }
}

/// Returns the position for `wrr`: the first turn at the height of the last one (`ip_vs_wrr_dest_changed`,
/// `net/netfilter/ipvs/ip_vs_wrr.c`). In IPVS a height falls by the greatest common divisor of the weights,
/// and ends at 1; in a sequence it is the number of a bar, from 1.
fn at_height(before: &[Entry], position: Position, after: &[Entry]) -> u64 {
    let length = u64::from(sequence::length(before));
    // Without a turn since the last change, the height is that of the position after the change.
    let turn = if position.next == position.start { position.next } else { position.next - 1 };
    let height = match length {
        0 => 0,
        _ => (sequence::bar_of(before, (turn % length) as u32) - 1) * sequence::divisor(before) + 1,
    };
    let divisor = sequence::divisor(after);
    let heaviest = after.iter().map(|entry| entry.weight).max().unwrap_or(0);
    let highest = (heaviest + 1).saturating_sub(divisor);
    let height = match height {
        height if height == 0 || height > highest => highest,
        height if divisor > 1 => height / divisor * divisor + 1,
        height => height,
    };
    u64::from(sequence::turns_above(after, height.saturating_sub(1) / divisor + 1))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use lb_common::{ids::RealId, schema::Tracking};

    use std::collections::BTreeSet;

    use super::*;
    use crate::Span;

    /// Returns the next choices after a pool change at a position.
    fn next(scheduler: Scheduler, pools: [&[(u32, u32)]; 2], position: Position) -> Vec<RealId> {
        let [before, after] = pools.map(|pool| TableSpec {
            scheduler,
            tracking: Tracking::Full,
            protocol: 6,
            pool: pool
                .iter()
                .map(|(id, weight)| Entry {
                    id: RealId(*id),
                    address: SocketAddr::from(([10, 0, 0, 1], *id as u16)),
                    weight: *weight,
                })
                .collect(),
            cut: BTreeSet::new(),
            span: Span::default(),
        });
        let next = after_change(&before, position, &after).expect("the pool has changed");
        let turns = after.turns();
        turns.iter().cycle().skip(next as usize % turns.len().max(1)).take(6).copied().collect()
    }

    fn moved(next: u64) -> Position {
        Position { next, start: 0 }
    }

    #[test]
    fn rr_goes_on_behind_the_last_turn() {
        let all = [(3, 1), (2, 1), (1, 1)];
        let without = [(3, 1), (1, 1)];
        assert_eq!(
            next(Scheduler::Rr, [&all, &without], moved(5))[..3],
            [1, 3, 1].map(RealId),
            "2 was the last"
        );
        assert_eq!(
            next(Scheduler::Rr, [&all, &without], moved(4))[..3],
            [1, 3, 1].map(RealId),
            "3 was the last"
        );
        assert_eq!(next(Scheduler::Rr, [&all, &without], moved(0))[..3], [3, 1, 3].map(RealId), "nobody was");
        let more = [(4, 1), (3, 1), (2, 1), (1, 1)];
        assert_eq!(next(Scheduler::Rr, [&all, &more], moved(5))[..3], [1, 4, 3].map(RealId));
        assert_eq!(next(Scheduler::Rr, [&[(3, 0), (2, 1), (1, 0)], &all], moved(7))[..2], [1, 3].map(RealId));
    }

    #[test]
    fn wrr_begins_the_height_again() {
        // Turns of the first: 3, 3, 2, 3, 2, 1.
        let first = [(3, 3), (2, 2), (1, 1)];
        let second = [(3, 5), (2, 2), (1, 1)];
        assert_eq!(
            next(Scheduler::Wrr, [&first, &second], moved(2))[..4],
            [3, 2, 3, 2].map(RealId),
            "height 2"
        );
        assert_eq!(
            next(Scheduler::Wrr, [&first, &second], moved(0))[..4],
            [3, 3, 2, 3].map(RealId),
            "height 3"
        );
        // A pool that is built in ascending order of weights begins at the lowest height.
        assert_eq!(
            next(Scheduler::Wrr, [&[(1, 1)], &[(2, 2), (1, 1)]], moved(0))[..4],
            [2, 1, 2, 2].map(RealId)
        );
        // Turns of the third: 3, 3, 2, at heights 101 and 1.
        let third = [(3, 200), (2, 100)];
        assert_eq!(next(Scheduler::Wrr, [&third, &first], moved(3))[..3], [3, 2, 1].map(RealId), "height 1");
        assert_eq!(next(Scheduler::Wrr, [&[], &first], moved(9))[..3], [3, 3, 2].map(RealId));
    }
}
