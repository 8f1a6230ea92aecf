// SPDX-License-Identifier: MIT OR Apache-2.0
//! HTTP and JSON between the daemon and its clients, over a unix socket.
#![forbid(unsafe_code)]

pub mod access; // which role a request needs
pub mod accounts; // users and groups of this host
pub mod caller; // who sent a request
pub mod client; // the client of the unix socket
pub mod config; // config file, plans and revisions
pub mod connections; // selection of tracked connections
mod crowd; // connections of a listener
pub mod document; // the API as an OpenAPI document
pub mod door; // admission of requests over TCP
pub mod follow; // services of the kernel's IPVS
pub mod health; // health checks
pub mod ipvs; // the table for `xvs ipvsadm`
pub mod listener; // limits and timeouts of every listener
pub mod live; // snapshots and changes of a live view
pub mod proof; // proofs that a peer has the token
pub mod query; // queries of the client's requests
pub mod real_state; // the word for the state of a real
pub mod remote; // a daemon on another machine
pub mod request; // strict parsing of request bodies
pub mod roles; // requests of agents
pub mod socket; // the unix socket
pub mod sync; // announcements of connections
pub mod tls; // TLS of the TCP listener
pub mod token; // the token of agents
pub mod tokens; // tokens of people and programs
pub mod trace; // traced packets
pub mod types; // requests and answers
