// SPDX-License-Identifier: MIT OR Apache-2.0
//! The library behind the `xvs` binary.

// The print macros panic if stdout or stderr is closed: use `cli::say` and `observe::log`.
#![deny(clippy::print_stderr, clippy::print_stdout)]

pub mod api;
pub mod cli;
pub mod control;
pub mod daemon;
pub mod dataplane;
pub mod descriptors;
pub mod doctor;
pub mod explain;
pub mod failure;
pub mod host;
pub mod import;
pub mod ipvsadm;
pub mod model;
pub mod netlink;
pub mod observe;
pub mod privileges;
pub mod run;
pub mod schedule;
pub mod server;
pub mod text;
