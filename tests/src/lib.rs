// SPDX-License-Identifier: MIT OR Apache-2.0
//! The parts of the tests: the lab, and the bench for single packets.

pub mod artifacts;
pub mod bench;
pub mod differential;
pub mod every_way;
pub mod lab;
pub mod model;
pub mod packet;
pub mod plot;
pub mod verify;
