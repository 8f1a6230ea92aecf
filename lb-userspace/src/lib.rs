// SPDX-License-Identifier: MIT OR Apache-2.0
//! The library behind the `xvs` binary.

pub mod control;
pub mod failure;
pub mod netlink;
