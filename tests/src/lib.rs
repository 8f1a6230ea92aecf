// SPDX-License-Identifier: MIT OR Apache-2.0
//! The lab and what packet tests share.

pub mod artifacts;
pub mod lab;
