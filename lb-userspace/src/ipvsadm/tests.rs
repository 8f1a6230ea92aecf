// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is asked for, and what is printed. The pages follow the formats of ipvsadm.c 1.31.

mod lines; //      command lines
pub mod memory; // a table in memory
mod pages; //      lists
mod recorded; //   command lines that ipvsadm was seen to run
mod sessions; //   several command lines after each other
pub mod table; //  deliberate differences, as docs/migrate.md lists them
