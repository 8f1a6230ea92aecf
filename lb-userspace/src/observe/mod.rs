// SPDX-License-Identifier: MIT OR Apache-2.0
//! What others see: Prometheus.
#![forbid(unsafe_code)]

pub mod log; //   a log that never blocks
pub mod rates; // rates of counters, as IPVS estimates them
