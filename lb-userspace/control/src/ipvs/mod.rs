// SPDX-License-Identifier: MIT OR Apache-2.0
//! Translation of IPVS's rules into services of xvs. These functions are pure.
#![forbid(unsafe_code)]

mod hand_over; // flows as connections of IPVS
mod left; //      services that stay with the kernel
mod pending; //   connections that the kernel is to take
mod real; //      destinations
mod service; //   services
mod settle; //    rules that vanish for a moment
#[cfg(test)]
mod tests;
mod translate; // the whole table
mod words; //     options of xvs that correspond to those of IPVS

pub use hand_over::{connection, template};
pub use left::{Left, name};
pub use pending::{Known, Pending};
pub use settle::Settling;
pub use translate::{Followed, Surroundings, translate};
pub use words::{RealWords, ServiceWords, kept_port};
