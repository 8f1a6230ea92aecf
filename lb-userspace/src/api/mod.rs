// SPDX-License-Identifier: MIT OR Apache-2.0
//! HTTP and JSON between the daemon and everything that talks to it, over a unix socket.
#![forbid(unsafe_code)]

pub mod client; // the CLI's side
mod crowd; //      the connections of a server
pub mod descriptors; // files that may be open
pub mod ipvs; //   the table as IPVS would show it
pub mod listener; // limits and time-outs of every server
pub mod proof; //  who has the token
pub mod request; // bodies that are understood as a whole
pub mod roles; //  what agents of real servers may ask
pub mod server; // the daemon's side
pub mod socket; // where the CLI talks to it
pub mod token; //  the secret that they show
pub mod types; //  what goes over the wire
