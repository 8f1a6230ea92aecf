// SPDX-License-Identifier: MIT OR Apache-2.0
//! Slow start: the weight of a real that is up again grows in few steps, since each step moves slots.
#![forbid(unsafe_code)]

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::RealOf;

/// Shortest step.
const STEP: Duration = Duration::from_secs(10);
/// Largest number of steps.
const MOST: u32 = 5;

/// Reals in slow start: the begin, and the duration.
#[derive(Debug, Default)]
pub(super) struct Ramps(BTreeMap<RealOf, (Instant, Duration)>);

impl Ramps {
    /// Begins a slow start.
    pub(super) fn begin(&mut self, real: RealOf, now: Instant, duration: Duration) {
        if !duration.is_zero() {
            self.0.insert(real, (now, duration));
        }
    }

    /// Ends the slow start of a real, if it is in one.
    pub(super) fn end(&mut self, real: &RealOf) {
        self.0.remove(real);
    }

    /// Keeps the slow starts of these reals.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&RealOf) -> bool) {
        self.0.retain(|real, _| keep(real));
    }

    /// Returns the permitted part of the weight, in percent.
    pub(super) fn percent(&mut self, real: &RealOf, now: Instant) -> u8 {
        let Some((begin, duration)) = self.0.get(real) else { return 100 };
        let elapsed = now.saturating_duration_since(*begin);
        if elapsed >= *duration {
            self.0.remove(real);
            return 100;
        }
        let steps = steps(*duration);
        let done = (elapsed.as_millis() * u128::from(steps) / duration.as_millis()) as u32;
        (100 * (done + 1) / (steps + 1)) as u8
    }

    /// Returns the time of the next step.
    pub(super) fn next(&self, now: Instant) -> Option<Instant> {
        let next = |(begin, duration): &(Instant, Duration)| {
            let step = *duration / steps(*duration);
            let done = now.saturating_duration_since(*begin).as_millis() / step.as_millis().max(1);
            *begin + step * (done as u32 + 1)
        };
        self.0.values().map(next).min()
    }
}

/// Returns the number of steps.
fn steps(duration: Duration) -> u32 {
    ((duration.as_millis() / STEP.as_millis()) as u32).clamp(1, MOST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lb_model::ServiceId;

    #[test]
    fn the_weight_grows_in_few_steps() {
        let real = (ServiceId::parse("tcp", "192.0.2.1:80").unwrap(), "10.0.0.1:80".parse().unwrap());
        let (mut ramps, begin) = (Ramps::default(), Instant::now());
        let at = |seconds| begin + Duration::from_secs(seconds);
        assert_eq!(ramps.percent(&real, begin), 100);
        ramps.begin(real, begin, Duration::from_secs(30));
        assert_eq!(ramps.next(begin), Some(at(10)));
        assert_eq!([0, 9, 10, 20, 29].map(|second| ramps.percent(&real, at(second))), [25, 25, 50, 75, 75]);
        assert_eq!(ramps.next(at(25)), Some(at(30)));
        assert_eq!((ramps.percent(&real, at(30)), ramps.next(at(30))), (100, None));
        ramps.begin(real, begin, Duration::from_secs(3));
        assert_eq!((ramps.percent(&real, at(2)), ramps.percent(&real, at(3))), (50, 100));
        ramps.begin(real, begin, Duration::ZERO);
        assert_eq!(ramps.percent(&real, begin), 100);
    }
}
