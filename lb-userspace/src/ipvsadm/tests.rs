// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is asked for, and what is printed. The pages follow the formats of ipvsadm.c 1.31.

mod lines; // command lines
mod pages; // lists
