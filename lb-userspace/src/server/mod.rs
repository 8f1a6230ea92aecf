// SPDX-License-Identifier: MIT OR Apache-2.0
//! Servers of the daemon: the API on the unix socket, the API for agents, the metrics, and all of it by TCP.
#![forbid(unsafe_code)]

pub mod agents; //  the API for agents of real servers
pub mod api; //     the API on the unix socket
mod audit; //       a log line for every change
mod config; //      plan, apply, history
mod daemon_metrics; // Prometheus metrics of the daemon itself
mod events; //      events as a stream
mod health_metrics; // Prometheus metrics of checks
pub mod http; //    the TCP listener for people and programs
mod live; //        live data as a stream
pub mod metrics; // Prometheus metrics
mod page; //        the text formats of metrics
mod page_files; //  the status page
mod published; //   the last scrape, shared by all clients
pub mod routes; // a router that lists its routes
mod sync; //        announcements of connections
mod sync_metrics; // Prometheus metrics of announcements
mod trace; //       traced packets as a stream
