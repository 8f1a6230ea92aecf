// SPDX-License-Identifier: MIT OR Apache-2.0
//! Results, written and compared.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::measure::Measured;

/// What one run found out.
#[derive(Clone, Debug, Deserialize, Serialize)]
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
}

/// One line about a row.
#[must_use]
pub fn line(measured: &Measured) -> String {
    let Measured { row, limit, above, floors, tracked } = measured;
    let mut text = format!(
        "{:<62} {:>6.1} ns  [{:.1}, {:.1}]  limit {:.1}",
        row.to_string(),
        above.median,
        above.lower,
        above.upper,
        limit.median
    );
    for (name, floor) in floors {
        let _infallible = write!(text, "  {name} {:.1} ({:.2}x)", floor.median, above.median / floor.median);
    }
    if *tracked > 0 {
        let _infallible = write!(text, "  {tracked} tracked");
    }
    text
}
