// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask bench`: the cost of a packet, in reliable measurements.
//!
//! - [`lb_rows`]: the options, the rows with their names, and the choice of rows
//! - [`net`]: the address plan
//! - [`frame`]: the frames that are sent
//! - [`plane`]: the director with real tables, loaded but not attached
//! - [`trampoline`]: the programs that send, and the clock
//! - [`floor`]: the least that a balancer can do, as a baseline
//! - [`check`]: checks that the intended path is measured
//! - [`measure`]: rounds of limit, floors and director
//! - [`flood`]: survival of known flows during a SYN flood
//! - [`stats`]: medians and their spread
//! - [`report`]: results, written and compared
//! - [`tables`]: results as tables and as a plot
//! - [`goals`]: goals for the results
//! - [`end_to_end`]: the director in the lab, beside other balancers
//! - [`cables`]: links of that lab without a switch
//! - [`live`]: live frames on those links
//! - [`control`]: speed and memory of the daemon
//! - [`trace`]: packets while `xvs trace` runs

pub mod cables;
pub mod check;
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
pub mod stats;
pub mod tables;
pub mod trace;
pub mod trampoline;

pub use lb_rows::{choice, options, row};
pub use measure::{Effort, Measured, Measurer};
pub use row::{Choice, Path, Row, Traffic, Version};
