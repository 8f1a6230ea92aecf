// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the tests are made of: the lab, and the bench on which single packets are tried.

pub mod artifacts;
pub mod bench;
pub mod differential;
pub mod every_way;
pub mod lab;
pub mod model;
pub mod packet;
pub mod plot;
pub mod verify;
