// SPDX-License-Identifier: MIT OR Apache-2.0
//! Source and destination hashing: 256 buckets, filled as IPVS fills them. A client or destination that an
//! IPVS director sent to a real goes to the same real here.
#![forbid(unsafe_code)]

use lb_common::{hash::IPVS_SLOTS, ids::RealId};

use super::Entry;

/// Returns the buckets of `sh` (`ip_vs_sh_reassign`): each real gets as many adjacent buckets as its weight,
/// then the next one follows.
///
/// Unlike in IPVS, a real of weight 0 has no bucket: there it keeps one and refuses its clients.
#[must_use]
pub fn by_weight(pool: &[Entry]) -> Vec<RealId> {
    let runs = pool.iter().flat_map(|entry| std::iter::repeat_n(entry.id, entry.weight as usize));
    // At most as many turns as buckets are used, however large the weights are.
    fill(runs.take(IPVS_SLOTS as usize).collect::<Vec<_>>().as_slice())
}

/// Returns the buckets of `dh` (`ip_vs_dh_reassign`): the reals in turn, regardless of their weights.
#[must_use]
pub fn in_turn(pool: &[Entry]) -> Vec<RealId> {
    let ids: Vec<RealId> = pool.iter().filter(|entry| entry.weight > 0).map(|entry| entry.id).collect();
    fill(&ids)
}

fn fill(ids: &[RealId]) -> Vec<RealId> {
    ids.iter().cycle().take(if ids.is_empty() { 0 } else { IPVS_SLOTS as usize }).copied().collect()
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn pool(weights: &[u32]) -> Vec<Entry> {
        let address = SocketAddr::from(([10, 0, 0, 1], 80));
        (1u32..).zip(weights).map(|(id, &weight)| Entry { id: RealId(id), address, weight }).collect()
    }

    #[test]
    fn buckets_are_filled_in_runs_and_in_turn() {
        assert_eq!(by_weight(&pool(&[2, 0, 1]))[..6], [1, 1, 3, 1, 1, 3].map(RealId));
        assert_eq!(in_turn(&pool(&[2, 0, 1]))[..4], [1, 3, 1, 3].map(RealId));
        assert_eq!(by_weight(&pool(&[65535, 1])).len(), 256);
        assert_eq!(by_weight(&pool(&[1, i32::MAX as u32]))[..3], [1, 2, 2].map(RealId));
        assert!(in_turn(&pool(&[0])).is_empty() && by_weight(&[]).is_empty());
    }
}
