// SPDX-License-Identifier: MIT OR Apache-2.0
//! Loading the programs and their tables.

pub mod decap; // the decapsulator of real servers
