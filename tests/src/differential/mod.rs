// SPDX-License-Identifier: MIT OR Apache-2.0
//! The model and the loaded programs side by side: what they make of generated and damaged packets must be
//! the same, byte by byte.
//!
//! - [`random`]: numbers that a seed repeats
//! - [`scene`]: services and reals at random
//! - [`wire`], [`traffic`], [`damage`]: packets for them, and what goes wrong with packets
//! - [`trial`]: one scene, packet by packet, by both
//! - [`shrink`]: the shortest history that still makes a difference
//! - [`tally`]: what a run has come by
//! - [`parser`]: the two parsers, without anything else
//! - [`fuzz`]: the same where a fuzzer chooses what comes (`tests/fuzz`)

#![expect(clippy::missing_panics_doc, reason = "whatever goes wrong here is to fail the test")]
#![expect(clippy::must_use_candidate, reason = "questions, most of them")]

pub mod damage;
pub mod fuzz;
pub mod parser;
pub mod random;
pub mod scene;
pub mod shrink;
pub mod tally;
pub mod traffic;
pub mod trial;
pub mod wire;
