// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! `lblc`, locality-based least connections: `ip_vs_lblc.c`. A destination stays on its real while the real
//! exists and is not overloaded; else it moves to the least loaded real by [`super::wlc`].

use super::Candidate;

/// Returns whether a destination's real has more active connections than its weight. The destination leaves
/// that real only if another real is [`idle_enough`].
#[inline(always)]
#[must_use]
pub const fn is_full(real: &Candidate) -> bool {
    real.active > real.weight
}

/// Returns whether a real has less than half of the connections that its weight allows.
#[inline(always)]
#[must_use]
pub const fn idle_enough(real: &Candidate) -> bool {
    (real.active as u64) * 2 < real.weight as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_real_leaves_its_destination_to_one_with_room() {
        let real = |weight, active| Candidate { weight, active, inactive: 0 };
        assert!(is_full(&real(4, 5)) && !is_full(&real(4, 4)));
        assert!(idle_enough(&real(4, 1)) && !idle_enough(&real(4, 2)));
    }
}
