// SPDX-License-Identifier: MIT OR Apache-2.0
//! Observability: the log, rates of counters, and messages to the service manager.
#![forbid(unsafe_code)]

pub mod log; //     a log that never blocks
pub mod manager; // readiness, status and watchdog of systemd
pub mod rates; //   rates of counters, as IPVS estimates them
