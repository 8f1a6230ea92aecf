// SPDX-License-Identifier: MIT OR Apache-2.0
//! Observability: the log, and rates of counters.
#![forbid(unsafe_code)]

pub mod log; //   a log that never blocks
pub mod rates; // rates of counters, as IPVS estimates them
