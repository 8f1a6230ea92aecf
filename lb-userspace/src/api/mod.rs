// SPDX-License-Identifier: MIT OR Apache-2.0
//! HTTP and JSON between the daemon and everything that talks to it, over a unix socket.
#![forbid(unsafe_code)]

pub mod client; // the CLI's side
pub mod ipvs; //   the table as IPVS would show it
pub mod roles; //  what agents of real servers may ask
pub mod server; // the daemon's side
pub mod token; //  the secret that they show
pub mod types; //  what goes over the wire
