// SPDX-License-Identifier: MIT OR Apache-2.0
//! What others see: Prometheus.
#![forbid(unsafe_code)]

pub mod log; //     lines that never hold anything up
pub mod metrics;
pub mod page; //    metrics as text
mod published; //  the page that was made last
pub mod rates; //   how fast counters count
