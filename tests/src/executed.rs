// SPDX-License-Identifier: MIT OR Apache-2.0
//! The number of instructions that the programs execute for a packet, which, unlike a time, does not vary.
//!
//! [`Machine`] runs the programs as the kernel's verifier has left them: without dead code, and with the lookups of
//! arrays inlined. Their maps are copies of the kernel's, which change as the programs write to them.
//!
//! - [`kernel`]: programs and maps as the running kernel has them
//! - [`memory`]: the memory of a machine, and its copies of the maps
//! - [`machine`]: the instructions
//! - [`helpers`]: the functions of the kernel that programs call

mod helpers;
pub(crate) mod kernel;
mod machine;
mod memory;

pub use machine::{Executed, Machine};
