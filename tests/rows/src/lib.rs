// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command line of the benchmark, and its rows. They are a crate of their own so that `--help` and `--list` need
//! nothing else.

pub mod choice;
pub mod options;
pub mod row;
