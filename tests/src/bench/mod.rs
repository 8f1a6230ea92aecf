// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask bench`: what a packet costs, measured so that it can be trusted.
//!
//! - [`row`]: what is measured, and by which name
//! - [`choice`]: which rows are
//! - [`net`]: who has which address
//! - [`frame`]: what is sent
//! - [`plane`]: the director with real tables, loaded but not attached
//! - [`trampoline`]: the programs that send, and the clock
//! - [`floor`]: the least that a balancer can do, to measure against
//! - [`check`]: whether what is measured is the right thing
//! - [`measure`]: rounds of limit, floors and director
//! - [`flood`]: whether known flows outlive a SYN flood
//! - [`stats`]: medians and their spread
//! - [`report`]: results, written and compared
//! - [`tables`]: the same as tables and as a plot
//! - [`goals`]: what they should be
//! - [`end_to_end`]: the director in the lab, beside what a user would pick instead
//! - [`cables`]: ways there without a switch
//! - [`live`]: frames that travel on them
//! - [`control`]: how fast the daemon is, and what it takes of memory

pub mod cables;
pub mod check;
pub mod choice;
pub mod control;
pub mod end_to_end;
pub mod flood;
pub mod floor;
pub mod frame;
pub mod goals;
pub mod live;
pub mod measure;
pub mod net;
pub mod plane;
pub mod report;
pub mod row;
pub mod stats;
pub mod tables;
pub mod trampoline;

pub use measure::{Effort, Measured, Measurer};
pub use row::{Choice, Path, Row, Traffic, Version};
