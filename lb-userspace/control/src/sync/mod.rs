// SPDX-License-Identifier: MIT OR Apache-2.0
//! Connections that other directors announce, and those that this one announces to them. These modules are pure.
#![forbid(unsafe_code)]

mod counters; // numbers of messages and announcements
mod effect; //  what became of an announced connection
mod index; //   services and reals by what an announcement has of them
mod link; //    the network of the announcements
mod sent; //    announcements that were sent
mod waiting;
mod written; // flows and persistence entries as announcements // connections whose service or real does not exist yet

pub use counters::{Counters, Dropped};
pub use effect::{Effect, Effects};
pub use index::{Index, Place};
pub use link::Link;
pub use sent::SentFlows;
pub use waiting::Waiting;
pub use written::units;
