// SPDX-License-Identifier: MIT OR Apache-2.0
//! Rates of counters, as the estimator of IPVS computes them (`net/netfilter/ipvs/ip_vs_est.c`): every two
//! seconds, a sample contributes a quarter to the average.
#![forbid(unsafe_code)]

use std::{
    ops::AddAssign,
    time::{Duration, Instant},
};

use crate::api::ipvs::Rates;
use lb_control::state::Totals;

/// Interval of the samples of each real.
pub const PERIOD: Duration = Duration::from_secs(2);
/// Number of parts in which the reals are sampled one after the other: 65,536 reals at once would delay
/// answers of the daemon. Linux spreads its estimators since 6.2 for the same reason.
pub const PARTS: u32 = 20;

/// Numbers of fractional bits: of averages of connections and packets, and of bytes.
const FINE: u32 = 10;
const COARSE: u32 = 5;

/// Averages as fixed-point numbers.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Averages {
    connections: u64,
    packets_in: u64,
    packets_out: u64,
    bytes_in: u64,
    bytes_out: u64,
}

impl Averages {
    /// Rounds to whole numbers as the kernel does: a half is rounded down.
    #[must_use]
    pub const fn rates(self) -> Rates {
        Rates {
            connections: whole(self.connections, FINE),
            packets_in: whole(self.packets_in, FINE),
            packets_out: whole(self.packets_out, FINE),
            bytes_in: whole(self.bytes_in, COARSE),
            bytes_out: whole(self.bytes_out, COARSE),
        }
    }
}

impl AddAssign for Averages {
    fn add_assign(&mut self, other: Self) {
        self.connections += other.connections;
        self.packets_in += other.packets_in;
        self.packets_out += other.packets_out;
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
    }
}

const fn whole(value: u64, bits: u32) -> u64 {
    (value + (1 << (bits - 1)) - 1) >> bits
}

/// Estimate for one real.
#[derive(Clone, Copy, Debug)]
pub struct Estimate {
    last: Totals,
    at: Instant,
    /// Averages.
    pub averages: Averages,
}

impl Estimate {
    /// Creates an estimate that begins with the present counts.
    #[must_use]
    pub fn new(counted: Totals, now: Instant) -> Self {
        Self { last: counted, at: now, averages: Averages::default() }
    }

    /// Adds a sample.
    pub fn sample(&mut self, counted: Totals, now: Instant) {
        if counted == self.last && self.averages == Averages::default() {
            // Most of many reals are quiet.
            self.at = now;
            return;
        }
        let elapsed = now.saturating_duration_since(self.at).as_millis().max(1) as u64;
        let Averages { connections, packets_in, packets_out, bytes_in, bytes_out } = &mut self.averages;
        for (average, now, last, bits) in [
            (connections, counted.new_flows, self.last.new_flows, FINE),
            (packets_in, counted.packets_in, self.last.packets_in, FINE),
            (packets_out, counted.packets_out, self.last.packets_out, FINE),
            (bytes_in, counted.bytes_in, self.last.bytes_in, COARSE),
            (bytes_out, counted.bytes_out, self.last.bytes_out, COARSE),
        ] {
            // A counter that decreased belongs to another real with the same id.
            let rate = (now.saturating_sub(last) << bits) * 1000 / elapsed;
            // An arithmetic shift, as in the kernel: the average ends at 0, not just above it.
            *average = average.wrapping_add_signed((rate.cast_signed() - average.cast_signed()) >> 2);
        }
        (self.last, self.at) = (counted, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packets(packets_in: u64) -> Totals {
        Totals { packets_in, bytes_in: packets_in * 100, new_flows: packets_in / 10, ..Totals::default() }
    }

    /// Tests 1,000 packets/s against the kernel's arithmetic by hand: (((2000 << 9) - average) >> 2) added
    /// four times.
    #[test]
    fn the_average_takes_over_a_quarter_of_each_sample() {
        let start = Instant::now();
        let mut estimate = Estimate::new(packets(0), start);
        let mut seen = Vec::new();
        for sample in 1..=4u32 {
            estimate.sample(packets(u64::from(sample) * 2000), start + PERIOD * sample);
            seen.push(estimate.averages.rates());
        }
        assert_eq!(seen.iter().map(|rates| rates.packets_in).collect::<Vec<_>>(), [250, 437, 578, 684]);
        assert_eq!(seen.iter().map(|rates| rates.bytes_in).collect::<Vec<_>>(), [25000, 43750, 57812, 68359]);
        assert_eq!(seen.iter().map(|rates| rates.connections).collect::<Vec<_>>(), [25, 44, 58, 68]);
    }

    #[test]
    fn silence_ends_at_zero_and_a_late_sample_does_not_count_double() {
        let start = Instant::now();
        let mut estimate = Estimate::new(packets(0), start);
        for sample in 1..=60u32 {
            estimate.sample(packets(u64::from(sample) * 4000), start + PERIOD * 2 * sample);
        }
        assert_eq!(estimate.averages.rates().packets_in, 1000);
        for sample in 61..=160u32 {
            estimate.sample(packets(240_000), start + PERIOD * 2 * sample);
        }
        assert_eq!(estimate.averages, Averages::default());
    }

    #[test]
    fn a_counter_that_begins_anew_is_no_rate() {
        let start = Instant::now();
        let mut estimate = Estimate::new(packets(5000), start);
        estimate.sample(packets(10), start + PERIOD);
        assert_eq!(estimate.averages.rates(), Rates::default());
    }
}
