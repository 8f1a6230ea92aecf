// SPDX-License-Identifier: MIT OR Apache-2.0
//! The result of a check.

use serde::Serialize;

/// State of one item.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Finding {
    /// Item that was checked.
    pub item: String,
    /// Expected value.
    pub expected: String,
    /// Present value.
    pub found: String,
    /// The present value is sufficient.
    pub ok: bool,
    /// Reason for the requirement.
    pub why: String,
}
