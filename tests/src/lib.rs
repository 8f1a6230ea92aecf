// SPDX-License-Identifier: MIT OR Apache-2.0
//! The parts of the tests: packets through the loaded programs, a model of the rules, and a network of
//! namespaces.
//!
//! # Where to begin
//!
//! - A rule about single packets: `tests/packet`, with [`packet::TestPlane`] (the loaded programs over maps
//!   of the test) and [`packet::Frame`] (a frame that etherparse builds).
//! - A rule with sockets, neighbours or several hosts: `tests/lab`, with [`lab::Stage`] (a director, a client
//!   and three prepared reals).
//! - A rule for any packet: [`model`], which the differential test runs beside the programs. Add the rule
//!   there, from the docs, not from the programs.
//!
//! Everything needs root. A test that lacks something fails and names it; no test skips.
//!
//! # Modules
//!
//! | module | content |
//! |---|---|
//! | [`packet`] | frames, the loaded programs, and the comparison of their output |
//! | [`model`] | the rules of forwarding in plain Rust, without the programs' code |
//! | [`differential`] | random scenes on which the model and the programs must agree; also for libFuzzer |
//! | [`lab`] | hosts in namespaces, servers, clients and captures |
//! | [`every_way`] | every method in both IP versions over the links of a lab, for programs in virtual machines |
//! | [`mod@bench`] | the benchmark: packets, daemon, end to end |
//! | [`plot`] | plots as SVG |
//! | [`mod@storm`] | the flow table under packets of all CPUs and a sweeper |
//! | [`object`] | the object with the programs |
//! | [`mod@stack`] | the stack of each program, as older kernels count it |
//! | [`verify`] | instruction counts of the verifier |
//! | [`artifacts`] | the files that `cargo xtask build` leaves in the target folder |

pub mod bench;
pub mod differential;
pub mod every_way;
pub mod executed;
pub mod model;
pub mod object;
pub mod packet;
pub mod plot;
pub mod stack;
pub mod storm;
pub mod verify;

pub use lb_lab::{self as lab, artifacts};
