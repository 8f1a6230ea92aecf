// SPDX-License-Identifier: MIT OR Apache-2.0
//! Exact numbers of slots: by weight, rounded up or down, and at least one.
#![forbid(unsafe_code)]

use std::cmp::Reverse;

use super::{mix, salt};

/// Returns the number of slots of each real, `size` in total. `names` and `weights` are those of the reals.
///
/// A real whose share is less than a slot has one slot, as in IPVS (`ip_vs_mh_shift_weight`); the others share
/// the rest by weight, by the method of largest remainders. If there are more reals than slots, the heaviest
/// ones have one each.
pub(super) fn shares(names: &[u64], weights: &[u32], size: u32) -> Vec<u32> {
    let tie = |real: usize| (mix(names[real] ^ salt::ROUNDING), real);
    if weights.len() > size as usize {
        let mut order: Vec<usize> = (0..weights.len()).collect();
        order.sort_unstable_by_key(|&real| (Reverse(weights[real]), tie(real)));
        let mut shares = vec![0; weights.len()];
        order[..size as usize].iter().for_each(|&real| shares[real] = 1);
        return shares;
    }
    let (least, slots, sum) = least(weights, size);
    let mut shares = vec![1; weights.len()];
    let mut remainders = Vec::with_capacity(weights.len());
    let mut left = slots;
    for (real, &weight) in weights.iter().enumerate().filter(|(_, weight)| **weight >= least) {
        let product = u64::from(weight) * slots;
        shares[real] = (product / sum) as u32;
        left -= product / sum;
        remainders.push((Reverse(product % sum), tie(real)));
    }
    // Fewer slots are left than there are remainders.
    let left = left as usize;
    if left > 0 {
        remainders.select_nth_unstable(left - 1);
    }
    remainders[..left].iter().for_each(|(_, (_, real))| shares[*real] += 1);
    shares
}

/// Returns the least weight whose share is at least one slot, with the number of slots and the sum of the
/// weights of all reals from that weight on.
fn least(weights: &[u32], size: u32) -> (u32, u64, u64) {
    let (mut least, mut slots) = (0, u64::from(size));
    let mut sum: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
    loop {
        let is_small = |weight: u32| weight >= least && u64::from(weight) * slots < sum;
        let Some(largest) = weights.iter().copied().filter(|weight| is_small(*weight)).max() else {
            return (least, slots, sum);
        };
        for weight in weights.iter().filter(|weight| (least..=largest).contains(*weight)) {
            slots -= 1;
            sum -= u64::from(*weight);
        }
        least = largest + 1;
    }
}
