// SPDX-License-Identifier: MIT OR Apache-2.0
//! Real packets of real clients through a real kernel's XDP hook to real servers.
//!
//! Nothing here skips: without root, or a feature of the kernel, a test panics with the reason.

mod building;
