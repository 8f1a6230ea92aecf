// SPDX-License-Identifier: MIT OR Apache-2.0
//! Words for messages.
#![forbid(unsafe_code)]

/// Returns a number with its noun: `1 real`, `2 reals`.
#[must_use]
pub fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}
