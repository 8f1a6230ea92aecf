// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tests of parsing and printing. The pages follow the formats of ipvsadm.c 1.31.

mod lines; //      command lines
pub mod memory; // a table in memory
mod pages; //      lists
mod recorded; //   command lines as ipvsadm itself ran them
mod sessions; //   sequences of command lines
pub mod table; //  deliberate differences, as docs/migrate.md lists them
