// SPDX-License-Identifier: MIT OR Apache-2.0
//! The results of one run: written, read and compared.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::{flood::Flood, measure::Measured, row::Row};

/// The results of one run.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Report {
    /// The kernel.
    pub kernel: String,
    /// The kind of machine.
    pub machine: String,
    /// Rounds for each row.
    pub rounds: u32,
    /// Packets for each program in each of them.
    pub packets: u32,
    /// The rows.
    pub rows: Vec<Measured>,
    /// Results of SYN floods.
    pub floods: Vec<Flood>,
}

impl Report {
    /// Returns a report on this machine, without rows.
    #[must_use]
    pub fn here(rounds: u32, packets: u32) -> Self {
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let of = |key: &str| {
            cpu.lines().find(|line| line.starts_with(key)).and_then(|line| line.split(": ").nth(1))
        };
        let model = of("model name").unwrap_or("unknown").to_owned();
        let is_virtual = of("flags").is_some_and(|flags| flags.split(' ').any(|flag| flag == "hypervisor"));
        let machine = if is_virtual { model + ", a virtual machine" } else { model };
        Self { kernel: kernel.trim().to_owned(), machine, rounds, packets, ..Self::default() }
    }

    /// Reads a report.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read(path).with_context(|| path.display().to_string())?;
        serde_json::from_slice(&text).with_context(|| format!("{} is no report", path.display()))
    }

    /// Writes it down.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        fs::write(path, text).with_context(|| path.display().to_string())
    }
}

/// Formats one line about a row.
#[must_use]
pub fn line(measured: &Measured) -> String {
    let Measured { row, limit, above, floors, tracked } = measured;
    let mut text = format!(
        "{:<66} {:>6.1} ns  [{:.1}, {:.1}]  limit {:.1}",
        row.to_string(),
        above.median,
        above.lower,
        above.upper,
        limit.median
    );
    // Writing to a string cannot fail, here and below.
    for (name, floor) in floors {
        let _infallible = write!(text, "  {name} {:.1} ({:.2}x)", floor.median, above.median / floor.median);
    }
    if *tracked > 0 {
        let _infallible = write!(text, "  {tracked} tracked");
    }
    text
}

/// A row that two runs measured.
#[derive(Clone, Copy, Debug)]
pub struct Change {
    /// The row.
    pub row: Row,
    /// Nanoseconds above the limit, before.
    pub before: f64,
    /// Now.
    pub now: f64,
}

impl Change {
    /// Nanoseconds that two runs of one thing differ by: less is no change.
    const NOISE: f64 = 3.0;

    /// Returns the ratio of the present cost to the earlier one. Costs below the noise count as the noise.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        self.now.max(Self::NOISE) / self.before.max(Self::NOISE)
    }

    /// Returns whether the cost rose by more than this factor.
    #[must_use]
    pub fn is_worse(&self, threshold: f64) -> bool {
        self.ratio() > threshold && self.now - self.before > Self::NOISE
    }
}

/// Compares the rows that both runs measured.
#[must_use]
pub fn compare(before: &Report, now: &Report) -> Vec<Change> {
    let before: BTreeMap<Row, f64> = before.rows.iter().map(|m| (m.row, m.above.median)).collect();
    let change = |m: &Measured| {
        before.get(&m.row).map(|before| Change { row: m.row, before: *before, now: m.above.median })
    };
    now.rows.iter().filter_map(change).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::choice::BASE;

    #[test]
    fn noise_is_no_change() {
        let change = |before, now| Change { row: BASE, before, now };
        assert!(!change(0.1, 2.0).is_worse(1.1));
        assert!(!change(40.0, 43.0).is_worse(1.05));
        assert!(!change(100.0, 109.0).is_worse(1.1));
        assert!(change(100.0, 111.0).is_worse(1.1));
        assert!(change(0.1, 20.0).is_worse(1.1));
    }
}
