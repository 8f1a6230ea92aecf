// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command line, one file a noun.

pub mod host; // xvs host: on real servers
