// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Thresholds: a real that has reached its upper threshold accepts no connections until it is below the lower
//! one.

/// Returns whether a real is overloaded, given whether it `was` (`ip_vs_bind_dest` and `ip_vs_unbind_dest`).
/// `upper` is not 0; with `lower` 0 the real accepts connections again below three quarters of `upper`.
#[inline(always)]
#[must_use]
pub const fn is_overloaded(was: bool, connections: u32, upper: u32, lower: u32) -> bool {
    if connections >= upper {
        return true;
    }
    if !was {
        return false;
    }
    let below = if lower != 0 { connections < lower } else { (connections as u64) * 4 < (upper as u64) * 3 };
    !below
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(upper: u32, lower: u32, connections: &[u32]) -> Vec<bool> {
        let mut was = false;
        let step = |&count: &u32| {
            was = is_overloaded(was, count, upper, lower);
            was
        };
        connections.iter().map(step).collect()
    }

    #[test]
    fn what_was_overloaded_stays_so_until_it_is_below_the_lower_threshold() {
        assert_eq!(run(4, 2, &[3, 4, 3, 2, 1, 3, 4]), [false, true, true, true, false, false, true]);
        assert_eq!(run(4, 0, &[4, 3, 2, 3]), [true, true, false, false]);
    }
}
