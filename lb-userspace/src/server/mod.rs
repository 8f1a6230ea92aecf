// SPDX-License-Identifier: MIT OR Apache-2.0
//! Servers of the daemon: the API on the unix socket, the API for agents, and the metrics.
#![forbid(unsafe_code)]

pub mod agents; //  the API for agents of real servers
pub mod api; //     the API on the unix socket
mod events; //      events as a stream
mod health_metrics; // Prometheus metrics of checks
pub mod metrics; // Prometheus metrics
mod page; //        the text formats of metrics
mod published; //   the last scrape, shared by all clients
